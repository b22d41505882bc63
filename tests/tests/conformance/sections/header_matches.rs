//! Header conditions: every kind, inverted or not, missing as empty or not, with every value that tells them apart.

use serde_json::{Value, json};

use super::{host, rest, table, to};
use crate::case::{Group, Request, get, grpc};
use crate::world::World;

fn kinds() -> Vec<(&'static str, Value)> {
    let string = |matcher: Value| json!({ "string_match": matcher });
    vec![
        ("any", json!({})),
        ("present", json!({"present_match": true})),
        ("absent", json!({"present_match": false})),
        ("exact", string(json!({"exact": "abc"}))),
        ("exact-any-case", string(json!({"exact": "ABC", "ignore_case": true}))),
        ("exact-empty", string(json!({"exact": ""}))),
        ("prefix", string(json!({"prefix": "ab"}))),
        ("suffix", string(json!({"suffix": "bc"}))),
        ("suffix-any-case", string(json!({"suffix": "Bc", "ignore_case": true}))),
        ("contains", string(json!({"contains": "b"}))),
        ("regex", string(json!({"safe_regex": {"regex": "a.c|"}}))),
        ("range", json!({"range_match": {"start": -5, "end": 10}})),
    ]
}

fn deprecated() -> Vec<(&'static str, Value)> {
    vec![
        ("old-exact", json!({"exact_match": "abc"})),
        ("old-regex", json!({"safe_regex_match": {"regex": "a.*"}})),
        ("old-prefix", json!({"prefix_match": "ab"})),
        ("old-suffix", json!({"suffix_match": "bc"})),
        ("old-contains", json!({"contains_match": "b"})),
    ]
}

/// How many of [`VALUES`] are texts; the rest are numbers.
const TEXTS: usize = 10;

/// Name and value lines.
const VALUES: &[(&str, &[&str])] = &[
    ("missing", &[]),
    ("empty", &[""]),
    ("equal", &["abc"]),
    ("upper", &["ABC"]),
    ("longer", &["xabcx"]),
    ("twice", &["abc", "abc"]),
    ("first of two", &["abc", "x"]),
    ("second of two", &["x", "abc"]),
    ("parts", &["a", "c"]),
    ("two empty", &["", ""]),
    ("minus five", &["-5"]),
    ("nine", &["9"]),
    ("ten", &["10"]),
    ("padded", &["007"]),
    ("plus", &["+7"]),
];

pub fn groups(_: &World) -> Vec<Group> {
    vec![products(), old_forms(), numbers(), special_names(), cookies(), grpc_only(), shares()]
}

fn conditioned(name: &str, mut matcher: Value) -> Value {
    matcher["name"] = json!("x-test");
    host(name, vec![to("a", json!({"prefix": "/", "headers": [matcher]})), rest("b")])
}

fn with_lines(mut request: Request, name: &str, lines: &[&str]) -> Request {
    for line in lines {
        request = request.with(name, line);
    }
    request
}

fn products() -> Group {
    let (mut hosts, mut cases) = (Vec::new(), Vec::new());
    for (kind, matcher) in kinds() {
        for (invert, missing) in [(false, false), (true, false), (false, true), (true, true)] {
            let mut matcher = matcher.clone();
            matcher["invert_match"] = json!(invert);
            matcher["treat_missing_header_as_empty"] = json!(missing);
            let name =
                format!("{kind}{}{}", if invert { "-not" } else { "" }, if missing { "-filled" } else { "" });
            hosts.push(conditioned(&name, matcher));
            for (value, lines) in &VALUES[..TEXTS] {
                cases.push((format!("{name} {value}"), with_lines(get("/").host(&name), "X-Test", lines)));
            }
        }
    }
    let mut group = Group::new("products", table(hosts));
    cases.into_iter().for_each(|(name, request)| group.add(name, request));
    group
}

fn old_forms() -> Group {
    let hosts = deprecated().into_iter().map(|(name, matcher)| conditioned(name, matcher)).collect();
    let mut group = Group::new("old", table(hosts));
    for (name, _) in deprecated() {
        for (value, lines) in &VALUES[..TEXTS] {
            group.add(format!("{name} {value}"), with_lines(get("/").host(name), "x-test", lines));
        }
    }
    group
}

fn numbers() -> Group {
    let range = |start: i64, end: i64| json!({"range_match": {"start": start, "end": end}});
    let mut inverted = range(-5, 10);
    inverted["invert_match"] = json!(true);
    let hosts = vec![conditioned("in", range(-5, 10)), conditioned("out", inverted)];
    let mut group = Group::new("numbers", table(hosts));
    let more: &[(&str, &[&str])] = &[
        ("huge", &["99999999999999999999"]),
        ("fraction", &["1.0"]),
        ("hex", &["0x1"]),
        ("inner space", &["1 2"]),
        ("first of two", &["1", "99"]),
        ("second of two", &["99", "1"]),
        ("minus zero", &["-0"]),
    ];
    for domain in ["in", "out"] {
        for (value, lines) in VALUES[TEXTS..].iter().chain(more) {
            group.add(format!("{domain} {value}"), with_lines(get("/").host(domain), "x-test", lines));
        }
    }
    group
}

/// Pseudo-headers, and headers that the connection manager treats in a way of its own.
fn special_names() -> Group {
    let one = |domain: &str, name: &str, value: &str| {
        let matcher = json!({"name": name, "string_match": {"exact": value}});
        host(domain, vec![to("a", json!({"prefix": "/", "headers": [matcher]})), rest("b")])
    };
    let two = json!([
        {"name": "x-one", "string_match": {"exact": "1"}},
        {"name": "x-two", "string_match": {"exact": "2"}},
    ]);
    let hosts = vec![
        one("method", ":method", "PUT"),
        one("path", ":path", "/p?q=1"),
        one("authority", ":authority", "authority"),
        one("host", "host", "host"),
        one("scheme", ":scheme", "http"),
        one("scheme-s", ":scheme", "https"),
        one("cookie", "cookie", "a=1; b=2"),
        one("proto", "x-forwarded-proto", "http"),
        one("connection", "connection", "keep-alive"),
        one("te", "te", "trailers"),
        one("internal", "x-envoy-internal", "true"),
        host("both", vec![to("a", json!({"prefix": "/", "headers": two})), rest("b")]),
    ];
    Group::new("names", table(hosts))
        .case("method fits", Request::new("PUT", "/").host("method"))
        .case("method differs", get("/").host("method"))
        .case("path fits", get("/p?q=1").host("path"))
        .case("path differs", get("/p").host("path"))
        .case("authority fits", get("/").host("authority"))
        .case("host fits", get("/").host("host"))
        .case("scheme", get("/").host("scheme"))
        .case("scheme https", get("/").host("scheme-s"))
        .case("scheme by forwarded proto", get("/").host("scheme-s").with("X-Forwarded-Proto", "https"))
        .case("scheme http2", get("/").host("scheme").http2())
        .case("two cookies", get("/").host("cookie").with("Cookie", "a=1").with("Cookie", "b=2"))
        .case("forwarded proto is set", get("/").host("proto"))
        .case("connection is gone", get("/").host("connection").with("Connection", "keep-alive"))
        .case("te", get("/").host("te").with("TE", "trailers"))
        .case("te reduced", get("/").host("te").with("TE", "gzip, trailers;q=0.5"))
        .case("internal is not believed", get("/").host("internal").with("x-envoy-internal", "true"))
        .case("both", get("/").host("both").with("x-one", "1").with("x-two", "2"))
        .case("one of both", get("/").host("both").with("x-one", "1").with("x-two", "1"))
}

fn cookies() -> Group {
    let string = |matcher: Value, invert: bool| json!([{"name": "c", "string_match": matcher, "invert_match": invert}]);
    let kinds = [
        ("exact", string(json!({"exact": "v"}), false)),
        ("exact-not", string(json!({"exact": "v"}), true)),
        ("prefix", string(json!({"prefix": "v"}), false)),
        ("any-case", string(json!({"exact": "V", "ignore_case": true}), false)),
        ("empty", string(json!({"exact": ""}), false)),
        ("regex", string(json!({"safe_regex": {"regex": "v.*"}}), false)),
    ];
    let of = |(name, matchers): &(&str, Value)| {
        host(name, vec![to("a", json!({"prefix": "/", "cookies": matchers})), rest("b")])
    };
    let mut group = Group::new("cookies", table(kinds.iter().map(of).collect()));
    let lines: &[(&str, &[&str])] = &[
        ("none", &[]),
        ("alone", &["c=v"]),
        ("other value", &["c=w"]),
        ("other name", &["C=v"]),
        ("among others", &["a=1; c=v; b=2"]),
        ("without space", &["a=1;c=v"]),
        ("twice", &["c=w; c=v"]),
        ("second line", &["a=1", "c=v"]),
        ("quoted", &["c=\"v\""]),
        ("no value", &["c="]),
        ("no equals", &["c"]),
        ("equals within", &["c=v=w"]),
        ("longer", &["c=value"]),
    ];
    for (kind, _) in &kinds {
        for (name, lines) in lines {
            group.add(format!("{kind} {name}"), with_lines(get("/").host(kind), "cookie", lines));
        }
    }
    group
}

fn grpc_only() -> Group {
    let hosts = vec![host("svc", vec![to("a", json!({"prefix": "/", "grpc": {}})), rest("b")])];
    let typed = |content: &str| Request::new("POST", "/s.S/M").with("content-type", content);
    Group::new("grpc", table(hosts))
        .case("call", grpc("/s.S/M"))
        .case("plain", get("/s.S/M"))
        .case("over http1", typed("application/grpc"))
        .case("proto", typed("application/grpc+proto"))
        .case("web", typed("application/grpc-web"))
        .case("parameters", typed("application/grpc;charset=utf-8"))
        .case("upper case", typed("Application/gRPC"))
        .case("prefix only", typed("application/grpcish"))
}

/// Shares of nothing and of everything decide without chance.
fn shares() -> Group {
    let share = |numerator: u32, denominator: &str| {
        json!({"prefix": "/", "runtime_fraction": {
            "default_value": {"numerator": numerator, "denominator": denominator},
            "runtime_key": "no.such.key",
        }})
    };
    let settings = [
        ("none", share(0, "HUNDRED")),
        ("all", share(100, "HUNDRED")),
        ("all-ten-thousand", share(10_000, "TEN_THOUSAND")),
        ("all-million", share(1_000_000, "MILLION")),
        ("none-million", share(0, "MILLION")),
    ];
    let hosts = settings.iter().map(|(name, share)| host(name, vec![to("a", share.clone()), rest("b")]));
    let mut group = Group::new("shares", table(hosts.collect()));
    for (name, _) in &settings {
        group.add(*name, get("/").host(name));
    }
    group
}
