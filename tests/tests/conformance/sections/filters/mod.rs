//! Filters before the router: what they answer, what they change, and what the log says of it.

mod answers;
mod authz;
mod bodies;
mod cors;
mod descriptors;
mod edits;
mod health;
mod metadata;

use serde_json::{Value, json};

use crate::case::{Group, Request};
use crate::world::World;

pub fn groups(_: &World) -> Vec<Group> {
    let mut groups = vec![
        answers::faults(),
        answers::faults_by_header(),
        answers::limits(),
        answers::untold_limits(),
        answers::access(),
        bodies::buffer(),
        cors::policies(),
        cors::older_fields(),
    ];
    groups.extend(descriptors::groups());
    groups.extend(authz::groups());
    groups.extend(edits::groups());
    groups.extend(health::groups());
    groups.extend(metadata::groups());
    groups
}

/// `http_filters`: these before the router. Each is its name, the type after `envoy.extensions.filters.http.` and its
/// settings.
fn chain(filters: &[(&str, &str, Value)]) -> Value {
    let mut chain: Vec<Value> = filters
        .iter()
        .map(|(name, kind, settings)| json!({"name": name, "typed_config": typed(kind, settings.clone())}))
        .collect();
    let router = json!({"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"});
    chain.push(json!({"name": "envoy.filters.http.router", "typed_config": router}));
    Value::Array(chain)
}

/// A message inside an `Any`.
fn typed(kind: &str, mut message: Value) -> Value {
    message["@type"] = json!(format!("type.googleapis.com/envoy.extensions.filters.http.{kind}"));
    message
}

/// `item` (a route or virtual host) with settings of its own for one filter.
fn with_own(mut item: Value, filter: &str, kind: &str, settings: Value) -> Value {
    item["typed_per_filter_config"][filter] = typed(kind, settings);
    item
}

/// A gRPC call for an upstream that speaks HTTP/1: without `te`, which is for one connection only (RFC 9110, 10.1.4).
fn call() -> Request {
    Request::new("POST", "/s.S/M").http2().body("\0\0\0\0\0").with("content-type", "application/grpc")
}

/// Every request.
fn always() -> Value {
    json!({"numerator": 100, "denominator": "HUNDRED"})
}

/// Every request, where a runtime key could say otherwise.
fn always_by_default() -> Value {
    json!({"default_value": always()})
}
