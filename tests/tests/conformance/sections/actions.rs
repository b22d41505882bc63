//! Redirects and direct responses.

use serde_json::{Value, json};

use super::{all, host, table};
use crate::case::{Group, Request, get, grpc};
use crate::world::World;

pub fn groups(_: &World) -> Vec<Group> {
    vec![redirects(), statuses(), direct(), tls_required()]
}

fn redirect_settings() -> Vec<(&'static str, Value)> {
    let regex = json!({"pattern": {"regex": "^/([^/]+)/(.*)$"}, "substitution": "/\\2/\\1"});
    vec![
        ("same", json!({})),
        ("https", json!({"https_redirect": true})),
        ("scheme", json!({"scheme_redirect": "HTTPS"})),
        ("scheme-other", json!({"scheme_redirect": "ftp"})),
        ("host", json!({"host_redirect": "new.test"})),
        ("host-with-port", json!({"host_redirect": "new.test:81"})),
        ("port", json!({"port_redirect": 8443})),
        ("https-port", json!({"https_redirect": true, "port_redirect": 443})),
        ("http-port", json!({"port_redirect": 80})),
        ("host-port", json!({"host_redirect": "new.test", "port_redirect": 8443})),
        ("path", json!({"path_redirect": "/new"})),
        ("path-query", json!({"path_redirect": "/new?own=1"})),
        ("path-strip", json!({"path_redirect": "/new", "strip_query": true})),
        ("path-query-strip", json!({"path_redirect": "/new?own=1", "strip_query": true})),
        ("strip", json!({"strip_query": true})),
        ("prefix", json!({"prefix_rewrite": "/new"})),
        ("prefix-strip", json!({"prefix_rewrite": "/new/", "strip_query": true})),
        ("regex", json!({"regex_rewrite": regex})),
        ("format", json!({"path_rewrite": "/to/%REQ(x-part)%"})),
        (
            "all",
            json!({"https_redirect": true, "host_redirect": "n.test", "port_redirect": 1, "path_redirect": "/p"}),
        ),
    ]
}

fn redirects() -> Group {
    let of = |(name, redirect): (&str, Value)| {
        let domains = [name, &format!("{name}:80"), &format!("{name}:443"), &format!("{name}:8080")];
        json!({"name": name, "domains": domains, "routes": [{"match": {"prefix": "/foo"}, "redirect": redirect}]})
    };
    let mut group = Group::new("redirects", table(redirect_settings().into_iter().map(of).collect()));
    for (name, _) in redirect_settings() {
        group.add(format!("{name} plain"), get("/foo/bar").host(name).with("x-part", "part"));
        group.add(format!("{name} query"), get("/foo/bar?q=1").host(name));
        group.add(format!("{name} port 80"), get("/foo").host(&format!("{name}:80")));
        group.add(format!("{name} port 443"), get("/foo").host(&format!("{name}:443")));
        group.add(format!("{name} port 8080"), get("/foo?").host(&format!("{name}:8080")));
        group.add(
            format!("{name} forwarded https"),
            get("/foo").host(&format!("{name}:443")).with("x-forwarded-proto", "https"),
        );
    }
    group
}

fn statuses() -> Group {
    let codes = ["MOVED_PERMANENTLY", "FOUND", "SEE_OTHER", "TEMPORARY_REDIRECT", "PERMANENT_REDIRECT"];
    let of = |(index, code): (usize, &&str)| {
        host(
            &format!("s{index}"),
            vec![all(json!({"redirect": {"response_code": code, "path_redirect": "/x"}}))],
        )
    };
    let mut group = Group::new("statuses", table(codes.iter().enumerate().map(of).collect()));
    for index in 0..codes.len() {
        let host = format!("s{index}");
        group.add(format!("{host} get"), get("/").host(&host));
        group.add(format!("{host} post"), Request::new("POST", "/").host(&host).body("text"));
        group.add(format!("{host} http2"), get("/").host(&host).http2());
        group.add(format!("{host} grpc"), grpc("/s/M").host(&host));
    }
    group
}

fn direct_settings() -> Vec<(&'static str, Value)> {
    let text = |text: &str| json!({ "inline_string": text });
    vec![
        ("ok", json!({"status": 200, "body": text("hello")})),
        ("no-body", json!({"status": 200})),
        ("empty-body", json!({"status": 200, "body": text("")})),
        ("created", json!({"status": 201, "body": text("made")})),
        ("no-content", json!({"status": 204})),
        ("moved", json!({"status": 301, "body": text("there")})),
        ("not-modified", json!({"status": 304})),
        ("unauthorised", json!({"status": 401, "body": text("who")})),
        ("forbidden", json!({"status": 403})),
        ("not-found", json!({"status": 404, "body": text("nothing here")})),
        ("busy", json!({"status": 429})),
        ("odd", json!({"status": 599, "body": text("odd")})),
        ("bytes", json!({"status": 200, "body": {"inline_bytes": "aGk="}})),
        (
            "formatted",
            json!({"status": 200, "body": text("given"), "body_format": {
                "text_format_source": {"inline_string": "%LOCAL_REPLY_BODY% to %REQ(:authority)%, %RESPONSE_CODE%"},
            }}),
        ),
        (
            "formatted-json",
            json!({"status": 200, "body": text("given"), "body_format": {
                "json_format": {"body": "%LOCAL_REPLY_BODY%", "code": "%RESPONSE_CODE%"},
            }}),
        ),
        (
            "formatted-type",
            json!({"status": 200, "body_format": {
                "text_format_source": {"inline_string": "<p>%PROTOCOL%</p>"}, "content_type": "text/html",
            }}),
        ),
    ]
}

fn direct() -> Group {
    let of = |(name, direct): (&str, Value)| {
        let mut route = all(json!({ "direct_response": direct }));
        route["response_headers_to_add"] =
            json!([{"header": {"key": "x-added", "value": "%RESPONSE_CODE%"}}]);
        route["response_headers_to_remove"] = json!(["server"]);
        host(name, vec![route])
    };
    let mut group = Group::new("direct", table(direct_settings().into_iter().map(of).collect()));
    for (name, _) in direct_settings() {
        group.add(format!("{name} get"), get("/").host(name));
        group.add(format!("{name} http2"), get("/").host(name).http2());
        group.add(format!("{name} grpc"), grpc("/s.S/M").host(name));
        group.add(format!("{name} post"), Request::new("POST", "/").host(name).body("text"));
    }
    for name in ["ok", "no-body", "moved"] {
        group.add(format!("{name} head"), Request::new("HEAD", "/").host(name));
    }
    group
}

fn tls_required() -> Group {
    let requiring = |name: &str, level: &str| {
        let mut host = host(name, vec![all(json!({"route": {"cluster": "a"}}))]);
        host["require_tls"] = json!(level);
        host
    };
    let hosts =
        vec![requiring("every", "ALL"), requiring("outside", "EXTERNAL_ONLY"), requiring("no", "NONE")];
    let mut group = Group::new("tls required", table(hosts));
    for name in ["every", "outside", "no"] {
        group.add(format!("{name} plain"), get("/a?b").host(name));
        group.add(format!("{name} forwarded"), get("/a").host(name).with("x-forwarded-proto", "https"));
        group.add(format!("{name} internal"), get("/a").host(name).with("x-forwarded-for", "10.0.0.1"));
        group.add(format!("{name} post"), Request::new("POST", "/a").host(name).body("text"));
    }
    group
}
