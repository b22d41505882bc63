//! Traces to collectors that speak HTTP: Zipkin's and OpenTelemetry's protocols, Datadog's agent.

use std::time::Duration;

use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, manager_of, over_http2, prefix_route, route_config, terminate_tls,
    virtual_host, with_static,
};
use outrigger_tests::client::h1::{self, Connection};
use outrigger_tests::collector::{Collector, Received};
use outrigger_tests::data_plane::{DataPlane, Launch, Sidecar};
use outrigger_tests::mesh::request;
use outrigger_tests::ports::Port;
use outrigger_tests::tls::Authority;
use outrigger_tests::upstream::{Echo, Upstream};
use outrigger_tests::{Result, on_both_data_planes, on_data_plane};
use serde_json::{Value, json};

on_data_plane!(
    outrigger_alone,
    Outrigger,
    opentelemetry_over_https,
    opentelemetry_over_grpcs,
    a_collector_that_nobody_vouches_for_gets_nothing,
);
on_both_data_planes!(
    zipkin_spans,
    opentelemetry_spans,
    datadog_traces,
    routes_say_otherwise,
    each_side_names_the_others_operation,
);

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
        // Envoy has the older names only, as text.
        if plane == DataPlane::Envoy { &b"http.status_code"[..] } else { b"http.response.status_code" },
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

/// `Route.tracing` and `decorator`: shares, tags and names of their own.
async fn routes_say_otherwise(plane: DataPlane) -> Result<()> {
    let (port, upstream, collector) =
        (Port::lease()?, Upstream::start(Echo::new("a"))?, Collector::start().await?);
    let literal = |tag: &str, value: &str| json!({"tag": tag, "literal": {"value": value}});
    let mut never = prefix_route("/never", "a");
    never["tracing"] = json!({"random_sampling": {"numerator": 0}});
    let mut tagged = prefix_route("/tagged", "a");
    tagged["tracing"] = json!({"custom_tags": [literal("both", "route"), literal("own", "route")]});
    tagged["decorator"] = json!({"operation": "decorated"});
    let routes = [never, tagged, prefix_route("/", "a")];
    let table = route_config("r", &[virtual_host("v", &["*"], &routes)]);
    let mut listener = http_listener("in", port.address(), inline(table));
    let config = json!({"collector_cluster": "spans", "collector_endpoint": "/api/v2/spans",
        "collector_endpoint_version": "HTTP_JSON", "shared_span_context": false});
    manager_of(&mut listener)["tracing"] = json!({
        "provider": provider("ZipkinConfig", config),
        "custom_tags": [literal("both", "manager"), literal("common", "manager")],
    });
    let clusters = [cluster("a", &[upstream.address()]), cluster("spans", &[collector.address()])];
    let sidecar = plane.launch()?.start(&with_static(&[listener], &clusters)).await?;
    let mut sampled = Vec::new();
    for path in ["/never", "/tagged", "/plain"] {
        let answer: h1::Response = request(port.address(), "svc", path, &[]).await?;
        sampled.push(header(&answer.json()?["headers"], "x-b3-sampled").to_owned());
    }
    assert_eq!(sampled, ["0", "1", "1"]);
    let spans = |received: &[Received]| -> Vec<Value> {
        let batch = |one: &Received| serde_json::from_slice::<Vec<Value>>(&one.body).unwrap_or_default();
        received.iter().flat_map(batch).collect()
    };
    let received = collector.until("two spans", |received| spans(received).len() >= 2).await?;
    let spans = spans(&received);
    assert_eq!(spans.len(), 2, "{spans:?}");
    let of = |path: &str| {
        let url = format!("http://svc{path}");
        spans.iter().find(|span| span["tags"]["http.url"] == url.as_str()).ok_or("no span")
    };
    let (tagged, plain) = (of("/tagged")?, of("/plain")?);
    let tags = |span: &Value| ["both", "common", "own"].map(|tag| span["tags"][tag].clone());
    assert_eq!(tags(tagged), [json!("route"), json!("manager"), json!("route")]);
    assert_eq!(tags(plain), [json!("manager"), json!("manager"), Value::Null]);
    assert_eq!((&tagged["name"], &plain["name"]), (&json!("decorated"), &json!("svc")));
    sidecar.until_stat("http.in.tracing.not_traceable", |count| count == 1).await?;
    sidecar.until_stat("http.in.tracing.random_sampling", |count| count == 2).await?;
    Ok(())
}

/// A sidecar whose spans go to a collector behind TLS: a listener of its own that terminates it.
struct Secured {
    collector: Collector,
    port: Port,
    sidecar: Sidecar,
    _upstream: Upstream,
    _roots: tempfile::NamedTempFile,
}

impl Secured {
    /// The collector is asked for as `scheme`, speaks `protocol`, and is vouched for by `authority`; `trusted` is what
    /// the sidecar trusts.
    async fn start(
        launch: Launch,
        (scheme, protocol): (&str, &str),
        authority: &Authority,
        trusted: &Authority,
    ) -> Result<Self> {
        let (port, secure) = (Port::lease()?, Port::lease()?);
        let (upstream, collector) = (Upstream::start(Echo::new("a"))?, Collector::start().await?);
        let to = |name: &str| route_config("r", &[virtual_host("v", &["*"], &[prefix_route("/", name)])]);
        let mut traced = http_listener("in", port.address(), inline(to("a")));
        manager_of(&mut traced)["tracing"] = json!({});
        let mut front = http_listener("front", secure.address(), inline(to("collector")));
        front["filter_chains"][0]["transport_socket"] =
            terminate_tls(&authority.issue(&["127.0.0.1"])?, &[protocol]);
        let behind = cluster("collector", &[collector.address()]);
        let behind = if protocol == "h2" { over_http2(behind) } else { behind };
        let roots = tempfile::NamedTempFile::new()?;
        std::fs::write(roots.path(), trusted.certificate())?;
        let bootstrap = with_static(&[traced, front], &[cluster("a", &[upstream.address()]), behind]);
        let sidecar = launch
            .env("OUTRIGGER_OTLP_ENDPOINT", &format!("{scheme}://{}", secure.address()))
            .env("OUTRIGGER_OTLP_ROOTS", &roots.path().to_string_lossy())
            .env("XRAY_SAMPLING_RATE", "1")
            .start(&bootstrap)
            .await?;
        let scene = Self { collector, port, sidecar, _upstream: upstream, _roots: roots };
        assert_eq!(request(scene.port.address(), "svc", "/", &[]).await?.status, 200);
        Ok(scene)
    }

    async fn until_sent(&self, path: &str) -> Result<()> {
        let arrived =
            |received: &[Received]| bodies(received, path, "http.response.status_code").next().is_some();
        self.collector.until("a span", arrived).await?;
        self.sidecar.until_stat("tracing.opentelemetry.spans_sent", |count| count == 1).await?;
        Ok(())
    }
}

async fn opentelemetry_over_https(plane: DataPlane) -> Result<()> {
    let authority = Authority::new()?;
    let scene = Secured::start(plane.launch()?, ("https", "http/1.1"), &authority, &authority).await?;
    scene.until_sent("/v1/traces").await
}

async fn opentelemetry_over_grpcs(plane: DataPlane) -> Result<()> {
    let authority = Authority::new()?;
    let scene = Secured::start(plane.launch()?, ("grpcs", "h2"), &authority, &authority).await?;
    scene.until_sent("/opentelemetry.proto.collector.trace.v1.TraceService/Export").await
}

async fn a_collector_that_nobody_vouches_for_gets_nothing(plane: DataPlane) -> Result<()> {
    let (authority, other) = (Authority::new()?, Authority::new()?);
    let scene = Secured::start(plane.launch()?, ("https", "http/1.1"), &authority, &other).await?;
    scene.sidecar.until_stat("tracing.opentelemetry.spans_failed", |count| count == 1).await?;
    assert!(scene.collector.received().is_empty());
    Ok(())
}

/// `decorator.propagate`: the caller's route names the called one's span, and the other way round.
async fn each_side_names_the_others_operation(plane: DataPlane) -> Result<()> {
    const HEADER: &str = "x-envoy-decorator-operation";
    let (out, inside) = (Port::lease()?, Port::lease()?);
    let (upstream, collector) = (Upstream::start(Echo::new("a"))?, Collector::start().await?);
    let listener = |name: &str, at: &Port, direction: &str, decorator: Value| {
        let mut silent = prefix_route("/silent", "a");
        silent["decorator"] = decorator.clone();
        silent["decorator"]["propagate"] = json!(false);
        let mut told = prefix_route("/", "a");
        told["decorator"] = decorator;
        let table = route_config("r", &[virtual_host("v", &["*"], &[silent, told])]);
        let mut listener = http_listener(name, at.address(), inline(table));
        listener["traffic_direction"] = json!(direction);
        let config = json!({"collector_cluster": "spans", "collector_endpoint": "/api/v2/spans",
            "collector_endpoint_version": "HTTP_JSON", "shared_span_context": false});
        manager_of(&mut listener)["tracing"] = json!({"provider": provider("ZipkinConfig", config)});
        listener
    };
    let listeners = [
        listener("out", &out, "OUTBOUND", json!({"operation": "asked"})),
        listener("in", &inside, "INBOUND", json!({"operation": "answered"})),
    ];
    let clusters = [cluster("a", &[upstream.address()]), cluster("spans", &[collector.address()])];
    let _sidecar = plane.launch()?.start(&with_static(&listeners, &clusters)).await?;
    // What the application was told, and what the caller was.
    let ask = async |at: &Port, path: &str, fields: &[&str]| -> Result<(String, String)> {
        let answer: h1::Response = request(at.address(), "svc", path, fields).await?;
        let told = header(&answer.json()?["headers"], HEADER).to_owned();
        Ok((told, answer.header(HEADER).unwrap_or_default().to_owned()))
    };
    let pair = |one: &str, other: &str| (one.to_owned(), other.to_owned());
    assert_eq!(ask(&out, "/told", &[]).await?, pair("asked", ""));
    assert_eq!(ask(&out, "/silent", &[]).await?, pair("", ""));
    let named = format!("x-echo-header: {HEADER}=named-by-the-host");
    assert_eq!(ask(&out, "/silent", &[&named]).await?, pair("", ""));
    assert_eq!(ask(&inside, "/told", &[]).await?, pair("", "answered"));
    assert_eq!(ask(&inside, "/silent", &[]).await?, pair("", ""));
    let by_caller = format!("{HEADER}: named-by-the-caller");
    assert_eq!(ask(&inside, "/told", &[&by_caller]).await?, pair("", ""));
    let names = |received: &[Received]| -> Vec<String> {
        let batch = |one: &Received| serde_json::from_slice::<Vec<Value>>(&one.body).unwrap_or_default();
        let spans = received.iter().flat_map(batch);
        let mut names: Vec<_> =
            spans.filter_map(|span| Some(span["name"].as_str()?.to_lowercase())).collect();
        names.sort();
        names
    };
    let received = collector.until("six spans", |received| names(received).len() >= 6).await?;
    let expected = ["answered", "answered", "asked", "asked", "named-by-the-caller", "named-by-the-host"];
    assert_eq!(names(&received), expected);
    Ok(())
}
