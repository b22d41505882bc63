//! What the connection manager does to request headers before they go upstream.

use serde_json::{Value, json};

use super::{host, rest, table};
use crate::case::{Group, Request, get};
use crate::world::World;

pub fn groups(_: &World) -> Vec<Group> {
    let internal = json!({"cidr_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]});
    let loopback = json!({"cidr_ranges": [{"address_prefix": "127.0.0.0", "prefix_len": 8}]});
    vec![
        group("sidecar", json!({})),
        group("sidecar with internal addresses", json!({"internal_address_config": internal})),
        group("edge", json!({"use_remote_address": true})),
        group(
            "edge with internal peers",
            json!({"use_remote_address": true, "internal_address_config": loopback}),
        ),
        group("edge behind one proxy", json!({"use_remote_address": true, "xff_num_trusted_hops": 1})),
        group("edge that appends nothing", json!({"use_remote_address": true, "skip_xff_append": true})),
        group("trusting two hops", json!({"xff_num_trusted_hops": 2})),
        group(
            "settings",
            json!({
                "via": "ours", "always_set_request_id_in_response": true,
                "append_x_forwarded_port": true, "generate_request_id": false,
            }),
        ),
        group(
            "edge that keeps ids",
            json!({"use_remote_address": true, "preserve_external_request_id": true}),
        ),
    ]
}

fn group(name: &str, settings: Value) -> Group {
    let mut tables = table(vec![host("svc", vec![rest("a")]), host("h2", vec![rest("h2")])]);
    tables["internal_only_headers"] = json!(["x-inside"]);
    let mut group = Group::new(name, tables);
    for (field, value) in settings.as_object().into_iter().flatten() {
        group = group.set(field, value.clone());
    }
    let control = [
        "x-envoy-retriable-status-codes",
        "x-envoy-retriable-header-names",
        "x-envoy-retry-on",
        "x-envoy-retry-grpc-on",
        "x-envoy-max-retries",
        "x-envoy-upstream-alt-stat-name",
        "x-envoy-upstream-rq-timeout-ms",
        "x-envoy-upstream-rq-per-try-timeout-ms",
        "x-envoy-upstream-rq-timeout-alt-response",
        "x-envoy-expected-rq-timeout-ms",
        "x-envoy-ip-tags",
        "x-envoy-original-url",
        "x-envoy-hedge-on-per-try-timeout",
        "x-envoy-decorator-operation",
        "x-envoy-downstream-service-cluster",
        "x-envoy-downstream-service-node",
        "x-envoy-original-path",
        "x-envoy-original-host",
        "x-envoy-internal",
        "x-envoy-external-address",
        "x-envoy-attempt-count",
        "x-envoy-original-dst-host",
        "x-inside",
        "x-envoy-upstream-stream-duration-ms",
        "x-envoy-is-timeout-retry",
    ];
    let all = |request: Request| control.iter().fold(request, |request, name| request.with(name, "5000"));
    let forwarded = |value: &str| get("/").with("x-forwarded-for", value);
    let group = group
        .case("nothing", get("/"))
        .case("nothing http2", get("/").http2())
        .case("control", all(get("/")))
        .case("control from inside", all(forwarded("10.1.2.3")))
        .case("control through two", all(forwarded("10.1.2.3, 10.1.2.4")))
        .case("forwarded for outside", forwarded("1.2.3.4"))
        .case("forwarded for three", forwarded("1.1.1.1, 2.2.2.2,3.3.3.3"))
        .case("forwarded for twice", forwarded("1.1.1.1").with("x-forwarded-for", "2.2.2.2"))
        .case("forwarded for garbage", forwarded("unknown"))
        .case("forwarded for ipv6", forwarded("2001:db8::1"))
        .case("forwarded proto", get("/").with("x-forwarded-proto", "https"))
        .case("forwarded proto garbage", get("/").with("x-forwarded-proto", "gopher"))
        .case("forwarded port", get("/").with("x-forwarded-port", "99"))
        .case("forwarded host", get("/").with("x-forwarded-host", "front.test"))
        .case("request id", get("/").with("x-request-id", "7a0e2b1c-3d4f-4a5b-8c6d-7e8f9a0b1c2d"))
        .case("request id empty", get("/").with("x-request-id", ""))
        .case("via", get("/").with("Via", "1.1 theirs"));
    if name == "sidecar" { anywhere(group) } else { group }
}

/// What no setting of the connection manager changes.
fn anywhere(group: Group) -> Group {
    group
        .case("nothing to http2", get("/").host("h2"))
        .case("user agent", get("/").with("User-Agent", "curl"))
        .case("hop by hop", hop_by_hop(get("/")))
        .case("connection close", get("/").with("Connection", "close"))
        .case("connection names", get("/").with("Connection", "x-named, close").with("x-named", "1"))
        .case("te", get("/").with("TE", "gzip, trailers"))
        .case("te other", get("/").with("TE", "gzip"))
        .case("referer", get("/").with("Referer", "https://them.test/a"))
        .case("referer twice", get("/").with("Referer", "http://a.test").with("Referer", "http://b.test"))
        .case("referer with user", get("/").with("Referer", "http://me@a.test/"))
        .case("referer with fragment", get("/").with("Referer", "http://a.test/#x"))
        .case("referer garbage", get("/").with("Referer", "not a uri"))
        .case("referer relative", get("/").with("Referer", "/a"))
        .case("referer other scheme", get("/").with("Referer", "android-app://a.b/"))
        .case("referer query", get("/").with("Referer", "http://a.test?u=me@b"))
        .case("client certificate", get("/").with("x-forwarded-client-cert", "By=me"))
        .case("expect", Request::new("POST", "/").with("Expect", "100-continue").body("text"))
        .case("expect other", Request::new("POST", "/").with("Expect", "miracles").body("text"))
        .case("two cookies", get("/").with("Cookie", "a=1").with("Cookie", "b=2"))
        .case("two equal names", get("/").with("x-many", "1").with("X-Many", "2"))
        .case("empty value", get("/").with("x-empty", ""))
        .case("upper case name", get("/").with("X-UPPER-Case", "Value"))
        .case("underscore", get("/").with("x_under", "1"))
        .case("transfer encoding", chunked())
        .case("absolute form", get("http://svc/a?b"))
        .case("client trace id", get("/").with("x-client-trace-id", "t"))
        .case(
            "trace context",
            get("/").with("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        )
}

fn hop_by_hop(request: Request) -> Request {
    let request = request.with("Keep-Alive", "timeout=5").with("Proxy-Connection", "keep-alive");
    request.with("Trailer", "x-end").with("Proxy-Authorization", "secret")
}

fn chunked() -> Request {
    let request = Request::new("POST", "/").with("Transfer-Encoding", "chunked");
    request.raw_body("4\r\ntext\r\n0\r\n\r\n")
}
