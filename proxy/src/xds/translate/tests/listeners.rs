//! Listeners of meshes as they are sent.

use super::*;
use crate::config::listener::{
    CodecType, Direction, EscapedSlashes, HeaderCase, RouteSource, ServerHeader, SourceType, StripHostPort,
    TransportProtocol, Underscores,
};
use crate::config::route::ClusterChoice;

/// The egress listener of an App Mesh node: HTTP and TCP by port, AWS by SNI, pass-through by default.
const EGRESS: &str = r#"
name: lds_egress_0.0.0.0_15001
address: {socket_address: {address: 0.0.0.0, port_value: 15001}}
traffic_direction: OUTBOUND
use_original_dst: true
metadata: {filter_metadata: {aws.appmesh.aggregate_stats: {config: '{"tags":[]}'}}}
listener_filters:
- name: envoy.filters.listener.original_dst
  typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst}
- name: envoy.filters.listener.tls_inspector
  typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector}
filter_chains:
- filter_chain_match: {destination_port: 8080}
  filters:
  - name: envoy.filters.network.http_connection_manager
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
      stat_prefix: egress
      rds: {route_config_name: rds_egress_http_8080, config_source: {ads: {}, initial_fetch_timeout: 0s}}
      tracing: {}
      normalize_path: true
      merge_slashes: true
      path_with_escaped_slashes_action: KEEP_UNCHANGED
      upgrade_configs: [{upgrade_type: websocket}]
      http_filters:
      - name: envoy.filters.http.router
        typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
- filter_chain_match: {destination_port: 3306}
  filters:
  - name: envoy.filters.network.tcp_proxy
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
      stat_prefix: egress
      idle_timeout: 300s
      weighted_clusters: {clusters: [{name: db-a, weight: 90}, {name: db-b, weight: 10}]}
- filter_chain_match: {server_names: ["*.amazonaws.com"], transport_protocol: tls}
  filters:
  - name: envoy.filters.network.tcp_proxy
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
      stat_prefix: egress
      cluster: cds_egress_m_amazonaws
default_filter_chain:
  filters:
  - name: envoy.filters.network.tcp_proxy
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
      stat_prefix: egress
      cluster: cds_egress_m_mesh-allow-all
"#;

#[test]
fn an_app_mesh_egress_listener_translates() {
    let mut context = context();
    let translated = listener(&message(EGRESS), &mut context).unwrap();
    let config = &translated.config;
    assert_eq!(&*config.name, "lds_egress_0.0.0.0_15001");
    assert_eq!(config.address.to_string(), "0.0.0.0:15001");
    assert!(config.bind_to_port && config.use_original_dst && config.original_dst);
    assert!(config.inspect.tls && !config.inspect.http);
    assert_eq!(config.direction, Direction::Outbound);
    assert_eq!(config.listener_filters_timeout, Duration::from_secs(15));
    assert_eq!(config.chains.len(), 3);
    assert!(config.default_chain.is_some());
    let reference =
        ResourceRef { name: "rds_egress_http_8080".to_owned(), fetch_timeout: Duration::ZERO, stream: None };
    assert_eq!(translated.route_refs, [reference]);
    assert!(translated.secret_refs.is_empty() && translated.required_clusters.is_empty());

    let http = http(config, 0);
    assert_eq!(&*http.stat_prefix, "egress");
    assert!(
        matches!(http.routes, RouteSource::Rds(id) if Some(id) == context.route_tables.get("rds_egress_http_8080"))
    );
    assert!(http.normalize_path && http.merge_slashes);
    assert_eq!(http.upgrades, ["websocket".into()]);
    assert_eq!(http.escaped_slashes, EscapedSlashes::KeepUnchanged);

    let tcp = tcp(config, 1);
    assert_eq!(tcp.idle_timeout, Duration::from_secs(300));
    assert_eq!(tcp.max_connect_attempts, 1);
    let ClusterChoice::Weighted(weighted) = &tcp.clusters else { panic!("{:?}", tcp.clusters) };
    assert_eq!(weighted.total, 100);
    assert_eq!(weighted.entries[1].cluster.named(), context.clusters.get("db-b"));

    let aws = &config.chains[2].matches;
    assert_eq!(aws.server_names, ["*.amazonaws.com".into()]);
    assert_eq!(aws.transport_protocol, Some(TransportProtocol::Tls));
    assert_eq!(context.warnings.take(), [], "nothing App Mesh sends is out of effect");
}

const MINIMAL: &str = r#"
name: l
address: {socket_address: {address: "::", port_value: 0, ipv4_compat: true}}
filter_chains:
- filters:
  - name: http
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
      stat_prefix: p
      route_config: {}
      http_filters:
      - name: router
        typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
"#;

#[test]
fn absent_fields_take_envoys_defaults() {
    let translated = listener_of(MINIMAL).unwrap();
    let config = &translated.config;
    assert!(config.bind_to_port && config.ipv4_compat && !config.use_original_dst && !config.original_dst);
    assert_eq!(config.direction, Direction::Unspecified);
    // Envoy has no limit here; we do.
    assert_eq!(config.chains[0].transport_socket_timeout, Duration::from_secs(15));
    assert!(config.chains[0].tls.is_none());
    let http = http(config, 0);
    assert_eq!(http.codec, CodecType::Auto);
    assert_eq!(http.max_head_bytes, 60 * 1024);
    assert_eq!(http.max_fields, 100);
    assert_eq!(http.idle_timeout, Duration::from_secs(3600));
    assert_eq!(http.stream_idle_timeout, Duration::from_secs(300));
    assert_eq!(http.request_timeout, Duration::ZERO);
    assert_eq!(http.request_headers_timeout, Duration::ZERO);
    assert_eq!(http.delayed_close_timeout, Duration::from_secs(1));
    assert!(matches!(&http.server_header, ServerHeader::Overwrite(name) if &**name == "envoy"));
    assert!(http.generate_request_id && !http.use_remote_address && !http.suppress_envoy_headers);
    assert_eq!(http.strip_host_port, StripHostPort::Never);
    assert_eq!(http.underscores, Underscores::Allow);
    assert!(!http.http1.accept_http_10 && http.http1.allow_absolute_url && !http.http1.enable_trailers);
    assert_eq!(http.http1.header_case, HeaderCase::Lower);
    assert_eq!(http.http2.max_concurrent_streams, 1024);
    assert_eq!((http.http2.stream_window, http.http2.connection_window), (1 << 20, 16 << 20));
    assert_eq!(http.http2.keepalive_interval, Duration::ZERO);
    assert!(http.upgrades.is_empty() && http.access_logs.is_empty() && http.internal_ranges.is_empty());
}

#[test]
fn every_connection_manager_setting_arrives() {
    let fields = r#"
      codec_type: HTTP1
      server_name: gw
      server_header_transformation: APPEND_IF_ABSENT
      max_request_headers_kb: 96
      stream_idle_timeout: 0s
      request_timeout: 1s
      request_headers_timeout: 2s
      delayed_close_timeout: 0s
      use_remote_address: true
      xff_num_trusted_hops: 2
      skip_xff_append: true
      internal_address_config: {cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}
      via: gw
      generate_request_id: false
      preserve_external_request_id: true
      always_set_request_id_in_response: true
      proxy_100_continue: true
      strip_any_host_port: true
      path_with_escaped_slashes_action: REJECT_REQUEST
      upgrade_configs: [{upgrade_type: CONNECT}, {upgrade_type: websocket, enabled: false}]
      common_http_protocol_options:
        {idle_timeout: 0s, max_connection_duration: 60s, max_headers_count: 7, max_stream_duration: 5s,
         headers_with_underscores_action: DROP_HEADER, max_requests_per_connection: 9}
      http_protocol_options:
        {accept_http_10: true, default_host_for_http_10: old, allow_absolute_url: false, enable_trailers: true,
         header_key_format: {proper_case_words: {}}}
      http2_protocol_options:
        {hpack_table_size: 0, max_concurrent_streams: 3, initial_stream_window_size: 65535,
         initial_connection_window_size: 65536, allow_connect: true,
         connection_keepalive: {interval: 30s, timeout: 5s}}"#;
    let yaml = MINIMAL.replace("      stat_prefix: p", &format!("      stat_prefix: p{fields}"));
    let translated = listener_of(&yaml).unwrap();
    let http = http(&translated.config, 0);
    assert_eq!(http.codec, CodecType::Http1);
    assert!(matches!(&http.server_header, ServerHeader::AppendIfAbsent(name) if &**name == "gw"));
    assert_eq!(http.max_head_bytes, 96 * 1024);
    let seconds = [
        http.stream_idle_timeout,
        http.request_timeout,
        http.request_headers_timeout,
        http.delayed_close_timeout,
        http.idle_timeout,
        http.max_connection_duration,
        http.max_stream_duration,
    ]
    .map(|duration| duration.as_secs());
    assert_eq!(seconds, [0, 1, 2, 0, 0, 60, 5]);
    assert!(http.use_remote_address && http.skip_xff_append && http.proxy_100_continue);
    assert!(http.preserve_external_request_id && http.always_set_request_id_in_response);
    assert!(!http.generate_request_id);
    assert_eq!(http.xff_num_trusted_hops, 2);
    assert_eq!(http.internal_ranges, ["10.0.0.0/8".parse().unwrap()]);
    assert_eq!(http.via.as_deref(), Some("gw"));
    assert_eq!(http.strip_host_port, StripHostPort::Any);
    assert_eq!(http.escaped_slashes, EscapedSlashes::Reject);
    assert_eq!(http.upgrades, ["connect".into()]);
    assert_eq!((http.max_fields, http.max_requests_per_connection), (7, 9));
    assert_eq!(http.underscores, Underscores::Drop);
    assert!(http.http1.accept_http_10 && http.http1.enable_trailers && !http.http1.allow_absolute_url);
    assert_eq!(http.http1.default_host_for_http_10.as_deref(), Some("old"));
    assert_eq!(http.http1.header_case, HeaderCase::Proper);
    let http2 = &http.http2;
    assert_eq!((http2.hpack_table_size, http2.max_concurrent_streams), (0, 3));
    assert_eq!((http2.stream_window, http2.connection_window), (65_535, 65_536));
    assert!(http2.allow_connect);
    assert_eq!(http2.keepalive_interval, Duration::from_secs(30));
    assert_eq!(http2.keepalive_timeout, Duration::from_secs(5));
}

#[test]
fn every_match_criterion_arrives() {
    let criteria = r#"
- filter_chain_match:
    destination_port: 80
    prefix_ranges: [{address_prefix: 10.1.2.3, prefix_len: 16}]
    server_names: [A.example.com]
    transport_protocol: raw_buffer
    application_protocols: [h2, http/1.1]
    direct_source_prefix_ranges: [{address_prefix: "::1", prefix_len: 128}]
    source_type: EXTERNAL
    source_prefix_ranges: [{address_prefix: 0.0.0.0}]
    source_ports: [1, 65535]
  name: chain
  transport_socket_connect_timeout: 3s
  filters:"#;
    let yaml = MINIMAL.replace("\n- filters:", criteria);
    let translated = listener_of(&yaml).unwrap();
    let chain = &translated.config.chains[0];
    let matches = &chain.matches;
    assert_eq!((&*chain.name, chain.transport_socket_timeout), ("chain", Duration::from_secs(3)));
    assert_eq!(matches.destination_port, Some(80));
    assert_eq!(matches.prefix_ranges, ["10.1.0.0/16".parse().unwrap()]);
    assert_eq!(matches.server_names, ["a.example.com".into()]);
    assert_eq!(matches.transport_protocol, Some(TransportProtocol::RawBuffer));
    assert_eq!(matches.application_protocols, ["h2".into(), "http/1.1".into()]);
    assert_eq!(matches.direct_source_ranges, ["::1/128".parse().unwrap()]);
    assert_eq!(matches.source_type, SourceType::External);
    assert_eq!(matches.source_ranges, ["0.0.0.0/0".parse().unwrap()]);
    assert_eq!(matches.source_ports, [1, 65_535]);
}

#[test]
fn a_listener_that_does_not_bind_says_so_in_either_form() {
    for field in ["bind_to_port: false", "deprecated_v1: {bind_to_port: false}"] {
        let translated = listener_of(&format!("{MINIMAL}{field}\n")).unwrap();
        assert!(!translated.config.bind_to_port, "{field}");
    }
}

#[test]
fn inline_routes_ask_for_their_clusters_unless_told_otherwise() {
    let with = |validate: &str| {
        let routes = format!(
            "route_config: {{{validate} virtual_hosts: [{{name: v, domains: ['*'], routes: [{{match: {{prefix: /}}, route: {{cluster: c}}}}]}}]}}"
        );
        listener_of(&MINIMAL.replace("route_config: {}", &routes)).unwrap().required_clusters
    };
    let path =
        "filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].routes[0].route.cluster";
    assert_eq!(with(""), [RequiredCluster { path: path.to_owned(), name: "c".to_owned() }]);
    assert_eq!(with("validate_clusters: false,"), []);
}

#[test]
fn access_logs_open_their_sink_once_per_path() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("access.log");
    let log = format!(
        r#"
      access_log:
      - name: file
        filter: {{and_filter: {{filters: [
          {{status_code_filter: {{comparison: {{op: GE, value: {{default_value: 500, runtime_key: x}}}}}}}},
          {{or_filter: {{filters: [{{response_flag_filter: {{flags: [UF, URX]}}}}, {{not_health_check_filter: {{}}}}]}}}}]}}}}
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
          path: {path}
          log_format: {{text_format_source: {{inline_string: "%PROTOCOL% %RESPONSE_CODE%\n"}}}}
      - name: json
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
          path: {path}
          log_format: {{json_format: {{code: "%RESPONSE_CODE%", fixed: 1, nested: {{flag: true, none: null}}}}}}
      - name: stdout
        typed_config: {{"@type": type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog}}"#,
        path = file.display()
    );
    let yaml = MINIMAL.replace("      stat_prefix: p", &format!("      stat_prefix: p{log}"));
    let registry = Registry::new();
    let stats = crate::stats::scope::AccessLogStats::register(&registry);
    let sinks = Arc::new(Sinks::new(stats, registry.shared().clone()));
    let mut context = TranslateContext::new(registry, Some(sinks));
    let translated = listener(&message(&yaml), &mut context).unwrap();
    assert_eq!(http(&translated.config, 0).access_logs.len(), 3);
    assert!(file.exists());
    // Validation checks the same things and opens nothing.
    std::fs::remove_file(&file).unwrap();
    let translated = listener_of(&yaml).unwrap();
    assert!(http(&translated.config, 0).access_logs.is_empty() && !file.exists());
}
