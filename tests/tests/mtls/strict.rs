//! `OUTRIGGER_STRICT_TLS`: servers that nobody verifies are an error wherever they come from.

use std::time::Duration;

use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, prefix_route, route_config, terminate_tls, virtual_host, with_ads,
    with_static,
};
use outrigger_tests::client::h1;
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::ports::Port;
use outrigger_tests::tls::Authority;
use outrigger_tests::xds::{Resource, Server};
use outrigger_tests::{Result, wait};
use outrigger_xds_protos::type_url;
use outrigger_xds_protos::v3::cluster::Cluster;
use outrigger_xds_protos::v3::listener::Listener;
use outrigger_xds_protos::v3::tls::Secret;
use serde_json::{Value, json};

use crate::socket;

const LIMIT: Duration = Duration::from_secs(20);

/// A server with a certificate of the authority.
async fn server(authority: &Authority) -> Result<(Port, Sidecar)> {
    let port = Port::lease()?;
    let answer = json!({"match": {"prefix": "/"}, "direct_response": {"status": 200}});
    let routes = route_config("r", &[virtual_host("v", &["*"], &[answer])]);
    let mut listener = http_listener("l", port.address(), inline(routes));
    listener["filter_chains"][0]["transport_socket"] =
        terminate_tls(&authority.issue(&["svc"])?, &["http/1.1"]);
    let sidecar = DataPlane::Outrigger.launch()?.start(&with_static(&[listener], &[])).await?;
    Ok((port, sidecar))
}

fn cluster_of(to: &Port, common: Value) -> Result<Vec<Resource>> {
    let mut there = cluster("there", &[to.address()]);
    there["transport_socket"] = socket("Upstream", &json!({"common_tls_context": common}));
    Ok(vec![Resource::of::<Cluster>("there", &there)?])
}

async fn client(server: &Server, entry: &Port) -> Result<Sidecar> {
    let mut routes = route_config("r", &[virtual_host("v", &["*"], &[prefix_route("/", "there")])]);
    // The listener is to be there whatever becomes of the cluster.
    routes["validate_clusters"] = json!(false);
    let listener = http_listener("l", entry.address(), inline(routes));
    server.set(type_url::LISTENER, vec![Resource::of::<Listener>("l", &listener)?]);
    let launch = DataPlane::Outrigger.launch()?.env("OUTRIGGER_STRICT_TLS", "1");
    launch.start(&with_ads(server.address(), "GRPC")).await
}

#[tokio::test]
async fn clusters_by_discovery_are_refused_when_nobody_verifies() -> Result<()> {
    let (authority, control, entry) = (Authority::new()?, Server::start()?, Port::lease()?);
    let (port, _server) = server(&authority).await?;
    let trust = json!({"trusted_ca": {"inline_string": authority.certificate()}});
    let mut lax = trust.clone();
    lax["trust_chain_verification"] = json!("ACCEPT_UNTRUSTED");
    control.set(type_url::CLUSTER, cluster_of(&port, json!({"validation_context": lax}))?);
    let _client = client(&control, &entry).await?;
    let said = control.until_rejected(type_url::CLUSTER).await?;
    assert!(said.contains("common_tls_context") && said.contains("ACCEPT_UNTRUSTED"), "{said}");
    let refused = || async { (h1::get(entry.address(), "svc", "/").await.ok()?.status == 503).then_some(()) };
    wait::until("the listener, whose cluster is not there", LIMIT, refused).await?;
    control.set(type_url::CLUSTER, cluster_of(&port, json!({"validation_context": trust}))?);
    let served = || async { (h1::get(entry.address(), "svc", "/").await.ok()?.status == 200).then_some(()) };
    wait::until("the cluster that verifies to serve", LIMIT, served).await
}

#[tokio::test]
async fn trust_by_discovery_must_be_one() -> Result<()> {
    let (authority, control, entry) = (Authority::new()?, Server::start()?, Port::lease()?);
    let (port, _server) = server(&authority).await?;
    let roots = |context: Value| -> Result<Vec<Resource>> {
        let message = json!({"name": "roots", "validation_context": context});
        Ok(vec![Resource::of::<Secret>("roots", &message)?])
    };
    let source = json!({"name": "roots", "sds_config": {"ads": {}, "resource_api_version": "V3"}});
    control
        .set(type_url::CLUSTER, cluster_of(&port, json!({"validation_context_sds_secret_config": source}))?);
    control.set(type_url::SECRET, roots(json!({}))?);
    let client = client(&control, &entry).await?;
    let told = || std::future::ready(client.said("OUTRIGGER_STRICT_TLS").then_some(()));
    wait::until("the log to say what is missing", LIMIT, told).await?;
    assert_eq!(h1::get(entry.address(), "svc", "/").await?.status, 503);
    control.set(type_url::SECRET, roots(json!({"trusted_ca": {"inline_string": authority.certificate()}}))?);
    let served = || async { (h1::get(entry.address(), "svc", "/").await.ok()?.status == 200).then_some(()) };
    wait::until("the trust that came to count", LIMIT, served).await
}
