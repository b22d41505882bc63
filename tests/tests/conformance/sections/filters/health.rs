//! Answers to health checks of load balancers.

use serde_json::{Value, json};

use super::super::{all, host, rest, table};
use super::{call, chain};
use crate::case::{Group, Request, get};

const HEALTH: (&str, &str) = ("envoy.filters.http.health_check", "health_check.v3.HealthCheck");

pub fn groups() -> Vec<Group> {
    let percent = |clusters: &[(&str, f64)]| -> Value {
        clusters.iter().map(|(name, value)| ((*name).to_owned(), json!({ "value": value }))).collect()
    };
    vec![
        group("health answered", json!({"pass_through_mode": false})),
        group("health passed", json!({"pass_through_mode": true})),
        group("health kept", json!({"pass_through_mode": true, "cache_time": "600s"})),
        group("health of one", of(percent(&[("a", 100.0)]))),
        group("health of empty", of(percent(&[("empty", 1.0)]))),
        group("health of empty, none asked", of(percent(&[("empty", 0.0)]))),
        group("health of missing", of(percent(&[("nobody", 0.0)]))),
        group("health of two", of(percent(&[("a", 50.0), ("empty", 0.0)]))),
    ]
}

fn of(clusters: Value) -> Value {
    json!({"pass_through_mode": false, "cluster_min_healthy_percentages": clusters})
}

fn group(name: &str, mut settings: Value) -> Group {
    settings["headers"] = json!([
        {"name": ":path", "string_match": {"exact": "/health"}},
        {"name": "x-not", "present_match": true, "invert_match": true},
    ]);
    let direct = all(json!({"direct_response": {"status": 418}}));
    let mut edited = host("svc", vec![rest("a")]);
    edited["response_headers_to_add"] =
        json!([{"header": {"key": "x-edited", "value": "%UPSTREAM_CLUSTER%"}}]);
    let hosts = vec![edited, host("direct", vec![direct])];
    Group::new(name, table(hosts))
        .set("http_filters", chain(&[(HEALTH.0, HEALTH.1, settings)]))
        .case(
            "first",
            get("/health").with("x-echo-status", "503").with("x-echo-header", "x-envoy-degraded=1"),
        )
        .case("check", get("/health"))
        .case("check http2", get("/health").http2())
        .case("check by head", Request::new("HEAD", "/health"))
        .case("grpc", Request { target: "/health".to_owned(), ..call() })
        .case("query", get("/health?x"))
        .case("other path", get("/other"))
        .case("other header", get("/health").with("x-not", "1"))
        .case("direct", get("/health").host("direct"))
        .case("no host", get("/health").host("nowhere"))
}
