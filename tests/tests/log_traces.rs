//! `%TRACE_ID%` and `%SPAN_ID%` are those that the next hop and the collector are told: for each kind of tracing, over both
//! data planes.

use outrigger_tests::access_log::AccessLog;
use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, manager_of, over_http2, prefix_route, route_config, virtual_host,
    with_static,
};
use outrigger_tests::collector::{Collector, Received};
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::mesh::request;
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{Echo, Upstream};
use outrigger_tests::xray::Daemon;
use outrigger_tests::{Result, on_both_data_planes};
use serde_json::{Value, json};

on_both_data_planes!(of_x_ray, of_zipkin, of_opentelemetry, of_requests_that_are_not_recorded);

/// One listener with a log of both identifiers.
struct Scene {
    port: Port,
    log: AccessLog,
    _sidecar: Sidecar,
    _upstream: Upstream,
}

impl Scene {
    async fn start(plane: DataPlane, tracing: Value, spans: Value) -> Result<Self> {
        let (port, upstream) = (Port::lease()?, Upstream::start(Echo::new("a"))?);
        let log = AccessLog::of(&["TRACE_ID", "SPAN_ID"])?;
        let table = route_config("r", &[virtual_host("v", &["*"], &[prefix_route("/", "a")])]);
        let mut listener = http_listener("in", port.address(), inline(table));
        let manager = manager_of(&mut listener);
        manager["access_log"] = log.config();
        manager["tracing"] = tracing;
        let clusters: Vec<Value> =
            [cluster("a", &[upstream.address()]), spans].into_iter().filter(|one| !one.is_null()).collect();
        let sidecar = plane.launch()?.start(&with_static(&[listener], &clusters)).await?;
        Ok(Self { port, log, _sidecar: sidecar, _upstream: upstream })
    }

    /// What the application got in `header`, and the two identifiers of the log.
    async fn ask(&self, header: &str, fields: &[&str]) -> Result<(String, [String; 2])> {
        let answer = request(self.port.address(), "svc", "/", fields).await?.json()?;
        let pairs = answer["headers"].as_array().into_iter().flatten();
        let found = pairs.filter(|pair| pair[0] == header).find_map(|pair| pair[1].as_str());
        let line = self.log.lines(1).await?.remove(0);
        let (trace, span) = line.split_once('|').ok_or("no two fields")?;
        Ok((found.unwrap_or_default().to_owned(), [trace.to_owned(), span.to_owned()]))
    }
}

fn provider(kind: &str, config: Value) -> Value {
    let mut config = config;
    config["@type"] = json!(format!("type.googleapis.com/envoy.config.trace.v3.{kind}"));
    json!({"provider": {"name": kind, "typed_config": config}})
}

fn x_ray(daemon: &Daemon, rate: u32) -> Value {
    let at = daemon.address();
    let rules = json!({"version": 2, "default": {"fixed_target": 0, "rate": rate}}).to_string();
    provider(
        "XRayConfig",
        json!({"segment_name": "mesh/node", "sampling_rule_manifest": {"inline_string": rules},
            "daemon_endpoint": {"protocol": "UDP", "address": at.ip().to_string(), "port_value": at.port()}}),
    )
}

/// Of X-Ray's and Zipkin's spans Envoy has no identifier to tell.
fn told(plane: DataPlane, id: &str) -> &str {
    if plane == DataPlane::Envoy { "-" } else { id }
}

async fn of_x_ray(plane: DataPlane) -> Result<()> {
    let daemon = Daemon::start().await?;
    let scene = Scene::start(plane, x_ray(&daemon, 1), Value::Null).await?;
    let (header, [trace, span]) = scene.ask("x-amzn-trace-id", &[]).await?;
    let segment = daemon.until(1).await?.remove(0);
    let id = segment["id"].as_str().ok_or("a segment without id")?;
    assert_eq!(header, format!("Root={trace};Parent={id};Sampled=1"));
    assert_eq!((&segment["trace_id"], &*span), (&json!(trace), told(plane, id)));
    Ok(())
}

async fn of_zipkin(plane: DataPlane) -> Result<()> {
    let collector = Collector::start().await?;
    let config = json!({"collector_cluster": "spans", "collector_endpoint": "/spans",
        "collector_endpoint_version": "HTTP_JSON", "shared_span_context": false, "trace_id_128bit": true});
    let spans = cluster("spans", &[collector.address()]);
    let scene = Scene::start(plane, provider("ZipkinConfig", config), spans).await?;
    let (header, [trace, span]) = scene.ask("x-b3-traceid", &[]).await?;
    assert_eq!(header, trace);
    let read = |received: &[Received]| -> Vec<Value> {
        let batch = |one: &Received| serde_json::from_slice::<Vec<Value>>(&one.body).unwrap_or_default();
        received.iter().flat_map(batch).collect()
    };
    let received = collector.until("a span", |received| !read(received).is_empty()).await?;
    let recorded = &read(&received)[0];
    let id = recorded["id"].as_str().ok_or("a span without id")?;
    assert_eq!((&recorded["traceId"], &*span), (&json!(trace), told(plane, id)));
    Ok(())
}

async fn of_opentelemetry(plane: DataPlane) -> Result<()> {
    let collector = Collector::start().await?;
    let config = json!({"grpc_service": {"envoy_grpc": {"cluster_name": "spans"}}, "service_name": "shop"});
    let spans = over_http2(cluster("spans", &[collector.address()]));
    let scene = Scene::start(plane, provider("OpenTelemetryConfig", config), spans).await?;
    let (header, [trace, span]) = scene.ask("traceparent", &[]).await?;
    assert_eq!(header, format!("00-{trace}-{span}-01"));
    let bytes = [
        u128::from_str_radix(&trace, 16)?.to_be_bytes().to_vec(),
        u64::from_str_radix(&span, 16)?.to_be_bytes().to_vec(),
    ];
    let holds = |one: &Received| {
        bytes.iter().all(|id| one.body.windows(id.len()).any(|window| window == id.as_slice()))
    };
    collector.until("the span", |received| received.iter().any(holds)).await?;
    Ok(())
}

/// The trace goes on without us: its identifier is told all the same.
async fn of_requests_that_are_not_recorded(plane: DataPlane) -> Result<()> {
    let daemon = Daemon::start().await?;
    let scene = Scene::start(plane, x_ray(&daemon, 0), Value::Null).await?;
    let (header, [trace, _]) = scene.ask("x-amzn-trace-id", &[]).await?;
    assert!(header.contains(&format!("Root={trace};")) && header.contains("Sampled=0"), "{header} {trace}");
    assert!(daemon.segments()?.is_empty());
    Ok(())
}
