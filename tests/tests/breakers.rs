//! Circuit breakers: what an open one answers, which priority counts, and that limits hold for the whole process.

use std::net::SocketAddr;

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
    who_waits_for_a_connection_is_served_in_order,
    streams_wait_for_room_on_the_only_connection,
    hosts_have_limits_of_their_own,
    priorities_have_connections_of_their_own,
    gauges_tell_what_is_left,
    pools_are_counted,
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
        let set = |cluster: &mut Value| cluster["circuit_breakers"] = json!({"thresholds": thresholds});
        Self::of(plane, &[upstream.address()], workers, set).await
    }

    /// A sidecar whose cluster `a` has these hosts and settings.
    async fn of(
        plane: DataPlane,
        hosts: &[SocketAddr],
        workers: u32,
        set: impl FnOnce(&mut Value),
    ) -> Result<Self> {
        let operators = ["RESPONSE_CODE", "RESPONSE_FLAGS", "RESPONSE_CODE_DETAILS", "REQ(:PATH)"];
        let (port, log) = (Port::lease()?, AccessLog::of(&operators)?);
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
        let mut cluster = cluster("a", hosts);
        set(&mut cluster);
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
        assert_eq!(line, "503|UO|upstream_reset_before_response_started{overflow}|/");
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
    assert_eq!(scene.log.lines(1).await?, ["503|UO|via_upstream|/retried"]);
    assert_eq!(scene.sidecar.stat("cluster.a.upstream_rq_retry_overflow").await?, 1);
    assert_eq!(scene.sidecar.stat("cluster.a.upstream_rq_retry").await?, 0);

    let scene = Scene::start(plane, &upstream, json!([{"max_retries": 1}])).await?;
    assert_eq!(h1::get(scene.port.address(), "a", "/retried").await?.status, 503);
    assert_eq!(upstream.counts().requests(), 4);
    assert_eq!(scene.log.lines(1).await?, ["503|URX|via_upstream|/retried"]);
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

/// One connection; four requests that come one after the other are answered one after the other.
async fn who_waits_for_a_connection_is_served_in_order(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(Echo::new("a"))?;
    let scene = Scene::start(plane, &upstream, json!([{"max_connections": 1}])).await?;
    let mut clients = Vec::new();
    for (waiting, path) in ["/0", "/1", "/2", "/3"].into_iter().enumerate() {
        let delay = if waiting == 0 { 700 } else { 0 };
        let mut client = Connection::open(scene.port.address()).await?;
        let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\nx-echo-delay-ms: {delay}\r\n\r\n");
        client.send(head).await?;
        clients.push(client);
        let stat = if waiting == 0 { "upstream_rq_active" } else { "upstream_rq_pending_active" };
        let wanted = waiting.max(1) as u64;
        scene.sidecar.until_stat(&format!("cluster.a.{stat}"), |count| count == wanted).await?;
    }
    for client in &mut clients {
        assert_eq!(client.response().await?.status, 200);
    }
    let order: Vec<String> =
        scene.log.lines(4).await?.iter().map(|line| line[line.len() - 2..].to_owned()).collect();
    assert_eq!(order, ["/0", "/1", "/2", "/3"]);
    assert_eq!(scene.sidecar.stat("cluster.a.upstream_cx_total").await?, 1);
    assert_eq!(scene.sidecar.stat("cluster.a.upstream_rq_pending_active").await?, 0);
    Ok(())
}

async fn streams_wait_for_room_on_the_only_connection(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(Echo::new("a"))?;
    let scene = Scene::of(plane, &[upstream.address()], 1, |cluster| {
        cluster["circuit_breakers"] = json!({"thresholds": [{"max_connections": 1}]});
        cluster["typed_extension_protocol_options"] = json!({
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {"max_concurrent_streams": 1}},
            },
        });
    })
    .await?;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = Connection::open(scene.port.address()).await?;
        client.send("GET / HTTP/1.1\r\nHost: a\r\nx-echo-delay-ms: 100\r\n\r\n").await?;
        clients.push(client);
    }
    for client in &mut clients {
        assert_eq!(client.response().await?.status, 200);
    }
    assert_eq!(scene.sidecar.stat("cluster.a.upstream_cx_total").await?, 1);
    Ok(())
}

async fn hosts_have_limits_of_their_own(plane: DataPlane) -> Result<()> {
    let [one, two] = [Upstream::start(Echo::new("1"))?, Upstream::start(Echo::new("2"))?];
    let scene = Scene::of(plane, &[one.address(), two.address()], 1, |cluster| {
        cluster["circuit_breakers"] = json!({"per_host_thresholds": [{"max_connections": 1}]});
    })
    .await?;
    let mut clients = Vec::new();
    for _ in 0..6 {
        let mut client = Connection::open(scene.port.address()).await?;
        client.send("GET / HTTP/1.1\r\nHost: a\r\nx-echo-delay-ms: 100\r\n\r\n").await?;
        clients.push(client);
    }
    for client in &mut clients {
        assert_eq!(client.response().await?.status, 200);
    }
    assert_eq!((one.counts().connections(), two.counts().connections()), (1, 1));
    Ok(())
}

async fn priorities_have_connections_of_their_own(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(Echo::new("a"))?;
    let scene = Scene::start(plane, &upstream, json!([])).await?;
    for path in ["/", "/high", "/", "/high"] {
        assert_eq!(h1::get(scene.port.address(), "a", path).await?.status, 200);
    }
    assert_eq!(upstream.counts().connections(), 2);
    Ok(())
}

async fn gauges_tell_what_is_left(plane: DataPlane) -> Result<()> {
    let minute = std::time::Duration::from_secs(60);
    let upstream = Upstream::start(Slow { before_head: minute, between_bytes: minute })?;
    let thresholds = json!([{
        "max_connections": 5, "max_pending_requests": 6, "max_requests": 7, "max_retries": 8,
        "max_connection_pools": 9, "track_remaining": true,
    }]);
    let scene = Scene::start(plane, &upstream, thresholds).await?;
    let mut client = Connection::open(scene.port.address()).await?;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await?;
    scene.sidecar.until_stat("cluster.a.upstream_rq_active", |count| count == 1).await?;
    for (name, left) in [
        ("remaining_cx", 4),
        ("remaining_pending", 6),
        ("remaining_rq", 6),
        ("remaining_retries", 8),
        ("remaining_cx_pools", 8),
    ] {
        let stat = format!("cluster.a.circuit_breakers.default.{name}");
        assert_eq!(scene.sidecar.until_stat(&stat, |count| count == left).await?, left, "{name}");
    }
    Ok(())
}

async fn pools_are_counted(plane: DataPlane) -> Result<()> {
    let [one, two] = [Upstream::start(Echo::new("1"))?, Upstream::start(Echo::new("2"))?];
    let scene = Scene::of(plane, &[one.address(), two.address()], 1, |cluster| {
        cluster["circuit_breakers"] = json!({"thresholds": [{"max_connection_pools": 1}]});
    })
    .await?;
    let mut statuses = Vec::new();
    for _ in 0..2 {
        statuses.push(h1::get(scene.port.address(), "a", "/").await?.status);
    }
    assert_eq!(statuses, [200, 503]);
    assert_eq!(scene.sidecar.stat("cluster.a.upstream_cx_pool_overflow").await?, 1);
    assert_eq!(scene.sidecar.stat("cluster.a.circuit_breakers.default.cx_pool_open").await?, 1);
    Ok(())
}
