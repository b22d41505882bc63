//! Every field of App Mesh that routing and resilience need is carried into the configuration of proxies: one value of
//! a template after the other is changed, and each change must show in what some proxy receives. The same mesh in the
//! notation of the API gives the same configuration.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod served;

use std::path::Path;

use outrigger::cli::show::to_json;
use outrigger::graph::Graph;
use outrigger::source::files::SourceFile;
use outrigger::source::{LoadOptions, load};
use outrigger::translate::{TranslateOptions, translate};
use serde_json::{Map, Value, json};

const NODES: [&str; 6] = ["caller", "web", "stream", "rpc", "db", "edge"];

/// Names that tie resources together, and what decides on the shape of a resource rather than on a value in it.
const TIES: &[&str] = &[
    "MeshName",
    "VirtualNodeName",
    "VirtualServiceName",
    "VirtualRouterName",
    "VirtualGatewayName",
    "VirtualNode",
    "RouteName",
    "GatewayRouteName",
    "Protocol",
    "Type",
];

/// Fields whose value changes nothing that a proxy does, each with the reason.
const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("Web/Listeners/0/HealthCheck/Port", "must be the listener's, which it is without"),
    ("Everything/HttpRoute/RetryPolicy/HttpRetryEvents/1", "server-error says it too"),
    ("Streams/Priority", "the only route of its router"),
    ("Calls/Priority", "the only route of its router"),
    ("Bytes/Priority", "the only route of its router"),
    ("Bytes/TcpRoute/Match/Port", "the only listener of its router"),
    ("Bytes/TcpRoute/Action/WeightedTargets/0/Weight", "the only target"),
    ("EdgeCalls/Priority", "the only route of its listener"),
];

fn template() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fields/mesh.yaml");
    yaml_serde::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// What every proxy receives. `Err`: the definitions are refused.
fn configurations(definitions: &Value) -> Result<Vec<Value>, String> {
    let file = SourceFile { name: "mesh.json".into(), text: definitions.to_string(), named: true };
    let loaded = load(&[file], &LoadOptions::default());
    let mut report = loaded.report;
    let graph = Graph::build(loaded.definitions, &loaded.sidecars, &mut report);
    if report.has_errors() {
        return Err(format!("{:?}", report.sorted()));
    }
    let mut all = Vec::new();
    for node in NODES {
        let proxy = graph.resolve(node).unwrap();
        match translate(&graph, &proxy, &TranslateOptions::default(), &mut report) {
            Some(resources) => all.push(to_json(&resources)),
            None => return Err(format!("{node}: {:?}", report.sorted())),
        }
    }
    Ok(all)
}

/// The values inside `value`, as JSON pointers.
fn leaves(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            let free = map.iter().filter(|(key, _)| !TIES.contains(&key.as_str()));
            free.for_each(|(key, value)| leaves(value, &format!("{at}/{key}"), found));
        }
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(i, value)| leaves(value, &format!("{at}/{i}"), found));
        }
        _ => found.push(at.to_owned()),
    }
}

/// Other values for a field.
fn others(field: &str, value: &Value) -> Vec<Value> {
    let flipped = |one: &str, other: &str| vec![json!(if *value == json!(one) { other } else { one })];
    match (field, value) {
        // Only the order counts.
        ("Priority", _) => vec![json!(0), json!(1000)],
        ("Method", _) => flipped("GET", "POST"),
        ("Scheme", _) => flipped("http", "https"),
        ("Unit", _) => flipped("s", "ms"),
        ("ResponseType", _) => flipped("LOADBALANCER", "ENDPOINTS"),
        ("IpPreference", _) => flipped("IPv4_ONLY", "IPv6_ONLY"),
        ("DefaultTargetHostname" | "DefaultPrefix", _) => flipped("ENABLED", "DISABLED"),
        (_, Value::Bool(flag)) => vec![json!(!flag)],
        // Above a bound, or no port of a listener, in one of the two.
        (_, Value::Number(number)) => {
            let number = number.as_u64().unwrap();
            vec![json!(number + 1), json!(number - 1)]
        }
        (_, Value::String(text)) if text.ends_with('/') => vec![json!("/changed/")],
        (_, Value::String(text)) => vec![json!(format!("{text}x"))],
        other => panic!("{other:?}"),
    }
}

/// Variants of the template that differ in one place: another value, or none.
fn variants(template: &Value, place: &str) -> Vec<Value> {
    let (parent, last) = place.rsplit_once('/').unwrap();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut changed = template.clone();
        change(changed.pointer_mut(parent).unwrap());
        changed
    };
    let without = || {
        with(&|parent| match parent {
            Value::Object(map) => drop(map.shift_remove(last)),
            Value::Array(list) => drop(list.remove(last.parse().unwrap())),
            _ => {}
        })
    };
    // The members of lists are events: one of a fixed set.
    if last.parse::<usize>().is_ok() {
        return vec![without()];
    }
    let value = template.pointer(place).unwrap();
    let changed = others(last, value).into_iter().map(|other| with(&|parent| parent[last] = other.clone()));
    changed.chain([without()]).collect()
}

#[test]
fn every_field_shows_in_what_proxies_receive() {
    let template = template();
    let before = configurations(&template).unwrap();
    let mut places = Vec::new();
    for (name, resource) in template["Resources"].as_object().unwrap() {
        let at = format!("/Resources/{name}/Properties/Spec");
        leaves(&resource["Properties"]["Spec"], &at, &mut places);
    }
    assert!(places.len() > 150, "{} fields", places.len());
    let mut silent = Vec::new();
    for place in &places {
        let mut tied = place.contains("/PortMapping/");
        let mut shows = |variant: &Value| match configurations(variant) {
            Ok(after) => {
                tied = false;
                after != before
            }
            Err(_) => false,
        };
        if !variants(&template, place).iter().any(&mut shows) && !tied {
            silent.push(place.trim_start_matches("/Resources/").replace("/Properties/Spec", ""));
        }
    }
    let expected: Vec<&str> = WITHOUT_EFFECT.iter().map(|(place, _)| *place).collect();
    assert_eq!(silent, expected);
}

/// The name of a field in the API: `HTTP2` is `http2`, `HttpRoute` is `httpRoute`.
fn in_the_api(name: &str) -> String {
    if !name.chars().any(char::is_lowercase) {
        return name.to_lowercase();
    }
    let (first, rest) = name.split_at(1);
    format!("{}{rest}", first.to_lowercase())
}

fn renamed(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let fields = map.iter().map(|(name, value)| (in_the_api(name), renamed(value)));
            Value::Object(fields.collect::<Map<_, _>>())
        }
        Value::Array(list) => list.iter().map(renamed).collect(),
        other => other.clone(),
    }
}

#[test]
fn the_notation_of_the_api_says_the_same() {
    let template = template();
    let resources = template["Resources"].as_object().unwrap();
    let definitions: Value = resources.values().map(|resource| renamed(&resource["Properties"])).collect();
    assert_eq!(configurations(&definitions).unwrap(), configurations(&template).unwrap());
}
