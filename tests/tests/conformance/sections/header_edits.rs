//! Header edits: append actions, levels, values, removals.

use serde_json::{Value, json};

use super::{all, host, table};
use crate::case::{Group, Request, get, grpc};
use crate::world::World;

pub fn groups(_: &World) -> Vec<Group> {
    vec![
        request_actions(),
        response_actions(),
        levels("levels", false),
        levels("most specific wins", true),
        values(),
        well_known(),
        attempt_counts(),
    ]
}

const ACTIONS: &[&str] =
    &["APPEND_IF_EXISTS_OR_ADD", "ADD_IF_ABSENT", "OVERWRITE_IF_EXISTS_OR_ADD", "OVERWRITE_IF_EXISTS"];

/// Every action with a value, an empty value that is dropped, and one that is kept.
fn additions() -> Vec<(String, Value)> {
    let mut list = Vec::new();
    for action in ACTIONS {
        for (kind, value, keep) in
            [("set", "new", false), ("empty", "%REQ(x-none)%", false), ("kept", "", true)]
        {
            let option = json!({
                "header": {"key": "X-Edit", "value": value}, "append_action": action, "keep_empty_value": keep,
            });
            list.push((format!("{}-{kind}", action.to_ascii_lowercase().replace('_', "-")), option));
        }
    }
    for (name, append) in [("append-true", true), ("append-false", false)] {
        list.push((name.to_owned(), json!({"header": {"key": "x-edit", "value": "new"}, "append": append})));
    }
    list
}

fn edited(name: &str, list: &str, option: &Value) -> Value {
    let mut route = all(json!({"route": {"cluster": "a"}}));
    route[list] = json!([option]);
    host(name, vec![route])
}

fn request_actions() -> Group {
    let hosts =
        additions().into_iter().map(|(name, option)| edited(&name, "request_headers_to_add", &option));
    let mut group = Group::new("request", table(hosts.collect()));
    for (name, _) in additions() {
        group.add(format!("{name} absent"), get("/").host(&name));
        group.add(format!("{name} present"), get("/").host(&name).with("x-edit", "old"));
        group.add(format!("{name} twice"), get("/").host(&name).with("x-edit", "1").with("x-edit", "2"));
        group.add(format!("{name} empty"), get("/").host(&name).with("x-edit", ""));
    }
    group
}

fn response_actions() -> Group {
    let hosts =
        additions().into_iter().map(|(name, option)| edited(&name, "response_headers_to_add", &option));
    let mut group = Group::new("response", table(hosts.collect()));
    for (name, _) in additions() {
        let plain = get("/").host(&name);
        group.add(format!("{name} absent"), plain.clone());
        group.add(format!("{name} present"), plain.clone().with("x-echo-header", "x-edit=old"));
        group.add(format!("{name} http2"), plain.with("x-echo-header", "x-edit=old").http2());
    }
    group
}

/// The edits of one level: one name that all of them append to, overwrite, add, and remove.
fn with_level(mut target: Value, level: &str) -> Value {
    let add = |key: &str, action: &str| {
        json!({
            "header": {"key": key, "value": level}, "append_action": action,
        })
    };
    let edits = json!([
        add("x-append", "APPEND_IF_EXISTS_OR_ADD"),
        add("x-overwrite", "OVERWRITE_IF_EXISTS_OR_ADD"),
        add("x-absent", "ADD_IF_ABSENT"),
        add(&format!("x-{level}"), "OVERWRITE_IF_EXISTS"),
        {"header": {"key": "x-saw", "value": format!("{level} saw %REQ(x-append)% %REQ(x-overwrite)%")}},
    ]);
    let removals = json!([format!("x-remove-{level}"), "x-often"]);
    for side in ["request", "response"] {
        target[format!("{side}_headers_to_add")] = edits.clone();
        target[format!("{side}_headers_to_remove")] = removals.clone();
    }
    target
}

fn levels(name: &str, most_specific: bool) -> Group {
    let entry = with_level(json!({"name": "a", "weight": 1}), "entry");
    let action = json!({"route": {"weighted_clusters": {"clusters": [entry]}}});
    let mut failing =
        with_level(json!({"match": {"path": "/missing"}, "route": {"cluster": "empty"}}), "route");
    failing["name"] = json!("failing");
    let refusing = with_level(all(json!({"direct_response": {"status": 418}})), "route");
    let routes = vec![failing, with_level(all(action), "route")];
    let hosts =
        vec![with_level(host("svc", routes), "host"), with_level(host("direct", vec![refusing]), "host")];
    let mut table = with_level(table(hosts), "table");
    table["most_specific_header_mutations_wins"] = json!(most_specific);
    let full = ["entry", "route", "host", "table"].iter().fold(get("/"), |request, level| {
        let request = request.with(&format!("x-{level}"), "old").with(&format!("x-remove-{level}"), "1");
        let request = request.with("x-echo-header", &format!("x-{level}=old"));
        request.with("x-echo-header", &format!("x-remove-{level}=1"))
    });
    Group::new(name, table)
        .case("bare", get("/"))
        .case("full", full.with("x-often", "1"))
        .case("overwrite present", get("/").with("x-overwrite", "old").with("x-append", "old"))
        .case("own reply", get("/missing"))
        .case("direct", get("/").host("direct"))
        .case("direct grpc", grpc("/s/M").host("direct"))
        .case("no route", get("/").host("nowhere"))
}

/// Values with operators.
fn values() -> Group {
    let operators = [
        ("text", "plain text"),
        ("percent", "100%%"),
        ("header", "<%REQ(x-given)%>"),
        ("either", "%REQ(x-none?x-given)%"),
        ("cut", "%REQ(x-given):3%"),
        ("none", "%REQ(x-none)%"),
        ("none-within", "a%REQ(x-none)%b"),
        ("method", "%REQ(:METHOD)% %REQ(:PATH)% %REQ(:AUTHORITY)% %REQ(:SCHEME)%"),
        ("protocol", "%PROTOCOL%"),
        ("cluster", "%UPSTREAM_CLUSTER%"),
        ("route", "%ROUTE_NAME%"),
        ("remote", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"),
        ("local", "%DOWNSTREAM_LOCAL_ADDRESS%"),
        ("direct", "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"),
        ("path", "%PATH(NQ)%"),
        ("status", "%RESPONSE_CODE%"),
        ("details", "%RESPONSE_CODE_DETAILS%"),
        ("flags", "%RESPONSE_FLAGS%"),
        ("upstream", "%UPSTREAM_HOST%"),
        ("of-response", "%RESP(x-upstream)%"),
        ("bytes", "%BYTES_RECEIVED%"),
        ("virtual-cluster", "%VIRTUAL_CLUSTER_NAME%"),
    ];
    let add = |(name, value): &(&str, &str)| json!({"header": {"key": format!("x-{name}"), "value": value}});
    let list: Vec<_> = operators.iter().map(add).collect();
    let mut route = all(json!({"route": {"cluster": "a"}, "name": "the-route"}));
    route["request_headers_to_add"] = json!(list);
    route["response_headers_to_add"] = json!(list);
    let mut direct = all(json!({"direct_response": {"status": 202}}));
    direct["response_headers_to_add"] = json!(list);
    let mut failing = all(json!({"route": {"cluster": "empty"}}));
    failing["response_headers_to_add"] = json!(list);
    let hosts = vec![host("svc", vec![route]), host("direct", vec![direct]), host("failing", vec![failing])];
    Group::new("values", table(hosts))
        .case("plain", get("/p?q"))
        .case("given", get("/p?q").with("x-given", "given value").with("x-echo-header", "x-upstream=up"))
        .case("post http2", Request::new("POST", "/p").with("x-given", "1").body("12345").http2())
        .case("direct", get("/p").host("direct").with("x-given", "1"))
        .case("failing", get("/p").host("failing").with("x-given", "1"))
        .case("failing grpc", grpc("/p").host("failing").with("x-given", "1"))
}

/// Headers that are known by name may be joined instead of repeated.
fn well_known() -> Group {
    let names = [
        "accept",
        "accept-encoding",
        "authorization",
        "cache-control",
        "content-type",
        "cookie",
        "via",
        "user-agent",
        "x-forwarded-for",
        "referer",
        "x-forwarded-proto",
        "origin",
        "te",
        "forwarded",
        "date",
        "x-forwarded-host",
        "server",
        "set-cookie",
        "vary",
        "location",
        "etag",
        "grpc-status",
        "access-control-allow-origin",
        "grpc-timeout",
        "if-match",
        "range",
        "pragma",
        "content-encoding",
        "last-modified",
        "age",
        "expires",
        "access-control-request-method",
        "access-control-allow-headers",
        "access-control-expose-headers",
    ];
    let of = |name: &&str| {
        let add = json!([{"header": {"key": name, "value": "new"}}]);
        let mut route = all(json!({"route": {"cluster": "a"}}));
        route["request_headers_to_add"] = add.clone();
        route["response_headers_to_add"] = add;
        host(&format!("add-{name}"), vec![route])
    };
    let removing = |name: &&str| {
        let mut route = all(json!({"route": {"cluster": "a"}}));
        route["request_headers_to_remove"] = json!([name]);
        route["response_headers_to_remove"] = json!([name]);
        host(&format!("remove-{name}"), vec![route])
    };
    let hosts = names.iter().map(of).chain(names.iter().map(removing));
    let mut group = Group::new("well known", table(hosts.collect()));
    for name in names {
        let (add, remove) = (format!("add-{name}"), format!("remove-{name}"));
        group.add(add.clone(), get("/").host(&add));
        let told = format!("{name}=old");
        group.add(
            format!("{add} present"),
            get("/").host(&add).with(name, "old").with("x-echo-header", &told),
        );
        group.add(remove.clone(), get("/").host(&remove).with(name, "old").with("x-echo-header", &told));
    }
    group
}

fn attempt_counts() -> Group {
    let counting = |name: &str, request: bool, response: bool| {
        let mut host = host(name, vec![all(json!({"route": {"cluster": "a"}}))]);
        host["include_request_attempt_count"] = json!(request);
        host["include_attempt_count_in_response"] = json!(response);
        host
    };
    let hosts =
        vec![counting("none", false, false), counting("up", true, false), counting("down", false, true)];
    let mut group = Group::new("attempt counts", table(hosts));
    for name in ["none", "up", "down"] {
        let sent = get("/").host(name).with("x-envoy-attempt-count", "7");
        group.add(name, get("/").host(name));
        group.add(format!("{name} sent"), sent.with("x-echo-header", "x-envoy-attempt-count=9"));
    }
    group
}
