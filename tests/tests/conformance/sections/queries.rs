//! Query conditions.

use serde_json::{Value, json};

use super::{host, rest, table, to};
use crate::case::{Group, get};
use crate::world::World;

fn matchers() -> Vec<(&'static str, Value)> {
    let string = |matcher: Value| json!({"name": "q", "string_match": matcher});
    vec![
        ("any", json!([{"name": "q"}])),
        ("present", json!([{"name": "q", "present_match": true}])),
        ("absent", json!([{"name": "q", "present_match": false}])),
        ("exact", json!([string(json!({"exact": "v"}))])),
        ("any-case", json!([string(json!({"exact": "V", "ignore_case": true}))])),
        ("prefix", json!([string(json!({"prefix": "v"}))])),
        ("suffix", json!([string(json!({"suffix": "v"}))])),
        ("contains", json!([string(json!({"contains": "v"}))])),
        ("regex", json!([string(json!({"safe_regex": {"regex": "[v ]+"}}))])),
        ("two", json!([{"name": "q"}, {"name": "r", "string_match": {"exact": "1"}}])),
    ]
}

const TARGETS: &[&str] = &[
    "/",
    "/?",
    "/?q",
    "/?q=",
    "/?q=v",
    "/?q=V",
    "/?q=w&q=v",
    "/?q=v&q=w",
    "/?x=1&q=v&r=1",
    "/?Q=v",
    "/?q=%76",
    "/?q=v%20v",
    "/?q=v+v",
    "/?q==v",
    "/?&q=v",
    "/?q=v;r=1",
    "/?r=1&q",
    "/?qq=v",
    "/?a=?q=v",
];

pub fn groups(_: &World) -> Vec<Group> {
    let of = |(name, matchers): (&str, Value)| {
        host(name, vec![to("a", json!({"prefix": "/", "query_parameters": matchers})), rest("b")])
    };
    let mut group = Group::new("kinds", table(matchers().into_iter().map(of).collect()));
    for (name, _) in matchers() {
        for target in TARGETS {
            group.add(format!("{name} {target}"), get(target).host(name));
        }
    }
    vec![group]
}
