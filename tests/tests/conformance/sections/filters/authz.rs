//! External authorisation: what a service may say, and what becomes of it, over gRPC and HTTP.

use serde_json::{Value, json};

use super::super::{host, table, to};
use super::{chain, with_own};
use crate::case::{Group, Request, get};

const NAME: &str = "envoy.filters.http.ext_authz";
const KIND: &str = "ext_authz.v3.ExtAuthz";

fn over_grpc() -> Value {
    json!({"grpc_service": {"envoy_grpc": {"cluster_name": "judge-grpc"}, "timeout": "30s"}})
}

fn over_http() -> Value {
    let any = json!({"patterns": [{"prefix": "x-"}]});
    let uri = json!({"uri": "http://judge.example/", "cluster": "judge", "timeout": "30s"});
    json!({
        "allowed_headers": any,
        "http_service": {
            "server_uri": uri, "path_prefix": "/check",
            "authorization_response": {
                "allowed_upstream_headers": {"patterns": [{"prefix": "x-up"}, {"exact": "x-saw"}]},
                "allowed_client_headers_on_success": {"patterns": [{"prefix": "x-ok"}]},
            },
        },
    })
}

fn routes() -> Vec<Value> {
    let per_route = "ext_authz.v3.ExtAuthzPerRoute";
    let with =
        |path: &str, settings: Value| with_own(to("a", json!({ "prefix": path })), NAME, per_route, settings);
    vec![
        with("/off", json!({"disabled": true})),
        with("/context", json!({"check_settings": {"context_extensions": {"k": "route"}}})),
        with("/unread", json!({"check_settings": {"disable_request_body_buffering": true}})),
        to("nobody", json!({"prefix": "/nobody"})),
        to("h2", json!({"prefix": "/h2"})),
        json!({"match": {"prefix": "/moved"}, "redirect": {"path_redirect": "/"}}),
        json!({"match": {"prefix": "/direct"}, "direct_response": {"status": 200, "body": {"inline_string": "hi"}}}),
        json!({"match": {"path": "/"}, "route": {"cluster": "a"}}),
        to("a", json!({"prefix": "/p"})),
    ]
}

fn verdicts() -> Vec<(&'static str, Value)> {
    vec![
        ("yes", json!({})),
        ("saw", json!({"saw": true})),
        ("set", json!({"headers": [["x-a", "new"], ["x-up", "1"]]})),
        ("append", json!({"headers": [["x-a", "new", true], ["x-up", "1", true]]})),
        ("replace", json!({"headers": [["x-a", "new", false], ["x-a", "newer", false]]})),
        (
            "remove",
            json!({"remove": ["x-a", "X-B", "host", ":path"], "headers": [["x-envoy-auth-headers-to-remove", "x-a, x-b"]]}),
        ),
        ("path", json!({"headers": [[":path", "/p/new?q=1"]]})),
        ("authority", json!({"headers": [["host", "other"]]})),
        ("query", json!({"query": [["q", "new"]]})),
        ("no query", json!({"drop_query": ["q"]})),
        (
            "response",
            json!({"response": [["x-ok", "1"], ["x-ok", "2"], ["server", "mine"]], "headers": [["x-ok", "1"]]}),
        ),
        ("response set", json!({"response": [["x-ok", "1", false], ["x-ok", "2", false]]})),
        (
            "response absent",
            json!({"response": [["x-ok", "1", null, 1], ["x-ok", "2", null, 1], ["content-type", "x", null, 1]]}),
        ),
        (
            "response present",
            json!({"response": [["x-ok", "1", null, 3], ["content-type", "text/x", null, 3]]}),
        ),
        ("no", json!({"code": 7, "status": 403})),
        (
            "unauthorized",
            json!({"code": 16, "status": 401, "headers": [["www-authenticate", "Bearer x"], ["x-no", "1"], ["x-no", "2"]], "body": "go"}),
        ),
        ("moved", json!({"code": 7, "status": 302, "headers": [["location", "/login"]]})),
        (
            "typed",
            json!({"code": 7, "status": 418, "headers": [["content-type", "application/json"]], "body": "{}"}),
        ),
        ("error", json!({"code": 13, "error": true, "status": 503})),
        (
            "text error",
            json!({"code": 13, "error": true, "status": 502, "body": "broken", "headers": [["x-no", "1"]]}),
        ),
        ("gRPC error", json!({"grpc_status": 14})),
        ("garbage", json!({"garbage": true})),
        ("metadata", json!({"metadata": {"a": {"b": [1, "c", null, true]}}})),
    ]
}

fn judged(group: &mut Group, name: &str, verdict: &Value, request: Request) {
    let judged = request.with("x-judge", &verdict.to_string()).with("x-a", "old").with("x-b", "b");
    group.add(name, judged);
}

fn group(name: &str, config: Value) -> Group {
    let mut group = Group::new(name, table(vec![host("svc", routes())]))
        .set("http_filters", chain(&[(NAME, KIND, config)]));
    for (what, verdict) in verdicts() {
        judged(&mut group, what, &verdict, get("/p?q=old&r=1"));
        judged(&mut group, &format!("{what} http2"), &verdict, get("/p?q=old&r=1").http2());
        judged(&mut group, &format!("{what} post"), &verdict, Request::new("POST", "/p").body("text"));
    }
    let grpc = |path: &str| {
        Request::new("POST", path).http2().body("\0\0\0\0\0").with("content-type", "application/grpc")
    };
    let no = json!({"code": 16, "status": 401, "headers": [["x-no", "1"]], "body": "go"});
    let saw = json!({"saw": true});
    for path in ["/off", "/context", "/unread", "/nobody", "/h2", "/moved", "/direct", "/unknown", "/"] {
        judged(&mut group, &format!("{path} yes"), &saw, get(path));
        judged(&mut group, &format!("{path} no"), &no, get(path));
        judged(&mut group, &format!("{path} body"), &saw, Request::new("POST", path).body("text"));
        judged(&mut group, &format!("{path} grpc no"), &no, grpc(path));
    }
    judged(&mut group, "head no", &no, Request::new("HEAD", "/p"));
    judged(&mut group, "options no", &no, Request::new("OPTIONS", "/p"));
    judged(
        &mut group,
        "many lines",
        &saw,
        get("/p").with("x-many", "1").with("x-many", "2").with("cookie", "a=b"),
    );
    judged(&mut group, "long", &saw, Request::new("POST", "/p").body(&"x".repeat(40)));
    group
}

pub fn groups() -> Vec<Group> {
    let with = |mut config: Value, fields: Value| {
        for (name, value) in fields.as_object().into_iter().flatten() {
            config[name] = value.clone();
        }
        config
    };
    let lenient = json!({
        "failure_mode_allow": true, "failure_mode_allow_header_add": true, "clear_route_cache": true,
        "with_request_body": {"max_request_bytes": 20, "allow_partial_message": true},
        "disallowed_headers": {"patterns": [{"exact": "x-b"}]},
    });
    let strict = json!({
        "status_on_error": {"code": "BadGateway"}, "max_denied_response_body_bytes": 1,
        "with_request_body": {"max_request_bytes": 20, "pack_as_bytes": true},
        "decoder_header_mutation_rules": {"allow_all_routing": true, "disallow_expression": {"regex": "x-up.*"}},
        "charge_cluster_response_stats": false, "include_tls_session": true, "encode_raw_headers": true,
    });
    let off = json!({"filter_enabled": {"default_value": {"numerator": 0}}, "deny_at_disable": {"default_value": true, "runtime_key": "k"}});
    vec![
        group("grpc judge", over_grpc()),
        group("grpc judge, lenient", with(over_grpc(), lenient.clone())),
        group("grpc judge, strict", with(over_grpc(), strict.clone())),
        group("http judge", over_http()),
        group("http judge, lenient", with(over_http(), lenient)),
        group("http judge, strict", with(over_http(), strict)),
        all_denied(with(over_grpc(), off)),
    ]
}

/// The filter is off, and what it would have checked is denied.
fn all_denied(config: Value) -> Group {
    let group = Group::new("judge off", table(vec![host("svc", routes())]));
    let group = group.set("http_filters", chain(&[(NAME, KIND, config)]));
    group.case("denied", get("/p")).case("not of the filter", get("/off")).case("no route", get("/unknown"))
}
