//! Path conditions: every kind with every case setting, tried with paths that are near misses of each other.

use serde_json::{Value, json};

use super::{host, rest, table, to};
use crate::case::{Group, Request, get};
use crate::world::World;

fn matchers() -> Vec<(&'static str, Value)> {
    let regex = |pattern: &str| json!({"safe_regex": {"regex": pattern}});
    vec![
        ("prefix", json!({"prefix": "/foo"})),
        ("prefix-any-case", json!({"prefix": "/foo", "case_sensitive": false})),
        ("prefix-upper-any-case", json!({"prefix": "/FOO", "case_sensitive": false})),
        ("prefix-slash", json!({"prefix": "/foo/"})),
        ("path", json!({"path": "/foo"})),
        ("path-any-case", json!({"path": "/Foo", "case_sensitive": false})),
        ("segment", json!({"path_separated_prefix": "/foo"})),
        ("segment-any-case", json!({"path_separated_prefix": "/foo", "case_sensitive": false})),
        ("regex", regex("/foo")),
        ("regex-below", regex("/foo/.*")),
        ("regex-end", regex(".*bar")),
        ("regex-class", regex("/[a-z]+")),
        ("regex-any-case", regex("(?i)/foo")),
        ("regex-alternatives", regex("/foo|/x")),
    ]
}

const PATHS: &[&str] = &[
    "/",
    "/fo",
    "/foo",
    "/foo/",
    "/foobar",
    "/foo/bar",
    "/FOO",
    "/Foo/bar",
    "/x/foo",
    "/foo?x=1",
    "/foo?/bar",
    "/foo/?a",
    "/foo%2Fbar",
    "/foo;v=1",
    "//foo",
    "/foo/../bar",
    "/foo%20bar",
];

pub fn groups(_: &World) -> Vec<Group> {
    let hosts = matchers().into_iter().map(|(name, matcher)| host(name, vec![to("a", matcher), rest("b")]));
    let mut kinds = Group::new("kinds", table(hosts.collect()));
    for (name, _) in matchers() {
        for path in PATHS {
            kinds.add(format!("{name} {path}"), get(path).host(name));
        }
    }
    vec![kinds, normalised(), odd_targets(), order(), without_parameters()]
}

/// The connection manager normalises before routes are looked up.
fn normalised() -> Group {
    let routes = vec![to("a", json!({"path": "/a/b"})), to("b", json!({"prefix": "/a/"})), rest("c")];
    let mut group = Group::new("normalised", table(vec![host("*", routes)]))
        .set("normalize_path", json!(true))
        .set("merge_slashes", json!(true));
    let paths = [
        "/a/b",
        "/a/./b",
        "/a/x/../b",
        "/a//b",
        "//a/b",
        "/../a/b",
        "/a/b/..",
        "/a/b/.",
        "/a/%62",
        "/%61/b",
        "/a\\b",
        "/a/%2e%2e/b",
        "/a%2fb",
        "/a/b?x=/../y",
        "/a/b//",
        "/a/%zz",
        "/a/b;x/../c",
        "/a/%00",
    ];
    for path in paths {
        group.add(path, get(path));
    }
    group
}

/// What follows a `;` is not compared.
fn without_parameters() -> Group {
    let hosts = matchers().into_iter().map(|(name, matcher)| host(name, vec![to("a", matcher), rest("b")]));
    let mut table = table(hosts.collect());
    table["ignore_path_parameters_in_path_matching"] = json!(true);
    let mut group = Group::new("without parameters", table);
    for (name, _) in matchers() {
        for path in ["/foo", "/foo;a=1", "/foo;a=1/bar", "/foo/bar;v?x", "/;foo", "/foo?x;y"] {
            group.add(format!("{name} {path}"), get(path).host(name));
        }
    }
    group
}

fn odd_targets() -> Group {
    let routes = vec![to("a", json!({"prefix": "/a"})), rest("b")];
    Group::new("targets", table(vec![host("svc", routes), host("other", vec![rest("c")])]))
        .case("absolute form", get("http://other/a?x"))
        .case("absolute form without path", get("http://other"))
        .case("absolute form with port", get("http://other:80/a"))
        .case("absolute https form", get("https://other/a"))
        .case("asterisk", Request::new("OPTIONS", "*"))
        .case("fragment", get("/a#b"))
        .case("fragment after query", get("/a?b#c"))
        .case("connect", Request::new("CONNECT", "svc:80").host("svc:80"))
        .case("no slash", get("a"))
        .case("head", Request::new("HEAD", "/a"))
        .case("unknown method", Request::new("BREW", "/a"))
        .case("delete with body", Request::new("DELETE", "/a").body("gone"))
        .case("long query", get(&format!("/a?{}", "x".repeat(4000))))
        .case("http2 path", get("/a?b=c").http2())
        .case("http2 post", Request::new("POST", "/a").body("text").http2())
}

/// The first fitting route takes the request, and no other virtual host is asked.
fn order() -> Group {
    let first = vec![
        to("a", json!({"prefix": "/x"})),
        to("b", json!({"prefix": "/x/y"})),
        to("c", json!({"path": "/x/y/z"})),
    ];
    Group::new("order", table(vec![host("svc", first), host("*", vec![rest("c")])]))
        .case("first wins", get("/x/y/z"))
        .case("no fall through", get("/other"))
        .case("other host", get("/other").host("elsewhere"))
}
