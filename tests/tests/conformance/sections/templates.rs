//! Path templates: which paths they match, and the paths that are written from what they matched.

use serde_json::{Value, json};

use super::{host, rest, table};
use crate::case::{Group, Request, get};
use crate::world::World;

pub fn groups(_: &World) -> Vec<Group> {
    vec![matches(), rewrites()]
}

fn template(text: &str) -> Value {
    json!({"path_match_policy": {
        "name": "envoy.path.match.uri_template.uri_template_matcher",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig",
            "path_template": text,
        },
    }})
}

fn rewritten(text: &str) -> Value {
    json!({
        "name": "envoy.path.rewrite.uri_template.uri_template_rewriter",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig",
            "path_template_rewrite": text,
        },
    })
}

fn route(matcher: Value, action: Value) -> Value {
    json!({"name": "template", "match": matcher, "route": action})
}

fn matches() -> Group {
    let templates = [
        ("literal", "/api/v1/users"),
        ("star", "/api/*/users"),
        ("last-star", "/api/*"),
        ("rest", "/api/**"),
        ("variable", "/api/{version}/{what}"),
        ("pattern", "/{x=api/*}/users"),
        ("rest-variable", "/api/{rest=**}"),
        ("suffix", "/api/{file=**}.ts"),
        ("star-suffix", "/api/*.ts"),
        ("trailing-slash", "/api/"),
        ("root", "/"),
        ("odd-literals", "/a.b/c+d/(e)/$f"),
    ];
    let of = |name: &str, matcher| host(name, vec![route(matcher, json!({"cluster": "a"})), rest("b")]);
    let mut hosts: Vec<Value> = templates.iter().map(|(name, text)| of(name, template(text))).collect();
    // With what else a route may ask.
    let mut asking = template("/api/{x}");
    asking["headers"] = json!([{"name": "x-want", "present_match": true}]);
    asking["case_sensitive"] = json!(false);
    hosts.push(of("more", asking));
    let mut group = Group::new("matches", table(hosts));
    for (name, _) in &templates {
        for path in [
            "/",
            "/api",
            "/api/",
            "/api/v1",
            "/API/v1",
            "/api/v1/",
            "/api/v1/users",
            "/api/v1/users/",
            "/api/v1/users/7",
            "/api//users",
            "/api/a.ts",
            "/api/a/b.ts",
            "/api/.ts",
            "/api/a.tsx",
            "/api/v1?x=/users",
            "/api/v=1/users",
            "/api/v%2f1/users",
            "/api/v:@!$&'()+,;~-_./users",
            "/api/v*1/users",
            "/api/v\"1/users",
            "/api/{version}/users",
            "/a.b/c+d/(e)/$f",
            "/axb/c+d/(e)/$f",
        ] {
            group.add(format!("{name} {path}"), get(path).host(name));
        }
        group.add(
            format!("{name} post http2"),
            Request::new("POST", "/api/v1/users").host(name).body("x").http2(),
        );
    }
    group
        .case("more without header", get("/api/x").host("more"))
        .case("more with header", get("/api/x").host("more").with("x-want", "1"))
        .case("more in upper case", get("/API/x").host("more").with("x-want", "1"))
}

fn rewrites() -> Group {
    let pairs = [
        ("swap", "/{a}/{b}", "/{b}/{a}"),
        ("drop", "/{a}/{b}", "/{b}"),
        ("literal", "/{a}/{b}", "/fixed"),
        ("glue", "/{a}/{b}", "/{a}-{b}.x"),
        ("twice", "/{a}/{b}", "/{a}/{a}"),
        ("rest", "/{a}/{rest=**}", "/{rest}"),
        ("dollar", "/{a}/{b}", "/$1/{a}"),
        ("pattern", "/{x=one/*}", "/{x}/x"),
    ];
    let hosts = pairs.iter().map(|(name, text, to)| {
        let action = json!({"cluster": "a", "path_rewrite_policy": rewritten(to)});
        host(name, vec![route(template(text), action), rest("b")])
    });
    let mut group = Group::new("rewrites", table(hosts.collect()));
    for (name, ..) in &pairs {
        for path in ["/one/two", "/one/two?q=1&r=/x", "/one/two/three", "/one", "/%31/a%2fb"] {
            group.add(format!("{name} {path}"), get(path).host(name));
        }
        group.add(format!("{name} http2"), get("/one/two?q").host(name).http2());
    }
    group
}
