//! Header mutation, alone and before filters that answer.

use serde_json::{Value, json};

use super::super::{all, host, rest, table};
use super::{always, call, chain, with_own};
use crate::case::{Group, Request, get};

const NAME: &str = "envoy.filters.http.header_mutation";
const PER_ROUTE: &str = "header_mutation.v3.HeaderMutationPerRoute";
const FAULT: (&str, &str) = ("envoy.filters.http.fault", "fault.v3.HTTPFault");

pub fn groups() -> Vec<Group> {
    vec![levels("mutation", false), levels("mutation, most specific wins", true), before_answers(), routing()]
}

fn add(name: &str, value: &str, action: &str) -> Value {
    json!({"append": {"header": {"key": name, "value": value}, "append_action": action}})
}

fn both(mutations: Vec<Value>) -> Value {
    json!({"mutations": {"request_mutations": mutations, "response_mutations": mutations}})
}

/// Mutations of all levels, over headers that the request and the response have or lack.
fn levels(name: &str, most_specific_wins: bool) -> Group {
    let mutations = |level: &str| {
        both(vec![
            add("x-appended", level, "APPEND_IF_EXISTS_OR_ADD"),
            add("x-first", level, "ADD_IF_ABSENT"),
            add("x-last", level, "OVERWRITE_IF_EXISTS_OR_ADD"),
            add("x-there", level, "OVERWRITE_IF_EXISTS"),
            add("x-cluster", "%UPSTREAM_CLUSTER%", "OVERWRITE_IF_EXISTS_OR_ADD"),
            add("x-method", "%REQ(:METHOD)%", "OVERWRITE_IF_EXISTS_OR_ADD"),
            add("x-nothing", "%REQ(X-MISSING)%", "OVERWRITE_IF_EXISTS_OR_ADD"),
            json!({"remove": "x-gone"}),
            add("x-gone", level, "APPEND_IF_EXISTS_OR_ADD"),
        ])
    };
    let route = with_own(rest("a"), NAME, PER_ROUTE, mutations("route"));
    let hosts = vec![
        host("filter", vec![rest("a")]),
        with_own(host("host", vec![rest("a")]), NAME, PER_ROUTE, mutations("host")),
        with_own(host("both", vec![route]), NAME, PER_ROUTE, mutations("host")),
    ];
    let mut table = table(hosts);
    table = with_own(table, NAME, PER_ROUTE, mutations("table"));
    let mut settings = mutations("filter");
    settings["most_specific_header_mutations_wins"] = json!(most_specific_wins);
    let mut group = Group::new(name, table)
        .set("http_filters", chain(&[(NAME, "header_mutation.v3.HeaderMutation", settings)]));
    for name in ["filter", "host", "both"] {
        let marked = |request: Request| {
            let names = ["x-appended", "x-first", "x-last", "x-there", "x-gone"];
            names.iter().fold(request.host(name), |request, header| {
                request.with(header, "sent").with("x-echo-header", &format!("{header}=sent"))
            })
        };
        group.add(format!("{name} bare"), get("/").host(name));
        group.add(format!("{name} marked"), marked(get("/")));
        group.add(format!("{name} marked http2"), marked(get("/")).http2());
        group.add(format!("{name} grpc"), marked(call()));
        group.add(format!("{name} failing"), marked(get("/")).with("x-echo-status", "503"));
    }
    group
}

/// Responses pass the filters that the request never reached.
fn before_answers() -> Group {
    let mutations = both(vec![
        add("x-mutated", "%UPSTREAM_CLUSTER%-%RESPONSE_CODE%", "APPEND_IF_EXISTS_OR_ADD"),
        json!({"remove": "content-type"}),
    ]);
    let abort = json!({"abort": {"http_status": 503, "percentage": always()}});
    let mutation = (NAME, "header_mutation.v3.HeaderMutation", mutations);
    let hosts = vec![
        host("svc", vec![rest("a")]),
        with_own(host("abort", vec![rest("a")]), FAULT.0, FAULT.1, abort.clone()),
        with_own(
            host("direct", vec![all(json!({"direct_response": {"status": 418}}))]),
            FAULT.0,
            FAULT.1,
            json!({}),
        ),
        host("nobody", vec![rest("nobody")]),
        host("moved", vec![all(json!({"redirect": {"path_redirect": "/"}}))]),
    ];
    let mut group = Group::new("mutated answers", table(hosts));
    group = group.set("http_filters", chain(&[(FAULT.0, FAULT.1, json!({})), mutation]));
    for name in ["svc", "abort", "direct", "nobody", "moved", "unknown"] {
        group.add(name, get("/").host(name));
        group.add(format!("{name} http2"), get("/").host(name).http2());
        group.add(format!("{name} grpc"), call().host(name));
        group.add(format!("{name} head"), Request::new("HEAD", "/").host(name));
    }
    group
}

/// The route and its cluster are those of the request as it came.
fn routing() -> Group {
    let mutations = both(vec![
        add("x-cluster", "b", "OVERWRITE_IF_EXISTS_OR_ADD"),
        add("x-route", "other", "OVERWRITE_IF_EXISTS_OR_ADD"),
    ]);
    let by_header =
        json!({"name": "by-header", "match": {"prefix": "/"}, "route": {"cluster_header": "x-cluster"}});
    let other = json!({
        "name": "other",
        "match": {"prefix": "/", "headers": [{"name": "x-route", "string_match": {"exact": "other"}}]},
        "route": {"cluster": "c"},
    });
    let mutation = (NAME, "header_mutation.v3.HeaderMutation", mutations);
    Group::new("mutated routing", table(vec![host("svc", vec![other, by_header])]))
        .set("http_filters", chain(&[mutation]))
        .case("cluster", get("/").with("x-cluster", "a"))
        .case("no cluster", get("/"))
        .case("unknown cluster", get("/").with("x-cluster", "nobody"))
        .case("other", get("/").with("x-route", "other"))
}
