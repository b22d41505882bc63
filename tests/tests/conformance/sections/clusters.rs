//! Which cluster takes a request.

use serde_json::{Value, json};

use super::{all, host, table};
use crate::case::{Group, get, grpc};
use crate::world::World;

pub fn groups(_: &World) -> Vec<Group> {
    vec![by_header(), weighted(), hashed(), missing(), upgrades()]
}

fn route(action: Value) -> Vec<Value> {
    vec![all(json!({ "route": action }))]
}

fn by_header() -> Group {
    let chosen = json!({"cluster_header": "X-Cluster", "cluster_not_found_response_code": "NOT_FOUND"});
    let weighted = json!({"weighted_clusters": {"clusters": [
        {"cluster_header": "x-cluster", "weight": 1, "request_headers_to_add": [
            {"header": {"key": "x-entry", "value": "by-header"}},
        ]},
        {"name": "b", "weight": 0},
    ]}});
    let authority = json!({"cluster_header": ":authority"});
    let hosts =
        vec![host("svc", route(chosen)), host("weighted", route(weighted)), host("b", route(authority))];
    Group::new("by header", table(hosts))
        .case("named", get("/").with("x-cluster", "b"))
        .case("missing", get("/"))
        .case("empty", get("/").with("x-cluster", ""))
        .case("unknown", get("/").with("x-cluster", "nobody"))
        .case("twice", get("/").with("x-cluster", "a").with("x-cluster", "b"))
        .case("over http2", get("/").with("x-cluster", "h2").http2())
        .case("weighted", get("/").host("weighted").with("x-cluster", "a"))
        .case("weighted missing", get("/").host("weighted"))
        .case("weighted unknown", get("/").host("weighted").with("x-cluster", "nobody"))
        .case("authority", get("/").host("b"))
}

fn weighted() -> Group {
    let entry = |name: &str, weight: u32| json!({"name": name, "weight": weight});
    let of = |entries: Vec<Value>| route(json!({"weighted_clusters": {"clusters": entries}}));
    let mut rewritten = entry("a", 5);
    rewritten["host_rewrite_literal"] = json!("entry.test");
    let by_number =
        json!({"header_name": "X-Number", "clusters": [entry("a", 10), entry("b", 20), entry("c", 1)]});
    let rewritten_too = rewritten.clone();
    let mut edited = entry("c", 1);
    edited["request_headers_to_add"] = json!([{"header": {"key": "x-entry", "value": "c"}}]);
    edited["request_headers_to_remove"] = json!(["x-gone"]);
    edited["response_headers_to_add"] =
        json!([{"header": {"key": "x-entry", "value": "%UPSTREAM_CLUSTER%"}}]);
    edited["response_headers_to_remove"] = json!(["x-upstream"]);
    let hosts = vec![
        host("first", of(vec![entry("a", 1), entry("b", 0)])),
        host("last", of(vec![entry("a", 0), entry("b", 7)])),
        host("middle", of(vec![entry("a", 0), entry("b", 100), entry("c", 0)])),
        host("nobody", of(vec![entry("nobody", 1), entry("b", 0)])),
        host("rewritten", of(vec![rewritten])),
        host("edited", of(vec![edited])),
        host("by-number", route(json!({ "weighted_clusters": by_number }))),
        host(
            "twice",
            route(json!({
                "weighted_clusters": {"clusters": [rewritten_too]}, "host_rewrite_literal": "route.test",
            })),
        ),
    ];
    let mut group = Group::new("weighted", table(hosts));
    for name in ["first", "last", "middle", "nobody", "rewritten", "twice"] {
        group.add(name, get("/").host(name));
        group.add(format!("{name} http2"), get("/").host(name).http2());
    }
    for number in ["0", "9", "10", "29", "30", "31", "62", "18446744073709551615"] {
        group.add(format!("by number {number}"), get("/").host("by-number").with("x-number", number));
    }
    let edited = get("/").host("edited").with("x-gone", "1").with("x-stays", "1");
    group.case("edited", edited.with("x-echo-header", "x-upstream=1"))
}

/// The hash of the request chooses the entry.
fn hashed() -> Group {
    let entry = |name: &str, weight: u32| json!({"name": name, "weight": weight});
    let of = |name: &str, policies: Value| {
        let entries = vec![entry("a", 3), entry("b", 5), entry("c", 4)];
        let weighted = json!({"use_hash_policy": true, "clusters": entries});
        host(name, route(json!({"weighted_clusters": weighted, "hash_policy": policies})))
    };
    let header = json!({"header": {"header_name": "x-user"}});
    let mut last = header.clone();
    last["terminal"] = json!(true);
    let hosts = vec![
        of("header", json!([header])),
        of("query", json!([{"query_parameter": {"name": "user"}}])),
        of("cookie", json!([{"cookie": {"name": "user"}}])),
        of(
            "made",
            json!([{"cookie": {"name": "user", "ttl": "60s"}}, {"query_parameter": {"name": "user"}}]),
        ),
        of("two", json!([last, {"query_parameter": {"name": "user"}}])),
        of("source", json!([{"connection_properties": {"source_ip": true}}])),
    ];
    let mut group = Group::new("hashed", table(hosts));
    for number in 0..12 {
        let user = format!("user-{number}");
        group.add(format!("header {number}"), get("/").host("header").with("X-User", &user));
        group.add(format!("query {number}"), get(&format!("/?user={user}")).host("query"));
        group
            .add(format!("cookie {number}"), get("/").host("cookie").with("Cookie", &format!("user={user}")));
        group.add(format!("made {number}"), get(&format!("/?user={user}")).host("made"));
        group.add(format!("two {number}"), get("/?user=other").host("two").with("X-User", &user));
    }
    group.case("source", get("/").host("source"))
}

fn missing() -> Group {
    let of = |code: Option<&str>, cluster: &str| {
        let mut action = json!({ "cluster": cluster });
        if let Some(code) = code {
            action["cluster_not_found_response_code"] = json!(code);
        }
        route(action)
    };
    let hosts = vec![
        host("default", of(None, "nobody")),
        host("unavailable", of(Some("SERVICE_UNAVAILABLE"), "nobody")),
        host("not-found", of(Some("NOT_FOUND"), "nobody")),
        host("error", of(Some("INTERNAL_SERVER_ERROR"), "nobody")),
        host("empty", of(None, "empty")),
        host("refused", of(None, "refused")),
        host("closing", of(None, "closing")),
    ];
    let mut group = Group::new("missing", table(hosts));
    for name in ["default", "unavailable", "not-found", "error", "empty", "refused", "closing"] {
        group.add(name, get("/").host(name));
        group.add(format!("{name} grpc"), grpc("/s.S/M").host(name));
        group.add(format!("{name} http2"), get("/").host(name).http2());
    }
    group
}

/// Upgrades that are refused; those that are taken carry bytes and are tested in `tunnels.rs`.
fn upgrades() -> Group {
    let off = json!({"cluster": "a", "upgrade_configs": [{"upgrade_type": "websocket", "enabled": false}]});
    let hosts = vec![host("svc", route(json!({"cluster": "a"}))), host("off", route(off))];
    let upgrade = |kind: &str| get("/").with("Connection", "Upgrade").with("Upgrade", kind);
    Group::new("upgrades", table(hosts))
        .set("upgrade_configs", json!([{"upgrade_type": "websocket"}]))
        .case("unknown kind", upgrade("something"))
        .case("h2c is ignored", upgrade("h2c"))
        .case("route says no", upgrade("websocket").host("off"))
        .case("upstream says no", upgrade("websocket"))
        .case("upstream says not found", upgrade("websocket").with("x-echo-status", "404"))
        .case("upgrade without connection", get("/").with("Upgrade", "websocket"))
        .case("upper case", upgrade("WebSocket").host("off"))
}
