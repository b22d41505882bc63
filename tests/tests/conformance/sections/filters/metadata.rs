//! Conditions on metadata: what a filter left of the request (here an authorization service's answer), and the route's.

use serde_json::{Value, json};

use super::super::{host, table, to};
use super::{always_by_default, chain, with_own};
use crate::case::{Group, Request, get};

const AUTHZ: (&str, &str) = ("envoy.filters.http.ext_authz", "ext_authz.v3.ExtAuthz");
const RBAC: (&str, &str) = ("envoy.filters.http.rbac", "rbac.v3.RBAC");
const LIMIT: (&str, &str) = ("envoy.filters.http.local_ratelimit", "local_ratelimit.v3.LocalRateLimit");

/// Fields of metadata below `k`; nothing at all in the first.
fn values() -> Vec<(&'static str, Value)> {
    vec![
        ("nothing", json!({})),
        ("null", json!({"k": null})),
        ("number", json!({"k": 1.5})),
        ("zero", json!({"k": 0})),
        ("text", json!({"k": "a"})),
        ("empty", json!({"k": ""})),
        ("digits", json!({"k": "1.5"})),
        ("true", json!({"k": true})),
        ("false", json!({"k": false})),
        ("list", json!({"k": [1.5, "a", null]})),
        ("no list", json!({"k": []})),
        ("struct", json!({"k": {"a": "a", "b": {"c": "a"}}})),
    ]
}

fn matchers() -> Vec<(&'static str, Value)> {
    let a = json!({"string_match": {"exact": "a"}});
    vec![
        ("is-null", json!({"null_match": {}})),
        ("is-number", json!({"double_match": {"exact": 1.5}})),
        ("in-range", json!({"double_match": {"range": {"start": 0, "end": 1.5}}})),
        ("is-text", a.clone()),
        ("is-prefix", json!({"string_match": {"prefix": "A", "ignore_case": true}})),
        ("is-true", json!({"bool_match": true})),
        ("is-false", json!({"bool_match": false})),
        ("is-present", json!({"present_match": true})),
        ("is-absent", json!({"present_match": false})),
        ("has-text", json!({"list_match": {"one_of": a}})),
        ("has-null", json!({"list_match": {"one_of": {"null_match": {}}}})),
        ("is-any", json!({"or_match": {"value_matchers": [a, {"bool_match": true}]}})),
    ]
}

/// A condition on a value under a path of keys.
fn condition(matcher: &Value, path: &[&str], invert: bool) -> Value {
    let path: Vec<Value> = path.iter().map(|key| json!({"key": key})).collect();
    json!({"filter": AUTHZ.0, "path": path, "value": matcher, "invert": invert})
}

/// One virtual host per condition, with a route to each value, which is the route's metadata, too.
fn judged(name: &'static str, rule: impl Fn(Value) -> Value) -> Group {
    let conditions = matchers().into_iter().flat_map(|(name, matcher)| {
        [
            (name.to_owned(), condition(&matcher, &["k"], false)),
            (format!("{name}-not"), condition(&matcher, &["k"], true)),
        ]
    });
    let text = json!({"string_match": {"exact": "a"}});
    let deep = [("deep", ["k", "b", "c"].as_slice()), ("half", &["k", "b"]), ("astray", &["k", "x", "c"])];
    let deep = deep.map(|(name, path)| (name.to_owned(), condition(&text, path, false)));
    let conditions: Vec<(String, Value)> = conditions.chain(deep).collect();
    let routes = || -> Vec<Value> {
        let route = |(at, (_, fields)): (usize, (_, Value))| {
            let mut route = to("a", json!({"path": format!("/{at}")}));
            route["metadata"] = json!({"filter_metadata": {AUTHZ.0: fields}});
            route
        };
        values().into_iter().enumerate().map(route).collect()
    };
    let of = |(name, condition): &(String, Value)| {
        let policy = json!({"permissions": [{"any": true}], "principals": [{"any": true}]});
        let mut policies = json!({"p": policy});
        for (field, value) in rule(condition.clone()).as_object().into_iter().flatten() {
            policies["p"][field] = json!([value]);
        }
        let rbac = json!({"rules": {"action": "ALLOW", "policies": policies}});
        with_own(host(name, routes()), RBAC.0, "rbac.v3.RBACPerRoute", json!({"rbac": rbac}))
    };
    let authz = json!({"grpc_service": {"envoy_grpc": {"cluster_name": "judge-grpc"}, "timeout": "30s"}});
    let filters = chain(&[(AUTHZ.0, AUTHZ.1, authz), (RBAC.0, RBAC.1, json!({}))]);
    let mut group = Group::new(name, table(conditions.iter().map(of).collect())).set("http_filters", filters);
    for (condition, _) in &conditions {
        for (at, (value, fields)) in values().into_iter().enumerate() {
            let request = get(&format!("/{at}")).host(condition);
            group.add(
                format!("{condition} {value}"),
                request.with("x-judge", &json!({"metadata": fields}).to_string()),
            );
        }
        group.add(format!("{condition} no route"), get("/none").host(condition));
    }
    group
}

/// Descriptors of metadata: a value of each kind, with and without something in its place.
fn limited() -> Group {
    let action = |fields: Value| {
        let mut action =
            json!({"descriptor_key": "m", "metadata_key": {"key": AUTHZ.0, "path": [{"key": "k"}]}});
        for (field, value) in fields.as_object().into_iter().flatten() {
            action[field] = value.clone();
        }
        json!({"metadata": action})
    };
    let scenes = [
        ("plain", json!({})),
        ("default", json!({"default_value": "d"})),
        ("skip", json!({"skip_if_absent": true})),
        ("both", json!({"default_value": "d", "skip_if_absent": true})),
        ("route", json!({"source": "ROUTE_ENTRY"})),
        ("route-default", json!({"source": "ROUTE_ENTRY", "default_value": "d"})),
        (
            "deep",
            json!({"metadata_key": {"key": AUTHZ.0, "path": [{"key": "k"}, {"key": "b"}, {"key": "c"}]}}),
        ),
    ];
    let limit = |entries: Value| json!({"entries": entries, "token_bucket": {"max_tokens": 1, "fill_interval": "3600s"}});
    let value =
        |value: &str| limit(json!([{"key": "m", "value": value}, {"key": "generic_key", "value": "g"}]));
    let alone = limit(json!([{"key": "generic_key", "value": "g"}]));
    let descriptors = json!([value("a"), value("d"), value("1.5"), value("true"), alone]);
    let of = |(name, fields): &(&str, Value)| {
        let rule = json!({"actions": [action(fields.clone()), {"generic_key": {"descriptor_value": "g"}}]});
        let settings = json!({
            "stat_prefix": "limit",
            "token_bucket": {"max_tokens": 1000, "fill_interval": "3600s"},
            "filter_enabled": always_by_default(),
            "filter_enforced": always_by_default(),
            "rate_limits": [rule],
            "descriptors": descriptors,
        });
        let mut route = to("a", json!({"prefix": "/"}));
        route["metadata"] = json!({"filter_metadata": {AUTHZ.0: {"k": "a"}}});
        with_own(host(name, vec![route]), LIMIT.0, LIMIT.1, settings)
    };
    let authz = json!({"grpc_service": {"envoy_grpc": {"cluster_name": "judge-grpc"}, "timeout": "30s"}});
    let none = json!({"stat_prefix": "none"});
    let filters = chain(&[(AUTHZ.0, AUTHZ.1, authz), (LIMIT.0, LIMIT.1, none)]);
    let mut group = Group::new("descriptors of metadata", table(scenes.iter().map(of).collect()))
        .set("http_filters", filters);
    for (scene, _) in &scenes {
        for (value, fields) in values() {
            for time in ["first", "second"] {
                let request: Request =
                    get("/").host(scene).with("x-judge", &json!({"metadata": fields}).to_string());
                group.add(format!("{scene} {value} {time}"), request);
            }
        }
    }
    group
}

/// All of them, as groups.
pub fn groups() -> Vec<Group> {
    let sourced = |source: &'static str| move |condition: Value| json!({"metadata_matcher": condition, "metadata_source": source});
    vec![
        judged("metadata of principals", |condition| json!({"principals": {"metadata": condition}})),
        judged("metadata of permissions", |condition| json!({"permissions": {"metadata": condition}})),
        judged(
            "request metadata",
            move |condition| json!({"principals": {"sourced_metadata": sourced("DYNAMIC")(condition)}}),
        ),
        judged(
            "route metadata",
            move |condition| json!({"permissions": {"sourced_metadata": sourced("ROUTE")(condition)}}),
        ),
        limited(),
    ]
}
