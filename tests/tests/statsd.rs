//! Statistics pushed to StatsD: every count arrives once, under Envoy's names and tags.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::time::Duration;

use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, prefix_route, route_config, virtual_host, with_static,
};
use outrigger_tests::client::h1;
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{Echo, Upstream};
use outrigger_tests::{Result, on_both_data_planes, on_data_plane, wait};
use serde_json::{Value, json};

on_both_data_planes!(dog_statsd_tells_every_request_with_tags, statsd_tells_every_request_by_full_name);
on_data_plane!(extension, Outrigger, the_metrics_extension_is_pushed_and_scraped);

const LIMIT: Duration = Duration::from_secs(20);

struct Scene {
    port: Port,
    sidecar: Sidecar,
    agent: UdpSocket,
    /// What was received, summed by everything but the value.
    sums: BTreeMap<String, f64>,
    _upstream: Upstream,
}

impl Scene {
    async fn start(plane: DataPlane, kind: &str, variables: &[(&str, &str)]) -> Result<Self> {
        let agent = UdpSocket::bind("127.0.0.1:0")?;
        agent.set_nonblocking(true)?;
        let (port, upstream) = (Port::lease()?, Upstream::start(Echo::new("a"))?);
        let hosts = [virtual_host("v", &["*"], &[prefix_route("/", "a")])];
        let mut listener = http_listener("ingress", port.address(), inline(route_config("r", &hosts)));
        listener["traffic_direction"] = json!("INBOUND");
        let mut bootstrap = with_static(&[listener], &[cluster("a", &[upstream.address()])]);
        bootstrap["stats_flush_interval"] = json!("0.1s");
        bootstrap["stats_sinks"] = sink(kind, agent.local_addr()?.port());
        bootstrap["node"]["id"] = json!("mesh/shop/virtualNode/cart");
        let launch = plane.launch()?;
        let launch = variables.iter().fold(launch, |launch, (name, value)| launch.env(name, value));
        let sidecar = launch.start(&bootstrap).await?;
        Ok(Self { port, sidecar, agent, sums: BTreeMap::new(), _upstream: upstream })
    }

    async fn requests(&self, count: usize) -> Result<()> {
        for _ in 0..count {
            assert_eq!(h1::get(self.port.address(), "a", "/").await?.status, 200);
        }
        Ok(())
    }

    fn receive(&mut self) {
        let mut datagram = vec![0; 65536];
        while let Ok(length) = self.agent.recv(&mut datagram) {
            for line in String::from_utf8_lossy(&datagram[..length]).lines() {
                let Some((name, rest)) = line.split_once(':') else { continue };
                let (value, rest) = rest.split_once('|').unwrap_or((rest, ""));
                let value: f64 = value.parse().unwrap_or(f64::NAN);
                // Of timings, the number; a rate stands for several.
                let (kind, value) = match rest.strip_prefix("ms") {
                    Some(rest) => timing(rest),
                    None => (rest.to_owned(), value),
                };
                *self.sums.entry(format!("{name}|{kind}")).or_default() += value;
            }
        }
    }

    /// Waits until this sum is reached; it must not be passed.
    async fn until(&mut self, series: &str, expected: f64) -> Result<()> {
        let waited = wait::until(series, LIMIT, || {
            self.receive();
            let reached = self.sums.get(series).is_some_and(|sum| (sum - expected).abs() < 0.01);
            std::future::ready(reached.then_some(()))
        });
        let waited = waited.await;
        waited.map_err(|error| format!("{error}: {:#?}", self.sums).into())
    }
}

fn timing(rest: &str) -> (String, f64) {
    match rest.strip_prefix("|@") {
        None => (format!("ms{rest}"), 1.0),
        Some(rest) => {
            let (rate, tags) =
                rest.split_once('|').map_or((rest, String::new()), |(rate, tags)| (rate, format!("|{tags}")));
            (format!("ms{tags}"), 1.0 / rate.parse().unwrap_or(f64::NAN))
        }
    }
}

fn sink(kind: &str, port: u16) -> Value {
    let address = json!({"socket_address": {"address": "127.0.0.1", "port_value": port, "protocol": "UDP"}});
    let name =
        if kind == "DogStatsdSink" { "envoy.stat_sinks.dog_statsd" } else { "envoy.stat_sinks.statsd" };
    json!([{"name": name, "typed_config": {
        "@type": format!("type.googleapis.com/envoy.config.metrics.v3.{kind}"), "address": address}}])
}

async fn dog_statsd_tells_every_request_with_tags(plane: DataPlane) -> Result<()> {
    let mut scene = Scene::start(plane, "DogStatsdSink", &[]).await?;
    scene.requests(5).await?;
    scene.until("envoy.cluster.upstream_rq_total|c|#envoy.cluster_name:a", 5.0).await?;
    scene.requests(3).await?;
    scene.until("envoy.cluster.upstream_rq_total|c|#envoy.cluster_name:a", 8.0).await?;
    scene.until("envoy.cluster.upstream_rq_time|ms|#envoy.cluster_name:a", 8.0).await?;
    let of = "envoy.http.downstream_rq_total|c|#envoy.http_conn_manager_prefix:ingress";
    scene.until(of, 8.0).await
}

async fn statsd_tells_every_request_by_full_name(plane: DataPlane) -> Result<()> {
    let mut scene = Scene::start(plane, "StatsdSink", &[]).await?;
    scene.requests(4).await?;
    scene.until("envoy.cluster.a.upstream_rq_200|c", 4.0).await?;
    scene.until("envoy.cluster.a.upstream_rq_time|ms", 4.0).await?;
    scene.until("envoy.http.ingress.downstream_rq_2xx|c", 4.0).await
}

async fn the_metrics_extension_is_pushed_and_scraped(plane: DataPlane) -> Result<()> {
    let mut scene =
        Scene::start(plane, "DogStatsdSink", &[("APPMESH_METRIC_EXTENSION_VERSION", "1")]).await?;
    scene.requests(3).await?;
    scene.until("envoy.appmesh.RequestCount|c", 3.0).await?;
    scene.until("envoy.appmesh.RequestCountPerTarget|c|#TargetVirtualNode:a", 3.0).await?;
    let page = scene.sidecar.get("/stats/prometheus?filter=appmesh").await?.text();
    assert!(
        page.contains("# TYPE envoy_appmesh_RequestCount counter\nenvoy_appmesh_RequestCount{} 3\n"),
        "{page}"
    );
    assert!(page.contains("envoy_appmesh_TargetResponseTime_count{TargetVirtualNode=\"a\"} 3\n"), "{page}");
    Ok(())
}
