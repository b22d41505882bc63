//! Answers that no upstream gave, and what is done to answers that one gave.

use serde_json::{Value, json};

use super::{all, host, rest, table};
use crate::case::{Group, Request, get, grpc};
use crate::world::World;

pub fn groups(_: &World) -> Vec<Group> {
    vec![not_found(), upstream_answers("upstream", json!({})), server_names(), statuses()]
}

fn not_found() -> Group {
    let only = json!({"match": {"path": "/only"}, "route": {"cluster": "a"}});
    Group::new("not found", table(vec![host("svc", vec![only])]))
        .case("no host", get("/").host("nowhere"))
        .case("no path", get("/"))
        .case("http2", get("/").http2())
        .case("grpc", grpc("/s.S/M"))
        .case("grpc over http1", Request::new("POST", "/x").with("content-type", "application/grpc+proto"))
        .case("grpc web", Request::new("POST", "/x").with("content-type", "application/grpc-web"))
        .case("head", Request::new("HEAD", "/"))
        .case("post", Request::new("POST", "/").body("text"))
        .case("no host header", get("/only").host(""))
        .case("bad header name", get("/only").with("bad name", "x"))
        .case(
            "transfer encoding and length",
            get("/only").with("Transfer-Encoding", "chunked").body("0\r\n\r\n"),
        )
        .case("two lengths", get("/only").with("Content-Length", "1").body("text"))
        .case("bad length", get("/only").with("Content-Length", "x"))
        .case("unknown coding", get("/only").with("Transfer-Encoding", "gzip"))
}

/// What happens to headers of the upstream's answer.
fn upstream_answers(name: &str, settings: Value) -> Group {
    let echo = |header: &str| get("/").with("x-echo-header", header);
    let mut group = Group::new(name, table(vec![host("svc", vec![rest("a")]), host("h2", vec![rest("h2")])]));
    for (field, value) in settings.as_object().into_iter().flatten() {
        group = group.set(field, value.clone());
    }
    for header in [
        "server=theirs",
        "date=Thu, 01 Jan 1970 00:00:00 GMT",
        "x-envoy-upstream-service-time=9999",
        "via=1.1 them",
        "x-request-id=theirs",
        "keep-alive=timeout=5",
        "proxy-connection=close",
        "connection=x-odd",
        "upgrade=h2c",
        "x-envoy-overloaded=true",
        "x-envoy-immediate-health-check-fail=true",
        "x-envoy-attempt-count=9",
        "set-cookie=a=1",
        "x-envoy-other=1",
        "trailer=x",
        "x-envoy-degraded=1",
        "x-envoy-ratelimited=1",
        "x-envoy-is-timeout-retry=1",
        "x-envoy-decorator-operation=op",
        "x-envoy-internal=true",
    ] {
        group.add(header, echo(header));
        group.add(format!("{header} from http2"), echo(header).host("h2"));
    }
    group
        .case("two cookies", echo("set-cookie=a=1").with("x-echo-header", "set-cookie=b=2"))
        .case("two equal names", echo("x-many=1").with("x-echo-header", "x-many=2"))
        .case("head", Request::new("HEAD", "/"))
        .case("bytes", get("/").with("x-echo-bytes", "1000"))
        .case("bytes to http2", get("/").with("x-echo-bytes", "100000").http2())
        .case("trailers", get("/").host("h2").with("x-echo-trailer", "x-end=1").http2())
        .case("trailers to http1", get("/").host("h2").with("x-echo-trailer", "x-end=1"))
}

fn server_names() -> Group {
    let group = Group::new("server", table(vec![host("svc", vec![rest("a")])]));
    let group = group
        .set("server_name", json!("ours"))
        .set("server_header_transformation", json!("APPEND_IF_ABSENT"));
    group.case("theirs", get("/").with("x-echo-header", "server=theirs")).case("none", get("/"))
}

fn statuses() -> Group {
    let mut group =
        Group::new("statuses", table(vec![host("svc", vec![all(json!({"route": {"cluster": "a"}}))])]));
    for status in
        [200, 201, 202, 204, 205, 206, 300, 301, 302, 304, 400, 401, 404, 409, 418, 429, 499, 500, 503, 599]
    {
        let text = status.to_string();
        group.add(text.clone(), get("/").with("x-echo-status", &text));
        group.add(format!("{text} http2"), get("/").with("x-echo-status", &text).http2());
    }
    group
}
