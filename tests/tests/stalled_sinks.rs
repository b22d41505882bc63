//! Nobody who listens badly is felt: a dead daemon, a full disk, standard output and error that nobody reads and a
//! collector that never answers delay no request and take no memory. What is lost is counted.

use std::net::SocketAddr;
use std::time::Duration;

use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, manager_of, over_http2, prefix_route, route_config, virtual_host,
    with_static,
};
use outrigger_tests::client::h1::Connection;
use outrigger_tests::collector::Collector;
use outrigger_tests::data_plane::{DataPlane, Launch, Sidecar};
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{Echo, Upstream};
use outrigger_tests::{Result, on_data_plane, wait};
use serde_json::{Value, json};

on_data_plane!(
    outrigger,
    Outrigger,
    a_dead_daemon,
    a_full_disk,
    a_stalled_stdout,
    a_stalled_stderr,
    a_slow_collector,
    an_opentelemetry_collector_that_answers_no_call,
    an_opentelemetry_collector_that_answers_no_request,
    an_opentelemetry_collector_that_takes_its_time,
    an_opentelemetry_collector_that_reads_nothing,
    a_metrics_agent_that_reads_nothing,
);

/// Each request is told of in more than this many bytes where it is logged whole.
const LONG: usize = 8000;
/// So many requests at a time, until the sink's bounds are reached and something is lost.
const FIRST: usize = 500;
/// Then so many more: twenty megabytes of lines, ten of spans, which are cut.
const LINES: usize = 2500;
const SPANS: usize = 10_000;
/// What allocator and statistics may take meanwhile: a fraction of what was written.
const ALLOWANCE: u64 = 4 * 1024 * 1024;
/// Longer than any request takes, even on a busy machine, and shorter than a sink that waits for somebody.
const PATIENCE: Duration = Duration::from_secs(5);
const END: Duration = Duration::from_secs(20);

struct Scene {
    port: Port,
    sidecar: Sidecar,
    _upstream: Upstream,
}

impl Scene {
    async fn start(launch: Launch, manager: Value, clusters: &[Value]) -> Result<Self> {
        let (port, upstream) = (Port::lease()?, Upstream::start(Echo::new("a"))?);
        let routes = route_config("r", &[virtual_host("v", &["*"], &[prefix_route("/", "a")])]);
        let mut listener = http_listener("in", port.address(), inline(routes));
        for (name, value) in manager.as_object().into_iter().flatten() {
            manager_of(&mut listener)[name.as_str()] = value.clone();
        }
        let mut all = vec![cluster("a", &[upstream.address()])];
        all.extend_from_slice(clusters);
        let sidecar = launch.start(&with_static(&[listener], &all)).await?;
        Ok(Self { port, sidecar, _upstream: upstream })
    }

    async fn requests(&self, count: usize) -> Result<()> {
        let mut client = Connection::open(self.port.address()).await?;
        let head = format!("GET / HTTP/1.1\r\nHost: svc\r\nUser-Agent: {}\r\n\r\n", "a".repeat(LONG));
        for _ in 0..count {
            let answer = wait::within("a request", PATIENCE, client.exchange(head.as_str())).await??;
            assert_eq!(answer.status, 200);
        }
        Ok(())
    }

    /// Requests go through, and memory stays, while most of what they say about themselves is lost, as `lost` counts.
    async fn bears(&mut self, lost: &str, further: usize) -> Result<()> {
        for _ in 0..10 {
            self.requests(FIRST).await?;
            if self.sidecar.stat(lost).await? > 0 {
                break;
            }
        }
        let (before, gone) = (self.sidecar.process().resident()?, self.sidecar.stat(lost).await?);
        self.requests(further).await?;
        let after = self.sidecar.process().resident()?;
        assert!(after < before + ALLOWANCE, "memory grew from {before} to {after} bytes");
        self.sidecar.until_stat(lost, |count| count >= gone + further as u64 / 3).await?;
        // Nothing that is left to write holds up the end.
        self.sidecar.terminate(END).await?;
        Ok(())
    }
}

fn log_to(name: &str, config: Value) -> Value {
    let mut config = config;
    config["@type"] = json!(format!("type.googleapis.com/envoy.extensions.access_loggers.{name}"));
    config["log_format"] = json!({"text_format_source": {"inline_string": "%REQ(USER-AGENT)%\n"}});
    json!({"access_log": [{"name": "log", "typed_config": config}]})
}

fn traced_by(name: &str, config: Value) -> Value {
    let mut config = config;
    config["@type"] = json!(format!("type.googleapis.com/envoy.config.trace.v3.{name}"));
    json!({"tracing": {"provider": {"name": name, "typed_config": config}}})
}

/// Nothing listens where segments go.
async fn a_dead_daemon(plane: DataPlane) -> Result<()> {
    let dead: SocketAddr = Port::lease()?.address();
    let rules = r#"{"version": 2, "default": {"fixed_target": 0, "rate": 1}}"#;
    let tracing = traced_by(
        "XRayConfig",
        json!({"segment_name": "a", "sampling_rule_manifest": {"inline_string": rules},
            "daemon_endpoint": {"protocol": "UDP", "address": dead.ip().to_string(), "port_value": dead.port()}}),
    );
    let mut scene = Scene::start(plane.launch()?, tracing, &[]).await?;
    // A refusal is heard with the next datagram, so about every second fails.
    scene.bears("tracing.xray.spans_failed", SPANS).await
}

async fn a_full_disk(plane: DataPlane) -> Result<()> {
    let logging = log_to("file.v3.FileAccessLog", json!({"path": "/dev/full"}));
    let mut scene = Scene::start(plane.launch()?, logging, &[]).await?;
    scene.bears("access_log.dropped", LINES).await
}

/// A pipe whose reader is alive and does nothing, with lines and metrics in it.
async fn a_stalled_stdout(plane: DataPlane) -> Result<()> {
    let (_reader, writer) = std::io::pipe()?;
    let launch = plane.launch()?.stdout(writer);
    let launch = launch.env("OUTRIGGER_EMF", "stdout").env("OUTRIGGER_EMF_INTERVAL_S", "1");
    let logging = log_to("stream.v3.StdoutAccessLog", json!({}));
    let mut scene = Scene::start(launch, logging, &[]).await?;
    scene.bears("access_log.dropped", LINES).await
}

/// Nobody reads our own log, which tells of every request that is refused.
async fn a_stalled_stderr(plane: DataPlane) -> Result<()> {
    let (_reader, writer) = std::io::pipe()?;
    let mut scene = Scene::start(plane.launch()?.log_level("debug").stderr(writer), json!({}), &[]).await?;
    let mut refused = 0;
    while scene.sidecar.stat("server.log_lines_dropped").await? < 100 {
        assert!(refused < 50_000, "nothing is ever lost");
        for _ in 0..500 {
            let mut client = Connection::open(scene.port.address()).await?;
            let answer = wait::within("a refusal", PATIENCE, client.exchange("bad bad\r\n\r\n")).await??;
            assert_eq!(answer.status, 400);
            refused += 1;
        }
    }
    scene.requests(FIRST).await?;
    scene.sidecar.terminate(END).await?;
    Ok(())
}

/// It takes requests and answers none of them.
async fn a_slow_collector(plane: DataPlane) -> Result<()> {
    let collector = Collector::with_delay(Duration::from_secs(3600)).await?;
    let tracing = traced_by(
        "ZipkinConfig",
        json!({"collector_cluster": "spans", "collector_endpoint": "/api/v2/spans",
            "collector_endpoint_version": "HTTP_JSON", "shared_span_context": false}),
    );
    let spans = cluster("spans", &[collector.address()]);
    let mut scene = Scene::start(plane.launch()?, tracing, &[spans]).await?;
    scene.bears("tracing.zipkin.spans_dropped", SPANS).await
}

const OTLP_DROPPED: &str = "tracing.opentelemetry.spans_dropped";

fn over_grpc() -> Value {
    traced_by(
        "OpenTelemetryConfig",
        json!({"grpc_service": {"envoy_grpc": {"cluster_name": "spans"}}, "service_name": "a"}),
    )
}

/// Calls of gRPC that are never answered: each ends after its time, with its spans.
async fn an_opentelemetry_collector_that_answers_no_call(plane: DataPlane) -> Result<()> {
    let collector = Collector::with_delay(Duration::from_secs(3600)).await?;
    let spans = over_http2(cluster("spans", &[collector.address()]));
    let mut scene = Scene::start(plane.launch()?, over_grpc(), &[spans]).await?;
    scene.bears(OTLP_DROPPED, SPANS).await
}

/// The same over HTTP.
async fn an_opentelemetry_collector_that_answers_no_request(plane: DataPlane) -> Result<()> {
    let collector = Collector::with_delay(Duration::from_secs(3600)).await?;
    let service = json!({"http_uri": {"uri": "http://spans/v1/traces", "cluster": "spans", "timeout": "1s"}});
    let tracing = traced_by("OpenTelemetryConfig", json!({"http_service": service, "service_name": "a"}));
    let spans = cluster("spans", &[collector.address()]);
    let mut scene = Scene::start(plane.launch()?, tracing, &[spans]).await?;
    scene.bears(OTLP_DROPPED, SPANS).await
}

/// It takes what it is sent, but slower than it comes.
async fn an_opentelemetry_collector_that_takes_its_time(plane: DataPlane) -> Result<()> {
    let collector = Collector::with_delay(Duration::from_secs(3)).await?;
    let spans = over_http2(cluster("spans", &[collector.address()]));
    let mut scene = Scene::start(plane.launch()?, over_grpc(), &[spans]).await?;
    scene.bears(OTLP_DROPPED, SPANS).await?;
    assert!(!collector.received().is_empty(), "some of it arrives");
    Ok(())
}

/// It accepts the connection, and not even HTTP/2 begins.
async fn an_opentelemetry_collector_that_reads_nothing(plane: DataPlane) -> Result<()> {
    let collector = std::net::TcpListener::bind("127.0.0.1:0")?;
    let spans = over_http2(cluster("spans", &[collector.local_addr()?]));
    let mut scene = Scene::start(plane.launch()?, over_grpc(), &[spans]).await?;
    scene.bears(OTLP_DROPPED, SPANS).await
}

/// It accepts the connection, and that is all; how much waits for it is held by the queue's own tests.
async fn a_metrics_agent_that_reads_nothing(plane: DataPlane) -> Result<()> {
    let agent = std::net::TcpListener::bind("127.0.0.1:0")?;
    let target = format!("tcp://{}", agent.local_addr()?);
    let launch = plane.launch()?.env("OUTRIGGER_EMF", &target).env("OUTRIGGER_EMF_INTERVAL_S", "1");
    let launch = launch.env("OUTRIGGER_EMF_METRICS", "*");
    let mut scene = Scene::start(launch, json!({}), &[]).await?;
    scene.requests(FIRST).await?;
    scene.sidecar.until_stat("emf.documents", |count| count > 0).await?;
    scene.requests(FIRST).await?;
    scene.sidecar.terminate(END).await?;
    Ok(())
}
