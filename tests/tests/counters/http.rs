//! HTTP/1 and HTTP/2: requests that succeed, and local replies.

use outrigger_tests::bootstrap::{cluster, over_http2, prefix_route};
use outrigger_tests::client::{grpc, h1, h2};
use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{Echo, GrpcEcho, Upstream};
use outrigger_tests::{Result, on_both_data_planes};
use serde_json::json;

use super::scene::Scene;

on_both_data_planes!(http1_requests, http2_requests, an_http2_host_that_goes_away, local_replies);

async fn http1_requests(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(Echo::new("a"))?;
    let scene =
        Scene::start(plane, &[prefix_route("/", "a")], &[cluster("a", &[upstream.address()])]).await?;
    let mut kept = h1::Connection::open(scene.address()).await?;
    for _ in 0..7 {
        assert_eq!(kept.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await?.status, 200);
    }
    let body = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(kept.exchange(body).await?.status, 200);
    drop(kept);
    for _ in 0..3 {
        assert_eq!(h1::get(scene.address(), "a", "/").await?.status, 200);
    }
    scene
        .counted(
            upstream,
            &[
                ("downstream_cx_total", 4),
                ("downstream_cx_http1_total", 4),
                ("downstream_cx_http2_total", 0),
                ("downstream_cx_destroy", 4),
                ("downstream_rq_total", 11),
                ("downstream_rq_http1_total", 11),
                ("downstream_rq_completed", 11),
                ("downstream_rq_2xx", 11),
                ("rq_total", 11),
                ("listener.downstream_cx_total", 4),
                ("listener.downstream_cx_destroy", 4),
                ("listener.http.ingress.downstream_rq_2xx", 11),
                ("cluster.a.upstream_cx_total", 1),
                ("cluster.a.upstream_cx_http1_total", 1),
                ("cluster.a.upstream_rq_total", 11),
                ("cluster.a.upstream_rq_completed", 11),
                ("cluster.a.upstream_rq_200", 11),
                ("cluster.a.upstream_rq_2xx", 11),
                ("cluster.a.external.upstream_rq_200", 11),
                ("cluster.a.upstream_rq_pending_total", 1),
                ("cluster.a.upstream_rq_retry", 0),
            ],
        )
        .await
}

async fn http2_requests(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(Echo::new("a"))?;
    let scene =
        Scene::start(plane, &[prefix_route("/", "a")], &[over_http2(cluster("a", &[upstream.address()]))])
            .await?;
    let mut connection = h2::Connection::open(scene.address()).await?;
    let mut streams = Vec::new();
    assert_eq!(connection.exchange(h2::get("a", "/")?).await?.status, 200);
    for _ in 0..8 {
        let (head, _) = h2::get("a", "/")?.into_parts();
        streams.push(connection.start(http::Request::from_parts(head, ()), true).await?.0);
    }
    for stream in streams {
        assert_eq!(h2::read(stream).await?.status, 200);
    }
    drop(connection);
    scene
        .counted(
            upstream,
            &[
                ("downstream_cx_total", 1),
                ("downstream_cx_http2_total", 1),
                ("downstream_rq_total", 9),
                ("downstream_rq_http2_total", 9),
                ("downstream_rq_2xx", 9),
                ("downstream_rq_rx_reset", 0),
                ("downstream_rq_tx_reset", 0),
                ("cluster.a.upstream_cx_total", 1),
                ("cluster.a.upstream_cx_http2_total", 1),
                ("cluster.a.upstream_rq_total", 9),
                ("cluster.a.upstream_rq_200", 9),
            ],
        )
        .await
}

/// A host that closes its shared connection between requests.
async fn an_http2_host_that_goes_away(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(GrpcEcho)?;
    let to = over_http2(cluster("a", &[upstream.address()]));
    let scene = Scene::start(plane, &[prefix_route("/", "a")], &[to]).await?;
    let reply = grpc::call(scene.address(), "a", "/p.S/Echo", &[b"one"]).await?;
    assert_eq!((reply.http_status, reply.status), (200, Some(0)));
    drop(upstream);
    scene
        .counted(
            (),
            &[
                ("cluster.a.upstream_cx_total", 1),
                ("cluster.a.upstream_cx_http2_total", 1),
                ("cluster.a.upstream_cx_destroy", 1),
                ("cluster.a.upstream_cx_destroy_remote", 1),
                ("cluster.a.upstream_cx_destroy_local", 0),
                ("cluster.a.upstream_cx_destroy_with_active_rq", 0),
            ],
        )
        .await
}

async fn local_replies(plane: DataPlane) -> Result<()> {
    let dead = Port::lease()?;
    let direct = json!({"match": {"prefix": "/direct"}, "direct_response": {"status": 418}});
    let redirect = json!({"match": {"prefix": "/moved"}, "redirect": {"path_redirect": "/"}});
    let routes = [
        direct,
        redirect,
        prefix_route("/dead", "dead"),
        prefix_route("/empty", "empty"),
        json!({"match": {"prefix": "/none"}, "route": {"cluster_header": "x-cluster"}}),
    ];
    let clusters = [cluster("dead", &[dead.address()]), cluster("empty", &[])];
    let scene = Scene::start(plane, &routes, &clusters).await?;
    for (path, status) in
        [("/direct", 418), ("/moved", 301), ("/dead", 503), ("/empty", 503), ("/none", 503), ("/else", 404)]
    {
        assert_eq!(h1::get(scene.address(), "a", path).await?.status, status, "{path}");
    }
    let mut wrong = h1::Connection::open(scene.address()).await?;
    assert_eq!(wrong.exchange("NOT HTTP AT ALL\r\n\r\n").await?.status, 400);
    drop(wrong);
    scene
        .counted(
            (),
            &[
                ("downstream_rq_3xx", 1),
                ("downstream_rq_4xx", 3),
                ("downstream_rq_5xx", 3),
                ("rq_direct_response", 2),
                ("no_route", 1),
                ("no_cluster", 1),
                ("rq_total", 6),
                ("downstream_cx_protocol_error", 1),
                ("cluster.dead.upstream_cx_connect_fail", 1),
                ("cluster.dead.upstream_rq_503", 1),
                ("cluster.dead.upstream_rq_pending_failure_eject", 1),
                ("cluster.empty.upstream_cx_none_healthy", 1),
                ("cluster.empty.upstream_rq_503", 1),
            ],
        )
        .await
}
