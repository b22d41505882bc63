//! Path and host rewrites.

use serde_json::{Value, json};

use super::{host, table};
use crate::case::{Group, get};
use crate::world::World;

pub fn groups(_: &World) -> Vec<Group> {
    vec![paths(), hosts(), both()]
}

fn rewriting(name: &str, matcher: Value, action: Value) -> Value {
    let mut action = action;
    action["cluster"] = json!("a");
    host(name, vec![json!({"match": matcher, "route": action})])
}

fn regex(pattern: &str, substitution: &str) -> Value {
    json!({"regex_rewrite": {"pattern": {"regex": pattern}, "substitution": substitution}})
}

fn path_settings() -> Vec<(&'static str, Value, Value)> {
    let prefix = |text: &str| json!({ "prefix_rewrite": text });
    let prefix_foo = json!({"prefix": "/foo"});
    let any_case = json!({"prefix": "/foo", "case_sensitive": false});
    let whole = json!({"safe_regex": {"regex": "(?i)/foo.*"}});
    let all = json!({"prefix": "/"});
    vec![
        ("to-root", prefix_foo.clone(), prefix("/")),
        ("to-longer", prefix_foo.clone(), prefix("/new/place")),
        ("with-slash", json!({"prefix": "/foo/"}), prefix("/new/")),
        ("any-case", any_case, prefix("/new")),
        ("exact", json!({"path": "/foo"}), prefix("/new")),
        ("segment", json!({"path_separated_prefix": "/foo"}), prefix("/new")),
        ("segment-to-root", json!({"path_separated_prefix": "/foo"}), prefix("/")),
        ("of-regex", whole, prefix("/new")),
        ("replace-all", all.clone(), regex("o", "0")),
        ("groups", all.clone(), regex("^/([^/]+)/(.*)$", "/\\2/\\1")),
        ("whole-group", all.clone(), regex("bar", "<\\0>")),
        ("empty-match", all.clone(), regex("x*", "-")),
        ("to-nothing", all.clone(), regex("/foo", "")),
        ("no-match", all.clone(), regex("nothing", "something")),
        ("dollar", all.clone(), regex("bar", "$1")),
        ("format", all.clone(), json!({"path_rewrite": "/to/%REQ(x-part)%"})),
        ("format-query", all.clone(), json!({"path_rewrite": "/to?part=%REQ(x-part)%"})),
        ("format-empty", all, json!({"path_rewrite": "%REQ(x-none)%"})),
    ]
}

fn paths() -> Group {
    let hosts = path_settings().into_iter().map(|(name, matcher, action)| rewriting(name, matcher, action));
    let mut group = Group::new("paths", table(hosts.collect()));
    for (name, ..) in path_settings() {
        for path in ["/foo", "/foo/", "/foo/bar", "/foobar?q=/foo", "/FOO/x", "/foo?"] {
            group.add(format!("{name} {path}"), get(path).host(name).with("x-part", "part"));
        }
    }
    group
}

fn host_settings() -> Vec<(&'static str, Value)> {
    let path_regex = json!({"host_rewrite_path_regex": {
        "pattern": {"regex": "^/([^/?]+).*$"}, "substitution": "\\1.test",
    }});
    vec![
        ("literal", json!({"host_rewrite_literal": "new.test"})),
        ("literal-forwarded", json!({"host_rewrite_literal": "new.test", "append_x_forwarded_host": true})),
        ("header", json!({"host_rewrite_header": "X-New-Host"})),
        ("header-forwarded", json!({"host_rewrite_header": "x-new-host", "append_x_forwarded_host": true})),
        ("path-regex", path_regex),
        ("auto", json!({"auto_host_rewrite": true})),
        ("auto-off", json!({"auto_host_rewrite": false})),
        ("format", json!({"host_rewrite": "%REQ(x-new-host)%.suffix"})),
        ("format-empty", json!({"host_rewrite": "%REQ(x-none)%"})),
        ("none", json!({})),
    ]
}

fn hosts() -> Group {
    let all = json!({"prefix": "/"});
    let hosts = host_settings().into_iter().map(|(name, action)| rewriting(name, all.clone(), action));
    let mut group = Group::new("hosts", table(hosts.collect()));
    for (name, _) in host_settings() {
        let plain = get("/first/second?q=1").host(name);
        group.add(format!("{name} with header"), plain.clone().with("x-new-host", "told.test"));
        group.add(format!("{name} without header"), plain.clone());
        group.add(format!("{name} empty header"), plain.clone().with("x-new-host", ""));
        group.add(format!("{name} forwarded before"), plain.clone().with("x-forwarded-host", "earlier.test"));
        group.add(format!("{name} http2"), plain.with("x-new-host", "told.test").http2());
    }
    group
}

/// What is edited first is what rewrites read, and what the client sent as originals is kept or not.
fn both() -> Group {
    let added = json!({
        "match": {"prefix": "/foo"},
        "route": {"cluster": "a", "prefix_rewrite": "/new", "host_rewrite_header": "x-added"},
        "request_headers_to_add": [
            {"header": {"key": "x-added", "value": "added.test"}},
            {"header": {"key": "x-path-then", "value": "%REQ(:path)%"}},
            {"header": {"key": "x-host-then", "value": "%REQ(:authority)%"}},
        ],
    });
    Group::new("together", table(vec![host("svc", vec![added])])).case("plain", get("/foo/bar")).case(
        "originals sent",
        get("/foo").with("x-envoy-original-path", "/x").with("x-envoy-original-host", "y"),
    )
}
