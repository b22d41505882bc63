//! `envoy.filters.http.health_check` where answers are kept.

use std::cell::Cell;
use std::time::Duration;

use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::{Result, on_both_data_planes, wait};
use serde_json::json;

use crate::scene::{Script, filter};

const NAME: &str = "envoy.filters.http.health_check";

on_both_data_planes!(checks_that_never_pause_reach_the_upstream_again);

/// What was kept is used for its time, and an answer from there does not keep it longer.
async fn checks_that_never_pause_reach_the_upstream_again(plane: DataPlane) -> Result<()> {
    let kept = json!({
        "pass_through_mode": true,
        "cache_time": "0.5s",
        "headers": [{"name": ":path", "string_match": {"exact": "/check"}}],
    });
    let scene = Script::of(&[filter(NAME, "health_check.v3.HealthCheck", kept)]).start(plane).await?;
    let checks = Cell::new(0_u64);
    let passed = || async {
        checks.set(checks.get() + 1);
        let answer = scene.get("/check", &[]).await.ok()?;
        assert_eq!(answer.status, 200);
        let asked = scene.sidecar.stat("cluster.a.upstream_rq_total").await.ok()?;
        (asked >= 2).then_some(asked)
    };
    let asked = wait::until("a second question to the upstream", Duration::from_secs(10), passed).await?;
    let checks = checks.get();
    assert!(asked < checks, "{asked} questions for {checks} checks: nothing was kept");
    Ok(())
}
