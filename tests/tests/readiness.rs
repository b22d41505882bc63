//! What `outrigger-proxy ready` demands, beside what `/ready` says as Envoy's does.

use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use outrigger_tests::access_log::AccessLog;
use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, manager_of, prefix_route, rds, route_config, virtual_host, with_ads,
};
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::netns::Place;
use outrigger_tests::ports::Port;
use outrigger_tests::process::Process;
use outrigger_tests::xds::{Resource, Server};
use outrigger_tests::{Result, binaries, on_both_data_planes, on_data_plane};
use outrigger_xds_protos::type_url::{CLUSTER, LISTENER, ROUTE_CONFIGURATION};
use outrigger_xds_protos::v3;
use serde_json::{Value, json};

on_both_data_planes!(a_port_that_is_taken_is_a_creation_failure);
on_data_plane!(
    outrigger_only,
    Outrigger,
    a_listener_without_its_port_is_not_ready,
    what_was_never_accepted_is_not_ready,
    what_is_refused_later_stays_ready,
    the_log_tells_at_debug,
);

const LIMIT: Duration = Duration::from_secs(20);

/// Runs `outrigger-proxy ready`: its exit code, and what it said.
async fn ready(sidecar: &Sidecar) -> Result<(Option<i32>, String)> {
    let mut command = Command::new(binaries::path(binaries::PROXY)?);
    command.arg("ready").env("ENVOY_ADMIN_ACCESS_PORT", sidecar.admin().port().to_string());
    let mut process = Process::spawn("ready", command, &Place::Host)?;
    let status = process.wait(LIMIT).await?;
    Ok((status.code(), process.stderr()))
}

fn listener(name: &str, port: &Port, to: &str) -> Value {
    let routes = route_config("r", &[virtual_host("v", &["*"], &[prefix_route("/", to)])]);
    http_listener(name, port.address(), inline(routes))
}

fn listeners(all: &[&Value]) -> Result<Vec<Resource>> {
    all.iter()
        .map(|one| Resource::of::<v3::listener::Listener>(one["name"].as_str().unwrap_or_default(), one))
        .collect()
}

fn clusters(all: &[Value]) -> Result<Vec<Resource>> {
    all.iter()
        .map(|one| Resource::of::<v3::cluster::Cluster>(one["name"].as_str().unwrap_or_default(), one))
        .collect()
}

fn table(to: &str) -> Result<Vec<Resource>> {
    let mut table = route_config("table", &[virtual_host("v", &["*"], &[prefix_route("/", to)])]);
    table["validate_clusters"] = json!(true);
    Ok(vec![Resource::of::<v3::route::RouteConfiguration>("table", &table)?])
}

/// A sidecar that was sent an egress listener, and an ingress listener whose port another server has.
async fn with_a_taken_port(plane: DataPlane, server: &Server) -> Result<(Sidecar, [Port; 2], TcpListener)> {
    let (ingress, egress) = (Port::lease()?, Port::lease()?);
    let other = TcpListener::bind(ingress.address())?;
    server.set_all([
        (CLUSTER, clusters(&[cluster("a", &[([127, 0, 0, 1], 9).into()])])?),
        (LISTENER, listeners(&[&listener("egress", &egress, "a"), &listener("ingress", &ingress, "a")])?),
    ]);
    let sidecar = plane.launch()?.start(&with_ads(server.address(), "DELTA_GRPC")).await?;
    Ok((sidecar, [ingress, egress], other))
}

async fn a_port_that_is_taken_is_a_creation_failure(plane: DataPlane) -> Result<()> {
    let server = Server::start()?;
    let (sidecar, ..) = with_a_taken_port(plane, &server).await?;
    server.until_rejected(LISTENER).await?;
    sidecar.until_stat("listener_manager.listener_create_failure", |count| count == 1).await?;
    sidecar.until_stat("listener_manager.workers_started", |started| started == 1).await?;
    // Not what this asks.
    assert_eq!(sidecar.get("/ready").await?.status, 200);
    Ok(())
}

async fn a_listener_without_its_port_is_not_ready(plane: DataPlane) -> Result<()> {
    let server = Server::start()?;
    let (sidecar, [ingress, egress], other) = with_a_taken_port(plane, &server).await?;
    let (code, said) = ready(&sidecar).await?;
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("not ready") && said.contains("\"ingress\"") && said.contains("cannot bind"),
        "{said}"
    );
    // It can be had: what the control plane sends next is bound.
    drop(other);
    let own = listener("egress", &egress, "a");
    let mut next = listener("ingress", &ingress, "a");
    next["traffic_direction"] = json!("INBOUND");
    server.set(LISTENER, listeners(&[&own, &next])?);
    sidecar.until_stat("listener_manager.total_listeners_active", |count| count == 2).await?;
    let (code, said) = ready(&sidecar).await?;
    assert_eq!((code, said.as_str()), (Some(0), ""));
    // A later one that gets no port is a reason again.
    let taken = Port::lease()?;
    let _other = TcpListener::bind(taken.address())?;
    server.set(LISTENER, listeners(&[&own, &next, &listener("more", &taken, "a")])?);
    sidecar.until_stat("listener_manager.listener_create_failure", |count| count == 2).await?;
    let (code, said) = ready(&sidecar).await?;
    assert!(code == Some(1) && said.contains("\"more\""), "{code:?} {said}");
    Ok(())
}

async fn what_was_never_accepted_is_not_ready(plane: DataPlane) -> Result<()> {
    let (server, port) = (Server::start()?, Port::lease()?);
    let good = cluster("a", &[([127, 0, 0, 1], 9).into()]);
    let mut bad = good.clone();
    bad["name"] = json!("b");
    bad["lb_policy"] = json!("CLUSTER_PROVIDED");
    let log = AccessLog::of(&["PROTOCOL"])?;
    let by_name = || http_listener("ingress", port.address(), rds("table"));
    let mut unwritable = by_name();
    manager_of(&mut unwritable)["access_log"] = log.config();
    manager_of(&mut unwritable)["access_log"][0]["typed_config"]["path"] = json!("/proc/none/access.log");
    server.set_all([
        (CLUSTER, clusters(&[good.clone(), bad])?),
        (LISTENER, listeners(&[&unwritable])?),
        (ROUTE_CONFIGURATION, table("nowhere")?),
    ]);
    let sidecar = plane.launch()?.start(&with_ads(server.address(), "DELTA_GRPC")).await?;
    let (code, said) = ready(&sidecar).await?;
    assert_eq!(code, Some(1), "{said}");
    for part in ["no list of type Listener", "Listener \"ingress\" was refused", "Cluster \"b\" was refused"]
    {
        assert!(said.contains(part), "no {part} in {said}");
    }
    server.set_all([(CLUSTER, clusters(&[good])?), (LISTENER, listeners(&[&by_name()])?)]);
    server.until_rejected(ROUTE_CONFIGURATION).await?;
    sidecar.until_stat("listener_manager.total_listeners_active", |count| count == 1).await?;
    let (code, said) = ready(&sidecar).await?;
    assert!(code == Some(1) && said.contains("RouteConfiguration \"table\" was refused"), "{code:?} {said}");
    assert!(!said.contains("Cluster \"b\""), "{said}");
    server.set(ROUTE_CONFIGURATION, table("a")?);
    server.until_accepted(ROUTE_CONFIGURATION).await?;
    sidecar.until_stat("http.ingress.rds.table.update_success", |count| count == 1).await?;
    assert_eq!(ready(&sidecar).await?, (Some(0), String::new()));
    Ok(())
}

async fn what_is_refused_later_stays_ready(plane: DataPlane) -> Result<()> {
    let (server, port) = (Server::start()?, Port::lease()?);
    let good = cluster("a", &[([127, 0, 0, 1], 9).into()]);
    server.set_all([
        (CLUSTER, clusters(std::slice::from_ref(&good))?),
        (LISTENER, listeners(&[&http_listener("ingress", port.address(), rds("table"))])?),
        (ROUTE_CONFIGURATION, table("a")?),
    ]);
    let sidecar = plane.launch()?.start(&with_ads(server.address(), "DELTA_GRPC")).await?;
    assert_eq!(ready(&sidecar).await?, (Some(0), String::new()));
    // A version of what serves, and something new.
    let mut bad = good;
    bad["lb_policy"] = json!("CLUSTER_PROVIDED");
    let mut new = bad.clone();
    new["name"] = json!("b");
    server.set_all([(CLUSTER, clusters(&[bad, new])?), (ROUTE_CONFIGURATION, table("nowhere")?)]);
    sidecar.until_stat("cluster_manager.cds.update_rejected", |count| count > 0).await?;
    sidecar.until_stat("http.ingress.rds.table.update_rejected", |count| count > 0).await?;
    assert_eq!(ready(&sidecar).await?, (Some(0), String::new()));
    Ok(())
}

async fn the_log_tells_at_debug(plane: DataPlane) -> Result<()> {
    let (server, port) = (Server::start()?, Port::lease()?);
    server.set_all([
        (CLUSTER, clusters(&[cluster("a", &[([127, 0, 0, 1], 9).into()])])?),
        (LISTENER, listeners(&[&listener("ingress", &port, "a")])?),
    ]);
    let launch = plane.launch()?.log_level("debug");
    let sidecar = launch.start(&with_ads(server.address(), "DELTA_GRPC")).await?;
    assert_eq!(outrigger_tests::client::h1::get(port.address(), "a", "/").await?.status, 503);
    let mut client = outrigger_tests::client::h1::Connection::open(port.address()).await?;
    assert_eq!(client.exchange("BAD\r\n\r\n").await?.status, 400);
    server.set(LISTENER, Vec::new());
    sidecar.until_stat("listener_manager.listener_removed", |count| count == 1).await?;
    let told = || {
        let lines = [
            "request: type.googleapis.com/envoy.config.cluster.v3.Cluster".to_owned(),
            "response: Cluster version".to_owned(),
            format!("listener \"ingress\" serves {}", port.address()),
            "cluster \"a\": no connection to 127.0.0.1:9".to_owned(),
            "is refused: 400 http1.codec_error".to_owned(),
            "listener \"ingress\" is gone".to_owned(),
        ];
        std::future::ready(lines.iter().all(|line| sidecar.said(line)).then_some(()))
    };
    outrigger_tests::wait::until("the debug lines", LIMIT, told).await
}
