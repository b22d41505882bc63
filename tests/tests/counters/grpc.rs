//! gRPC: calls, retries by status, deadlines.

use std::time::Duration;

use outrigger_tests::bootstrap::{cluster, over_http2, prefix_route};
use outrigger_tests::client::{grpc, h2};
use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::upstream::{GrpcEcho, Scripted, Slow, Upstream};
use outrigger_tests::{Result, on_both_data_planes};
use serde_json::json;

use super::scene::{Scene, retried};

on_both_data_planes!(grpc_calls, grpc_retries_and_timeouts, grpc_deadlines);

async fn grpc_calls(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(GrpcEcho)?;
    let scene =
        Scene::start(plane, &[prefix_route("/", "a")], &[over_http2(cluster("a", &[upstream.address()]))])
            .await?;
    let calls = 5;
    for _ in 0..calls {
        let reply = grpc::call(scene.address(), "a", "/p.S/Echo", &[b"one", b"two"]).await?;
        assert_eq!((reply.http_status, reply.status), (200, Some(0)));
    }
    scene
        .counted(
            upstream,
            &[
                ("downstream_rq_total", calls),
                ("downstream_rq_http2_total", calls),
                ("downstream_cx_total", calls),
                ("downstream_rq_2xx", calls),
                ("cluster.a.upstream_rq_total", calls),
                ("cluster.a.upstream_rq_200", calls),
                ("cluster.a.upstream_cx_total", 1),
            ],
        )
        .await
}

/// Calls that are retried by their gRPC status, and calls that nobody answers.
async fn grpc_retries_and_timeouts(plane: DataPlane) -> Result<()> {
    const UNAVAILABLE: &str =
        "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\ngrpc-status: 14\r\nContent-Length: 0\r\n\r\n";
    let failing = Upstream::start(Scripted::answering(UNAVAILABLE))?;
    let slow = Upstream::start(Slow { before_head: Duration::from_secs(60), between_bytes: Duration::ZERO })?;
    let mut timed = prefix_route("/p.Slow", "b");
    timed["route"]["timeout"] = json!("0.1s");
    let routes = [timed, retried(prefix_route("/", "a"), "unavailable", 2)];
    let clusters = [cluster("a", &[failing.address()]), cluster("b", &[slow.address()])];
    let scene = Scene::start(plane, &routes, &clusters).await?;
    let calls = 3;
    for _ in 0..calls {
        let reply = grpc::call(scene.address(), "a", "/p.S/Fails", &[b"one"]).await?;
        assert_eq!((reply.http_status, reply.status), (200, Some(14)));
    }
    let reply = grpc::call(scene.address(), "a", "/p.Slow/Hangs", &[b"one"]).await?;
    assert!(reply.http_status == 200 && reply.status.is_some_and(|status| status > 0), "{reply:?}");
    scene
        .counted(
            (failing, slow),
            &[
                ("downstream_rq_total", calls + 1),
                ("downstream_rq_http2_total", calls + 1),
                ("downstream_rq_2xx", calls + 1),
                ("cluster.a.upstream_rq_total", calls * 3),
                ("cluster.a.upstream_rq_retry", calls * 2),
                ("cluster.a.upstream_rq_retry_limit_exceeded", calls),
                ("cluster.a.upstream_rq_retry_success", 0),
                ("cluster.b.upstream_rq_total", 1),
                ("cluster.b.upstream_rq_timeout", 1),
                ("cluster.b.upstream_rq_retry", 0),
            ],
        )
        .await
}

/// Calls whose own deadline passes, as `grpc-timeout` says.
async fn grpc_deadlines(plane: DataPlane) -> Result<()> {
    let slow = Upstream::start(Slow { before_head: Duration::from_secs(60), between_bytes: Duration::ZERO })?;
    let mut route = prefix_route("/", "a");
    route["route"]["max_stream_duration"] = json!({"grpc_timeout_header_max": "60s"});
    let scene = Scene::start(plane, &[route], &[cluster("a", &[slow.address()])]).await?;
    let calls = 2;
    for _ in 0..calls {
        let mut connection = h2::Connection::open(scene.address()).await?;
        let request = http::Request::post("http://a/p.S/Hangs")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("grpc-timeout", "100m");
        let reply = grpc::call_with(&mut connection, request, &[b"one"]).await?;
        assert!(reply.status.is_some_and(|status| status > 0), "{reply:?}");
    }
    scene
        .counted(
            slow,
            &[
                ("downstream_rq_total", calls),
                ("downstream_rq_max_duration_reached", calls),
                ("downstream_rq_2xx", calls),
                ("cluster.a.upstream_rq_total", calls),
                ("cluster.a.upstream_rq_timeout", 0),
                ("cluster.a.upstream_cx_destroy_local_with_active_rq", calls),
            ],
        )
        .await
}
