//! Circuit breakers: what an open one answers, which priority counts, and that limits hold for the whole process.

use outrigger_tests::access_log::AccessLog;
use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, manager_of, prefix_route, route_config, virtual_host, with_static,
};
use outrigger_tests::client::h1::{self, Connection};
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{Echo, Scripted, Slow, Upstream};
use outrigger_tests::{Result, on_both_data_planes};
use serde_json::{Value, json};

on_both_data_planes!(
    pending_requests_overflow,
    active_requests_overflow,
    one_connection_is_always_allowed,
    priorities_have_limits_of_their_own,
    retries_overflow,
    limits_hold_across_workers,
);

/// A sidecar whose cluster `a` has these thresholds; `/high` has priority HIGH.
struct Scene {
    port: Port,
    log: AccessLog,
    sidecar: Sidecar,
}

impl Scene {
    async fn start(plane: DataPlane, upstream: &Upstream, thresholds: Value) -> Result<Self> {
        Self::with_workers(plane, upstream, thresholds, 1).await
    }

    async fn with_workers(
        plane: DataPlane,
        upstream: &Upstream,
        thresholds: Value,
        workers: u32,
    ) -> Result<Self> {
        let (port, log) =
            (Port::lease()?, AccessLog::of(&["RESPONSE_CODE", "RESPONSE_FLAGS", "RESPONSE_CODE_DETAILS"])?);
        let mut high = prefix_route("/high", "a");
        high["route"]["priority"] = json!("HIGH");
        let mut retried = prefix_route("/retried", "a");
        retried["route"]["retry_policy"] = json!({"retry_on": "5xx", "num_retries": 2});
        let routes = [high, retried, prefix_route("/", "a")];
        let mut listener = http_listener(
            "ingress",
            port.address(),
            inline(route_config("r", &[virtual_host("v", &["*"], &routes)])),
        );
        manager_of(&mut listener)["access_log"] = log.config();
        let mut cluster = cluster("a", &[upstream.address()]);
        cluster["circuit_breakers"] = json!({"thresholds": thresholds});
        let launch = plane.launch()?.concurrency(workers);
        let sidecar = launch.start(&with_static(&[listener], &[cluster])).await?;
        Ok(Self { port, log, sidecar })
    }

    async fn overflows(&self, stat: &str) -> Result<()> {
        let response = h1::get(self.port.address(), "a", "/").await?;
        let told = "upstream connect error or disconnect/reset before headers. reset reason: overflow";
        assert_eq!((response.status, response.text().as_str()), (503, told));
        assert_eq!(response.header("x-envoy-overloaded"), Some("true"));
        let line = self.log.lines(1).await?.swap_remove(0);
        assert_eq!(line, "503|UO|upstream_reset_before_response_started{overflow}");
        assert_eq!(self.sidecar.stat(&format!("cluster.a.{stat}")).await?, 1);
        Ok(())
    }
}

async fn pending_requests_overflow(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(Echo::new("a"))?;
    let scene = Scene::start(plane, &upstream, json!([{"max_pending_requests": 0}])).await?;
    scene.overflows("upstream_rq_pending_overflow").await
}

async fn active_requests_overflow(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(Echo::new("a"))?;
    let scene = Scene::start(plane, &upstream, json!([{"max_requests": 0}])).await?;
    scene.overflows("upstream_rq_active_overflow").await
}

async fn one_connection_is_always_allowed(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(Echo::new("a"))?;
    let scene = Scene::start(plane, &upstream, json!([{"max_connections": 0}])).await?;
    assert_eq!(h1::get(scene.port.address(), "a", "/").await?.status, 200);
    assert_eq!(scene.sidecar.stat("cluster.a.upstream_cx_overflow").await?, 1);
    Ok(())
}

async fn priorities_have_limits_of_their_own(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(Echo::new("a"))?;
    let closed = |priority: &str| json!([{"priority": priority, "max_pending_requests": 0}]);
    for (priority, path, other) in [("DEFAULT", "/", "/high"), ("HIGH", "/high", "/")] {
        let scene = Scene::start(plane, &upstream, closed(priority)).await?;
        let refused = h1::get(scene.port.address(), "a", path).await?;
        assert_eq!((refused.status, refused.header("x-envoy-overloaded")), (503, Some("true")), "{priority}");
        assert_eq!(h1::get(scene.port.address(), "a", other).await?.status, 200, "{priority}");
    }
    Ok(())
}

async fn retries_overflow(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(Scripted::answering(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
    ))?;
    let scene = Scene::start(plane, &upstream, json!([{"max_retries": 0}])).await?;
    assert_eq!(h1::get(scene.port.address(), "a", "/retried").await?.status, 503);
    assert_eq!(upstream.counts().requests(), 1);
    assert_eq!(scene.log.lines(1).await?, ["503|UO|via_upstream"]);
    assert_eq!(scene.sidecar.stat("cluster.a.upstream_rq_retry_overflow").await?, 1);
    assert_eq!(scene.sidecar.stat("cluster.a.upstream_rq_retry").await?, 0);

    let scene = Scene::start(plane, &upstream, json!([{"max_retries": 1}])).await?;
    assert_eq!(h1::get(scene.port.address(), "a", "/retried").await?.status, 503);
    assert_eq!(upstream.counts().requests(), 4);
    assert_eq!(scene.log.lines(1).await?, ["503|URX|via_upstream"]);
    Ok(())
}

/// Ten requests wait at the upstream; with a limit of four, six are refused whatever worker they came to.
async fn limits_hold_across_workers(plane: DataPlane) -> Result<()> {
    let minute = std::time::Duration::from_secs(60);
    let upstream = Upstream::start(Slow { before_head: minute, between_bytes: minute })?;
    let scene = Scene::with_workers(plane, &upstream, json!([{"max_requests": 4}]), 4).await?;
    let mut clients = Vec::new();
    for _ in 0..10 {
        let mut client = Connection::open(scene.port.address()).await?;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await?;
        clients.push(client);
    }
    let lines = scene.log.lines(6).await?;
    assert!(lines.iter().all(|line| line.starts_with("503|UO|")), "{lines:?}");
    scene.sidecar.until_stat("cluster.a.upstream_rq_active_overflow", |count| count == 6).await?;
    assert_eq!(scene.sidecar.stat("cluster.a.upstream_rq_active").await?, 4);
    assert_eq!(scene.sidecar.stat("cluster.a.circuit_breakers.default.rq_open").await?, 1);
    Ok(())
}
