//! What a connection manager does to requests before they are routed, and how long they may take to arrive.

use outrigger_tests::bootstrap::{
    cluster, eds_cluster, http_listener, inline, load_assignment, manager_of, prefix_route, route_config,
    virtual_host, with_ads, with_static,
};
use outrigger_tests::client::h1::{self, Connection};
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{Echo, Upstream};
use outrigger_tests::xds::{Resource, Server};
use outrigger_tests::{Result, on_both_data_planes, wait};
use outrigger_xds_protos::type_url::{CLUSTER, CLUSTER_LOAD_ASSIGNMENT, LISTENER};
use outrigger_xds_protos::v3;
use serde_json::{Value, json};

on_both_data_planes!(
    ports_are_stripped,
    names_with_underscores,
    headers_for_insiders,
    a_request_must_arrive_in_time,
    a_change_of_hosts_closes_connections,
);

struct Scene {
    port: Port,
    _upstream: Upstream,
    _sidecar: Sidecar,
}

impl Scene {
    /// The virtual host is `svc`, without a port.
    async fn start(plane: DataPlane, change: impl FnOnce(&mut Value, u16)) -> Result<Self> {
        let (port, upstream) = (Port::lease()?, Upstream::start(Echo::new("a"))?);
        let routes = route_config("r", &[virtual_host("v", &["svc"], &[prefix_route("/", "a")])]);
        let mut listener = http_listener("ingress", port.address(), inline(routes));
        change(manager_of(&mut listener), port.number());
        let bootstrap = with_static(&[listener], &[cluster("a", &[upstream.address()])]);
        let sidecar = plane.launch()?.start(&bootstrap).await?;
        Ok(Self { port, _upstream: upstream, _sidecar: sidecar })
    }

    async fn ask(&self, host: &str, header: &str) -> Result<h1::Response> {
        let mut client = Connection::open(self.port.address()).await?;
        client.exchange(format!("GET / HTTP/1.1\r\nHost: {host}\r\n{header}Connection: close\r\n\r\n")).await
    }
}

async fn ports_are_stripped(plane: DataPlane) -> Result<()> {
    for (mode, other_status) in [("strip_matching_host_port", 404), ("strip_any_host_port", 200)] {
        let scene = Scene::start(plane, |manager, _| manager[mode] = json!(true)).await?;
        let own = scene.ask(&format!("svc:{}", scene.port.number()), "").await?;
        assert_eq!(own.status, 200, "{mode}");
        let seen = own.text();
        assert!(!seen.contains(&format!("svc:{}", scene.port.number())), "{mode}: {seen}");
        assert_eq!(scene.ask("svc:1", "").await?.status, other_status, "{mode}");
    }
    Ok(())
}

async fn names_with_underscores(plane: DataPlane) -> Result<()> {
    for (action, status, arrives) in
        [("ALLOW", 200, true), ("DROP_HEADER", 200, false), ("REJECT_REQUEST", 400, false)]
    {
        let options = json!({"headers_with_underscores_action": action});
        let scene =
            Scene::start(plane, |manager, _| manager["common_http_protocol_options"] = options).await?;
        let response = scene.ask("svc", "x_odd: marker\r\n").await?;
        assert_eq!((response.status, response.text().contains("marker")), (status, arrives), "{action}");
        assert_eq!(scene.ask("svc", "x-even: marker\r\n").await?.status, 200, "{action}");
    }
    Ok(())
}

async fn headers_for_insiders(plane: DataPlane) -> Result<()> {
    let names = json!(["x-secret"]);
    let scene =
        Scene::start(plane, |manager, _| manager["route_config"]["internal_only_headers"] = names).await?;
    let response = scene.ask("svc", "x-secret: marker\r\nX-Forwarded-For: 8.8.8.8\r\n").await?;
    assert!(!response.text().contains("marker"), "{}", response.text());
    Ok(())
}

async fn a_request_must_arrive_in_time(plane: DataPlane) -> Result<()> {
    let scene = Scene::start(plane, |manager, _| manager["request_timeout"] = json!("0.3s")).await?;
    let mut client = Connection::open(scene.port.address()).await?;
    client.send("POST / HTTP/1.1\r\nHost: svc\r\nContent-Length: 10\r\n\r\nhalf.").await?;
    let response = client.response().await?;
    assert_eq!((response.status, response.text().as_str()), (408, "request timeout"));
    assert_eq!(scene.ask("svc", "").await?.status, 200);
    Ok(())
}

async fn a_change_of_hosts_closes_connections(plane: DataPlane) -> Result<()> {
    let (port, xds) = (Port::lease()?, Server::start()?);
    let (first, second) = (Upstream::start(Echo::new("first"))?, Upstream::start(Echo::new("second"))?);
    let mut strict = eds_cluster("a");
    strict["common_lb_config"] = json!({"close_connections_on_host_set_change": true});
    let hosts = |all: &[std::net::SocketAddr]| {
        Resource::of::<v3::endpoint::ClusterLoadAssignment>("a", &load_assignment("a", all))
    };
    let routes = route_config("r", &[virtual_host("v", &["*"], &[prefix_route("/", "a")])]);
    let listener = http_listener("ingress", port.address(), inline(routes));
    xds.set_all([
        (CLUSTER, vec![Resource::of::<v3::cluster::Cluster>("a", &strict)?]),
        (CLUSTER_LOAD_ASSIGNMENT, vec![hosts(&[first.address()])?]),
        (LISTENER, vec![Resource::of::<v3::listener::Listener>("ingress", &listener)?]),
    ]);
    let _sidecar = plane.launch()?.start(&with_ads(xds.address(), "DELTA_GRPC")).await?;
    assert_eq!(h1::get(port.address(), "svc", "/").await?.status, 200);
    assert_eq!(first.counts().open(), 1);
    xds.set(CLUSTER_LOAD_ASSIGNMENT, vec![hosts(&[first.address(), second.address()])?]);
    let closed = || std::future::ready((first.counts().open() == 0).then_some(()));
    wait::until("the end of the kept connection", std::time::Duration::from_secs(10), closed).await
}
