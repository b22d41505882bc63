//! Which virtual host takes a request.

use serde_json::{Value, json};

use super::{rest, table};
use crate::case::{Group, get};
use crate::world::World;

fn named(name: &str, domains: &[&str]) -> Value {
    let mut route = rest("a");
    route["name"] = json!(name);
    json!({"name": name, "domains": domains, "routes": [route]})
}

const HOSTS: &[&str] = &[
    "exact.test",
    "EXACT.test",
    "exact.test:80",
    "exact.test:8080",
    "sub.exact.test",
    "deep.sub.wild.test",
    "a.wild.test",
    "wild.test",
    ".wild.test",
    "x-wild.test",
    "long.a.wild.test",
    "prefix.one",
    "prefix.",
    "prefix",
    "prefix.one:99",
    "prefix-a.b",
    "10.0.0.1",
    "10.0.0.1:80",
    "[::1]",
    "[::1]:80",
    "exact.test.",
    "other",
    "mixed.Case.Test",
];

pub fn groups(_: &World) -> Vec<Group> {
    vec![
        group("search", everything()),
        group("ignoring ports", {
            let mut table = everything();
            table["ignore_port_in_host_matching"] = json!(true);
            table
        }),
        group("no catch-all", table(vec![named("exact", &["exact.test"]), named("wild", &["*.wild.test"])])),
        group("only catch-all", table(vec![named("any", &["*"])])),
        stripped("strip_any_host_port"),
        stripped("strip_matching_host_port"),
        stripped("strip_trailing_host_dot"),
        by_other_header(),
    ]
}

fn everything() -> Value {
    table(vec![
        named("any", &["*"]),
        named("prefix", &["prefix.*", "prefix-*"]),
        named("suffix", &["*.wild.test", "*-wild.test"]),
        named("longer suffix", &["*.a.wild.test"]),
        named("exact", &["exact.test", "10.0.0.1", "[::1]"]),
        named("exact with port", &["exact.test:8080"]),
        named("mixed", &["Mixed.case.TEST"]),
    ])
}

fn group(name: &str, table: Value) -> Group {
    let mut group = Group::new(name, table);
    for host in HOSTS {
        group.add(*host, get("/").host(host));
    }
    group.add("none", get("/").host(""));
    group.case("over http2", get("/").host("exact.test").http2())
}

fn stripped(setting: &str) -> Group {
    let mut group = Group::new(setting, everything()).set(setting, json!(true));
    for host in ["exact.test:80", "exact.test:8080", "[::1]:80", "exact.test.", "exact.test.:80"] {
        group.add(host, get("/").host(host));
    }
    group
}

/// The host to look for may come in another header.
fn by_other_header() -> Group {
    let mut table = everything();
    table["vhost_header"] = json!("x-host");
    Group::new("other header", table)
        .case("named", get("/").with("x-host", "exact.test"))
        .case("upper case", get("/").with("x-host", "EXACT.TEST"))
        .case("missing", get("/").host("exact.test"))
        .case("twice", get("/").with("x-host", "exact.test").with("x-host", "other"))
        .case("empty", get("/").with("x-host", ""))
        .case("unknown", get("/").with("x-host", "unknown"))
}
