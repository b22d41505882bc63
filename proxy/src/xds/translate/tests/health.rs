use std::ops::Range;
use std::time::Duration;

use super::*;
use crate::config::health::{CheckKind, HealthCheck, HttpCheck, Intervals};

/// A cluster with one health check of these fields.
fn checked(fields: &str) -> String {
    let required = "timeout: 2s, interval: 10s, unhealthy_threshold: 3, healthy_threshold: 2";
    format!(
        "{{name: a, type: STATIC, load_assignment: {{cluster_name: a}}, health_checks: [{{{required}, {fields}}}]}}"
    )
}

fn with<T>(fields: &str, look: impl FnOnce(&HealthCheck) -> T) -> T {
    let cluster = cluster_of(&checked(fields)).unwrap_or_else(|error| panic!("{fields}: {error}"));
    look(cluster.config.health_check.as_ref().unwrap())
}

fn with_http<T>(fields: &str, look: impl FnOnce(&HttpCheck) -> T) -> T {
    with(&format!("http_health_check: {{path: /ping, {fields}}}"), |check| match &check.kind {
        CheckKind::Http(http) => look(http),
        other => panic!("{other:?}"),
    })
}

fn bounds(ranges: &[Range<u16>]) -> Vec<(u16, u16)> {
    ranges.iter().map(|range| (range.start, range.end)).collect()
}

#[test]
fn what_is_not_set_has_envoys_defaults() {
    with("tcp_health_check: {}", |check| {
        let (ten, minute) = (Duration::from_secs(10), Duration::from_secs(60));
        let expected = Intervals {
            healthy: ten,
            healthy_edge: ten,
            unhealthy: ten,
            unhealthy_edge: ten,
            no_traffic: minute,
            no_traffic_healthy: minute,
        };
        assert_eq!(check.intervals, expected);
        assert_eq!((check.unhealthy_threshold, check.healthy_threshold), (3, 2));
        assert!(check.reuse_connection && check.tls.is_none() && check.log.is_none());
        assert_eq!((check.initial_jitter, check.interval_jitter), (Duration::ZERO, Duration::ZERO));
    });
    with_http("", |http| {
        assert_eq!((&*http.host, &*http.path, http.method.as_str()), ("a", "/ping", "GET"));
        assert_eq!((http.http2, http.receive_limit), (false, 1024));
        assert_eq!(bounds(&http.expected), [(200, 201)]);
        assert!(http.retriable.is_empty() && http.headers.is_empty());
    });
}

#[test]
fn intervals_fall_back_on_each_other() {
    let fields = "unhealthy_interval: 4s, no_traffic_interval: 7s, tcp_health_check: {}";
    with(fields, |check| {
        let seconds = Duration::from_secs;
        assert_eq!(check.intervals.unhealthy_edge, seconds(4));
        assert_eq!(check.intervals.healthy_edge, seconds(10));
        assert_eq!(check.intervals.no_traffic_healthy, seconds(7));
    });
}

#[test]
fn an_http_check_keeps_what_is_set() {
    let fields = "host: h, method: HEAD, codec_client_type: HTTP2, send: {text: 00ff}, receive: [{text: '4F4b'}], \
        response_buffer_size: 0, expected_statuses: [{start: 200, end: 300}], retriable_statuses: [{start: 500, end: 600}], \
        request_headers_to_add: [{header: {key: X-A, value: 100%%}}], request_headers_to_remove: [User-Agent]";
    with_http(fields, |http| {
        assert_eq!((&*http.host, http.method.as_str(), http.http2), ("h", "HEAD", true));
        assert_eq!((&http.send[..], &*http.receive[0]), (&[0, 255][..], &b"OK"[..]));
        assert_eq!(bounds(&http.expected), [(200, 300)]);
        assert_eq!(bounds(&http.retriable), [(500, 600)]);
        assert_eq!((http.headers[0].name.as_str(), http.headers[0].value.as_bytes()), ("x-a", &b"100%"[..]));
        assert_eq!(http.removed[0].as_str(), "user-agent");
    });
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    let http = |fields: &str| format!("http_health_check: {{path: /, {fields}}}");
    let in_http = |field: &str| format!("http_health_check.{field}");
    for (fields, path) in [
        ("alt_port: 1, tcp_health_check: {}".to_owned(), "alt_port".to_owned()),
        ("event_service: {}, tcp_health_check: {}".to_owned(), "event_service".to_owned()),
        ("event_logger: [{name: a}], tcp_health_check: {}".to_owned(), "event_logger".to_owned()),
        (
            "transport_socket_match_criteria: {a: b}, tcp_health_check: {}".to_owned(),
            "transport_socket_match_criteria".to_owned(),
        ),
        ("custom_health_check: {name: redis}".to_owned(), "custom_health_check".to_owned()),
        (
            "tcp_health_check: {proxy_protocol_config: {}}".to_owned(),
            "tcp_health_check.proxy_protocol_config".to_owned(),
        ),
        ("tcp_health_check: {send: {text: abc}}".to_owned(), "tcp_health_check.send.text".to_owned()),
        ("tcp_health_check: {receive: [{}]}".to_owned(), "tcp_health_check.receive[0]".to_owned()),
        ("no_traffic_interval: 0s, tcp_health_check: {}".to_owned(), "no_traffic_interval".to_owned()),
        ("http_health_check: {path: ''}".to_owned(), in_http("path")),
        ("http_health_check: {path: 'a b'}".to_owned(), in_http("path")),
        (http("method: CONNECT"), in_http("method")),
        (http("codec_client_type: HTTP3"), in_http("codec_client_type")),
        (http("host: \"a\\nb\""), in_http("host")),
        (http("response_buffer_size: 1048577"), in_http("response_buffer_size")),
        (http("expected_statuses: [{start: 200, end: 200}]"), in_http("expected_statuses[0]")),
        (http("retriable_statuses: [{start: 99, end: 101}]"), in_http("retriable_statuses[0]")),
        (
            http("request_headers_to_add: [{header: {key: a, value: '%PROTOCOL%'}}]"),
            in_http("request_headers_to_add[0].header.value"),
        ),
        (String::new(), String::new()),
    ] {
        let rejection = cluster_of(&checked(&fields)).unwrap_err();
        let expected =
            if path.is_empty() { "health_checks[0]".to_owned() } else { format!("health_checks[0].{path}") };
        assert_eq!(rejection.path, expected, "{fields}");
    }
    let one =
        "{timeout: 1s, interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1, tcp_health_check: {}}";
    let two = format!(
        "{{name: a, type: STATIC, load_assignment: {{cluster_name: a}}, health_checks: [{one}, {one}]}}"
    );
    assert_eq!(cluster_of(&two).unwrap_err().path, "health_checks");
}

#[test]
fn endpoints_say_how_they_are_checked() {
    let host = |config: &str| {
        let address = "address: {socket_address: {address: 10.0.0.1, port_value: 80}}";
        cluster_of(&format!(
            "{{name: a, type: STATIC, load_assignment: {{cluster_name: a, endpoints: [{{lb_endpoints: [
              {{endpoint: {{{address}, health_check_config: {config}}}}}]}}]}}}}"
        ))
    };
    let check = |config: &str| host(config).unwrap().static_hosts.unwrap().hosts[0].check.clone().unwrap();
    assert_eq!(check("{port_value: 81}").port, Some(81));
    let elsewhere = check("{hostname: h, address: {socket_address: {address: 10.0.0.2, port_value: 82}}}");
    assert_eq!((elsewhere.ip, elsewhere.port), (Some([10, 0, 0, 2].into()), Some(82)));
    assert_eq!((&*elsewhere.hostname, elsewhere.disabled), ("h", false));
    assert!(check("{disable_active_health_check: true}").disabled);
    let path = host("{address: {pipe: {path: /a}}}").unwrap_err().path;
    assert!(path.ends_with("endpoint.health_check_config.address"), "{path}");
}
