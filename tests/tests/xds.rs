//! Configuration over the aggregated stream, in both variants.

use std::net::SocketAddr;

use outrigger_tests::bootstrap::{
    self, eds_cluster, http_listener, load_assignment, prefix_route, rds, route_config, virtual_host,
    with_ads,
};
use outrigger_tests::client::h1;
use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{Echo, Upstream};
use outrigger_tests::xds::{Kind, Resource, Server};
use outrigger_tests::{Result, on_both_data_planes};
use outrigger_xds_protos::type_url::{CLUSTER, CLUSTER_LOAD_ASSIGNMENT, LISTENER, ROUTE_CONFIGURATION};
use outrigger_xds_protos::v3;
use serde_json::{Value, json};

on_both_data_planes!(
    state_of_the_world_reaches_traffic,
    delta_reaches_traffic,
    state_of_the_world_names_what_is_bad,
    delta_names_what_is_bad,
);

fn cluster(json: &Value) -> Result<Resource> {
    Resource::of::<v3::cluster::Cluster>(json["name"].as_str().unwrap_or_default(), json)
}

fn endpoints(name: &str, at: SocketAddr) -> Result<Resource> {
    Resource::of::<v3::endpoint::ClusterLoadAssignment>(name, &load_assignment(name, &[at]))
}

fn listener(at: SocketAddr) -> Result<Resource> {
    Resource::of::<v3::listener::Listener>("ingress", &http_listener("ingress", at, rds("routes")))
}

fn routes_to(cluster: &str) -> Result<Resource> {
    let routes = route_config("routes", &[virtual_host("all", &["*"], &[prefix_route("/", cluster)])]);
    Resource::of::<v3::route::RouteConfiguration>("routes", &routes)
}

async fn state_of_the_world_reaches_traffic(plane: DataPlane) -> Result<()> {
    reaches_traffic(plane, "GRPC").await
}

async fn delta_reaches_traffic(plane: DataPlane) -> Result<()> {
    reaches_traffic(plane, "DELTA_GRPC").await
}

/// All four types arrive, an endpoint update moves the traffic, and so does a route update to a new cluster.
async fn reaches_traffic(plane: DataPlane, variant: &str) -> Result<()> {
    let (port, xds) = (Port::lease()?, Server::start()?);
    let (first, second) = (Upstream::start(Echo::new("first"))?, Upstream::start(Echo::new("second"))?);
    xds.set_all([
        (CLUSTER, vec![cluster(&eds_cluster("a"))?]),
        (CLUSTER_LOAD_ASSIGNMENT, vec![endpoints("a", first.address())?]),
        (LISTENER, vec![listener(port.address())?]),
        (ROUTE_CONFIGURATION, vec![routes_to("a")?]),
    ]);
    let _sidecar = plane.launch()?.start(&with_ads(xds.address(), variant)).await?;
    xds.until_accepted(ROUTE_CONFIGURATION).await?;
    assert_eq!(answering(port.address()).await?, "first");

    xds.set(CLUSTER_LOAD_ASSIGNMENT, vec![endpoints("a", second.address())?]);
    xds.until_accepted(CLUSTER_LOAD_ASSIGNMENT).await?;
    until_answering(port.address(), "second").await?;

    xds.set_all([
        (CLUSTER, vec![cluster(&eds_cluster("a"))?, cluster(&eds_cluster("b"))?]),
        (CLUSTER_LOAD_ASSIGNMENT, vec![endpoints("a", second.address())?, endpoints("b", first.address())?]),
        (ROUTE_CONFIGURATION, vec![routes_to("b")?]),
    ]);
    xds.until_accepted(ROUTE_CONFIGURATION).await?;
    until_answering(port.address(), "first").await
}

async fn state_of_the_world_names_what_is_bad(plane: DataPlane) -> Result<()> {
    names_what_is_bad(plane, "GRPC").await
}

async fn delta_names_what_is_bad(plane: DataPlane) -> Result<()> {
    names_what_is_bad(plane, "DELTA_GRPC").await
}

/// A bad cluster is named in the NACK, the good ones of the same response apply, and its last good version serves on.
async fn names_what_is_bad(plane: DataPlane, variant: &str) -> Result<()> {
    let (port, xds, upstream) = (Port::lease()?, Server::start()?, Upstream::start(Echo::new("a"))?);
    xds.set_all([
        (CLUSTER, vec![cluster(&eds_cluster("a"))?]),
        (CLUSTER_LOAD_ASSIGNMENT, vec![endpoints("a", upstream.address())?]),
        (LISTENER, vec![listener(port.address())?]),
        (ROUTE_CONFIGURATION, vec![routes_to("a")?]),
    ]);
    let sidecar = plane.launch()?.start(&with_ads(xds.address(), variant)).await?;
    let opened = |event: &outrigger_tests::xds::Event| match &event.kind {
        Kind::Opened { node, delta } => Some((node.clone().map(|node| node.id), *delta)),
        _ => None,
    };
    let node = xds.until("the stream", opened).await?;
    assert_eq!(node, (Some("test-node".to_owned()), variant == "DELTA_GRPC"));

    let mut bad = bootstrap::cluster("a", &[upstream.address()]);
    bad["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]["address"] =
        json!("no-address");
    // Envoy answers a CDS response only once its clusters are warm, so the good one needs its endpoints.
    xds.set_all([
        (CLUSTER, vec![cluster(&bad)?, cluster(&eds_cluster("good"))?]),
        (
            CLUSTER_LOAD_ASSIGNMENT,
            vec![endpoints("a", upstream.address())?, endpoints("good", upstream.address())?],
        ),
    ]);
    let words = xds.until_rejected(CLUSTER).await?;
    assert!(words.contains("no-address"), "{words}");
    sidecar.until_stat("cluster_manager.cds.update_rejected", |count| count == 1).await?;
    sidecar.until_stat("cluster_manager.active_clusters", |count| count >= 2).await?;
    assert_eq!(answering(port.address()).await?, "a");
    Ok(())
}

async fn answering(at: SocketAddr) -> Result<String> {
    let response = h1::get(at, "svc", "/").await?;
    Ok(response.json()?["upstream"].as_str().unwrap_or_default().to_owned())
}

/// An ACK says "understood", not "applied": the effect may lag.
async fn until_answering(at: SocketAddr, name: &str) -> Result<()> {
    let check = || async { answering(at).await.ok().filter(|answering| answering == name) };
    outrigger_tests::wait::until(name, std::time::Duration::from_secs(5), check).await.map(drop)
}
