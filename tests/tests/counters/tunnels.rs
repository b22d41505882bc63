//! Upgrades and CONNECT: requests that last as long as their tunnels.

use outrigger_tests::bootstrap::{cluster, prefix_route};
use outrigger_tests::client::h1;
use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::upstream::{TcpEcho, Tunnel, Upstream};
use outrigger_tests::{Result, on_both_data_planes};
use serde_json::json;

use super::scene::Scene;

on_both_data_planes!(websockets, connect_that_ends_here);

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

async fn websockets(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(Tunnel::accepting_upgrades())?;
    let to = [cluster("a", &[upstream.address()])];
    let allowed = |manager: &mut serde_json::Value| {
        manager["upgrade_configs"] = json!([{"upgrade_type": "websocket"}]);
    };
    let scene = Scene::start_with(plane, &[prefix_route("/", "a")], &to, allowed).await?;
    let tunnels = 3;
    let mut open = Vec::new();
    for _ in 0..tunnels {
        let mut client = h1::Connection::open(scene.address()).await?;
        assert_eq!(client.exchange(UPGRADE).await?.status, 101);
        client.send("ping").await?;
        assert_eq!(client.exact_bytes(4).await?, b"ping");
        open.push(client);
    }
    for gauge in ["http.ingress.downstream_cx_upgrades_active", "http.ingress.downstream_rq_active"] {
        scene.sidecar.until_stat(gauge, |active| active == tunnels).await?;
    }
    drop(open);
    scene
        .counted(
            upstream,
            &[
                ("downstream_cx_total", tunnels),
                ("downstream_cx_upgrades_total", tunnels),
                ("downstream_rq_total", tunnels),
                ("downstream_rq_1xx", tunnels),
                ("cluster.a.upstream_rq_total", tunnels),
                ("cluster.a.upstream_rq_101", tunnels),
                ("cluster.a.upstream_cx_total", tunnels),
                ("cluster.a.upstream_cx_destroy", tunnels),
            ],
        )
        .await
}

async fn connect_that_ends_here(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(TcpEcho)?;
    let route = json!({"match": {"connect_matcher": {}}, "route": {"cluster": "a",
        "upgrade_configs": [{"upgrade_type": "CONNECT", "connect_config": {}}]}});
    let to = [cluster("a", &[upstream.address()])];
    let scene = Scene::start(plane, &[route], &to).await?;
    let mut client = h1::Connection::open(scene.address()).await?;
    client.send("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n").await?;
    assert_eq!(client.response_to("HEAD").await?.status, 200);
    client.send("ping").await?;
    assert_eq!(client.exact_bytes(4).await?, b"ping");
    drop(client);
    scene
        .counted(
            upstream,
            &[
                ("downstream_cx_upgrades_total", 1),
                ("downstream_rq_total", 1),
                ("downstream_rq_2xx", 1),
                ("cluster.a.upstream_rq_200", 1),
                ("cluster.a.upstream_cx_total", 1),
                ("cluster.a.upstream_cx_destroy", 1),
            ],
        )
        .await
}
