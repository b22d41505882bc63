//! Retries by condition and outcome, policies of callers, and what open circuit breakers answer.

use outrigger_tests::bootstrap::{cluster, load_assignment};
use serde_json::{Value, json};

use super::{host, table};
use crate::case::{Group, Request, get, grpc};
use crate::world::World;

/// Every condition, one virtual host each.
const CONDITIONS: [&str; 15] = [
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "envoy-ratelimited",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];

pub fn groups(world: &World) -> Vec<Group> {
    vec![conditions(), callers(), breakers(world), priorities(world)]
}

/// Routes to the clusters `a`, `h2`, `closing` and `refused` by the first segment of the path.
fn routes(policy: Option<Value>) -> Vec<Value> {
    let route = |cluster: &str| {
        let mut route = json!({
            "name": format!("to-{cluster}"),
            "match": {"prefix": format!("/{cluster}")},
            "route": {"cluster": cluster},
        });
        if let Some(policy) = &policy {
            route["route"]["retry_policy"] = policy.clone();
        }
        route
    };
    ["a", "h2", "closing", "refused"].into_iter().map(route).collect()
}

fn policy(on: &str) -> Value {
    json!({
        "retry_on": on,
        "num_retries": 2,
        "retry_back_off": {"base_interval": "0.001s"},
        "retriable_status_codes": [404, 418],
        "retriable_headers": [{"name": "x-again", "string_match": {"exact": "yes"}}],
    })
}

fn counting(mut host: Value) -> Value {
    host["include_request_attempt_count"] = json!(true);
    host["include_attempt_count_in_response"] = json!(true);
    host
}

fn conditions() -> Group {
    let hosts = CONDITIONS.map(|on| counting(host(on, routes(Some(policy(on))))));
    let mut group = Group::new("conditions", table(hosts.to_vec()));
    for on in CONDITIONS {
        for status in ["200", "404", "409", "418", "500", "502", "503", "504", "599"] {
            group.add(format!("{on} {status}"), get("/a").host(on).with("x-echo-status", status));
        }
        for status in ["1", "4", "8", "13", "14"] {
            let header = format!("grpc-status={status}");
            group.add(format!("{on} grpc {status}"), get("/a").host(on).with("x-echo-header", &header));
        }
        for header in ["x-again=yes", "x-again=no", "x-envoy-ratelimited=true"] {
            group.add(format!("{on} {header}"), get("/a").host(on).with("x-echo-header", header));
        }
        let limited = get("/a").host(on).with("x-echo-status", "503");
        group.add(format!("{on} 503 limited"), limited.with("x-echo-header", "x-envoy-ratelimited=true"));
        group.add(format!("{on} closing"), get("/closing").host(on));
        group.add(format!("{on} closing post"), Request::new("POST", "/closing").host(on).body("body"));
        group.add(format!("{on} refused"), get("/refused").host(on));
        group.add(format!("{on} refused grpc"), grpc("/refused").host(on));
        let body = Request::new("POST", "/h2").host(on).body("again and again");
        group.add(format!("{on} body"), body.with("x-echo-status", "503"));
    }
    group
}

/// Headers of callers inside and outside the mesh.
fn callers() -> Group {
    let safe = json!({"retriable_request_headers": [{"name": "x-safe"}]});
    let mut only_safe = policy("5xx");
    only_safe["retriable_request_headers"] = safe["retriable_request_headers"].clone();
    let hosts = vec![
        counting(host("none", routes(None))),
        counting(host("some", routes(Some(policy("retriable-4xx"))))),
        counting(host("safe", routes(Some(only_safe)))),
    ];
    let mut group = Group::new("callers", table(hosts)).set(
        "internal_address_config",
        json!({"cidr_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]}),
    );
    let headers: [&[(&str, &str)]; 13] = [
        &[("x-envoy-retry-on", "5xx")],
        &[("x-envoy-retry-on", " 5xx , made-up")],
        &[("x-envoy-retry-on", "unavailable")],
        &[("x-envoy-retry-grpc-on", "unavailable")],
        &[("x-envoy-max-retries", "4")],
        &[("x-envoy-retry-on", "5xx"), ("x-envoy-max-retries", "0")],
        &[("x-envoy-retry-on", "5xx"), ("x-envoy-max-retries", "none")],
        &[("x-envoy-retry-on", "retriable-status-codes"), ("x-envoy-retriable-status-codes", "503, 599")],
        &[
            ("x-envoy-retry-on", "retriable-headers"),
            ("x-envoy-retriable-header-names", "X-Other,content-type"),
        ],
        &[("x-envoy-upstream-rq-timeout-ms", "5000")],
        &[("x-envoy-upstream-rq-timeout-ms", "5000"), ("x-envoy-upstream-rq-per-try-timeout-ms", "6000")],
        &[("x-envoy-upstream-rq-per-try-timeout-ms", "700")],
        &[("x-envoy-expected-rq-timeout-ms", "100")],
    ];
    for host in ["none", "some", "safe"] {
        for (number, headers) in headers.into_iter().enumerate() {
            for from in ["10.0.0.1", "192.0.2.1"] {
                let mut request =
                    get("/a").host(host).with("x-echo-status", "503").with("x-forwarded-for", from);
                for (name, value) in headers {
                    request = request.with(name, value);
                }
                group.add(format!("{host} {number} {} from {from}", headers[0].0), request);
            }
        }
        let safe = get("/a").host(host).with("x-echo-status", "500");
        group.add(format!("{host} safe"), safe.with("x-safe", ""));
    }
    group
}

/// Clusters of several priorities, whose retries keep away from what was tried. Which priorities fail is in the name.
fn priorities(world: &World) -> Group {
    let clusters = [
        ("closing-a", vec!["closing", "a"]),
        ("closing-refused-a", vec!["closing", "refused", "a"]),
        ("a-b", vec!["a", "b"]),
        ("closing-refused", vec!["closing", "refused"]),
        ("refused-only", vec!["refused"]),
    ];
    let kind =
        "type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig";
    let mut hosts = Vec::new();
    for (name, _) in &clusters {
        for (every, retries) in [(0, 3), (1, 1), (1, 3), (2, 2), (2, 4), (3, 4)] {
            let mut policy = policy("5xx");
            policy["num_retries"] = json!(retries);
            if every > 0 {
                policy["retry_priority"] = json!({
                    "name": "envoy.retry_priorities.previous_priorities",
                    "typed_config": {"@type": kind, "update_frequency": every},
                });
            }
            let route = json!({"match": {"prefix": "/"}, "route": {"cluster": name, "retry_policy": policy}});
            hosts.push(counting(host(&format!("{name}-{every}-{retries}"), vec![route])));
        }
    }
    let names: Vec<String> =
        hosts.iter().filter_map(|host| Some(host["name"].as_str()?.to_owned())).collect();
    let mut group = Group::new("priorities", table(hosts));
    let addresses = world.addresses();
    for (name, upstreams) in clusters {
        let mut cluster = cluster(name, &[]);
        let level = |(priority, upstream): (usize, &&str)| {
            let (_, address) = addresses.iter().find(|(known, _)| known == upstream)?;
            let mut endpoints = load_assignment(name, &[*address])["endpoints"][0].take();
            endpoints["priority"] = json!(priority);
            Some(endpoints)
        };
        cluster["load_assignment"]["endpoints"] = upstreams.iter().enumerate().filter_map(level).collect();
        group = group.cluster(cluster);
    }
    for name in &names {
        group.add(name, get("/").host(name));
        group.add(format!("{name} failing"), get("/").host(name).with("x-echo-status", "503"));
    }
    group
}

/// Clusters whose limits are zero.
fn breakers(world: &World) -> Group {
    let (_, address) = world.addresses().swap_remove(0);
    let limits = ["max_requests", "max_pending_requests", "max_connections", "max_retries"];
    let mut clusters = Vec::new();
    let mut hosts = Vec::new();
    for limit in limits {
        for priority in ["DEFAULT", "HIGH"] {
            let name = format!("{limit}-{}", priority.to_lowercase());
            let mut cluster = cluster(&name, &[address]);
            cluster["circuit_breakers"] = json!({"thresholds": [{"priority": priority, limit: 0}]});
            clusters.push(cluster);
            let route = |path: &str, priority: &str| {
                json!({"match": {"prefix": path}, "route": {
                    "cluster": name, "priority": priority, "retry_policy": policy("5xx"),
                }})
            };
            hosts.push(host(&name, vec![route("/high", "HIGH"), route("/", "DEFAULT")]));
        }
    }
    let names: Vec<String> = clusters.iter().filter_map(|c| Some(c["name"].as_str()?.to_owned())).collect();
    let mut group = Group::new("breakers", table(hosts));
    for cluster in clusters {
        group = group.cluster(cluster);
    }
    for name in &names {
        for path in ["/", "/high"] {
            group.add(format!("{name} {path}"), get(path).host(name));
            group.add(format!("{name} {path} http2"), get(path).host(name).http2());
            group.add(format!("{name} {path} failing"), get(path).host(name).with("x-echo-status", "503"));
        }
        group.add(format!("{name} grpc"), grpc("/s.S/M").host(name));
    }
    group
}
