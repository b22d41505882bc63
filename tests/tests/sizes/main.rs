//! What clusters record that ask for it (`track_cluster_stats`): sizes of requests and responses, shares of timeouts.

mod budgets;
mod endings;
mod heads;
mod sinks;

use std::net::SocketAddr;
use std::time::Duration;

use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, prefix_route, route_config, virtual_host, with_static,
};
use outrigger_tests::data_plane::{DataPlane, Launch, Sidecar};
use outrigger_tests::ports::Port;
use outrigger_tests::{Result, wait};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(10);

/// What is used of a time that is over, at least: Envoy measures by the clock of its event loop, which is behind.
const LATE: f64 = 90.0;

/// All names, without `cluster.<name>.`.
const NAMES: [&str; 8] = [
    "upstream_rq_headers_size",
    "upstream_rq_headers_count",
    "upstream_rq_body_size",
    "upstream_rs_headers_size",
    "upstream_rs_headers_count",
    "upstream_rs_body_size",
    "upstream_rq_timeout_budget_percent_used",
    "upstream_rq_timeout_budget_per_try_percent_used",
];

/// A cluster that asks for everything.
fn tracked(name: &str, hosts: &[SocketAddr]) -> Value {
    let mut cluster = cluster(name, hosts);
    cluster["track_cluster_stats"] = json!({"timeout_budgets": true, "request_response_sizes": true});
    cluster
}

/// A sidecar with one connection manager.
struct Scene {
    plane: DataPlane,
    port: Port,
    sidecar: Sidecar,
}

impl Scene {
    async fn start(plane: DataPlane, routes: &[Value], clusters: &[Value]) -> Result<Self> {
        Self::start_with(plane, routes, clusters, |_| {}).await
    }

    /// With these changes to the bootstrap.
    async fn start_with(
        plane: DataPlane,
        routes: &[Value],
        clusters: &[Value],
        edit: impl FnOnce(&mut Value),
    ) -> Result<Self> {
        Self::launch(plane, routes, clusters, edit, |launch| launch).await
    }

    /// And these to how it is started.
    async fn launch(
        plane: DataPlane,
        routes: &[Value],
        clusters: &[Value],
        edit: impl FnOnce(&mut Value),
        prepare: impl FnOnce(Launch) -> Launch,
    ) -> Result<Self> {
        let port = Port::lease()?;
        let hosts = [virtual_host("v", &["*"], routes)];
        let listener = http_listener("ingress", port.address(), inline(route_config("r", &hosts)));
        let mut bootstrap = with_static(&[listener], clusters);
        // Envoy shows in histograms what was recorded before its last flush.
        bootstrap["stats_flush_interval"] = json!("0.05s");
        edit(&mut bootstrap);
        let sidecar = prepare(plane.launch()?).start(&bootstrap).await?;
        Ok(Self { plane, port, sidecar })
    }

    /// All requests to one cluster, `a`.
    async fn to(plane: DataPlane, host: SocketAddr) -> Result<Self> {
        Self::start(plane, &[prefix_route("/", "a")], &[tracked("a", &[host])]).await
    }

    fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// How often a histogram of this cluster was recorded, and the sum of what was.
    async fn histogram(&self, cluster: &str, stat: &str) -> Result<(u64, f64)> {
        let page = self.sidecar.get("/stats/prometheus").await?.text();
        let of = |part: &str| {
            let series = format!("envoy_cluster_{stat}_{part}{{envoy_cluster_name=\"{cluster}\"}} ");
            page.lines().find_map(|line| line.strip_prefix(&series)?.parse::<f64>().ok())
        };
        Ok((of("count").unwrap_or(0.0) as u64, of("sum").unwrap_or(0.0)))
    }

    /// Waits until so many values were recorded: their sum.
    async fn until(&self, cluster: &str, stat: &str, count: u64) -> Result<f64> {
        let check = || async move {
            let (found, sum) = self.histogram(cluster, stat).await.ok()?;
            (found == count).then_some(sum)
        };
        match wait::until(stat, LIMIT, check).await {
            Ok(sum) => Ok(sum),
            Err(error) => {
                let (found, _) = self.histogram(cluster, stat).await?;
                Err(format!("{error}: {cluster} has {found} values, not {count}").into())
            }
        }
    }

    /// Exactly these values were recorded, or ones with the same sum.
    async fn recorded(&self, cluster: &str, stat: &str, values: &[u64]) -> Result<()> {
        let sum = self.until(cluster, stat, values.len() as u64).await?;
        let as_told =
            |value: &u64| if self.plane == DataPlane::Envoy { middle(*value) } else { *value as f64 };
        let expected: f64 = values.iter().map(as_told).sum();
        if (sum - expected).abs() > 0.01 {
            return Err(format!("{cluster}: {stat} has the sum {sum}, not {expected} of {values:?}").into());
        }
        Ok(())
    }

    /// As [`Scene::recorded`], of several.
    async fn all_recorded(&self, cluster: &str, expected: &[(&str, &[u64])]) -> Result<()> {
        for (stat, values) in expected {
            self.recorded(cluster, stat, values).await?;
        }
        Ok(())
    }
}

/// What Envoy adds to the sum for a value: the harmonic middle of its bucket, which has two decimal digits.
fn middle(value: u64) -> f64 {
    if value == 0 {
        return 0.0;
    }
    let width = 10f64.powi(value.ilog10() as i32 - 1);
    let lower = (value as f64 / width + 1e-9).floor() * width;
    2.0 * lower * (lower + width) / (2.0 * lower + width)
}
