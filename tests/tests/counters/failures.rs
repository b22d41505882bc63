//! HTTP/1 and HTTP/2: retries, timeouts, resets by either side.

use std::time::Duration;

use bytes::Bytes;
use outrigger_tests::bootstrap::{cluster, prefix_route};
use outrigger_tests::client::{h1, h2};
use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::upstream::{Closing, Echo, Scripted, Slow, Upstream};
use outrigger_tests::{Result, on_both_data_planes, wait};
use serde_json::json;

use super::scene::{LIMIT, Scene, UNAVAILABLE, never_ready, retried};

on_both_data_planes!(
    retries,
    timeouts,
    tries_that_say_nothing,
    hosts_that_take_too_long_to_connect,
    resets,
    answers_that_end_early,
    aborted_uploads,
);

async fn retries(plane: DataPlane) -> Result<()> {
    let failing = Upstream::start(Scripted::answering(UNAVAILABLE))?;
    let routes = [retried(prefix_route("/", "a"), "5xx", 2)];
    let scene = Scene::start(plane, &routes, &[cluster("a", &[failing.address()])]).await?;
    let requests = 3;
    for _ in 0..requests {
        assert_eq!(h1::get(scene.address(), "a", "/").await?.status, 503);
    }
    assert_eq!(failing.counts().requests(), requests * 3);
    scene
        .counted(
            failing,
            &[
                ("downstream_rq_total", requests),
                ("downstream_rq_5xx", requests),
                ("cluster.a.upstream_rq_total", requests * 3),
                ("cluster.a.upstream_rq_retry", requests * 2),
                ("cluster.a.upstream_rq_retry_backoff_exponential", requests * 2),
                ("cluster.a.upstream_rq_retry_limit_exceeded", requests),
                ("cluster.a.upstream_rq_retry_success", 0),
                ("cluster.a.upstream_rq_503", requests),
                ("cluster.a.upstream_rq_completed", requests),
                ("cluster.a.retry.upstream_rq_503", requests * 2),
                ("cluster.a.retry.upstream_rq_completed", requests * 2),
            ],
        )
        .await
}

async fn timeouts(plane: DataPlane) -> Result<()> {
    let slow = || Slow { before_head: Duration::from_secs(60), between_bytes: Duration::ZERO };
    let (one, two) = (Upstream::start(slow())?, Upstream::start(slow())?);
    let mut whole = prefix_route("/whole", "a");
    whole["route"]["timeout"] = json!("0.1s");
    let mut tried = retried(prefix_route("/tried", "b"), "reset", 1);
    tried["route"]["retry_policy"]["per_try_timeout"] = json!("0.1s");
    let clusters = [cluster("a", &[one.address()]), cluster("b", &[two.address()])];
    let scene = Scene::start(plane, &[whole, tried], &clusters).await?;
    for path in ["/whole", "/whole", "/tried"] {
        assert_eq!(h1::get(scene.address(), "a", path).await?.status, 504);
    }
    scene
        .counted(
            (one, two),
            &[
                ("downstream_rq_total", 3),
                ("downstream_rq_5xx", 3),
                ("cluster.a.upstream_rq_total", 2),
                ("cluster.a.upstream_rq_timeout", 2),
                ("cluster.a.upstream_rq_504", 2),
                ("cluster.a.upstream_rq_per_try_timeout", 0),
                ("cluster.a.upstream_cx_destroy_local_with_active_rq", 2),
                ("cluster.b.upstream_rq_per_try_timeout", 2),
                ("cluster.b.upstream_rq_timeout", 0),
                ("cluster.b.upstream_rq_retry", 1),
                ("cluster.b.upstream_rq_total", 2),
            ],
        )
        .await
}

/// The idle timeout of tries, before and after the response begins.
async fn tries_that_say_nothing(plane: DataPlane) -> Result<()> {
    let silent = Upstream::start(Slow { before_head: LIMIT * 3, between_bytes: Duration::ZERO })?;
    let mut route = retried(prefix_route("/", "a"), "reset", 2);
    route["route"]["retry_policy"]["per_try_idle_timeout"] = json!("0.1s");
    let scene = Scene::start(plane, &[route], &[cluster("a", &[silent.address()])]).await?;
    assert_eq!(h1::get(scene.address(), "a", "/").await?.status, 504);
    scene
        .counted(
            silent,
            &[
                ("downstream_rq_5xx", 1),
                ("cluster.a.upstream_rq_per_try_idle_timeout", 3),
                ("cluster.a.upstream_rq_per_try_timeout", 0),
                ("cluster.a.upstream_rq_timeout", 0),
                ("cluster.a.upstream_rq_retry", 2),
                ("cluster.a.upstream_rq_retry_limit_exceeded", 1),
                ("cluster.a.upstream_rq_total", 3),
                ("cluster.a.upstream_rq_504", 1),
                ("cluster.a.upstream_cx_total", 3),
                ("cluster.a.upstream_cx_destroy_local_with_active_rq", 3),
            ],
        )
        .await
}

async fn hosts_that_take_too_long_to_connect(plane: DataPlane) -> Result<()> {
    let silent = Upstream::start(Slow { before_head: LIMIT, between_bytes: Duration::ZERO })?;
    let mut to = cluster("a", &[silent.address()]);
    never_ready(&mut to);
    let routes = [retried(prefix_route("/", "a"), "connect-failure", 1)];
    let scene = Scene::start(plane, &routes, &[to]).await?;
    assert_eq!(h1::get(scene.address(), "a", "/").await?.status, 503);
    scene
        .counted(
            silent,
            &[
                ("downstream_rq_5xx", 1),
                ("cluster.a.upstream_cx_total", 2),
                ("cluster.a.upstream_cx_connect_fail", 2),
                ("cluster.a.upstream_cx_connect_timeout", 2),
                ("cluster.a.upstream_cx_destroy", 2),
                ("cluster.a.upstream_cx_destroy_local", 2),
                ("cluster.a.upstream_rq_pending_total", 2),
                ("cluster.a.upstream_rq_pending_failure_eject", 2),
                ("cluster.a.upstream_rq_retry", 1),
                ("cluster.a.upstream_rq_total", 0),
                ("cluster.a.upstream_rq_503", 1),
            ],
        )
        .await
}

async fn resets(plane: DataPlane) -> Result<()> {
    let gone = Upstream::start(Closing::BeforeResponse)?;
    let slow = Upstream::start(Slow { before_head: Duration::from_secs(60), between_bytes: Duration::ZERO })?;
    let routes = [prefix_route("/gone", "gone"), prefix_route("/slow", "slow")];
    let clusters = [cluster("gone", &[gone.address()]), cluster("slow", &[slow.address()])];
    let scene = Scene::start(plane, &routes, &clusters).await?;
    for _ in 0..2 {
        assert_eq!(h1::get(scene.address(), "a", "/gone").await?.status, 503);
    }
    // A client that gives up: one by closing, one by resetting its stream.
    let mut client = h1::Connection::open(scene.address()).await?;
    client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await?;
    wait::until("the request", LIMIT, || std::future::ready((slow.counts().requests() == 1).then_some(())))
        .await?;
    drop(client);
    let mut connection = h2::Connection::open(scene.address()).await?;
    let (response, mut stream) =
        connection.start(http::Request::get("http://a/slow").body(())?, false).await?;
    stream.send_data(Bytes::new(), true)?;
    wait::until("the request", LIMIT, || std::future::ready((slow.counts().requests() == 2).then_some(())))
        .await?;
    stream.send_reset(::h2::Reason::CANCEL);
    drop((response, stream));
    scene.sidecar.until_stat("http.ingress.downstream_rq_rx_reset", |count| count == 2).await?;
    drop(connection);
    scene
        .counted(
            (gone, slow),
            &[
                ("downstream_rq_total", 4),
                ("downstream_rq_5xx", 2),
                ("downstream_rq_rx_reset", 2),
                ("downstream_cx_destroy_remote_active_rq", 1),
                ("cluster.gone.upstream_rq_total", 2),
                ("cluster.gone.upstream_rq_503", 2),
                ("cluster.gone.upstream_rq_rx_reset", 0),
                ("cluster.gone.upstream_cx_destroy_remote_with_active_rq", 2),
                ("cluster.slow.upstream_rq_total", 2),
                ("cluster.slow.upstream_rq_completed", 0),
            ],
        )
        .await
}

/// Bodies that are cut by their host, and by the time of their request.
async fn answers_that_end_early(plane: DataPlane) -> Result<()> {
    let half = Upstream::start(Closing::WithinBody)?;
    let slow = Upstream::start(Slow { before_head: Duration::ZERO, between_bytes: LIMIT })?;
    let mut timed = prefix_route("/slow", "slow");
    timed["route"]["timeout"] = json!("0.2s");
    let routes = [timed, prefix_route("/half", "half")];
    let clusters = [cluster("half", &[half.address()]), cluster("slow", &[slow.address()])];
    let scene = Scene::start(plane, &routes, &clusters).await?;
    for path in ["/half", "/slow"] {
        let mut client = h1::Connection::open(scene.address()).await?;
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await?;
        assert!(client.rest().await?.starts_with(b"HTTP/1.1 200 OK"));
    }
    scene
        .counted(
            (half, slow),
            &[
                ("downstream_rq_total", 2),
                ("downstream_rq_2xx", 2),
                ("downstream_rq_tx_reset", 2),
                ("downstream_rq_rx_reset", 2),
                ("rq_reset_after_downstream_response_started", 0),
                ("cluster.half.upstream_rq_200", 1),
                ("cluster.half.upstream_cx_protocol_error", 1),
                ("cluster.half.upstream_cx_destroy", 1),
                ("cluster.half.upstream_cx_destroy_with_active_rq", 1),
                ("cluster.slow.upstream_rq_200", 1),
                ("cluster.slow.upstream_rq_timeout", 1),
                ("cluster.slow.upstream_cx_destroy_local_with_active_rq", 1),
            ],
        )
        .await
}

/// Clients that leave in the middle of a body.
async fn aborted_uploads(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(Echo::new("a"))?;
    let scene =
        Scene::start(plane, &[prefix_route("/", "a")], &[cluster("a", &[upstream.address()])]).await?;
    let mut client = h1::Connection::open(scene.address()).await?;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nten bytes.").await?;
    scene.sidecar.until_stat("cluster.a.upstream_rq_active", |active| active == 1).await?;
    drop(client);
    let mut connection = h2::Connection::open(scene.address()).await?;
    let (response, mut stream) = connection.start(http::Request::post("http://a/").body(())?, false).await?;
    stream.send_data(Bytes::from_static(b"ten bytes."), false)?;
    scene.sidecar.until_stat("cluster.a.upstream_rq_total", |count| count == 2).await?;
    stream.send_reset(::h2::Reason::CANCEL);
    drop((response, stream));
    scene.sidecar.until_stat("http.ingress.downstream_rq_rx_reset", |count| count == 2).await?;
    drop(connection);
    scene
        .counted(
            upstream,
            &[
                ("downstream_rq_total", 2),
                ("downstream_rq_completed", 0),
                ("downstream_rq_rx_reset", 2),
                ("downstream_cx_destroy_remote_active_rq", 1),
                ("cluster.a.upstream_rq_total", 2),
                ("cluster.a.upstream_rq_completed", 0),
                ("cluster.a.upstream_cx_destroy_local_with_active_rq", 2),
            ],
        )
        .await
}
