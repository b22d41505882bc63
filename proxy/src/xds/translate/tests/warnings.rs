//! What is accepted without effect is said by name.

use super::*;

fn cluster_warnings(yaml: &str) -> Vec<String> {
    let mut context = context();
    cluster(&message(&format!("name: c\n{yaml}")), &mut context).unwrap();
    context.warnings.take().into_iter().map(|warning| warning.path).collect()
}

#[test]
fn cluster_settings_without_effect() {
    let cases = [
        ("close_connections_on_host_health_failure: true", "close_connections_on_host_health_failure"),
        ("lb_policy: CLUSTER_PROVIDED\ntype: ORIGINAL_DST\noutlier_detection: {}", "outlier_detection"),
        ("preconnect_policy: {}", "preconnect_policy"),
        ("track_cluster_stats: {per_endpoint_stats: true}", "track_cluster_stats.per_endpoint_stats"),
        ("lrs_server: {self: {}}", "lrs_server"),
        ("http2_protocol_options: {max_outbound_frames: 5}", "http2_protocol_options.max_outbound_frames"),
        (
            "lb_subset_config: {}\nload_balancing_policy: {policies: [{typed_extension_config: {name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.random.v3.Random}}}]}",
            "lb_subset_config",
        ),
    ];
    for (yaml, path) in cases {
        assert_eq!(cluster_warnings(yaml), [path], "{yaml}");
    }
}

#[test]
fn route_settings_without_effect() {
    let warnings = |vhost: &str, action: &str| {
        let yaml = format!(
            "name: t\nvirtual_hosts: [{{name: v, domains: ['*'], {vhost} routes: [{{match: {{prefix: /}}, route: {{cluster: c, {action}}}}}]}}]"
        );
        let mut context = context();
        route_table(&message(&yaml), &mut context).unwrap();
        context.warnings.take().into_iter().map(|warning| warning.path).collect::<Vec<_>>()
    };
    let action = "virtual_hosts[0].routes[0].route";
    let policy = |tokens: &str| format!("retry_policy: {{retry_on: '{tokens}'}}");
    assert_eq!(
        warnings("", &policy("5xx,http3-post-connect-failure")),
        [format!("{action}.retry_policy.retry_on")]
    );
    assert_eq!(warnings("", &policy("made-up")), [format!("{action}.retry_policy.retry_on")]);
    let rule = |more: &str| format!("rate_limits: [{{actions: [{{remote_address: {{}}}}], {more}}}],");
    for (field, value) in [
        ("disable_key", "x"),
        ("limit", "{rate_limit: {unit: HOUR}}"),
        ("hits_addend", "{number: 2}"),
        ("apply_on_stream_done", "true"),
    ] {
        let found = warnings(&rule(&format!("{field}: {value}")), "");
        assert_eq!(found, [format!("virtual_hosts[0].rate_limits[0].{field}")]);
    }
    let text = "rate_limits: [{actions: [{generic_key: {descriptor_value: v, default_value: w}}]}]";
    let place = format!("{action}.rate_limits[0].actions[0].generic_key.default_value");
    assert_eq!(warnings("", text), [place]);
    let optional = r#"typed_per_filter_config: {f: {"@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, is_optional: true, config: {"@type": type.googleapis.com/google.protobuf.Struct, value: {}}}},"#;
    let place = "virtual_hosts[0].typed_per_filter_config[\"f\"].config";
    assert_eq!(warnings(optional, ""), [place]);
}

#[test]
fn listener_settings_without_effect() {
    let yaml = r#"
name: l
address: {socket_address: {address: 0.0.0.0, port_value: 80}}
enable_reuse_port: false
drain_type: MODIFY_ONLY
per_connection_buffer_limit_bytes: 8192
filter_chains:
- filter_chain_match: {server_names: [a.example]}
  filters:
  - name: http
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
      stat_prefix: p
      route_config: {}
      drain_timeout: 3s
      tracing:
        verbose: true
        random_sampling: {value: 5}
        provider: {name: x, typed_config: {"@type": type.googleapis.com/google.protobuf.Struct, value: {}}}
      http_filters:
      - name: envoy.filters.http.grpc_stats
        typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.grpc_stats.v3.FilterConfig}
      - name: mine
        is_optional: true
        typed_config: {"@type": type.googleapis.com/google.protobuf.Struct, value: {}}
      - name: router
        typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
"#;
    let mut context = context();
    listener(&message(yaml), &mut context).unwrap();
    let texts: Vec<String> = context.warnings.take().iter().map(ToString::to_string).collect();
    let manager = "filter_chains[0].filters[0].typed_config";
    let expected = [
        "enable_reuse_port: ".to_owned(),
        "per_connection_buffer_limit_bytes: ".to_owned(),
        format!("{manager}.drain_timeout: "),
        format!("{manager}.http_filters[0]: \"envoy.filters.http.grpc_stats\" has no effect"),
        format!("{manager}.http_filters[1]: \"mine\""),
        format!("{manager}.tracing.verbose: "),
        format!("{manager}.tracing.provider: "),
        "filter_chains[0]: never matches".to_owned(),
    ];
    for (text, expected) in texts.iter().zip(&expected) {
        assert!(text.starts_with(&format!("listener \"l\": {expected}")), "{text} / {expected}");
    }
    assert_eq!(texts.len(), expected.len(), "{texts:#?}");
}

#[test]
fn messages_to_a_log_service_have_a_mebibyte_at_most() {
    let warnings = |size: u64| {
        let yaml = format!(
            r#"
name: l
address: {{socket_address: {{address: 127.0.0.1, port_value: 80}}}}
filter_chains:
- filters:
  - name: tcp
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
      stat_prefix: p
      cluster: c
      access_log:
      - name: service
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig
          common_config:
            log_name: l
            transport_api_version: V3
            buffer_size_bytes: {size}
            grpc_service: {{envoy_grpc: {{cluster_name: logs}}}}
"#
        );
        let mut context = context();
        listener(&message(&yaml), &mut context).unwrap();
        context.warnings.take().into_iter().map(|warning| warning.path).collect::<Vec<_>>()
    };
    assert_eq!(warnings(1 << 20), [""; 0]);
    let path =
        "filter_chains[0].filters[0].typed_config.access_log[0].typed_config.common_config.buffer_size_bytes";
    assert_eq!(warnings((1 << 20) + 1), [path]);
}
