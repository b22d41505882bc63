//! `envoy.filters.http.adaptive_concurrency`.

use outrigger_tests::client::h1::Connection;
use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::{Result, on_both_data_planes};
use serde_json::{Value, json};

use crate::scene::{Script, filter, request};

const NAME: &str = "envoy.filters.http.adaptive_concurrency";
const STATS: &str = "http.ingress.adaptive_concurrency.gradient_controller";

on_both_data_planes!(
    requests_over_the_limit_are_refused,
    the_least_latency_is_measured_and_the_limit_grows,
    a_switched_off_filter_limits_nothing,
);

/// At first one request at a time.
fn narrow(requests: u32) -> Value {
    json!({"gradient_controller_config": {
        "concurrency_limit_params": {"concurrency_update_interval": "0.1s", "max_concurrency_limit": 50},
        "min_rtt_calc_params": {
            "interval": "3600s", "request_count": requests, "min_concurrency": 1, "jitter": {"value": 0},
        },
    }})
}

fn chain(config: Value) -> Script {
    Script::of(&[filter(NAME, "adaptive_concurrency.v3.AdaptiveConcurrency", config)])
}

async fn requests_over_the_limit_are_refused(plane: DataPlane) -> Result<()> {
    let mut config = narrow(1000);
    config["concurrency_limit_exceeded_status"] = json!({"code": "TooManyRequests"});
    let scene = chain(config).start(plane).await?;
    assert_eq!(scene.sidecar.stat(&format!("{STATS}.concurrency_limit")).await?, 1);
    assert_eq!(scene.sidecar.stat(&format!("{STATS}.min_rtt_calculation_active")).await?, 1);
    let mut slow = Connection::open(scene.port.address()).await?;
    slow.send(request("GET", "/", &[("x-echo-delay-ms", "3600000")], "")).await?;
    scene.sidecar.until_stat("cluster.a.upstream_rq_active", |now| now == 1).await?;
    let refused = scene.get("/", &[]).await?;
    assert_eq!((refused.status, refused.text().as_str()), (429, "reached concurrency limit"));
    assert_eq!(scene.logged(1).await?, "429|-|reached_concurrency_limit");
    assert_eq!(scene.sidecar.stat(&format!("{STATS}.rq_blocked")).await?, 1);
    drop(slow);
    scene.sidecar.until_stat("cluster.a.upstream_rq_active", |now| now == 0).await?;
    assert_eq!(scene.get("/", &[]).await?.status, 200, "a request that was cut gives its place back");
    Ok(())
}

async fn the_least_latency_is_measured_and_the_limit_grows(plane: DataPlane) -> Result<()> {
    let scene = chain(narrow(5)).start(plane).await?;
    for _ in 0..5 {
        assert_eq!(scene.get("/", &[("x-echo-delay-ms", "20")]).await?.status, 200);
    }
    let least = scene.sidecar.until_stat(&format!("{STATS}.min_rtt_msecs"), |least| least > 0).await?;
    assert!(least >= 20, "{least}");
    scene.sidecar.until_stat(&format!("{STATS}.min_rtt_calculation_active"), |now| now == 0).await?;
    // Windows of requests that are no slower: with every one the limit grows by its root at least.
    let mut limit = 1;
    for _ in 0..200 {
        assert_eq!(scene.get("/", &[("x-echo-delay-ms", "20")]).await?.status, 200);
        limit = scene.sidecar.stat(&format!("{STATS}.concurrency_limit")).await?;
        if limit >= 4 {
            break;
        }
    }
    assert!(limit >= 4, "{limit}");
    let gradient = scene.sidecar.stat(&format!("{STATS}.gradient")).await?;
    assert!((500..=2000).contains(&gradient), "thousandths: {gradient}");
    Ok(())
}

async fn a_switched_off_filter_limits_nothing(plane: DataPlane) -> Result<()> {
    let mut config = narrow(1000);
    config["enabled"] = json!({"default_value": false, "runtime_key": "x"});
    let scene = chain(config).start(plane).await?;
    let mut slow = Connection::open(scene.port.address()).await?;
    slow.send(request("GET", "/", &[("x-echo-delay-ms", "3600000")], "")).await?;
    scene.sidecar.until_stat("cluster.a.upstream_rq_active", |now| now == 1).await?;
    assert_eq!(scene.get("/", &[]).await?.status, 200);
    Ok(())
}
