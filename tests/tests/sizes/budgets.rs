//! How much of their time requests and tries used, in percent.

use std::time::Duration;

use outrigger_tests::bootstrap::{cluster, prefix_route};
use outrigger_tests::client::h1;
use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::upstream::Step::{Answer, Hang};
use outrigger_tests::upstream::{Sequence, Slow, Upstream};
use outrigger_tests::{Result, on_both_data_planes};
use serde_json::json;

use super::{LATE, Scene, tracked};

on_both_data_planes!(answers_in_time, tries_and_requests_that_are_late, the_older_field);

const WHOLE: &str = "upstream_rq_timeout_budget_percent_used";
const TRY: &str = "upstream_rq_timeout_budget_per_try_percent_used";

/// An endless time is never used.
async fn answers_in_time(plane: DataPlane) -> Result<()> {
    let wait = Duration::from_millis(300);
    let slow = || Upstream::start(Slow { before_head: wait, between_bytes: Duration::ZERO });
    let (one, two) = (slow()?, slow()?);
    let mut timed = prefix_route("/timed", "timed");
    timed["route"]["timeout"] = json!("20s");
    timed["route"]["retry_policy"] = json!({"retry_on": "5xx", "per_try_timeout": "10s"});
    let mut endless = prefix_route("/endless", "endless");
    endless["route"]["timeout"] = json!("0s");
    let clusters = [tracked("timed", &[one.address()]), tracked("endless", &[two.address()])];
    let scene = Scene::start(plane, &[timed, endless], &clusters).await?;
    for path in ["/timed", "/endless"] {
        assert_eq!(h1::get(scene.address(), "svc", path).await?.status, 200);
    }
    for (stat, least) in [(WHOLE, 1.0), (TRY, 3.0)] {
        let used = scene.until("timed", stat, 1).await?;
        assert!((least..100.0).contains(&used), "{stat}: {used}");
        scene.recorded("endless", stat, &[0]).await?;
    }
    Ok(())
}

/// Each try is told, the request once, when its last try is over.
async fn tries_and_requests_that_are_late(plane: DataPlane) -> Result<()> {
    let hanging = Upstream::start(Sequence::of(&[Hang]))?;
    let recovering = Upstream::start(Sequence::of(&[Hang, Answer(200, &[])]))?;
    let mut tried = prefix_route("/tried", "tried");
    tried["route"]["timeout"] = json!("60s");
    tried["route"]["retry_policy"] =
        json!({"retry_on": "reset", "num_retries": 1, "per_try_timeout": "0.1s"});
    let mut recovered = tried.clone();
    recovered["match"]["prefix"] = json!("/recovered");
    recovered["route"]["cluster"] = json!("recovered");
    let clusters = [tracked("tried", &[hanging.address()]), tracked("recovered", &[recovering.address()])];
    let scene = Scene::start(plane, &[tried, recovered], &clusters).await?;
    assert_eq!(h1::get(scene.address(), "svc", "/tried").await?.status, 504);
    assert_eq!(h1::get(scene.address(), "svc", "/recovered").await?.status, 200);
    let used = scene.until("tried", TRY, 2).await?;
    assert!(used >= 2.0 * LATE, "{used}");
    scene.until("tried", WHOLE, 1).await?;
    let used = scene.until("recovered", TRY, 2).await?;
    assert!(used >= LATE, "{used}");
    scene.until("recovered", WHOLE, 1).await?;
    Ok(())
}

/// `track_timeout_budgets` asks for budgets and for no sizes.
async fn the_older_field(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(Sequence::of(&[Answer(200, &[])]))?;
    let mut to = cluster("a", &[upstream.address()]);
    to["track_timeout_budgets"] = json!(true);
    let scene = Scene::start(plane, &[prefix_route("/", "a")], &[to]).await?;
    assert_eq!(h1::get(scene.address(), "svc", "/").await?.status, 200);
    scene.until("a", WHOLE, 1).await?;
    scene.until("a", TRY, 1).await?;
    let page = scene.sidecar.get("/stats").await?.text();
    assert!(!page.contains("headers_size"), "{page}");
    Ok(())
}
