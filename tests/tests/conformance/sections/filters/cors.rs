//! Cross-origin requests.

use serde_json::{Value, json};

use super::super::{all, host, rest, table};
use super::{always_by_default, call, chain, with_own};
use crate::case::{Group, Request, get};

const NAME: &str = "envoy.filters.http.cors";
const POLICY: &str = "cors.v3.CorsPolicy";

fn full() -> Value {
    json!({
        "allow_origin_string_match": [{"exact": "https://app.example"}, {"suffix": ".trusted.example"}],
        "allow_methods": "GET, PUT",
        "allow_headers": "x-a",
        "expose_headers": "x-b",
        "max_age": "60",
        "allow_credentials": true,
    })
}

/// `base` with these fields instead.
fn but(mut base: Value, other: Value) -> Value {
    for (field, value) in other.as_object().into_iter().flatten() {
        base[field] = value.clone();
    }
    base
}

fn requests(group: &mut Group, name: &str) {
    let origins = ["https://app.example", "https://a.trusted.example", "https://other.example", "null", ""];
    for origin in origins {
        let options = || Request::new("OPTIONS", "/").host(name).with("Origin", origin);
        let preflight = || options().with("Access-Control-Request-Method", "PUT");
        group.add(format!("{name} {origin:?} get"), get("/").host(name).with("Origin", origin));
        group.add(format!("{name} {origin:?} get http2"), get("/").host(name).with("Origin", origin).http2());
        group.add(format!("{name} {origin:?} options"), options());
        group.add(format!("{name} {origin:?} preflight"), preflight());
        group.add(format!("{name} {origin:?} preflight http2"), preflight().http2());
        let asked = preflight().with("Access-Control-Request-Headers", "x-q, x-r");
        group.add(format!("{name} {origin:?} headers"), asked);
        let private = preflight().with("Access-Control-Request-Private-Network", "true");
        group.add(format!("{name} {origin:?} private"), private);
        let theirs = get("/").host(name).with("Origin", origin);
        let theirs = theirs.with("x-echo-header", "access-control-allow-origin=theirs");
        group.add(format!("{name} {origin:?} upstream's own"), theirs);
    }
    let no_origin = Request::new("OPTIONS", "/").host(name).with("Access-Control-Request-Method", "PUT");
    group.add(format!("{name} no origin"), no_origin);
    group.add(format!("{name} grpc"), call().host(name).with("origin", "https://app.example"));
    let failing = get("/").host(name).with("Origin", "https://app.example").with("x-echo-status", "503");
    group.add(format!("{name} failing"), failing);
}

pub fn policies() -> Group {
    let edited = |mut host: Value| {
        let header = json!({"header": {"key": "x-edited", "value": "%UPSTREAM_CLUSTER%"}});
        host["response_headers_to_add"] = json!([header]);
        host
    };
    let of = |name: &str, policy: Value| edited(with_own(host(name, vec![rest("a")]), NAME, POLICY, policy));
    let none = json!({"default_value": {"numerator": 0, "denominator": "HUNDRED"}});
    let levels =
        with_own(rest("a"), NAME, POLICY, json!({"allow_methods": "DELETE", "allow_credentials": false}));
    let mut moved = all(json!({"redirect": {"path_redirect": "/"}}));
    moved["typed_per_filter_config"] = json!({});
    let hosts = vec![
        of("full", full()),
        of(
            "star",
            json!({"allow_origin_string_match": [{"exact": "*"}], "allow_methods": "*", "allow_headers": "*"}),
        ),
        of("strict", but(full(), json!({"forward_not_matching_preflights": false}))),
        of("private", but(full(), json!({"allow_private_network_access": true}))),
        of("shadow", but(full(), json!({"filter_enabled": none, "shadow_enabled": always_by_default()}))),
        of("disabled", but(full(), json!({"filter_enabled": none}))),
        of("empty", json!({})),
        with_own(host("levels", vec![levels]), NAME, POLICY, full()),
        with_own(host("moved", vec![moved]), NAME, POLICY, full()),
        with_own(host("nobody", vec![rest("nobody")]), NAME, POLICY, full()),
        host("none", vec![rest("a")]),
    ];
    let names: Vec<String> = hosts.iter().filter_map(|h| Some(h["name"].as_str()?.to_owned())).collect();
    let mut group =
        Group::new("cors", table(hosts)).set("http_filters", chain(&[(NAME, "cors.v3.Cors", json!({}))]));
    for name in &names {
        requests(&mut group, name);
    }
    group
}

/// The `cors` fields of virtual hosts and route actions.
pub fn older_fields() -> Group {
    let mut of_host = host("host", vec![rest("a")]);
    of_host["cors"] = full();
    let mut off = full();
    off["filter_enabled"] = json!({"default_value": {"numerator": 0, "denominator": "HUNDRED"}});
    let route = |cors: Value| all(json!({"route": {"cluster": "a", "cors": cors}}));
    let mut both = host("both", vec![route(json!({"allow_methods": "DELETE", "allow_credentials": false}))]);
    both["cors"] = full();
    let hosts = vec![of_host, host("route", vec![route(full())]), both, host("off", vec![route(off)])];
    let mut group = Group::new("cors fields", table(hosts))
        .set("http_filters", chain(&[(NAME, "cors.v3.Cors", json!({}))]));
    for name in ["host", "route", "both", "off"] {
        requests(&mut group, name);
    }
    group
}
