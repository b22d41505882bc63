//! The sections: tables of configurations and requests, written by hand or as products of their parts.

mod actions;
mod balancing;
mod clusters;
mod filters;
mod header_edits;
mod header_matches;
mod hosts;
mod internal_redirects;
mod paths;
mod queries;
mod replies;
mod retries;
mod rewrites;
mod sanitising;
mod templates;
mod timeouts;

use serde_json::{Value, json};

use crate::case::Group;
use crate::world::World;

/// Makes the groups of a section, given what stands behind the data plane.
pub type Groups = fn(&World) -> Vec<Group>;

/// Every section by the name of its test.
pub const SECTIONS: &[(&str, Groups)] = &[
    ("actions", actions::groups),
    ("balancing", balancing::groups),
    ("clusters", clusters::groups),
    ("filters", filters::groups),
    ("header_edits", header_edits::groups),
    ("header_matches", header_matches::groups),
    ("hosts", hosts::groups),
    ("internal_redirects", internal_redirects::groups),
    ("paths", paths::groups),
    ("queries", queries::groups),
    ("replies", replies::groups),
    ("retries", retries::groups),
    ("rewrites", rewrites::groups),
    ("sanitising", sanitising::groups),
    ("templates", templates::groups),
    ("timeouts", timeouts::groups),
];

/// A table of virtual hosts; clusters need not exist.
fn table(virtual_hosts: Vec<Value>) -> Value {
    json!({"virtual_hosts": virtual_hosts, "validate_clusters": false})
}

/// A virtual host for one domain, which is its name too.
fn host(domain: &str, routes: Vec<Value>) -> Value {
    json!({"name": domain, "domains": [domain], "routes": routes})
}

/// A route to a cluster for whatever fits `matcher`.
fn to(cluster: &str, matcher: Value) -> Value {
    json!({"name": format!("to-{cluster}"), "match": matcher, "route": {"cluster": cluster}})
}

/// A route for everything.
fn rest(cluster: &str) -> Value {
    to(cluster, json!({"prefix": "/"}))
}

/// A route for everything with this action, `{"route": {..}}`, `{"redirect": {..}}` and so on, and other fields.
fn all(action: Value) -> Value {
    let mut route = json!({"match": {"prefix": "/"}});
    for (field, value) in action.as_object().into_iter().flatten() {
        route[field] = value.clone();
    }
    route
}
