//! Filters that answer in place of the upstream: faults, local rate limits, access rules.

use serde_json::{Value, json};

use super::super::{all, host, table, to};
use super::{always, always_by_default, call, chain, with_own};
use crate::case::{Group, Request, get};

const FAULT: (&str, &str) = ("envoy.filters.http.fault", "fault.v3.HTTPFault");
const LIMIT: (&str, &str) = ("envoy.filters.http.local_ratelimit", "local_ratelimit.v3.LocalRateLimit");
const RBAC: (&str, &str) = ("envoy.filters.http.rbac", "rbac.v3.RBAC");

/// Routes to the clusters `a` and `h2`, one to a cluster that is missing, a redirect and a direct response. Answers
/// carry the cluster's name.
fn routes() -> Vec<Value> {
    let named = |mut route: Value| {
        let header = json!({"header": {"key": "x-cluster", "value": "%UPSTREAM_CLUSTER%"}});
        route["response_headers_to_add"] = json!([header]);
        route
    };
    vec![
        named(to("h2", json!({"prefix": "/h2"}))),
        named(to("nobody", json!({"prefix": "/nobody"}))),
        json!({"match": {"prefix": "/moved"}, "redirect": {"path_redirect": "/"}}),
        json!({"match": {"prefix": "/direct"}, "direct_response": {"status": 200, "body": {"inline_string": "hi"}}}),
        named(to("a", json!({"prefix": "/"}))),
    ]
}

/// One virtual host of these routes with its own settings of a filter, that tells how often it was tried.
fn own(name: &str, filter: (&str, &str), settings: Value) -> Value {
    let mut host = with_own(host(name, routes()), filter.0, filter.1, settings);
    host["include_attempt_count_in_response"] = json!(true);
    host
}

/// Adds requests of every kind to a host.
fn requests(group: &mut Group, host: &str) {
    group.add(host, get("/").host(host));
    group.add(format!("{host} http2"), get("/").host(host).http2());
    group.add(format!("{host} to http2"), get("/h2").host(host));
    group.add(format!("{host} head"), Request::new("HEAD", "/").host(host));
    group.add(format!("{host} options"), Request::new("OPTIONS", "/").host(host));
    group.add(format!("{host} post"), Request::new("POST", "/").host(host).body("text"));
    group.add(format!("{host} post http2"), Request::new("POST", "/").host(host).body("text").http2());
    group.add(format!("{host} grpc"), call().host(host));
    group.add(format!("{host} nobody"), get("/nobody").host(host));
    group.add(format!("{host} moved"), get("/moved").host(host));
    group.add(format!("{host} direct"), get("/direct").host(host));
}

pub fn faults() -> Group {
    let abort = |how: Value| {
        let mut abort = how;
        abort["percentage"] = always();
        json!({ "abort": abort })
    };
    let mut hosts = Vec::new();
    for status in [200, 201, 204, 304, 400, 418, 429, 503, 599] {
        hosts.push(own(&format!("http-{status}"), FAULT, abort(json!({ "http_status": status }))));
    }
    for status in [0, 5, 14, 16] {
        hosts.push(own(&format!("grpc-{status}"), FAULT, abort(json!({ "grpc_status": status }))));
    }
    let delay = json!({"fixed_delay": "0.01s", "percentage": always()});
    hosts.push(own("delayed", FAULT, json!({ "delay": delay })));
    let mut both = abort(json!({"http_status": 502}));
    both["delay"] = delay;
    hosts.push(own("both", FAULT, both));
    let mut some = abort(json!({"http_status": 500}));
    some["upstream_cluster"] = json!("h2");
    hosts.push(own("cluster", FAULT, some.clone()));
    some["upstream_cluster"] = json!("");
    some["headers"] = json!([{"name": "x-fault", "string_match": {"exact": "yes"}}]);
    hosts.push(own("header", FAULT, some));
    let mut node = abort(json!({"http_status": 500}));
    node["downstream_nodes"] = json!(["one", "two"]);
    hosts.push(own("node", FAULT, node));
    let names: Vec<String> = hosts.iter().filter_map(|h| Some(h["name"].as_str()?.to_owned())).collect();
    let mut group = Group::new("faults", table(hosts));
    for name in &names {
        requests(&mut group, name);
    }
    group
        .set("http_filters", chain(&[(FAULT.0, FAULT.1, json!({}))]))
        .case("header yes", get("/").host("header").with("x-fault", "yes"))
        .case("header no", get("/").host("header").with("x-fault", "no"))
        .case("node two", get("/").host("node").with("x-envoy-downstream-service-node", "two"))
        .case("node three", get("/").host("node").with("x-envoy-downstream-service-node", "three"))
}

pub fn faults_by_header() -> Group {
    let settings = json!({
        "abort": {"header_abort": {}, "percentage": always()},
        "delay": {"header_delay": {}, "percentage": always()},
    });
    let mut group = Group::new("faults by header", table(vec![host("svc", routes())]))
        .set("http_filters", chain(&[(FAULT.0, FAULT.1, settings)]));
    for (name, value) in [
        ("x-envoy-fault-abort-request", "503"),
        ("x-envoy-fault-abort-request", "199"),
        ("x-envoy-fault-abort-request", "200"),
        ("x-envoy-fault-abort-request", "600"),
        ("x-envoy-fault-abort-request", "none"),
        ("x-envoy-fault-abort-grpc-request", "5"),
        ("x-envoy-fault-abort-grpc-request", "99"),
        ("x-envoy-fault-delay-request", "1"),
        ("x-envoy-fault-delay-request", "none"),
    ] {
        group.add(format!("{name} {value}"), get("/").with(name, value));
        group.add(format!("{name} {value} http2"), get("/").with(name, value).http2());
        group.add(format!("{name} {value} grpc"), call().with(name, value));
    }
    group
}

/// Limits of one token that is not given back, with what they tell.
pub fn limits() -> Group {
    let limit = |more: Value| {
        let mut settings = json!({
            "stat_prefix": "limit",
            "token_bucket": {"max_tokens": 1, "fill_interval": "3600s"},
            "filter_enabled": always_by_default(),
            "filter_enforced": always_by_default(),
        });
        for (field, value) in more.as_object().into_iter().flatten() {
            settings[field] = value.clone();
        }
        settings
    };
    let never = json!({"default_value": {"numerator": 0, "denominator": "HUNDRED"}});
    let added = json!([{"header": {"key": "x-limited", "value": "%UPSTREAM_CLUSTER%"}}]);
    let settings = [
        ("plain", json!({})),
        ("status", json!({"status": {"code": "ServiceUnavailable"}})),
        ("success", json!({"status": {"code": "Accepted"}})),
        ("exhausted", json!({"rate_limited_as_resource_exhausted": true})),
        ("added", json!({"response_headers_to_add": added})),
        (
            "not-enforced",
            json!({"filter_enforced": never, "request_headers_to_add_when_not_enforced": added}),
        ),
        ("not-enabled", json!({ "filter_enabled": never })),
    ];
    let hosts = settings.iter().map(|(name, more)| own(name, LIMIT, limit(more.clone()))).collect();
    let mut group = Group::new("limits", table(hosts))
        .set("http_filters", chain(&[(LIMIT.0, LIMIT.1, json!({"stat_prefix": "none"}))]));
    for (name, _) in &settings {
        group.add(format!("{name} first"), get("/").host(name));
        requests(&mut group, name);
    }
    group
}

/// The filter has no bucket: nothing is limited.
pub fn untold_limits() -> Group {
    Group::new("no limit", table(vec![host("svc", vec![all(json!({"route": {"cluster": "a"}}))])]))
        .set("http_filters", chain(&[(LIMIT.0, LIMIT.1, json!({"stat_prefix": "none"}))]))
        .case("passes", get("/"))
}

pub fn access() -> Group {
    let policies = json!({
        "with header": {
            "permissions": [{"header": {"name": "x-may", "present_match": true}}],
            "principals": [{"any": true}],
        },
        "public": {
            "permissions": [{"and_rules": {"rules": [
                {"url_path": {"path": {"prefix": "/public"}}},
                {"not_rule": {"header": {"name": ":method", "string_match": {"exact": "POST"}}}},
            ]}}],
            "principals": [{"any": true}],
        },
    });
    let own_rules = |name: &str, action: &str| {
        let rbac = json!({"rules": {"action": action, "policies": policies}});
        own(name, (RBAC.0, "rbac.v3.RBACPerRoute"), json!({ "rbac": rbac }))
    };
    let hosts = vec![
        own_rules("allow", "ALLOW"),
        own_rules("deny", "DENY"),
        own_rules("log", "LOG"),
        own("off", (RBAC.0, "rbac.v3.RBACPerRoute"), json!({})),
        host("filter", routes()),
    ];
    let mut group = Group::new("access", table(hosts))
        .set("http_filters", chain(&[(RBAC.0, RBAC.1, json!({"rules": {"action": "ALLOW"}}))]));
    for name in ["allow", "deny", "log", "off", "filter"] {
        requests(&mut group, name);
        group.add(format!("{name} with header"), get("/").host(name).with("x-may", ""));
        group.add(format!("{name} public"), get("/public?a=b").host(name));
        group.add(format!("{name} public post"), Request::new("POST", "/public").host(name).body("x"));
    }
    group
}
