//! Clocks: which one ends a slow request, and how that is told.

use serde_json::{Value, json};

use super::{all, host, table};
use crate::case::{Group, Request, get, grpc};
use crate::world::World;

/// Longer than every clock here, shorter than a test may take.
const SLOW_MS: &str = "3000";

fn settings() -> Vec<(&'static str, Value)> {
    vec![
        ("none", json!({"timeout": "0s"})),
        ("default", json!({})),
        ("route", json!({"timeout": "0.3s"})),
        ("idle", json!({"timeout": "0s", "idle_timeout": "0.3s"})),
        ("idle-longer", json!({"timeout": "0.3s", "idle_timeout": "60s"})),
        ("stream", json!({"max_stream_duration": {"max_stream_duration": "0.3s"}})),
        (
            "stream-and-route",
            json!({"timeout": "0.2s", "max_stream_duration": {"max_stream_duration": "60s"}}),
        ),
        ("grpc-max", json!({"max_stream_duration": {"grpc_timeout_header_max": "0.5s"}})),
        ("grpc-max-zero", json!({"max_stream_duration": {"grpc_timeout_header_max": "0s"}})),
        (
            "grpc-offset",
            json!({"max_stream_duration": {
                "grpc_timeout_header_max": "60s", "grpc_timeout_header_offset": "0.1s",
            }}),
        ),
        ("old-max", json!({"max_grpc_timeout": "0.5s"})),
        ("old-max-zero", json!({"max_grpc_timeout": "0s"})),
        ("old-offset", json!({"max_grpc_timeout": "60s", "grpc_timeout_offset": "0.1s"})),
        ("per-try", json!({"timeout": "60s", "retry_policy": {"num_retries": 0, "per_try_timeout": "0.3s"}})),
        (
            "per-try-longer",
            json!({"timeout": "0.3s", "retry_policy": {"num_retries": 0, "per_try_timeout": "1s"}}),
        ),
    ]
}

pub fn groups(_: &World) -> Vec<Group> {
    vec![fast(), slow(), from_inside(), slow_from_inside()]
}

fn hosts() -> Value {
    let of = |(name, mut action): (&str, Value)| {
        action["cluster"] = json!("h2");
        host(name, vec![all(json!({ "route": action }))])
    };
    table(settings().into_iter().map(of).collect())
}

/// What the upstream is told about its time.
fn fast() -> Group {
    let mut group = Group::new("told", hosts());
    for (name, _) in settings() {
        group.add(format!("{name} plain"), get("/").host(name));
        group.add(format!("{name} grpc"), grpc("/s.S/M").host(name));
        group.add(format!("{name} grpc with timeout"), grpc("/s.S/M").host(name).with("grpc-timeout", "20S"));
        group.add(
            format!("{name} grpc with bad timeout"),
            grpc("/s.S/M").host(name).with("grpc-timeout", "soon"),
        );
    }
    group
}

/// Which clock ends it.
fn slow() -> Group {
    let mut group = Group::new("slow", hosts());
    let timed = ["route", "idle", "idle-longer", "stream", "per-try", "per-try-longer"];
    for name in timed {
        group.add(format!("{name} plain"), get("/").host(name).with("x-echo-delay-ms", SLOW_MS));
        group.add(format!("{name} grpc"), grpc("/s.S/M").host(name).with("x-echo-delay-ms", SLOW_MS));
    }
    for name in ["grpc-max", "grpc-max-zero", "grpc-offset", "old-max", "old-max-zero", "old-offset"] {
        let request = grpc("/s.S/M").host(name).with("grpc-timeout", "300m").with("x-echo-delay-ms", SLOW_MS);
        group.add(format!("{name} with timeout"), request);
    }
    group
}

/// Headers of callers that are trusted.
fn inside(group: Group) -> Group {
    let ranges = json!({"cidr_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]});
    group.set("internal_address_config", ranges)
}

fn trusted(request: Request) -> Request {
    request.with("x-forwarded-for", "10.0.0.1")
}

fn from_inside() -> Group {
    let mut group = inside(Group::new("trusted", hosts()));
    let headers = [
        ("x-envoy-upstream-rq-timeout-ms", "20000"),
        ("x-envoy-upstream-rq-timeout-ms", "0"),
        ("x-envoy-upstream-rq-timeout-ms", "soon"),
        ("x-envoy-upstream-rq-per-try-timeout-ms", "700"),
        ("x-envoy-upstream-rq-per-try-timeout-ms", "70000"),
        ("x-envoy-expected-rq-timeout-ms", "777"),
    ];
    for (name, value) in headers {
        for setting in ["default", "none", "stream", "per-try"] {
            let request = trusted(get("/").host(setting)).with(name, value);
            group.add(format!("{setting} {name} {value}"), request);
        }
    }
    group
}

fn slow_from_inside() -> Group {
    let request = || trusted(get("/").host("default")).with("x-echo-delay-ms", SLOW_MS);
    inside(Group::new("trusted and slow", hosts()))
        .case("route timeout", request().with("x-envoy-upstream-rq-timeout-ms", "300"))
        .case("try timeout", request().with("x-envoy-upstream-rq-per-try-timeout-ms", "300"))
        .case(
            "alternative answer",
            request()
                .with("x-envoy-upstream-rq-timeout-ms", "300")
                .with("x-envoy-upstream-rq-timeout-alt-response", "1"),
        )
}
