//! A sidecar may ask for its own node alone, by whatever stream: discovery of both variants, aggregated and of every
//! type, secrets, load reports, certificates. Both data planes, and calls that no honest sidecar makes.

use std::time::Duration;

use outrigger_tests::bootstrap::with_ads_as;
use outrigger_tests::control_plane::Launch;
use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::{Result, on_both_data_planes, wait};
use outrigger_xds_protos::identity::{IssueRequest, METHOD};
use outrigger_xds_protos::v3::discovery::{DeltaDiscoveryRequest, DiscoveryRequest};
use outrigger_xds_protos::v3::load_service::LoadStatsRequest;
use outrigger_xds_protos::{identity, type_url};
use prost::Message;
use rcgen::{CertificateParams, KeyPair};
use serde_json::json;

use crate::UNAUTHENTICATED;
use crate::scene::{A, B, JOIN, Scene, Shown, node};

on_both_data_planes!(a_sidecar_is_given_its_own_node_only);

/// Service, suffix of its methods, type.
const SERVICES: [(&str, &str, &str); 6] = [
    ("discovery.v3.AggregatedDiscoveryService", "AggregatedResources", type_url::SECRET),
    ("listener.v3.ListenerDiscoveryService", "Listeners", type_url::LISTENER),
    ("route.v3.RouteDiscoveryService", "Routes", type_url::ROUTE_CONFIGURATION),
    ("cluster.v3.ClusterDiscoveryService", "Clusters", type_url::CLUSTER),
    ("endpoint.v3.EndpointDiscoveryService", "Endpoints", type_url::CLUSTER_LOAD_ASSIGNMENT),
    ("secret.v3.SecretDiscoveryService", "Secrets", type_url::SECRET),
];

/// Every method, with a request of a node.
fn calls(id: &str) -> Result<Vec<(String, Vec<u8>)>> {
    let mut calls = Vec::new();
    for (service, suffix, kind) in SERVICES {
        let (names, type_url) = (vec![identity::SECRET.to_owned()], kind.to_owned());
        let whole = DiscoveryRequest {
            node: Some(node(id)),
            type_url: type_url.clone(),
            resource_names: names.clone(),
            ..Default::default()
        };
        let delta = DeltaDiscoveryRequest {
            node: Some(node(id)),
            type_url,
            resource_names_subscribe: names,
            ..Default::default()
        };
        calls.push((format!("/envoy.service.{service}/Stream{suffix}"), whole.encode_to_vec()));
        calls.push((format!("/envoy.service.{service}/Delta{suffix}"), delta.encode_to_vec()));
    }
    let reports = LoadStatsRequest { node: Some(node(id)), ..Default::default() };
    let method = "/envoy.service.load_stats.v3.LoadReportingService/StreamLoadStats";
    calls.push((method.to_owned(), reports.encode_to_vec()));
    let request = CertificateParams::default().serialize_request(&KeyPair::generate()?)?;
    let request = IssueRequest { node_id: id.to_owned(), request: request.der().to_vec() };
    calls.push((METHOD.to_owned(), request.encode_to_vec()));
    Ok(calls)
}

#[tokio::test]
async fn no_stream_and_no_call_serves_another_node() -> Result<()> {
    let mut scene = Scene::start().await?;
    let own = calls(A)?;
    assert_eq!(own.len(), 14);
    for (method, message) in own {
        let reply = scene.call(&method, &message, &Shown::token(JOIN)).await?;
        assert_eq!(reply.status, Some(0), "{method}: {}", reply.message);
    }
    for (method, message) in calls(B)? {
        let named = scene.audited(B);
        let what = match method.as_str() {
            METHOD => "a certificate",
            _ if method.ends_with("StreamLoadStats") => "reports",
            _ => "resources",
        };
        let line = &format!("denied {what}: not a node of this client");
        let before = scene.audited(line);
        let reply = scene.call(&method, &message, &Shown::token(JOIN)).await?;
        assert_eq!(reply.status, Some(UNAUTHENTICATED), "{method}: {what}");
        assert_eq!((reply.message.as_str(), reply.messages.len()), ("not%20authenticated", 0), "{method}");
        assert_eq!(scene.until_audited(line, before).await?, before + 1, "{method}");
        let told = scene.until_audited(B, named).await?;
        assert_eq!(told, named + 1, "{method}: the audit names the node");
    }
    for (method, message) in calls(A)? {
        let reply = scene.call(&method, &message, &Shown::default()).await?;
        assert_eq!(reply.status, Some(UNAUTHENTICATED), "{method} without a proof");
        assert_eq!(reply.messages.len(), 0, "{method}");
    }
    Ok(())
}

/// Sidecars as they are, with a token of `a`, over both variants: one as `a`, one that says that it is `b`.
async fn a_sidecar_is_given_its_own_node_only(plane: DataPlane) -> Result<()> {
    let files = tempfile::tempdir()?;
    let rules = files.path().join("access.yaml");
    std::fs::write(&rules, format!("tokens: [{{token: {JOIN}, nodes: [{A}]}}]\n"))?;
    let definitions = "
- {meshName: shop, spec: {}}
- {meshName: shop, virtualNodeName: a, spec: {}}
- {meshName: shop, virtualNodeName: b, spec: {}}
";
    let arguments = ["--no-interception", "--access", &rules.display().to_string()].map(str::to_owned);
    let mut control = Launch::of(definitions)?.args(arguments).start().await?;
    for variant in ["DELTA_GRPC", "GRPC"] {
        let bootstrap = |id: &str| {
            let mut bootstrap = with_ads_as(id, control.xds(), variant);
            let token = json!([{"key": "authorization", "value": format!("Bearer {JOIN}")}]);
            for stream in
                ["/dynamic_resources/ads_config", "/cluster_manager/load_stats_config"].map(str::to_owned)
            {
                if let Some(stream) = bootstrap.pointer_mut(&stream) {
                    stream["grpc_services"][0]["initial_metadata"] = token.clone();
                }
            }
            bootstrap
        };
        let (own, foreign) = (bootstrap(A), bootstrap(B));
        let _own = plane.launch()?.start(&own).await?;
        control.until_accepted(A).await?;
        let foreign = plane.launch()?.start_without_waiting(&foreign).await?;
        let before = denials(&mut control, B);
        let denied = || std::future::ready((denials(&mut control, B) > before).then_some(()));
        wait::until("the audit", Duration::from_secs(20), denied).await?;
        assert_ne!(foreign.get("/ready").await?.status, 200);
        assert!(control.node(B).await?.is_empty(), "nothing was said to it");
    }
    Ok(())
}

fn denials(control: &mut outrigger_tests::control_plane::ControlPlane, node: &str) -> usize {
    let said = control.process().stderr();
    said.lines().filter(|line| line.contains("denied resources: not a node") && line.contains(node)).count()
}
