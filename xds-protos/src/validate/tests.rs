use super::*;
use crate::any::pack;
use crate::json::{Document, from_text};
use crate::pb::envoy::extensions::filters::http::router::v3::Router;
use crate::v3::bootstrap::Bootstrap;
use crate::v3::cluster::Cluster;
use crate::v3::hcm::HttpConnectionManager;
use crate::v3::listener::Listener;
use crate::v3::route::RouteConfiguration;
use crate::v3::tcp_proxy::TcpProxy;

/// Checks a YAML text as an `M` and returns `path: problem`, or nothing.
fn verdict<M: Typed>(text: &str) -> String {
    let message: M = Document::parse(text).unwrap().decode().unwrap_or_else(|e| panic!("{e}\n{text}"));
    check(&message).map_or_else(|violation| violation.to_string(), |()| String::new())
}

fn cluster(field: &str) -> String {
    verdict::<Cluster>(&format!("name: a\n{field}"))
}

fn route(action: &str) -> String {
    let text = format!(
        "virtual_hosts: [ {{ name: v, domains: [ x ], routes: [ {{ match: {{ prefix: / }}, {action} }} ] }} ]"
    );
    verdict::<RouteConfiguration>(&text).replacen("virtual_hosts[0].routes[0].", "", 1)
}

#[test]
fn lengths() {
    assert_eq!(verdict::<Cluster>("{}"), "name: must not be empty");
    assert_eq!(cluster(""), "");
    assert_eq!(
        verdict::<Listener>("address: { pipe: { path: \"\" } }"),
        "address.pipe.path: must not be empty"
    );
    let long = "x".repeat(16_385);
    assert!(
        route(&format!("request_headers_to_add: [ {{ header: {{ key: a, value: {long} }} }} ], direct_response: {{ status: 200 }}"))
            .ends_with("header.value: must have at most 16384 bytes")
    );
}

#[test]
fn numbers_of_every_kind() {
    for (field, expected) in [
        ("type: 77", "type: is not a value of the enum"),
        ("outlier_detection: { max_ejection_percent: 100 }", ""),
        (
            "outlier_detection: { max_ejection_percent: 101 }",
            "outlier_detection.max_ejection_percent: must be at most 100",
        ),
        (
            "ring_hash_lb_config: { minimum_ring_size: 8388609 }",
            "ring_hash_lb_config.minimum_ring_size: must be at most 8388608",
        ),
        (
            "preconnect_policy: { per_upstream_preconnect_ratio: 3.5 }",
            "preconnect_policy.per_upstream_preconnect_ratio: must be at most 3",
        ),
        (
            "common_lb_config: { healthy_panic_threshold: { value: NaN } }",
            "common_lb_config.healthy_panic_threshold.value: must be at most 100",
        ),
        ("connect_timeout: 0s", "connect_timeout: must be more than 0s"),
        ("connect_timeout: 0.000000001s", ""),
        ("dns_refresh_rate: 0.001s", "dns_refresh_rate: must be more than 0.001s"),
    ] {
        assert_eq!(cluster(field), expected);
    }
}

#[test]
fn absent_values_are_checked_only_where_absence_means_a_value() {
    // A wrapper that is absent has no value; one that is empty has.
    assert_eq!(cluster("outlier_detection: {}"), "");
    let text = "stat_prefix: a\nroute_config: {}\nhttp2_protocol_options: { max_concurrent_streams: {} }";
    assert_eq!(
        verdict::<HttpConnectionManager>(text),
        "http2_protocol_options.max_concurrent_streams: must be at least 1"
    );
    // A plain number that is absent is zero.
    assert_eq!(route("direct_response: {}"), "direct_response.status: must be at least 200");
}

#[test]
fn required_messages_and_oneofs() {
    assert_eq!(verdict::<Bootstrap>("node: {}"), "");
    let listener = "filter_chains: [ { filters: [ { name: f } ] } ]\nlistener_filters: [ {} ]";
    assert_eq!(verdict::<Listener>(listener), "listener_filters[0].name: must not be empty");
    assert_eq!(
        route("name: x"),
        "virtual_hosts[0].routes[0]: action: set one of route, redirect, direct_response, filter_action, \
         non_forwarding_action"
    );
    assert!(route("route: {}").contains("cluster_specifier: set one of cluster"));
    assert_eq!(
        route("direct_response: { status: 200, body: {} }"),
        "direct_response.body: specifier: set one of filename, inline_bytes, inline_string, environment_variable"
    );
    assert_eq!(
        verdict::<TcpProxy>("stat_prefix: a"),
        "cluster_specifier: set one of cluster, weighted_clusters"
    );
    // The members of a oneof are not required one by one, although each is marked so.
    assert_eq!(route("route: { cluster: a }"), "");
}

#[test]
fn lists_and_maps() {
    assert_eq!(
        verdict::<RouteConfiguration>("virtual_hosts: [ { name: v } ]"),
        "virtual_hosts[0].domains: must not be empty"
    );
    let retry = |policy: &str| route(&format!("route: {{ cluster: a, retry_policy: {{ {policy} }} }}"));
    assert_eq!(
        retry("retry_host_predicate: [ {} ]"),
        "route.retry_policy.retry_host_predicate[0].name: must not be empty"
    );
    assert_eq!(
        cluster("metadata: { filter_metadata: { x: {}, \"\": {} } }"),
        "metadata.filter_metadata[\"\"]: must not be empty"
    );
    let buckets = |list: &str| {
        verdict::<Bootstrap>(&format!(
            "stats_config: {{ histogram_bucket_settings: [ {{ match: {{ prefix: x }}, buckets: {list} }} ] }}"
        ))
    };
    let path = "stats_config.histogram_bucket_settings[0].buckets";
    assert_eq!(buckets("[ 0.5, 1 ]"), "");
    assert_eq!(buckets("[ 1, 2, 1 ]"), format!("{path}: must not repeat an element"));
    assert_eq!(buckets("[ 1, 0 ]"), format!("{path}[1]: must be more than 0"));
}

#[test]
fn flags_words_and_empty_values() {
    let any_match = |value: &str| {
        verdict::<Listener>(&format!(
            "listener_filters: [ {{ name: a, filter_disabled: {{ any_match: {value} }} }} ]"
        ))
    };
    assert_eq!(any_match("true"), "");
    assert_eq!(any_match("false"), "listener_filters[0].filter_disabled.any_match: must be true");

    let format = |value: &str| {
        let policy = format!(
            "rate_limits: [ {{ hits_addend: {{ format: {value:?} }}, actions: [ {{ request_headers: {{ \
                              header_name: a, descriptor_key: b }} }} ] }} ]"
        );
        route(&format!("route: {{ cluster: a, {policy} }}"))
    };
    // Empty is exempt, anything else is not.
    assert_eq!(format(""), "");
    assert_eq!(format("%BYTES%"), "");
    assert_eq!(format("BYTES%"), "route.rate_limits[0].hits_addend.format: must start with \"%\"");

    let flag = |flag: &str| {
        let text = format!(
            "stat_prefix: a\nroute_config: {{}}\naccess_log: [ {{ name: l, filter: {{ \
                            response_flag_filter: {{ flags: [ UF, {flag} ] }} }} }} ]"
        );
        verdict::<HttpConnectionManager>(&text)
    };
    assert_eq!(flag("NR"), "");
    assert!(
        flag("XX")
            .starts_with("access_log[0].filter.response_flag_filter.flags[1]: must be one of LH, UH, UT")
    );
}

#[test]
fn headers_and_prefixes() {
    let header = |key: &str, value: &str| {
        route(&format!(
            "direct_response: {{ status: 200 }}, request_headers_to_add: [ {{ header: {{ key: {key:?}, value: {value:?} }} }} ]"
        ))
    };
    assert_eq!(header("x-a", "plain \t text"), "");
    assert_eq!(header("a\nb", "x"), "request_headers_to_add[0].header.key: is not a valid header name");
    assert_eq!(header("a", "x\r"), "request_headers_to_add[0].header.value: is not a valid header value");
    let prefix = |prefix: &str| {
        verdict::<RouteConfiguration>(&format!(
            "virtual_hosts: [ {{ name: v, domains: [ x ], routes: [ {{ match: {{ path_separated_prefix: {prefix:?} }}, \
             direct_response: {{ status: 200 }} }} ] }} ]"
        ))
    };
    assert_eq!(prefix("/api"), "");
    for bad in ["/", "/api/", "/a?b", "/a#b", ""] {
        assert!(prefix(bad).ends_with("must have no ? or #, and no / at its end"), "{bad}: {}", prefix(bad));
    }
}

#[test]
fn extensions_are_checked_inside_their_any() {
    let text = "name: l\naddress: { pipe: { path: /x } }\nfilter_chains:\n- filters:\n  - name: tcp\n    typed_config:\n      \
                \"@type\": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy\n      cluster: c\n";
    let error = from_text::<Listener>(text).unwrap_err();
    assert_eq!(error.path, "filter_chains[0].filters[0].typed_config.stat_prefix");
    assert_eq!(error.position.line, 6);

    let listener: Listener = Document::parse(text).unwrap().decode().unwrap();
    assert_eq!(check_any(&pack(&listener)).unwrap_err().path, error.path);
    // A type that the schema lacks is somebody else's to refuse.
    let unknown = Any { type_url: "type.googleapis.com/some.Type".into(), value: vec![0xff] };
    assert_eq!(check_any(&unknown), Ok(()));
}

#[test]
fn malformed_bytes_are_violations() {
    let mut any = pack(&Cluster { name: "a".into(), ..Default::default() });
    any.value.extend([0x0a, 0x7f]);
    assert_eq!(check_any(&any).unwrap_err().problem, "malformed protobuf: truncated");
    // Structs may nest without end; the checker does not follow.
    let mut value = vec![];
    for _ in 0..200 {
        let mut outer = vec![];
        crate::wire::put_bytes(&mut outer, 6, &{
            let mut list = vec![];
            crate::wire::put_bytes(&mut list, 1, &value);
            list
        });
        value = outer;
    }
    let deep = Any { type_url: "type.googleapis.com/google.protobuf.Value".into(), value };
    assert_eq!(check_any(&deep).unwrap_err().problem, "malformed protobuf: nested too deeply");
}

#[test]
fn a_router_needs_nothing() {
    assert_eq!(check(&Router::default()), Ok(()));
}
