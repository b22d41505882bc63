//! Redirects that are followed inside.

use serde_json::{Value, json};

use super::{host, table};
use crate::case::{Group, Request, get};
use crate::world::World;

fn policies() -> Vec<(&'static str, Value)> {
    let predicate = |name: &str, fields: Value| {
        let mut config = fields;
        config["@type"] = json!(format!("type.googleapis.com/envoy.extensions.internal_redirect.{name}"));
        json!([{"name": "predicate", "typed_config": config}])
    };
    let previous = predicate("previous_routes.v3.PreviousRoutesConfig", json!({}));
    let listed = json!({"allowed_route_names": ["target"]});
    let listed = predicate("allow_listed_routes.v3.AllowListedRoutesConfig", listed);
    let safe = predicate("safe_cross_scheme.v3.SafeCrossSchemeConfig", json!({}));
    vec![
        ("default", json!({})),
        ("none", json!({"max_internal_redirects": 0})),
        ("three", json!({"max_internal_redirects": 3})),
        ("statuses", json!({"redirect_response_codes": [301, 302, 303, 307, 308]})),
        ("only-303", json!({"redirect_response_codes": [303, 404]})),
        ("cross", json!({"allow_cross_scheme_redirect": true})),
        ("safe", json!({"allow_cross_scheme_redirect": true, "predicates": safe})),
        ("previous", json!({"max_internal_redirects": 9, "predicates": previous})),
        ("listed", json!({"predicates": listed})),
        ("copying", json!({"response_headers_to_copy": ["x-copied", "x-missing"]})),
    ]
}

pub fn groups(_: &World) -> Vec<Group> {
    // What tells the echo to redirect goes no further than the first request, but on `/again` it does.
    let forget = json!(["x-echo-status", "x-echo-header"]);
    let mut hosts = Vec::new();
    for (name, policy) in policies() {
        let target = json!({
            "name": "target", "match": {"prefix": "/target"}, "route": {"cluster": "b", "prefix_rewrite": "/there"},
            "request_headers_to_remove": forget, "response_headers_to_add": [{"header": {"key": "x-at", "value": "target"}}],
        });
        let direct =
            json!({"name": "direct", "match": {"prefix": "/direct"}, "direct_response": {"status": 202}});
        let from = json!({
            "name": "from", "match": {"prefix": "/from"},
            "route": {"cluster": "a", "prefix_rewrite": "/rewritten", "internal_redirect_policy": policy},
            "request_headers_to_add": [{"header": {"key": "x-from", "value": "1"}}],
            "response_headers_to_add": [{"header": {"key": "x-at", "value": "from"}}],
        });
        hosts.push(host(name, vec![target, direct, from]));
    }
    let mut group = Group::new("policies", table(hosts));
    let redirect = |request: Request, status: &str, location: &str| {
        request.with("x-echo-status", status).with("x-echo-header", &format!("location={location}"))
    };
    for (name, _) in policies() {
        let from = || get("/from/x?q=1").host(name);
        let to = |path: &str| format!("http://{name}{path}");
        group.add(format!("{name} 302"), redirect(from(), "302", &to("/target/y?z")));
        group.add(
            format!("{name} 303 post"),
            redirect(Request::new("POST", "/from").host(name).body("text"), "303", &to("/target")),
        );
        group.add(
            format!("{name} 307 post"),
            redirect(Request::new("POST", "/from").host(name).body("text"), "307", &to("/target")),
        );
        group.add(
            format!("{name} 302 post"),
            redirect(Request::new("POST", "/from").host(name).body("text"), "302", &to("/target")),
        );
        group.add(format!("{name} 404"), redirect(from(), "404", &to("/target")));
        group.add(format!("{name} https"), redirect(from(), "302", &format!("https://{name}/target")));
        group.add(format!("{name} again and again"), redirect(from(), "302", &to("/from")));
        group.add(format!("{name} direct"), redirect(from(), "302", &to("/direct")));
        group.add(
            format!("{name} copied"),
            redirect(
                from().with("x-missing", "old").with("x-echo-header", "x-copied=1"),
                "302",
                &to("/target"),
            ),
        );
    }
    for (what, location) in [
        ("relative", "/target"),
        ("relative without slash", "target"),
        ("empty", ""),
        ("no route", "http://default/elsewhere"),
        ("no host", "http://elsewhere/"),
        ("other scheme", "ftp://default/target"),
        ("fragment", "http://default/target#there"),
        ("query only", "http://default?x"),
        ("with port", "http://default:80/target"),
        ("user", "http://me@default/target"),
    ] {
        group.add(format!("to {what}"), redirect(get("/from").host("default"), "302", location));
    }
    group.add("no location", get("/from").host("default").with("x-echo-status", "302"));
    group.add("over http2", redirect(get("/from").host("default").http2(), "302", "http://default/target"));
    vec![group]
}
