//! The filter that waits for the whole request.

use serde_json::json;

use super::super::{host, rest, table};
use super::{call, chain, with_own};
use crate::case::{Group, Request, get};

const BUFFER: (&str, &str) = ("envoy.filters.http.buffer", "buffer.v3.Buffer");

pub fn buffer() -> Group {
    let per_route = |item, settings| with_own(item, BUFFER.0, "buffer.v3.BufferPerRoute", settings);
    let hosts = vec![
        host("svc", vec![rest("a")]),
        host("h2", vec![rest("h2")]),
        per_route(host("wide", vec![rest("a")]), json!({"buffer": {"max_request_bytes": 100}})),
        per_route(host("off", vec![rest("a")]), json!({"disabled": true})),
        host("nobody", vec![rest("nobody")]),
    ];
    let mut group = Group::new("buffer", table(hosts))
        .set("http_filters", chain(&[(BUFFER.0, BUFFER.1, json!({"max_request_bytes": 10}))]));
    for name in ["svc", "h2", "wide", "off", "nobody"] {
        let post = || Request::new("POST", "/").host(name);
        let chunked = || post().with("Transfer-Encoding", "chunked");
        group.add(format!("{name} get"), get("/").host(name));
        group.add(format!("{name} get http2"), get("/").host(name).http2());
        for (what, body) in
            [("empty", ""), ("short", "1234"), ("full", "1234567890"), ("long", "1234567890a")]
        {
            group.add(format!("{name} {what}"), post().body(body));
            group.add(format!("{name} {what} http2"), post().body(body).http2());
            group.add(format!("{name} {what} head"), Request::new("HEAD", "/").host(name).body(body));
        }
        group.add(format!("{name} chunks"), chunked().raw_body("4\r\n1234\r\n3\r\n567\r\n0\r\n\r\n"));
        group.add(format!("{name} no chunk"), chunked().raw_body("0\r\n\r\n"));
        group.add(
            format!("{name} chunks and trailers"),
            chunked().raw_body("4\r\n1234\r\n0\r\nx-end: 1\r\n\r\n"),
        );
        group.add(format!("{name} long chunk"), chunked().raw_body("b\r\n1234567890a\r\n0\r\n\r\n"));
        group.add(format!("{name} grpc"), call().host(name));
        let long = call().host(name).body("\0\0\0\0\x07abcdefg");
        group.add(format!("{name} long grpc"), long);
    }
    group
}
