//! Clusters and their hosts.

use super::*;
use crate::config::cluster::{HostAddress, LbPolicy, LookupFamily, UpstreamProtocol};
use crate::config::listener::HeaderCase;

#[test]
fn absent_fields_take_envoys_defaults() {
    let translated = cluster_of("name: c").unwrap();
    let config = &translated.config;
    assert_eq!(config.discovery, Discovery::Static);
    assert_eq!(translated.static_hosts, Some(Assignment::default()));
    assert_eq!(config.lb, LbPolicy::RoundRobin);
    assert_eq!(config.connect_timeout, Duration::from_secs(5));
    assert_eq!(config.protocol, UpstreamProtocol::Http1);
    assert_eq!(config.idle_timeout, Duration::from_secs(3600));
    assert_eq!((config.max_head_bytes, config.max_fields), (60 * 1024, 100));
    assert_eq!(config.panic_threshold, 50);
    assert!(config.tls.is_none() && config.keepalive.is_none());
    let limits = &config.breakers[0];
    let retries = limits.retries.max_and_remaining(&limits.requests).0;
    let limits =
        [limits.connections.limit().max(), limits.pending.max(), limits.requests.max(), retries as u32];
    assert_eq!(limits, [1024, 1024, 1024, 3]);
}

/// What App Mesh sends for a node behind DNS.
const LOGICAL: &str = r#"
name: cds_egress_m_b_http_8080
type: LOGICAL_DNS
connect_timeout: 1s
metadata: {filter_metadata: {aws.appmesh.aggregate_stats: {config: "{}"}}}
circuit_breakers: {thresholds: [{max_connections: 2147483647, max_pending_requests: 2147483647, max_requests: 2147483647, max_retries: 2147483647}]}
load_assignment:
  cluster_name: cds_egress_m_b_http_8080
  endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: b.ns.svc.cluster.local., port_value: 8080}}}}]}]
"#;

#[test]
fn an_app_mesh_dns_cluster_translates_without_warning() {
    let mut context = context();
    let translated = cluster(&message(LOGICAL), &mut context).unwrap();
    let dns = translated.dns().unwrap();
    assert!(matches!(translated.config.discovery, Discovery::LogicalDns(_)));
    assert_eq!(&*dns.names[0].hostname, "b.ns.svc.cluster.local.");
    assert_eq!(&*dns.names[0].authority, "b.ns.svc.cluster.local.");
    assert_eq!((dns.names[0].port, dns.names[0].weight), (8080, 1));
    assert_eq!(dns.refresh, Duration::from_secs(5));
    assert_eq!((dns.failure_refresh, dns.failure_refresh_max), (dns.refresh, dns.refresh));
    assert!(!dns.respect_ttl);
    assert_eq!(dns.family, LookupFamily::Auto);
    assert!(translated.static_hosts.is_none() && translated.eds.is_none());
    assert_eq!(context.warnings.take(), []);
}

#[test]
fn strict_dns_takes_every_name_with_its_settings() {
    let translated = cluster_of(
        r#"
name: c
type: STRICT_DNS
dns_refresh_rate: 30s
dns_failure_refresh_rate: {base_interval: 2s}
respect_dns_ttl: true
dns_lookup_family: V4_PREFERRED
load_assignment:
  cluster_name: c
  endpoints:
  - priority: 1
    lb_endpoints:
    - {load_balancing_weight: 3, endpoint: {hostname: real.example, address: {socket_address: {address: a.example, port_value: 80}}}}
    - {endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 81}}}}
"#,
    )
    .unwrap();
    let dns = translated.dns().unwrap();
    assert_eq!(dns.names.len(), 2);
    assert_eq!((&*dns.names[0].hostname, &*dns.names[0].authority), ("a.example", "real.example"));
    assert_eq!((dns.names[0].weight, dns.names[0].priority), (3, 1));
    assert_eq!(dns.refresh, Duration::from_secs(30));
    assert_eq!(dns.failure_refresh, Duration::from_secs(2));
    assert_eq!(dns.failure_refresh_max, Duration::from_secs(20));
    assert!(dns.respect_ttl);
    assert_eq!(dns.family, LookupFamily::V4Preferred);
}

#[test]
fn the_dns_extension_says_the_same() {
    let with = |logical: bool| {
        cluster_of(&format!(
            r#"
name: c
cluster_type:
  name: envoy.cluster.dns
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster
    dns_refresh_rate: 1s
    respect_dns_ttl: true
    dns_lookup_family: ALL
    dns_failure_refresh_rate: {{base_interval: 2s, max_interval: 8s}}
    all_addresses_in_single_endpoint: {logical}
load_assignment:
  cluster_name: c
  endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: a, port_value: 80}}}}}}}}]}}]
"#
        ))
        .unwrap()
    };
    let strict = with(false);
    let Discovery::StrictDns(dns) = &strict.config.discovery else { panic!() };
    assert_eq!(
        (dns.refresh.as_secs(), dns.failure_refresh.as_secs(), dns.failure_refresh_max.as_secs()),
        (1, 2, 8)
    );
    assert_eq!(dns.family, LookupFamily::All);
    assert!(matches!(with(true).config.discovery, Discovery::LogicalDns(_)));
}

#[test]
fn eds_clusters_name_their_resource() {
    let with = |service: &str| {
        cluster_of(&format!(
            "name: c\ntype: EDS\neds_cluster_config: {{{service} eds_config: {{ads: {{}}, resource_api_version: V3}}}}"
        ))
        .unwrap()
        .eds
        .unwrap()
    };
    assert_eq!(with(""), ResourceRef { name: "c".to_owned(), fetch_timeout: Duration::from_secs(15) });
    assert_eq!(with("service_name: s,").name, "s");
}

#[test]
fn original_destination_clusters_in_every_form() {
    let of = |yaml: &str| match &cluster_of(yaml).unwrap().config.discovery {
        Discovery::OriginalDst { header, port_override, cleanup_interval } => {
            (header.as_deref().map(str::to_owned), *port_override, cleanup_interval.as_secs())
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(of("name: c\ntype: ORIGINAL_DST\nlb_policy: CLUSTER_PROVIDED"), (None, None, 5));
    let config = "{use_http_header: true, upstream_port_override: 80}";
    let legacy =
        format!("name: c\ntype: ORIGINAL_DST\ncleanup_interval: 9s\noriginal_dst_lb_config: {config}");
    assert_eq!(of(&legacy), (Some("x-envoy-original-dst-host".to_owned()), Some(80), 9));
    let extension = r#"
name: c
lb_policy: CLUSTER_PROVIDED
cluster_type:
  name: envoy.cluster.original_dst
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.clusters.original_dst.v3.OriginalDstCluster
    use_http_header: true
    http_header_name: X-To
"#;
    assert_eq!(of(extension), (Some("x-to".to_owned()), None, 5));
}

#[test]
fn every_setting_arrives() {
    let translated = cluster_of(
        r#"
name: c
alt_stat_name: "c;80"
connect_timeout: 0.25s
per_connection_buffer_limit_bytes: 1048576
common_lb_config: {healthy_panic_threshold: {value: 12.9}, close_connections_on_host_set_change: true}
upstream_connection_options: {tcp_keepalive: {keepalive_probes: 3, keepalive_time: 10, keepalive_interval: 5}}
circuit_breakers:
  thresholds:
  - {max_connections: 1, max_pending_requests: 2, max_requests: 3, max_retries: 4}
  - {priority: HIGH, max_connections: 5}
  - {max_connections: 99}
typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    common_http_protocol_options: {idle_timeout: 60s, max_connection_duration: 1s, max_headers_count: 5, max_response_headers_kb: 8, max_requests_per_connection: 6}
    explicit_http_config: {http_protocol_options: {header_key_format: {proper_case_words: {}}, enable_trailers: true}}
"#,
    )
    .unwrap();
    let config = &translated.config;
    assert_eq!(config.connect_timeout, Duration::from_millis(250));
    assert_eq!(config.panic_threshold, 12);
    assert!(config.close_connections_on_host_set_change);
    let keepalive = config.keepalive.unwrap();
    assert_eq!((keepalive.probes, keepalive.time), (Some(3), Some(Duration::from_secs(10))));
    assert_eq!(config.breakers[0].connections.limit().max(), 1);
    assert_eq!(config.breakers[0].retries.max_and_remaining(&config.breakers[0].requests).0, 4);
    assert_eq!(config.breakers[1].connections.limit().max(), 5);
    assert_eq!(config.breakers[1].retries.max_and_remaining(&config.breakers[1].requests).0, 3);
    assert_eq!(config.protocol, UpstreamProtocol::Http1);
    assert_eq!(config.header_case, HeaderCase::Proper);
    assert!(config.http1_trailers);
    assert_eq!((config.idle_timeout.as_secs(), config.max_connection_duration.as_secs()), (60, 1));
    assert_eq!((config.max_fields, config.max_head_bytes), (5, 8192));
    assert_eq!(config.max_requests_per_connection, 6);
}

#[test]
fn protocols_in_old_and_new_form() {
    let options = |chosen: &str| {
        format!(
            r#"
typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    {chosen}
"#
        )
    };
    let cases = [
        ("http2_protocol_options: {max_concurrent_streams: 7}".to_owned(), UpstreamProtocol::Http2),
        ("protocol_selection: USE_DOWNSTREAM_PROTOCOL".to_owned(), UpstreamProtocol::Downstream),
        (
            options("explicit_http_config: {http2_protocol_options: {max_concurrent_streams: 7}}"),
            UpstreamProtocol::Http2,
        ),
        (
            options("use_downstream_protocol_config: {http2_protocol_options: {}}"),
            UpstreamProtocol::Downstream,
        ),
    ];
    for (yaml, want) in cases {
        let config = cluster_of(&format!("name: c\n{yaml}")).unwrap().config;
        assert_eq!(config.protocol, want, "{yaml}");
        if yaml.contains('7') {
            assert_eq!(config.http2.max_concurrent_streams, 7);
        }
    }
    let deprecated =
        "name: c\nmax_requests_per_connection: 3\ncommon_http_protocol_options: {idle_timeout: 2s}";
    let config = cluster_of(deprecated).unwrap().config;
    assert_eq!((config.max_requests_per_connection, config.idle_timeout.as_secs()), (3, 2));
}

#[test]
fn balancing_policies_in_old_and_new_form() {
    let listed = |name: &str, fields: &str| {
        format!(
            r#"
load_balancing_policy:
  policies:
  - typed_extension_config: {{name: other, typed_config: {{"@type": type.googleapis.com/google.protobuf.Struct, value: {{}}}}}}
  - typed_extension_config:
      name: x
      typed_config: {{"@type": type.googleapis.com/envoy.extensions.load_balancing_policies.{name}, {fields}}}
"#
        )
    };
    let cases = [
        ("lb_policy: LEAST_REQUEST".to_owned(), LbPolicy::LeastRequest { choices: 2 }),
        (
            "lb_policy: LEAST_REQUEST\nleast_request_lb_config: {choice_count: 5}".to_owned(),
            LbPolicy::LeastRequest { choices: 5 },
        ),
        ("lb_policy: RANDOM".to_owned(), LbPolicy::Random),
        (listed("round_robin.v3.RoundRobin", ""), LbPolicy::RoundRobin),
        (listed("random.v3.Random", ""), LbPolicy::Random),
        (listed("least_request.v3.LeastRequest", "choice_count: 3"), LbPolicy::LeastRequest { choices: 3 }),
    ];
    for (yaml, want) in cases {
        assert_eq!(cluster_of(&format!("name: c\n{yaml}")).unwrap().config.lb, want, "{yaml}");
    }
}

#[test]
fn hosts_keep_weight_priority_health_and_locality() {
    let assignment = load_assignment(
        &message(
            r#"
cluster_name: c
endpoints:
- locality: {region: r, zone: z1}
  lb_endpoints:
  - {endpoint: {hostname: h, address: {socket_address: {address: 10.0.0.1, port_value: 80}}}, load_balancing_weight: 7}
  - {endpoint: {address: {pipe: {path: /run/a.sock}}}, health_status: DEGRADED}
  - {endpoint: {address: {socket_address: {address: 10.0.0.1, port_value: 80}}}, health_status: UNHEALTHY}
- locality: {region: r, zone: z2}
  priority: 1
  lb_endpoints: [{endpoint: {address: {socket_address: {address: "::1", port_value: 81}}}, health_status: DRAINING}]
- locality: {region: r, zone: z1}
  priority: 2
  lb_endpoints: [{endpoint: {address: {socket_address: {address: 10.0.0.3, port_value: 80}}}, health_status: TIMEOUT}]
"#,
        ),
        &mut context(),
    )
    .unwrap();
    assert_eq!(assignment.name, "c");
    let zones: Vec<&str> = assignment.localities.iter().map(|locality| &*locality.zone).collect();
    assert_eq!(zones, ["z1", "z2"]);
    let hosts: Vec<_> = assignment
        .hosts
        .iter()
        .map(|host| (host.address.clone(), host.weight, host.priority, host.locality, host.health))
        .collect();
    use DiscoveryHealth::{Degraded, Healthy, Unhealthy};
    let ip = |text: &str| HostAddress::Ip(text.parse().unwrap());
    assert_eq!(
        hosts,
        [
            (ip("10.0.0.1:80"), 7, 0, 0, Healthy),
            (HostAddress::Pipe("/run/a.sock".into()), 1, 0, 0, Degraded),
            (ip("[::1]:81"), 1, 1, 1, Unhealthy),
            (ip("10.0.0.3:80"), 1, 2, 0, Unhealthy),
        ]
    );
    assert_eq!(&*assignment.hosts[0].hostname, "h");
}

#[test]
fn outlier_detection_has_envoys_defaults_and_bounds() {
    let with = |fields: &str| cluster_of(&format!("name: c\noutlier_detection: {{{fields}}}"));
    assert!(cluster_of("name: c").unwrap().config.outlier.is_none());
    let outlier = with("").unwrap().config.outlier.clone().unwrap();
    assert_eq!(outlier.consecutive, [5; 3]);
    assert_eq!(outlier.enforcing, [100, 0, 100, 100, 100, 0, 0]);
    let times = (outlier.interval, outlier.base_ejection_time, outlier.max_ejection_time);
    assert_eq!(times, (Duration::from_secs(10), Duration::from_secs(30), Duration::from_secs(300)));
    assert_eq!((outlier.max_ejection_percent, outlier.always_eject_one_host), (10, false));
    // What App Mesh writes.
    let fields = "consecutive_5xx: 7, interval: 4s, base_ejection_time: 400s, max_ejection_percent: 50, enforcing_success_rate: 0";
    let outlier = with(fields).unwrap().config.outlier.clone().unwrap();
    assert_eq!((outlier.consecutive[0], outlier.enforcing[2], outlier.max_ejection_percent), (7, 0, 50));
    assert_eq!(outlier.max_ejection_time, Duration::from_secs(400));
    for (fields, name) in [
        ("interval: 0s", "interval"),
        ("base_ejection_time: 5s, max_ejection_time: 4s", "max_ejection_time"),
        ("max_ejection_percent: 101", "max_ejection_percent"),
    ] {
        let refused = with(fields).unwrap_err().to_string();
        assert!(refused.contains(&format!("outlier_detection.{name}")), "{refused}");
    }
}
