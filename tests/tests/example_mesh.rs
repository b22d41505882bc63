//! The example mesh as it is deployed: two tasks with interception, one with our sidecar and one with Envoy, both
//! configured by our control plane with nothing but its defaults.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use outrigger_tests::client::h1;
use outrigger_tests::control_plane::{ControlPlane, Launch};
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::mesh::upstream_of;
use outrigger_tests::netns::{Namespace, Place};
use outrigger_tests::requirement::met;
use outrigger_tests::upstream::{Echo, TcpEcho, Upstream};
use outrigger_tests::{Result, on_both_data_planes};

on_both_data_planes!(the_example_mesh_carries_requests_between_intercepted_tasks);

const EXAMPLE: &str = include_str!("../../control-plane/examples/mesh.yaml");
const SERVICE: &str = "microservice-b.default.svc.cluster.local";
/// The user of the sidecar in App Mesh's images and task definitions, whose connections are let through.
const USER: u32 = 1337;
const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 98, 0, 1));
const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 98, 0, 2));

/// A task: its network, its application on port 8080, its sidecar.
struct Task {
    network: Place,
    application: Upstream,
    sidecar: Sidecar,
}

impl Task {
    async fn start(name: &str, network: &Arc<Namespace>, plane: DataPlane, xds: SocketAddr) -> Result<Self> {
        network.redirect_incoming("iptables", 8080, 15000)?;
        network.redirect_outgoing("iptables", USER, 15001)?;
        let network = Place::Inside(network.clone());
        let application = Upstream::start_on(network.listen("127.0.0.1:8080".parse()?)?, Echo::new(name))?;
        let launch = plane.launch()?.place(network.clone()).user(USER);
        let id = format!("mesh/cloud-native-mesh/virtualNode/{name}");
        let sidecar = launch.start_in_mesh(&id, xds).await?;
        Ok(Self { network, application, sidecar })
    }

    async fn get(&self, address: IpAddr, host: &str) -> Result<h1::Response> {
        h1::get_from(&self.network, (address, 8080).into(), host, "/hello").await
    }
}

async fn accepted(control_plane: &ControlPlane, name: &str) -> Result<()> {
    let id = format!("mesh/cloud-native-mesh/virtualNode/{name}");
    control_plane.until_accepted(&id).await.map(drop)
}

/// `plane` is the caller's sidecar, the other data plane that of the service.
async fn the_example_mesh_carries_requests_between_intercepted_tasks(plane: DataPlane) -> Result<()> {
    let other = if plane == DataPlane::Envoy { DataPlane::Outrigger } else { DataPlane::Envoy };
    let (Some(near), Some(_)) = (met(Namespace::create()), met(other.launch())) else { return Ok(()) };
    let far = Namespace::create()?;
    near.connect((A, 24), &far, (B, 24))?;
    let definitions = EXAMPLE
        .replace("Hostname: microservice-a.default.svc.cluster.local", &format!("Hostname: {A}"))
        .replace("Hostname: microservice-b.default.svc.cluster.local", &format!("Hostname: {B}"));
    let launch = Launch::of(&definitions)?.place(Place::Inside(near.clone()));
    let control_plane = launch.start().await?;
    let port = control_plane.xds().port();
    let a = Task::start("microservice-a", &near, plane, control_plane.xds()).await?;
    let b = Task::start("microservice-b", &far, other, (A, port).into()).await?;
    accepted(&control_plane, "microservice-a").await?;
    accepted(&control_plane, "microservice-b").await?;

    // A calls B as its application would: by name, to the address that the name resolves to.
    for host in [SERVICE.to_owned(), format!("{SERVICE}:8080")] {
        assert_eq!(upstream_of(&a.get(B, &host).await?)?, "microservice-b", "{host}");
    }
    let cluster = "cluster.cds_egress_cloud-native-mesh_microservice-b_http_8080.upstream_rq_200";
    assert_eq!(a.sidecar.stat(cluster).await?, 2, "they took the route of the service");
    let ingress = "cluster.cds_ingress_cloud-native-mesh_microservice-b_http_8080.upstream_rq_200";
    assert_eq!(b.sidecar.stat(ingress).await?, 2, "and the ingress of the other sidecar");

    // What is no service goes where it was going, because the mesh allows that.
    assert_eq!(upstream_of(&a.get(B, "somewhere.else").await?)?, "microservice-b");
    assert_eq!(a.sidecar.stat(cluster).await?, 2);
    let outside = Place::Inside(far.clone()).listen((B, 7000).into())?;
    let _outside = Upstream::start_on(outside, TcpEcho)?;
    let mut raw = h1::Connection::open_from(&a.network, (B, 7000).into()).await?;
    raw.send("no HTTP").await?;
    assert_eq!(raw.exact_bytes(7).await?, b"no HTTP");

    // B calls A, which is no backend of it.
    assert_eq!(upstream_of(&b.get(A, "microservice-a").await?)?, "microservice-a");
    assert_eq!((a.application.counts().requests(), b.application.counts().requests()), (1, 3));
    Ok(())
}
