//! Clusters and their hosts.

use std::time::Instant;

use super::*;
use crate::config::balance::{
    Among, Balancing, HashFunction, LbPolicy, LocalityRouting, PeakEwma, SlowStart, ZoneAware,
};
use crate::config::cluster::{HostAddress, LocalityWeight, LookupFamily, UpstreamProtocol};
use crate::config::listener::HeaderCase;
use crate::config::subset::{Fallback, SelectorFallback};

#[test]
fn absent_fields_take_envoys_defaults() {
    let translated = cluster_of("name: c").unwrap();
    let config = &translated.config;
    assert_eq!(config.discovery, Discovery::Static);
    assert_eq!(translated.static_hosts, Some(Assignment::default()));
    assert_eq!(config.balancing.policy, LbPolicy::RoundRobin);
    assert_eq!(config.connect_timeout, Duration::from_secs(5));
    assert_eq!(config.protocol, UpstreamProtocol::Http1);
    assert_eq!(config.idle_timeout, Duration::from_secs(3600));
    assert_eq!((config.max_head_bytes, config.max_fields), (60 * 1024, 100));
    assert_eq!(config.balancing.panic_threshold, 50);
    assert_eq!(config.balancing.locality, LocalityRouting::ZoneAware(ZoneAware::default()));
    assert!(config.tls.is_none() && config.keepalive.is_none());
    let limits = &config.breakers[0];
    let retries = limits.retries.max_and_remaining(&limits.requests, Instant::now()).0;
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
    assert_eq!(
        with(""),
        ResourceRef { name: "c".to_owned(), fetch_timeout: Duration::from_secs(15), stream: None }
    );
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
    assert_eq!(config.balancing.panic_threshold, 12);
    assert!(config.close_connections_on_host_set_change);
    let keepalive = config.keepalive.unwrap();
    assert_eq!((keepalive.probes, keepalive.time), (Some(3), Some(Duration::from_secs(10))));
    assert_eq!(config.breakers[0].connections.limit().max(), 1);
    let retries = |at: usize| {
        let breakers = &config.breakers[at];
        breakers.retries.max_and_remaining(&breakers.requests, Instant::now()).0
    };
    assert_eq!(retries(0), 4);
    assert_eq!(config.breakers[1].connections.limit().max(), 5);
    assert_eq!(retries(1), 3);
    assert_eq!(config.protocol, UpstreamProtocol::Http1);
    assert_eq!(config.header_case, HeaderCase::Proper);
    assert!(config.http1_trailers);
    assert_eq!((config.idle_timeout.as_secs(), config.max_connection_duration.as_secs()), (60, 1));
    assert_eq!((config.max_fields, config.max_head_bytes), (5, 8192));
    assert_eq!(config.max_requests_per_connection, 6);
}

#[test]
fn windows_that_nobody_set_follow_from_the_buffer_limit() {
    let windows = |limit: &str, options: &str| {
        let yaml = format!("{{name: c, {limit} http2_protocol_options: {{{options}}}}}");
        let http2 = cluster_of(&yaml).unwrap().config.http2.clone();
        (http2.stream_window, http2.connection_window)
    };
    assert_eq!(windows("", ""), (1 << 20, 16 << 20));
    assert_eq!(windows("per_connection_buffer_limit_bytes: 131072,", ""), (128 << 10, 2 << 20));
    assert_eq!(windows("per_connection_buffer_limit_bytes: 1024,", ""), (65_535, 16 * 65_535));
    assert_eq!(windows("per_connection_buffer_limit_bytes: 1000000000,", ""), (16 << 20, 24 << 20));
    let set = "initial_stream_window_size: 8388608, initial_connection_window_size: 9000000";
    assert_eq!(
        windows("per_connection_buffer_limit_bytes: 1024,", set),
        (8 << 20, 9_000_000),
        "what is set stands"
    );
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

/// A cluster with one policy of `load_balancing_policy`, behind one that is not known.
fn with_extension(name: &str, fields: &str) -> String {
    format!(
        r#"
name: c
load_balancing_policy:
  policies:
  - typed_extension_config: {{name: other, typed_config: {{"@type": type.googleapis.com/google.protobuf.Struct, value: {{}}}}}}
  - typed_extension_config:
      name: x
      typed_config: {{"@type": type.googleapis.com/envoy.extensions.load_balancing_policies.{name}, {fields}}}
"#
    )
}

fn balancing_of(yaml: &str) -> Arc<Balancing> {
    cluster_of(yaml).unwrap().config.balancing.clone()
}

#[test]
fn balancing_policies_in_old_and_new_form() {
    let old = |fields: &str| format!("name: c\n{fields}");
    let least = |among, bias| LbPolicy::LeastRequest { among, bias };
    let ring = |function, size| LbPolicy::RingHash { function, size };
    let sizes = (1024, 8 << 20);
    let cases = [
        (old("lb_policy: LEAST_REQUEST"), least(Among::Choices(2), 1.0)),
        (
            old(
                "lb_policy: LEAST_REQUEST\nleast_request_lb_config: {choice_count: 5, active_request_bias: {default_value: 0.5}}",
            ),
            least(Among::Choices(5), 0.5),
        ),
        (old("lb_policy: RANDOM"), LbPolicy::Random),
        (old("lb_policy: RING_HASH"), ring(HashFunction::Xx, sizes)),
        (
            old(
                "lb_policy: RING_HASH\nring_hash_lb_config: {minimum_ring_size: 2, maximum_ring_size: 9, hash_function: MURMUR_HASH_2}",
            ),
            ring(HashFunction::Murmur2, (2, 9)),
        ),
        (old("lb_policy: MAGLEV"), LbPolicy::Maglev(65_537)),
        (old("lb_policy: MAGLEV\nmaglev_lb_config: {table_size: 101}"), LbPolicy::Maglev(101)),
        (with_extension("round_robin.v3.RoundRobin", ""), LbPolicy::RoundRobin),
        (with_extension("random.v3.Random", ""), LbPolicy::Random),
        (with_extension("least_request.v3.LeastRequest", "choice_count: 3"), least(Among::Choices(3), 1.0)),
        (
            with_extension("least_request.v3.LeastRequest", "selection_method: FULL_SCAN"),
            least(Among::All, 1.0),
        ),
        (with_extension("least_request.v3.LeastRequest", "enable_full_scan: true"), least(Among::All, 1.0)),
        (
            with_extension("ring_hash.v3.RingHash", "minimum_ring_size: 7"),
            ring(HashFunction::Xx, (7, 8 << 20)),
        ),
        (with_extension("maglev.v3.Maglev", "table_size: 5"), LbPolicy::Maglev(5)),
        (
            with_extension("peak_ewma.v3alpha.PeakEwma", "decay_time: 3s, max_samples_per_host: 5"),
            LbPolicy::PeakEwma(PeakEwma {
                decay: Duration::from_secs(3),
                default_latency: Duration::from_millis(10),
                penalty: 1e6,
            }),
        ),
    ];
    for (yaml, want) in cases {
        assert_eq!(balancing_of(&yaml).policy, want, "{yaml}");
    }
}

#[test]
fn what_hashing_policies_share() {
    let old = "name: c\nlb_policy: MAGLEV\ncommon_lb_config: {consistent_hashing_lb_config: {use_hostname_for_hashing: true, hash_balance_factor: 150}}";
    let deprecated =
        with_extension("ring_hash.v3.RingHash", "use_hostname_for_hashing: true, hash_balance_factor: 150");
    let new = with_extension(
        "maglev.v3.Maglev",
        "consistent_hashing_lb_config: {use_hostname_for_hashing: true, hash_balance_factor: 150, hash_policy: [{header: {header_name: X}}]}",
    );
    for (yaml, policies) in [(old, 0), (deprecated.as_str(), 0), (new.as_str(), 1)] {
        let hashing = &balancing_of(yaml).hashing;
        assert_eq!((hashing.use_hostname, hashing.balance_factor), (true, Some(150)), "{yaml}");
        assert_eq!(hashing.policies.as_ref().map_or(0, |list| list.len()), policies, "{yaml}");
    }
    let options = r#"
name: c
lb_policy: RING_HASH
typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    explicit_http_config: {http_protocol_options: {}}
    hash_policy: [{connection_properties: {source_ip: true}}]
"#;
    assert_eq!(balancing_of(options).hashing.policies.as_ref().map(|list| list.len()), Some(1));
}

#[test]
fn localities_and_slow_start() {
    let old = |fields: &str| balancing_of(&format!("name: c\ncommon_lb_config: {{{fields}}}")).locality;
    assert_eq!(old("locality_weighted_lb_config: {}"), LocalityRouting::Weighted);
    let zone =
        ZoneAware { routing_enabled: 40, min_cluster_size: 3, fail_on_panic: true, ..ZoneAware::default() };
    let fields = "zone_aware_lb_config: {routing_enabled: {value: 40}, min_cluster_size: 3, fail_traffic_on_panic: true";
    assert_eq!(old(&format!("{fields}}}")), LocalityRouting::ZoneAware(zone));
    let forced = format!(
        "locality_lb_config: {{{fields}, force_local_zone: {{min_size: 2}}, locality_basis: HEALTHY_HOSTS_WEIGHT}}}}"
    );
    let want = ZoneAware { force_local: Some(2), by_weight: true, ..zone };
    for name in ["round_robin.v3.RoundRobin", "random.v3.Random", "least_request.v3.LeastRequest"] {
        assert_eq!(balancing_of(&with_extension(name, &forced)).locality, LocalityRouting::ZoneAware(want));
    }
    let inner = r#"endpoint_picking_policy: {policies: [{typed_extension_config: {name: inner, typed_config: {"@type": type.googleapis.com/envoy.extensions.load_balancing_policies.random.v3.Random}}}]}"#;
    let wrapped = balancing_of(&with_extension("wrr_locality.v3.WrrLocality", inner));
    assert_eq!((wrapped.policy, wrapped.locality), (LbPolicy::Random, LocalityRouting::Weighted));
    let slow = SlowStart { window: Duration::from_secs(9), aggression: 2.0, min_weight: 0.25 };
    let fields = "slow_start_config: {slow_start_window: 9s, aggression: {default_value: 2}, min_weight_percent: {value: 25}}";
    let yamls = [
        format!("name: c\nround_robin_lb_config: {{{fields}}}"),
        format!("name: c\nlb_policy: LEAST_REQUEST\nleast_request_lb_config: {{{fields}}}"),
        with_extension("round_robin.v3.RoundRobin", fields),
        with_extension("least_request.v3.LeastRequest", fields),
    ];
    for yaml in yamls {
        assert_eq!(balancing_of(&yaml).slow_start, Some(slow), "{yaml}");
    }
    assert_eq!(balancing_of("name: c\nround_robin_lb_config: {slow_start_config: {}}").slow_start, None);
}

#[test]
fn subsets_in_old_and_new_form() {
    let fields = "fallback_policy: DEFAULT_SUBSET, default_subset: {a: x}, panic_mode_any: true, list_as_any: true, \
                  subset_selectors: [{keys: [b, a], fallback_policy: KEYS_SUBSET, fallback_keys_subset: [a]}, {keys: [a], single_host_per_subset: true, fallback_policy: ANY_ENDPOINT}]";
    let inner = r#"subset_lb_policy: {policies: [{typed_extension_config: {name: inner, typed_config: {"@type": type.googleapis.com/envoy.extensions.load_balancing_policies.random.v3.Random}}}]}"#;
    let yamls = [
        format!("name: c\nlb_policy: RANDOM\nlb_subset_config: {{{fields}}}"),
        with_extension("subset.v3.Subset", &format!("{fields}, {inner}")),
    ];
    for yaml in yamls {
        let balancing = balancing_of(&yaml);
        assert_eq!(balancing.policy, LbPolicy::Random);
        let subsets = balancing.subsets.as_ref().unwrap();
        assert_eq!((subsets.fallback, subsets.default.0.len()), (Fallback::Default, 1));
        assert!(subsets.panic_mode_any && subsets.list_as_any);
        assert_eq!(subsets.selectors[0].keys, ["a".into(), "b".into()]);
        assert_eq!(subsets.selectors[0].fallback, Some(SelectorFallback::Keys(vec!["a".into()])));
        assert!(subsets.selectors[1].single_host);
        assert_eq!(subsets.selectors[1].fallback, Some(SelectorFallback::Common(Fallback::Any)));
    }
    assert!(balancing_of("name: c\nlb_subset_config: {fallback_policy: ANY_ENDPOINT}").subsets.is_none());
}

#[test]
fn assignments_say_how_load_is_shared() {
    let assignment = load_assignment(
        &message(
            r#"
cluster_name: c
policy: {overprovisioning_factor: 200, weighted_priority_health: true}
endpoints:
- {locality: {zone: a}, load_balancing_weight: 3, lb_endpoints: [{metadata: {filter_metadata: {envoy.lb: {hash_key: k}, other: {x: y}}}, endpoint: {address: {socket_address: {address: 10.0.0.1, port_value: 80}}}}]}
- {locality: {zone: b}, priority: 1, lb_endpoints: [{metadata: {filter_metadata: {other: {x: y}}}, endpoint: {address: {socket_address: {address: 10.0.0.2, port_value: 80}}}}]}
- {locality: {zone: a}, priority: 1, load_balancing_weight: 4}
"#,
        ),
        &mut context(),
    )
    .unwrap();
    let weight = |priority, locality, weight| LocalityWeight { priority, locality, weight };
    assert_eq!(assignment.policy.locality_weights, [weight(0, 0, 3), weight(1, 0, 4)]);
    assert_eq!((assignment.policy.overprovisioning, assignment.policy.weighted_health), (200, true));
    let keys: Vec<_> =
        assignment.hosts.iter().map(|host| host.metadata.as_ref().and_then(|it| it.hash_key())).collect();
    assert_eq!(keys, [Some("k"), None]);
    assert_eq!((assignment.policy.locality_weight(1, 0), assignment.policy.locality_weight(1, 1)), (4, 0));
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
    use DiscoveryHealth::{Degraded, Draining, Healthy, Unhealthy};
    let ip = |text: &str| HostAddress::Ip(text.parse().unwrap());
    assert_eq!(
        hosts,
        [
            (ip("10.0.0.1:80"), 7, 0, 0, Healthy),
            (HostAddress::Pipe("/run/a.sock".into()), 1, 0, 0, Degraded),
            (ip("[::1]:81"), 1, 1, 1, Draining),
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
