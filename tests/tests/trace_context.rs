//! Trace context in headers across two sidecars: read in any format that is configured, written in all of them, and at
//! an edge not believed.

use std::net::SocketAddr;

use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, manager_of, prefix_route, route_config, virtual_host, with_static,
};
use outrigger_tests::client::h1;
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::mesh::request;
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{Echo, Upstream};
use outrigger_tests::xray::Daemon;
use outrigger_tests::{Result, on_data_plane};
use serde_json::{Value, json};

on_data_plane!(
    outrigger_alone,
    Outrigger,
    a_context_in_any_format_goes_on_in_all,
    an_edge_discards_what_callers_say,
    callers_are_told_their_trace,
);

const TRACE: &str = "4efaaf4d1e8720b39541901950019ee5";
const XRAY: &str = "1-4efaaf4d-1e8720b39541901950019ee5";
const PARENT: &str = "53995c3f42cd8ad8";

/// A sidecar whose listener leads to `target`, traced to the daemon with this share of its own.
async fn sidecar(
    (plane, variable): (DataPlane, (&str, &str)),
    direction: &str,
    daemon: &Daemon,
    rate: u32,
    target: SocketAddr,
) -> Result<(Port, Sidecar)> {
    let port = Port::lease()?;
    let routes = route_config("r", &[virtual_host("v", &["*"], &[prefix_route("/", "next")])]);
    let mut listener = http_listener("in", port.address(), inline(routes));
    listener["traffic_direction"] = json!(direction);
    let (rules, at) = (json!({"version": 2, "default": {"fixed_target": 0, "rate": rate}}), daemon.address());
    manager_of(&mut listener)["tracing"] = json!({"provider": {"name": "envoy.tracers.xray", "typed_config": {
        "@type": "type.googleapis.com/envoy.config.trace.v3.XRayConfig",
        "daemon_endpoint": {"protocol": "UDP", "address": at.ip().to_string(), "port_value": at.port()},
        "segment_name": direction,
        "sampling_rule_manifest": {"inline_string": rules.to_string()},
    }}});
    let bootstrap = with_static(&[listener], &[cluster("next", &[target])]);
    let sidecar = plane.launch()?.env(variable.0, variable.1).start(&bootstrap).await?;
    Ok((port, sidecar))
}

fn header<'v>(seen: &'v Value, name: &str) -> &'v str {
    let found = seen["headers"].as_array().into_iter().flatten().find(|pair| pair[0] == name);
    found.and_then(|pair| pair[1].as_str()).unwrap_or_default()
}

async fn a_context_in_any_format_goes_on_in_all(plane: DataPlane) -> Result<()> {
    let (daemon, upstream) = (Daemon::start().await?, Upstream::start(Echo::new("a"))?);
    let variable = ("OUTRIGGER_TRACE_PROPAGATION", "w3c,b3,xray,datadog");
    let (inside, _b) = sidecar((plane, variable), "INBOUND", &daemon, 0, upstream.address()).await?;
    let (outside, _a) = sidecar((plane, variable), "OUTBOUND", &daemon, 0, inside.address()).await?;
    let b3 =
        [format!("X-B3-TraceId: {TRACE}"), format!("X-B3-SpanId: {PARENT}"), "X-B3-Sampled: 1".to_owned()];
    let came: [&[String]; 4] = [
        &[format!("traceparent: 00-{TRACE}-{PARENT}-01")],
        &[format!("b3: {TRACE}-{PARENT}-1")],
        &b3,
        &[format!("X-Amzn-Trace-Id: Root={XRAY};Parent={PARENT};Sampled=1")],
    ];
    for (round, fields) in came.into_iter().enumerate() {
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        let seen = request(outside.address(), "svc", "/", &fields).await?.json()?;
        let all = daemon.until(2 * (round + 1)).await?;
        let last = &all[2 * round..];
        let of = |name: &str| last.iter().find(|one| one["name"] == name).ok_or(format!("{name}: {last:?}"));
        let (a, b) = (of("OUTBOUND")?, of("INBOUND")?);
        assert_eq!((&a["trace_id"], &a["parent_id"]), (&json!(XRAY), &json!(PARENT)), "{fields:?}");
        assert_eq!((&b["trace_id"], &b["parent_id"]), (&json!(XRAY), &a["id"]), "{fields:?}");
        let id = b["id"].as_str().ok_or("no id")?;
        assert_eq!(header(&seen, "traceparent"), format!("00-{TRACE}-{id}-01"), "{fields:?}");
        assert_eq!(header(&seen, "x-amzn-trace-id"), format!("Root={XRAY};Parent={id};Sampled=1"));
        assert_eq!(header(&seen, "x-b3-traceid"), TRACE);
        assert_eq!((header(&seen, "x-b3-spanid"), header(&seen, "x-b3-sampled")), (id, "1"));
        let (number, low) = (u64::from_str_radix(id, 16)?, u64::from_str_radix(&TRACE[16..], 16)?);
        assert_eq!(header(&seen, "x-datadog-parent-id"), number.to_string());
        assert_eq!(header(&seen, "x-datadog-trace-id"), low.to_string());
    }
    Ok(())
}

/// Towards outside a sidecar believes its application all the same.
async fn an_edge_discards_what_callers_say(plane: DataPlane) -> Result<()> {
    let (daemon, upstream) = (Daemon::start().await?, Upstream::start(Echo::new("a"))?);
    let edge = (plane, ("OUTRIGGER_TRACE_CALLERS", "untrusted"));
    let (gateway, _g) = sidecar(edge, "INBOUND", &daemon, 0, upstream.address()).await?;
    let (inside, _i) = sidecar(edge, "OUTBOUND", &daemon, 0, upstream.address()).await?;
    let forged = format!("X-Amzn-Trace-Id: Root={XRAY};Parent={PARENT};Sampled=1");
    let traceparent = format!("traceparent: 00-{TRACE}-{PARENT}-01");
    let fields = [forged.as_str(), &traceparent, "b3: 1"];
    let seen = request(gateway.address(), "svc", "/", &fields).await?.json()?;
    let told = header(&seen, "x-amzn-trace-id");
    assert!(told.ends_with(";Sampled=0") && !told.contains(XRAY), "{seen}");
    assert_eq!((header(&seen, "traceparent"), header(&seen, "b3")), ("", ""));
    let seen = request(inside.address(), "svc", "/", &fields).await?.json()?;
    assert!(header(&seen, "x-amzn-trace-id").starts_with(&format!("Root={XRAY};")), "{seen}");
    let all = daemon.until(1).await?;
    assert_eq!(
        (all.len(), &all[0]["name"]),
        (1, &json!("OUTBOUND")),
        "nothing was recorded for the stranger"
    );
    Ok(())
}

async fn callers_are_told_their_trace(plane: DataPlane) -> Result<()> {
    let (daemon, upstream) = (Daemon::start().await?, Upstream::start(Echo::new("a"))?);
    let told = |answer: &h1::Response| answer.header("x-amzn-trace-id").map(str::to_owned);
    for (value, expected) in [("all", Some(format!("Root={XRAY}"))), ("asked", None)] {
        let variable = ("OUTRIGGER_TRACE_RESPONSES", value);
        let (port, _s) = sidecar((plane, variable), "INBOUND", &daemon, 0, upstream.address()).await?;
        let field = format!("X-Amzn-Trace-Id: Root={XRAY};Sampled=0");
        assert_eq!(told(&request(port.address(), "svc", "/", &[&field]).await?), expected, "{value}");
    }
    Ok(())
}
