//! A sidecar under load, and the books that are kept of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use outrigger_tests::Result;
use outrigger_tests::bootstrap::{
    http_listener, inline, manager_of, route_config, virtual_host, with_static,
};
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::ports::Port;
use serde_json::{Value, json};

pub const LIMIT: Duration = Duration::from_secs(20);
pub const UNAVAILABLE: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";

/// Gauges that tell how things are rather than what is under way; names begin or end with these. The admin endpoint
/// serves who asks.
const OF_STATE: [&str; 4] = ["server.", "http.admin.", "listener.admin.", "thread_local_cluster_manager."];
const STATE: [&str; 5] = [
    ".membership_total",
    ".membership_healthy",
    "cluster_manager.active_clusters",
    "listener_manager.total_listeners_active",
    "listener_manager.workers_started",
];

/// A sidecar with one connection manager, `ingress`, and the clusters that its routes name.
pub struct Scene {
    pub port: Port,
    pub sidecar: Sidecar,
}

impl Scene {
    pub async fn start(plane: DataPlane, routes: &[Value], clusters: &[Value]) -> Result<Self> {
        Self::start_with(plane, routes, clusters, |_| {}).await
    }

    /// With these changes to the connection manager.
    pub async fn start_with(
        plane: DataPlane,
        routes: &[Value],
        clusters: &[Value],
        edit: impl FnOnce(&mut Value),
    ) -> Result<Self> {
        let port = Port::lease()?;
        let hosts = [virtual_host("v", &["*"], routes)];
        let mut listener = http_listener("ingress", port.address(), inline(route_config("r", &hosts)));
        edit(manager_of(&mut listener));
        let sidecar = plane.launch()?.start(&with_static(&[listener], clusters)).await?;
        Ok(Self { port, sidecar })
    }

    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// See [`counted`]. Names are below `http.ingress.` unless they begin with `cluster.` or `listener.`.
    pub async fn counted(&self, upstreams: impl Sized, expected: &[(&str, u64)]) -> Result<()> {
        let full = |name: &str| match name.split_once('.') {
            Some(("cluster", _)) => name.to_owned(),
            Some(("listener", rest)) => format!("listener.127.0.0.1_{}.{rest}", self.port.number()),
            _ => format!("http.ingress.{name}"),
        };
        let expected: Vec<_> = expected.iter().map(|(name, count)| (full(name), *count)).collect();
        counted(&self.sidecar, upstreams, &expected).await
    }
}

/// Waits for the counters to be these; then the upstreams end, and with their connections the last thing that was under
/// way: every gauge comes to zero and every counter stays.
pub async fn counted(sidecar: &Sidecar, upstreams: impl Sized, expected: &[(String, u64)]) -> Result<()> {
    agree(sidecar, expected, false).await?;
    drop(upstreams);
    agree(sidecar, expected, true).await
}

async fn agree(sidecar: &Sidecar, expected: &[(String, u64)], ended: bool) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let all = numbers(&sidecar.get("/stats").await?.text());
        let found = |name: &String| all.get(name).copied().unwrap_or(0);
        let counts = expected.iter().map(|(name, count)| (name, *count, found(name)));
        let wrong: Vec<_> = counts.filter(|(_, count, found)| count != found).collect();
        let mut busy =
            if ended { numbers(&sidecar.get("/stats?type=Gauges").await?.text()) } else { BTreeMap::new() };
        busy.retain(|name, value| *value > 0 && !is_state(name));
        if wrong.is_empty() && busy.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("name, kept, counted: {wrong:#?}; not idle: {busy:#?}").into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn is_state(name: &str) -> bool {
    OF_STATE.iter().any(|part| name.starts_with(part)) || STATE.iter().any(|part| name.ends_with(part))
}

pub fn numbers(page: &str) -> BTreeMap<String, u64> {
    let line = |line: &str| {
        let (name, value) = line.split_once(": ")?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    page.lines().filter_map(line).collect()
}

pub fn retried(mut route: Value, on: &str, times: u32) -> Value {
    route["route"]["retry_policy"] = json!({
        "retry_on": on, "num_retries": times,
        "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.002s"},
    });
    route
}

/// A cluster whose hosts answer no handshake in its time.
pub fn never_ready(cluster: &mut Value) {
    cluster["connect_timeout"] = json!("0.2s");
    cluster["transport_socket"] = json!({"name": "tls", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
    }});
}
