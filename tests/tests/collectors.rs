//! Traces to collectors that speak HTTP: Zipkin's and OpenTelemetry's protocols, Datadog's agent.

use std::time::Duration;

use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, manager_of, over_http2, prefix_route, route_config, virtual_host,
    with_static,
};
use outrigger_tests::client::h1::{self, Connection};
use outrigger_tests::collector::{Collector, Received};
use outrigger_tests::data_plane::{DataPlane, Launch, Sidecar};
use outrigger_tests::mesh::request;
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{Echo, Upstream};
use outrigger_tests::{Result, on_both_data_planes};
use serde_json::{Value, json};

on_both_data_planes!(zipkin_spans, opentelemetry_spans, datadog_traces);

const TRACE: &str = "4efaaf4d1e8720b39541901950019ee5";
const PARENT: &str = "53995c3f42cd8ad8";

/// One traced listener before one application, and the collector as a cluster.
struct Scene {
    collector: Collector,
    port: Port,
    sidecar: Sidecar,
    _upstream: Upstream,
}

impl Scene {
    async fn start(launch: Launch, collector: Collector, provider: Value, http2: bool) -> Result<Self> {
        let (port, upstream) = (Port::lease()?, Upstream::start(Echo::new("a"))?);
        let routes = route_config("r", &[virtual_host("v", &["*"], &[prefix_route("/", "a")])]);
        let mut listener = http_listener("in", port.address(), inline(routes));
        listener["traffic_direction"] = json!("INBOUND");
        manager_of(&mut listener)["tracing"] =
            if provider.is_null() { json!({}) } else { json!({ "provider": provider }) };
        let spans = cluster("spans", &[collector.address()]);
        let spans = if http2 { over_http2(spans) } else { spans };
        let bootstrap = with_static(&[listener], &[cluster("a", &[upstream.address()]), spans]);
        let sidecar = launch.start(&bootstrap).await?;
        Ok(Self { collector, port, sidecar, _upstream: upstream })
    }

    /// The headers that the application got.
    async fn ask(&self, fields: &[&str]) -> Result<Value> {
        let answer: h1::Response = request(self.port.address(), "svc", "/x?y=1", fields).await?;
        Ok(answer.json()?["headers"].clone())
    }
}

fn header<'v>(headers: &'v Value, name: &str) -> &'v str {
    let found = headers.as_array().into_iter().flatten().find(|pair| pair[0] == name);
    found.and_then(|pair| pair[1].as_str()).unwrap_or_default()
}

fn provider(name: &str, config: Value) -> Value {
    let mut config = config;
    config["@type"] = json!(format!("type.googleapis.com/envoy.config.trace.v3.{name}"));
    json!({"name": name, "typed_config": config})
}

/// Bodies of the requests to `path`, as long as they hold `text`.
fn bodies<'r>(received: &'r [Received], path: &'r str, text: &'r str) -> impl Iterator<Item = &'r Received> {
    let holds = |body: &[u8]| text.is_empty() || body.windows(text.len()).any(|part| part == text.as_bytes());
    received.iter().filter(move |one| one.path == path && holds(&one.body))
}

async fn zipkin_spans(plane: DataPlane) -> Result<()> {
    let config = json!({"collector_cluster": "spans", "collector_endpoint": "/api/v2/spans",
        "collector_endpoint_version": "HTTP_JSON", "shared_span_context": false, "trace_id_128bit": true});
    let collector = Collector::start().await?;
    let scene = Scene::start(plane.launch()?, collector, provider("ZipkinConfig", config), false).await?;
    let (trace, span) = (format!("x-b3-traceid: {TRACE}"), format!("x-b3-spanid: {PARENT}"));
    let seen = scene.ask(&[&trace, &span, "x-b3-sampled: 1"]).await?;
    let arrived = |received: &[Received]| bodies(received, "/api/v2/spans", TRACE).next().is_some();
    let received = scene.collector.until("a span", arrived).await?;
    let body = &bodies(&received, "/api/v2/spans", TRACE).next().ok_or("none")?.body;
    let spans: Value = serde_json::from_slice(body)?;
    let span = &spans[0];
    assert_eq!((&span["traceId"], &span["kind"]), (&json!(TRACE), &json!("SERVER")), "{span}");
    assert_eq!(
        (&span["parentId"], &span["localEndpoint"]["serviceName"]),
        (&json!(PARENT), &json!("test-cluster"))
    );
    assert_eq!(
        (&span["tags"]["http.status_code"], &span["tags"]["upstream_cluster"]),
        (&json!("200"), &json!("a"))
    );
    assert_eq!(span["tags"]["http.url"], "http://svc/x?y=1");
    assert_eq!((header(&seen, "x-b3-traceid"), header(&seen, "x-b3-sampled")), (TRACE, "1"));
    assert_eq!(json!(header(&seen, "x-b3-spanid")), span["id"]);
    let unsampled = scene.ask(&[&trace, &format!("x-b3-spanid: {PARENT}"), "x-b3-sampled: 0"]).await?;
    assert_eq!(header(&unsampled, "x-b3-sampled"), "0");
    Ok(())
}

async fn opentelemetry_spans(plane: DataPlane) -> Result<()> {
    let config = json!({"grpc_service": {"envoy_grpc": {"cluster_name": "spans"}}, "service_name": "shop"});
    let collector = Collector::start().await?;
    let scene =
        Scene::start(plane.launch()?, collector, provider("OpenTelemetryConfig", config), true).await?;
    let traceparent = format!("traceparent: 00-{TRACE}-{PARENT}-01");
    let seen = scene.ask(&[&traceparent, "tracestate: a=b"]).await?;
    let sent = header(&seen, "traceparent").to_owned();
    assert!(
        sent.starts_with(&format!("00-{TRACE}-")) && sent.ends_with("-01") && !sent.contains(PARENT),
        "{sent}"
    );
    assert_eq!(header(&seen, "tracestate"), "a=b");
    let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    let span = u64::from_str_radix(&sent[36..52], 16)?.to_be_bytes();
    let holds = |body: &[u8], part: &[u8]| body.windows(part.len()).any(|window| window == part);
    let arrived = |received: &[Received]| bodies(received, path, "").any(|one| holds(&one.body, &span));
    let received = scene.collector.until("a span", arrived).await?;
    let request = bodies(&received, path, "").find(|one| holds(&one.body, &span)).ok_or("none")?;
    assert_eq!(
        request.headers.get("content-type").map(|kind| kind.as_bytes()),
        Some(&b"application/grpc"[..])
    );
    for part in [
        &u128::from_str_radix(TRACE, 16)?.to_be_bytes()[..],
        &u64::from_str_radix(PARENT, 16)?.to_be_bytes(),
        b"shop",
        b"http.status_code",
        b"upstream_cluster",
    ] {
        assert!(holds(&request.body, part), "{:?}", String::from_utf8_lossy(part));
    }
    Ok(())
}

async fn datadog_traces(plane: DataPlane) -> Result<()> {
    let config = json!({"collector_cluster": "spans", "service_name": "shop"});
    let collector = Collector::start().await?;
    let scene = Scene::start(plane.launch()?, collector, provider("DatadogConfig", config), false).await?;
    let fields = ["x-datadog-trace-id: 77", "x-datadog-parent-id: 99", "x-datadog-sampling-priority: 1"];
    let seen = scene.ask(&fields).await?;
    assert_eq!(
        (header(&seen, "x-datadog-trace-id"), header(&seen, "x-datadog-sampling-priority")),
        ("77", "1")
    );
    assert_ne!(header(&seen, "x-datadog-parent-id"), "99");
    let path = "/v0.4/traces";
    let arrived = |received: &[Received]| bodies(received, path, "upstream_cluster").next().is_some();
    let received = scene.collector.until("a trace", arrived).await?;
    let request = bodies(&received, path, "upstream_cluster").next().ok_or("none")?;
    assert!(
        bodies(&received, path, "envoy.proxy").next().is_some()
            && bodies(&received, path, "shop").next().is_some()
    );
    assert_eq!(
        request.headers.get("content-type").map(|kind| kind.as_bytes()),
        Some(&b"application/msgpack"[..])
    );
    Ok(())
}

/// One variable is enough, and X-Ray's header goes along.
#[tokio::test]
async fn an_opentelemetry_endpoint_by_its_variable() -> Result<()> {
    let collector = Collector::start().await?;
    let launch = DataPlane::Outrigger.launch()?;
    let launch = launch.env("OUTRIGGER_OTLP_ENDPOINT", &format!("http://{}/v1/traces", collector.address()));
    let launch = launch.env("XRAY_SAMPLING_RATE", "1");
    let scene = Scene::start(launch, collector, Value::Null, false).await?;
    let seen = scene.ask(&[]).await?;
    let root = header(&seen, "x-amzn-trace-id").replace(['-', ';'], "");
    let trace = header(&seen, "traceparent").get(3..35).unwrap_or_default().to_owned();
    assert!(!trace.is_empty() && root.contains(&trace), "one trace in both: {seen}");
    let arrived =
        |received: &[Received]| bodies(received, "/v1/traces", "http.request.method").next().is_some();
    let received = scene.collector.until("a span", arrived).await?;
    let kind = received[0].headers.get("content-type").map(|kind| kind.as_bytes().to_vec());
    assert_eq!(kind.as_deref(), Some(&b"application/x-protobuf"[..]));
    scene.sidecar.until_stat("tracing.opentelemetry.spans_sent", |count| count == 1).await?;
    Ok(())
}

/// A collector that never answers in time costs spans. Requests do not notice, and what waits has a bound.
#[tokio::test]
async fn a_slow_collector_delays_nothing() -> Result<()> {
    let collector = Collector::with_delay(Duration::from_secs(3600)).await?;
    let config = json!({"collector_cluster": "spans", "collector_endpoint": "/api/v2/spans",
        "collector_endpoint_version": "HTTP_JSON", "shared_span_context": false});
    let launch = DataPlane::Outrigger.launch()?;
    let scene = Scene::start(launch, collector, provider("ZipkinConfig", config), false).await?;
    let mut client = Connection::open(scene.port.address()).await?;
    let agent = "a".repeat(1000);
    let head = format!("GET / HTTP/1.1\r\nHost: svc\r\nUser-Agent: {agent}\r\nX-Request-Id: {agent}\r\n\r\n");
    // More than a megabyte of spans, which is what a worker keeps.
    for _ in 0..1500 {
        let answer = client.exchange(head.as_str()).await?;
        assert_eq!(answer.status, 200);
    }
    scene.sidecar.until_stat("tracing.zipkin.spans_dropped", |count| count > 0).await?;
    scene.sidecar.until_stat("tracing.zipkin.spans_failed", |count| count > 0).await?;
    assert_eq!(scene.sidecar.stat("tracing.zipkin.spans_sent").await?, 0);
    Ok(())
}
