//! Which tries are recorded: all that had a host, and of those that were answered the answer, too.

use std::time::Duration;

use outrigger_tests::bootstrap::prefix_route;
use outrigger_tests::client::h1;
use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::Step::{Answer, Hang};
use outrigger_tests::upstream::{Closing, Sequence, Slow, Upstream};
use outrigger_tests::{Result, on_both_data_planes, wait};
use serde_json::{Value, json};

use super::{LATE, LIMIT, Scene, tracked};

on_both_data_planes!(
    every_try_of_a_retried_request,
    every_try_of_a_hedged_request,
    a_redirect_followed_inside,
    hosts_that_do_not_answer,
    clients_that_leave,
    answers_that_are_cut,
);

fn retried(mut route: Value, policy: Value) -> Value {
    route["route"]["retry_policy"] = policy;
    route["route"]["retry_policy"]["retry_back_off"] =
        json!({"base_interval": "0.001s", "max_interval": "0.002s"});
    route
}

/// The body of a retried answer is not waited for, so that it has none.
async fn every_try_of_a_retried_request(plane: DataPlane) -> Result<()> {
    let upstream =
        Upstream::start(Sequence::of(&[Answer(503, &[]), Answer(503, &["x-a: b"]), Answer(200, &[])]))?;
    let routes = [retried(prefix_route("/", "a"), json!({"retry_on": "5xx", "num_retries": 3}))];
    let scene = Scene::start(plane, &routes, &[tracked("a", &[upstream.address()])]).await?;
    let mut connection = h1::Connection::open(scene.address()).await?;
    let request = "POST / HTTP/1.1\r\nHost: svc\r\nContent-Length: 4\r\n\r\nbody";
    assert_eq!(connection.exchange(request).await?.status, 200);
    let head = ":status200content-length4".len() as u64;
    scene.recorded("a", "upstream_rq_body_size", &[4, 4, 4]).await?;
    scene.until("a", "upstream_rq_headers_size", 3).await?;
    scene.recorded("a", "upstream_rs_headers_size", &[head, head + 4, head]).await?;
    scene.recorded("a", "upstream_rs_headers_count", &[2, 3, 2]).await?;
    scene.until("a", "upstream_rs_body_size", 3).await?;
    Ok(())
}

/// The one that hangs is given up when the other one answers.
async fn every_try_of_a_hedged_request(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(Sequence::of(&[Hang, Answer(200, &[])]))?;
    let policy = json!({"retry_on": "connect-failure", "num_retries": 2, "per_try_timeout": "0.2s"});
    let mut route = retried(prefix_route("/", "a"), policy);
    route["route"]["hedge_policy"] = json!({"hedge_on_per_try_timeout": true});
    let scene = Scene::start(plane, &[route], &[tracked("a", &[upstream.address()])]).await?;
    assert_eq!(h1::get(scene.address(), "svc", "/").await?.status, 200);
    scene.recorded("a", "upstream_rq_body_size", &[0, 0]).await?;
    scene.recorded("a", "upstream_rs_headers_count", &[2]).await?;
    scene.recorded("a", "upstream_rs_body_size", &[4]).await?;
    let used = scene.until("a", "upstream_rq_timeout_budget_per_try_percent_used", 2).await?;
    assert!(used >= LATE, "the first had more than its time: {used}");
    Ok(())
}

async fn a_redirect_followed_inside(plane: DataPlane) -> Result<()> {
    let upstream =
        Upstream::start(Sequence::of(&[Answer(302, &["location: http://svc/next"]), Answer(200, &[])]))?;
    let mut route = prefix_route("/", "a");
    route["route"]["internal_redirect_policy"] = json!({});
    let scene = Scene::start(plane, &[route], &[tracked("a", &[upstream.address()])]).await?;
    assert_eq!(h1::get(scene.address(), "svc", "/").await?.status, 200);
    scene.until("a", "upstream_rq_headers_size", 2).await?;
    scene.recorded("a", "upstream_rs_headers_count", &[3, 2]).await?;
    scene.until("a", "upstream_rs_body_size", 2).await?;
    Ok(())
}

/// Hosts that refuse connections and that close them; a cluster without hosts has nothing to tell.
async fn hosts_that_do_not_answer(plane: DataPlane) -> Result<()> {
    let (dead, closing) = (Port::lease()?, Upstream::start(Closing::BeforeResponse)?);
    let routes =
        [prefix_route("/dead", "dead"), prefix_route("/closing", "closing"), prefix_route("/empty", "empty")];
    let clusters =
        [tracked("dead", &[dead.address()]), tracked("closing", &[closing.address()]), tracked("empty", &[])];
    let scene = Scene::start(plane, &routes, &clusters).await?;
    for path in ["/empty", "/dead", "/closing"] {
        assert_eq!(h1::get(scene.address(), "svc", path).await?.status, 503);
    }
    for name in ["dead", "closing"] {
        scene.until(name, "upstream_rq_headers_size", 1).await?;
        scene.recorded(name, "upstream_rq_body_size", &[0]).await?;
        scene.until(name, "upstream_rq_timeout_budget_per_try_percent_used", 1).await?;
        scene.until(name, "upstream_rs_headers_size", 0).await?;
        scene.until(name, "upstream_rq_timeout_budget_percent_used", 0).await?;
    }
    for stat in super::NAMES {
        scene.until("empty", stat, 0).await?;
    }
    Ok(())
}

async fn clients_that_leave(plane: DataPlane) -> Result<()> {
    let slow = Upstream::start(Slow { before_head: Duration::from_secs(60), between_bytes: Duration::ZERO })?;
    let scene = Scene::to(plane, slow.address()).await?;
    let mut client = h1::Connection::open(scene.address()).await?;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nnine byte").await?;
    wait::until("the request", LIMIT, || std::future::ready((slow.counts().requests() == 1).then_some(())))
        .await?;
    scene.until("a", "upstream_rq_body_size", 0).await?;
    drop(client);
    scene.recorded("a", "upstream_rq_body_size", &[9]).await?;
    scene.until("a", "upstream_rs_headers_size", 0).await?;
    scene.until("a", "upstream_rq_timeout_budget_percent_used", 0).await?;
    Ok(())
}

/// What came of the body counts.
async fn answers_that_are_cut(plane: DataPlane) -> Result<()> {
    let slow = Upstream::start(Slow { before_head: Duration::ZERO, between_bytes: Duration::from_secs(60) })?;
    let mut route = prefix_route("/", "a");
    route["route"]["timeout"] = json!("0.2s");
    let scene = Scene::start(plane, &[route], &[tracked("a", &[slow.address()])]).await?;
    let mut client = h1::Connection::open(scene.address()).await?;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await?;
    client.rest().await?;
    scene.recorded("a", "upstream_rs_headers_count", &[2]).await?;
    scene.recorded("a", "upstream_rs_body_size", &[0]).await?;
    let used = scene.until("a", "upstream_rq_timeout_budget_percent_used", 1).await?;
    assert!(used >= LATE, "{used}");
    Ok(())
}
