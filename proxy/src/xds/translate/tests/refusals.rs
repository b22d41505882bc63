//! Every refusal names its field.

use super::*;

/// The path at which a listener of this connection manager is refused, relative to the manager.
fn manager(fields: &str) -> String {
    let routes =
        if fields.contains("rds:") || fields.contains("route_config:") || fields.contains("scoped_routes:") {
            ""
        } else {
            "route_config: {},"
        };
    let filters = if fields.contains("http_filters:") {
        ""
    } else {
        r#"http_filters: [{name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}],"#
    };
    let prefix = if fields.contains("stat_prefix:") { "" } else { "stat_prefix: p," };
    let yaml = format!(
        r#"
name: l
address: {{socket_address: {{address: 0.0.0.0, port_value: 80}}}}
filter_chains: [{{filters: [{{name: http, typed_config: {{
  "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,
  {prefix} {routes} {filters} {fields}}}}}]}}]
"#
    );
    let path = listener_of(&yaml).expect_err(fields).path;
    let inside = path.strip_prefix("filter_chains[0].filters[0].typed_config");
    inside.unwrap_or_else(|| panic!("{fields}: {path}")).trim_start_matches('.').to_owned()
}

#[test]
fn connection_manager_fields() {
    let cases = [
        ("stat_prefix: ''", "stat_prefix"),
        ("codec_type: HTTP3", "codec_type"),
        ("add_user_agent: true", "add_user_agent"),
        ("common_http_protocol_options: {idle_timeout: -1s}", "common_http_protocol_options.idle_timeout"),
        (
            "common_http_protocol_options: {max_headers_count: 0}",
            "common_http_protocol_options.max_headers_count",
        ),
        (
            "common_http_protocol_options: {max_connection_duration_jitter: {value: 1}}",
            "common_http_protocol_options.max_connection_duration_jitter",
        ),
        ("http1_safe_max_connection_duration: true", "http1_safe_max_connection_duration"),
        ("http_protocol_options: {allow_chunked_length: true}", "http_protocol_options.allow_chunked_length"),
        (
            "http_protocol_options: {send_fully_qualified_url: true}",
            "http_protocol_options.send_fully_qualified_url",
        ),
        (
            "http_protocol_options: {override_stream_error_on_invalid_http_message: true}",
            "http_protocol_options.override_stream_error_on_invalid_http_message",
        ),
        (
            "http_protocol_options: {ignore_http_11_upgrade: [{exact: x}]}",
            "http_protocol_options.ignore_http_11_upgrade",
        ),
        (
            "http_protocol_options: {header_key_format: {stateful_formatter: {name: x}}}",
            "http_protocol_options.header_key_format.stateful_formatter",
        ),
        ("http2_protocol_options: {allow_metadata: true}", "http2_protocol_options.allow_metadata"),
        (
            "http2_protocol_options: {max_concurrent_streams: 0}",
            "http2_protocol_options.max_concurrent_streams",
        ),
        (
            "http2_protocol_options: {initial_stream_window_size: 1}",
            "http2_protocol_options.initial_stream_window_size",
        ),
        (
            "http2_protocol_options: {connection_keepalive: {interval: 1s}}",
            "http2_protocol_options.connection_keepalive.timeout",
        ),
        (
            "http2_protocol_options: {custom_settings_parameters: [{identifier: 9, value: 1}]}",
            "http2_protocol_options.custom_settings_parameters",
        ),
        ("http3_protocol_options: {}", "http3_protocol_options"),
        ("server_name: \"a\\r\\nb\"", "server_name"),
        ("via: \"a\\nb\"", "via"),
        ("scheme_header_transformation: {match_upstream: true}", "scheme_header_transformation"),
        ("max_request_headers_kb: 9000", "max_request_headers_kb"),
        ("stream_flush_timeout: 1s", "stream_flush_timeout"),
        ("request_timeout: -1s", "request_timeout"),
        ("drain_timeout_jitter: {value: 1}", "drain_timeout_jitter"),
        ("access_log: [{name: x}]", "access_log[0].typed_config"),
        (
            r#"access_log: [{name: x, typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig}}]"#,
            "access_log[0]",
        ),
        (
            r#"access_log: [{name: x, typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog}}]"#,
            "access_log[0].typed_config.path",
        ),
        (
            r#"access_log: [{name: x, typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: /x, log_format: {text_format: "%NONE%"}}}]"#,
            "access_log[0].typed_config.log_format.text_format",
        ),
        (
            r#"access_log: [{name: x, typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: /x, log_format: {json_format: {a: "%NONE%"}}}}]"#,
            "access_log[0].typed_config.log_format.json_format",
        ),
        (
            r#"access_log: [{name: x, typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: /x, log_format: {text_format_source: {inline_string: "%CEL(request.what)%"}}}}]"#,
            "access_log[0].typed_config.log_format.text_format_source",
        ),
        (
            r#"access_log: [{name: x, typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: /x, log_format: {json_format: {a: "%TYPED_CEL(string(1))%"}, formatters: [{typed_config: {"@type": type.googleapis.com/envoy.extensions.formatter.cel.v3.Cel}}]}}}]"#,
            "access_log[0].typed_config.log_format.json_format",
        ),
        (
            r#"access_log: [{name: x, filter: {extension_filter: {typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter, expression: "1 +"}}}}]"#,
            "access_log[0].filter.extension_filter.typed_config.expression",
        ),
        (
            r#"access_log: [{name: x, filter: {extension_filter: {typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}}]"#,
            "access_log[0].filter.extension_filter.typed_config",
        ),
        (
            "access_log: [{name: x, filter: {extension_filter: {}}}]",
            "access_log[0].filter.extension_filter.typed_config",
        ),
        (
            "access_log: [{name: x, filter: {metadata_filter: {matcher: {filter: f}}}}]",
            "access_log[0].filter.metadata_filter.matcher.path",
        ),
        (
            "access_log: [{name: x, filter: {and_filter: {filters: [{not_health_check_filter: {}}]}}}]",
            "access_log[0].filter.and_filter.filters",
        ),
        (
            "access_log: [{name: x, filter: {response_flag_filter: {flags: [XX]}}}]",
            "access_log[0].filter.response_flag_filter.flags[0]",
        ),
        ("flush_access_log_on_new_request: true", "flush_access_log_on_new_request"),
        (
            "access_log_options: {access_log_flush_interval: 1s}",
            "access_log_options.access_log_flush_interval",
        ),
        ("original_ip_detection_extensions: [{name: x}]", "original_ip_detection_extensions"),
        ("early_header_mutation_extensions: [{name: x}]", "early_header_mutation_extensions"),
        (
            "internal_address_config: {cidr_ranges: [{address_prefix: x}]}",
            "internal_address_config.cidr_ranges[0].address_prefix",
        ),
        ("set_current_client_cert_details: {issuer: true}", "set_current_client_cert_details.issuer"),
        (
            "represent_ipv4_remote_address_as_ipv4_mapped_ipv6: true",
            "represent_ipv4_remote_address_as_ipv4_mapped_ipv6",
        ),
        ("upgrade_configs: [{}]", "upgrade_configs[0].upgrade_type"),
        ("upgrade_configs: [{upgrade_type: a}, {upgrade_type: A}]", "upgrade_configs[1].upgrade_type"),
        ("upgrade_configs: [{upgrade_type: a, filters: [{name: x}]}]", "upgrade_configs[0].filters"),
        ("local_reply_config: {}", "local_reply_config"),
        ("strip_matching_host_port: true, strip_any_host_port: true", "strip_any_host_port"),
        ("stream_error_on_invalid_http_message: true", "stream_error_on_invalid_http_message"),
        ("path_normalization_options: {}", "path_normalization_options"),
        ("proxy_status_config: {}", "proxy_status_config"),
        ("typed_header_validation_config: {name: x}", "typed_header_validation_config"),
        (
            "request_id_extension: {typed_config: {\"@type\": type.googleapis.com/google.protobuf.Struct, value: {}}}",
            "request_id_extension.typed_config",
        ),
        ("scoped_routes: {name: s}", "scoped_routes"),
        ("rds: {config_source: {ads: {}}}", "rds.route_config_name"),
        ("rds: {route_config_name: r}", "rds.config_source"),
        (
            "rds: {route_config_name: r, config_source: {path_config_source: {path: /x}}}",
            "rds.config_source.path_config_source",
        ),
        (
            "rds: {route_config_name: r, config_source: {api_config_source: {}}}",
            "rds.config_source.api_config_source",
        ),
        ("http_filters: []", "http_filters"),
    ];
    for (fields, path) in cases {
        assert_eq!(manager(fields), path, "{fields}");
    }
}

#[test]
fn http_filters() {
    let router = r#"{name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}"#;
    let fault = r#"{name: fault, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault}}"#;
    let lua = r#"{name: lua, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua}}"#;
    let with = |fields: &str| {
        format!(
            r#"{{name: router, typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router, {fields}}}}}"#
        )
    };
    let cases = [
        (fault.to_owned(), "http_filters[0]"),
        (format!("{lua}, {router}"), "http_filters[0]"),
        (format!("{router}, {router}"), "http_filters[0]"),
        ("{name: envoy.filters.http.router}".to_owned(), "http_filters[0]"),
        (format!("{{name: x, config_discovery: {{}}}}, {router}"), "http_filters[0].config_discovery"),
        (router.replace("name: router,", "name: router, disabled: true,"), "http_filters[0].disabled"),
        (
            with("strict_check_headers: [x-envoy-max-retries]"),
            "http_filters[0].typed_config.strict_check_headers",
        ),
        (with("upstream_log: [{name: x}]"), "http_filters[0].typed_config.upstream_log"),
        (
            with(&format!("upstream_http_filters: [{fault}]")),
            "http_filters[0].typed_config.upstream_http_filters[0]",
        ),
    ];
    for (filters, path) in cases {
        assert_eq!(manager(&format!("http_filters: [{filters}]")), path, "{filters}");
    }
}

/// The path at which a listener with these top-level fields is refused.
fn listener_path(fields: &str) -> String {
    let chains = if fields.contains("filter_chains:") {
        ""
    } else {
        r#"filter_chains: [{filters: [{name: tcp, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: p, cluster: c}}]}],"#
    };
    let address = if fields.contains(" address:") {
        ""
    } else {
        "address: {socket_address: {address: 0.0.0.0, port_value: 80}},"
    };
    let name = if fields.contains("name: ''") { "" } else { "name: l," };
    listener_of(&format!("{{{name} {address} {chains} {fields}}}")).expect_err(fields).path
}

#[test]
fn listener_fields() {
    let tcp = r#"filters: [{name: tcp, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: p, cluster: c}}]"#;
    let rbac = r#"{name: rbac, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC, stat_prefix: p}}"#;
    let proxy = |fields: &str| {
        format!(
            r#"filter_chains: [{{filters: [{{name: tcp, typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, {fields}}}}}]}}]"#
        )
    };
    let matching = |criteria: &str| format!("filter_chains: [{{filter_chain_match: {{{criteria}}}, {tcp}}}]");
    let inside = "filter_chains[0].filters[0].typed_config";
    let criterion = "filter_chains[0].filter_chain_match";
    let cases = [
        ("name: ''".to_owned(), "name".to_owned()),
        (" address: {pipe: {path: /x}}".to_owned(), "address.pipe".to_owned()),
        (" address: {socket_address: {address: host, port_value: 1}}".to_owned(), "address.socket_address.address".to_owned()),
        (" address: {socket_address: {address: 0.0.0.0}}".to_owned(), "address.socket_address.port_value".to_owned()),
        (" address: {socket_address: {protocol: UDP, address: 0.0.0.0, port_value: 1}}".to_owned(), "address.socket_address.protocol".to_owned()),
        ("additional_addresses: [{}]".to_owned(), "additional_addresses".to_owned()),
        ("filter_chain_matcher: {}".to_owned(), "filter_chain_matcher".to_owned()),
        ("transparent: true".to_owned(), "transparent".to_owned()),
        ("freebind: true".to_owned(), "freebind".to_owned()),
        ("socket_options: [{}]".to_owned(), "socket_options".to_owned()),
        ("udp_listener_config: {}".to_owned(), "udp_listener_config".to_owned()),
        ("api_listener: {}".to_owned(), "api_listener".to_owned()),
        ("access_log: [{}]".to_owned(), "access_log[0].typed_config".to_owned()),
        ("enable_mptcp: true".to_owned(), "enable_mptcp".to_owned()),
        ("tcp_keepalive: {}".to_owned(), "tcp_keepalive".to_owned()),
        ("internal_listener: {}".to_owned(), "internal_listener".to_owned()),
        ("listener_filters_timeout: -1s".to_owned(), "listener_filters_timeout".to_owned()),
        ("listener_filters: [{name: envoy.filters.listener.tls_inspector}]".to_owned(), "listener_filters[0].typed_config".to_owned()),
        (r#"listener_filters: [{name: pp, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol}}]"#.to_owned(), "listener_filters[0]".to_owned()),
        ("listener_filters: [{name: x, filter_disabled: {any_match: true}}]".to_owned(), "listener_filters[0].filter_disabled".to_owned()),
        ("filter_chains: []".to_owned(), "filter_chains".to_owned()),
        ("filter_chains: [{}]".to_owned(), "filter_chains[0].filters".to_owned()),
        (format!("filter_chains: [{{{tcp}}}, {{{tcp}}}]"), "filter_chains[1]".to_owned()),
        (format!("filter_chains: [{{filter_chain_match: {{server_names: [a, b]}}, {tcp}}}, {{filter_chain_match: {{server_names: [b]}}, {tcp}}}]"), "filter_chains[1]".to_owned()),
        (format!("filter_chains: [{{use_proxy_proto: true, {tcp}}}]"), "filter_chains[0].use_proxy_proto".to_owned()),
        (format!("filter_chains: [{{filters: [{rbac}]}}]"), "filter_chains[0].filters".to_owned()),
        ("filter_chains: [{filters: [{name: x}]}]".to_owned(), "filter_chains[0].filters[0].typed_config".to_owned()),
        (format!("filter_chains: [{{{}}}]", tcp.replace("c}}]", &format!("c}}}}, {rbac}]"))), "filter_chains[0].filters[1]".to_owned()),
        (matching("destination_port: 0"), format!("{criterion}.destination_port")),
        (matching("address_suffix: x"), format!("{criterion}.address_suffix")),
        (matching("prefix_ranges: [{address_prefix: 10.0.0.0, prefix_len: 99}]"), format!("{criterion}.prefix_ranges[0].prefix_len")),
        (matching("server_names: ['*']"), format!("{criterion}.server_names[0]")),
        (matching("server_names: [ok, 'w*.x']"), format!("{criterion}.server_names[1]")),
        (matching("transport_protocol: quic"), format!("{criterion}.transport_protocol")),
        (matching("source_ports: [70000]"), format!("{criterion}.source_ports[0]")),
        (proxy("cluster: c"), format!("{inside}.stat_prefix")),
        (proxy("stat_prefix: p"), inside.to_owned()),
        (proxy("stat_prefix: p, cluster: c, tunneling_config: {hostname: x}"), format!("{inside}.tunneling_config")),
        (proxy("stat_prefix: p, cluster: c, on_demand: {}"), format!("{inside}.on_demand")),
        (proxy("stat_prefix: p, cluster: c, max_connect_attempts: 0"), format!("{inside}.max_connect_attempts")),
        (proxy("stat_prefix: p, cluster: c, upstream_connect_mode: ON_DOWNSTREAM_DATA"), format!("{inside}.upstream_connect_mode")),
        (proxy("stat_prefix: p, cluster: c, access_log_options: {flush_access_log_on_connected: true}"), format!("{inside}.access_log_options.flush_access_log_on_connected")),
        (proxy("stat_prefix: p, weighted_clusters: {clusters: [{name: a}]}"), format!("{inside}.weighted_clusters.clusters[0].weight")),
        (proxy("stat_prefix: p, weighted_clusters: {clusters: [{name: a, weight: 4294967295}, {name: b, weight: 1}]}"), format!("{inside}.weighted_clusters.clusters")),
    ];
    for (fields, path) in cases {
        assert_eq!(listener_path(&fields), path, "{fields}");
    }
}

/// The path at which a table with this virtual host is refused, relative to it.
fn host_path(fields: &str) -> String {
    let name = if fields.contains("name: ''") { "" } else { "name: v," };
    let domains = if fields.contains("domains:") { "" } else { "domains: ['*']," };
    let path = route_table_of(&format!("{{name: t, virtual_hosts: [{{{name} {domains} {fields}}}]}}"))
        .expect_err(fields)
        .path;
    path.strip_prefix("virtual_hosts[0]")
        .unwrap_or_else(|| panic!("{fields}: {path}"))
        .trim_start_matches('.')
        .to_owned()
}

#[test]
fn table_and_virtual_host_fields() {
    let of = |yaml: &str| route_table_of(yaml).expect_err(yaml).path;
    assert_eq!(of("{}"), "name");
    for field in ["vhds: {}", "cluster_specifier_plugins: [{}]", "vhost_header: 'a b'"] {
        assert_eq!(of(&format!("{{name: t, {field}}}")), field.split(':').next().unwrap());
    }
    let twice = "{name: t, virtual_hosts: [{name: a, domains: [x]}, {name: b, domains: [z, X]}]}";
    assert_eq!(of(twice), "virtual_hosts[1].domains[1]");
    let cases = [
        ("name: ''", "name"),
        ("domains: []", "domains"),
        ("domains: ['']", "domains[0]"),
        ("domains: ['a*b']", "domains[0]"),
        ("domains: ['*a*']", "domains[0]"),
        ("domains: ['*', '*']", "domains[1]"),
        ("domains: ['*.a', '*.A']", "domains[1]"),
        ("matcher: {}", "matcher"),
        ("hedge_policy: {initial_requests: 2}", "hedge_policy.initial_requests"),
        ("request_mirror_policies: [{}]", "request_mirror_policies[0].cluster"),
        (
            r#"typed_per_filter_config: {f: {"@type": type.googleapis.com/google.protobuf.Struct, value: {}}}"#,
            "typed_per_filter_config[\"f\"]",
        ),
        (
            r#"typed_per_filter_config: {f: {"@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, config: {"@type": type.googleapis.com/google.protobuf.Struct, value: {}}}}"#,
            "typed_per_filter_config[\"f\"].config",
        ),
        (
            "request_headers_to_add: [{header: {key: ':path', value: x}}]",
            "request_headers_to_add[0].header.key",
        ),
    ];
    for (fields, path) in cases {
        assert_eq!(host_path(fields), path, "{fields}");
    }
}

#[test]
fn route_fields() {
    let path = |fields: &str| {
        let path = host_path(&format!("routes: [{{{fields}}}]"));
        path.strip_prefix("routes[0]")
            .unwrap_or_else(|| panic!("{fields}: {path}"))
            .trim_start_matches('.')
            .to_owned()
    };
    let matching = |fields: &str| format!("match: {{{fields}}}, direct_response: {{status: 200}}");
    let action = |fields: &str| format!("match: {{prefix: /}}, {fields}");
    let forwarding = |fields: &str| action(&format!("route: {{cluster: c, {fields}}}"));
    let retrying = |fields: &str| forwarding(&format!("retry_policy: {{{fields}}}"));
    let weights = |fields: &str| action(&format!("route: {{weighted_clusters: {{{fields}}}}}"));
    let cases = [
        ("direct_response: {status: 200}".to_owned(), "match"),
        (matching(""), "match"),
        (matching("safe_regex: {regex: '('}"), "match.safe_regex.regex"),
        (matching("path_separated_prefix: /a/"), "match.path_separated_prefix"),
        (matching("path_separated_prefix: '/a?'"), "match.path_separated_prefix"),
        (matching("path_match_policy: {name: x}"), "match.path_match_policy.typed_config"),
        (matching("prefix: /, cookies: [{name: x}]"), "match.cookies[0].string_match"),
        (matching("prefix: /, dynamic_metadata: [{}]"), "match.dynamic_metadata"),
        (matching("prefix: /, filter_state: [{}]"), "match.filter_state"),
        (matching("prefix: /, headers: [{name: a}, {}]"), "match.headers[1].name"),
        (matching("prefix: /, query_parameters: [{}]"), "match.query_parameters[0].name"),
        (matching("prefix: /, runtime_fraction: {}"), "match.runtime_fraction.default_value"),
        ("match: {prefix: /}".to_owned(), ""),
        (action("filter_action: {}"), "filter_action"),
        (action("non_forwarding_action: {}"), "non_forwarding_action"),
        (action("direct_response: {status: 100}"), "direct_response.status"),
        (action("direct_response: {status: 600}"), "direct_response.status"),
        (action("direct_response: {status: 200, body_format: {}}"), "direct_response.body_format"),
        (
            action("direct_response: {status: 200, body: {filename: /does/not/exist}}"),
            "direct_response.body.filename",
        ),
        (action("direct_response: {status: 200, body: {}}"), "direct_response.body"),
        (action("redirect: {port_redirect: 70000}"), "redirect.port_redirect"),
        (action("redirect: {host_redirect: \"a b\"}"), "redirect.host_redirect"),
        (action("redirect: {path_redirect: \"/a\\r\\nb\"}"), "redirect.path_redirect"),
        (action("route: {}"), "route"),
        (action("route: {cluster: ''}"), "route.cluster"),
        (action("route: {cluster_header: 'a b'}"), "route.cluster_header"),
        (action("route: {cluster_specifier_plugin: x}"), "route.cluster_specifier_plugin"),
        (action("route: {inline_cluster_specifier_plugin: {}}"), "route.inline_cluster_specifier_plugin"),
        (weights("clusters: []"), "route.weighted_clusters.clusters"),
        (weights("clusters: [{name: a, weight: 0}]"), "route.weighted_clusters.clusters"),
        (weights("clusters: [{name: a}]"), "route.weighted_clusters.clusters[0].weight"),
        (weights("clusters: [{weight: 1}]"), "route.weighted_clusters.clusters[0].name"),
        (
            weights("clusters: [{name: c, cluster_header: x, weight: 1}]"),
            "route.weighted_clusters.clusters[0].cluster_header",
        ),
        (
            weights("clusters: [{name: a, weight: 4294967295}, {name: b, weight: 1}]"),
            "route.weighted_clusters.clusters",
        ),
        (forwarding("prefix_rewrite: /a, regex_rewrite: {pattern: {regex: a}}"), "route.regex_rewrite"),
        (forwarding("prefix_rewrite: '/a b'"), "route.prefix_rewrite"),
        (forwarding("path_rewrite_policy: {name: x}"), "route.path_rewrite_policy.typed_config"),
        (forwarding("path_rewrite: '%NOTHING%'"), "route.path_rewrite"),
        (forwarding("path_rewrite: /x, prefix_rewrite: /z"), "route.path_rewrite"),
        (forwarding("host_rewrite: \"a\\nb\""), "route.host_rewrite"),
        (forwarding("host_rewrite_literal: \"a\\nb\""), "route.host_rewrite_literal"),
        (forwarding("timeout: -1s"), "route.timeout"),
        (forwarding("request_mirror_policies: [{}]"), "route.request_mirror_policies[0].cluster"),
        (
            forwarding("request_mirror_policies: [{cluster: a, cluster_header: b}]"),
            "route.request_mirror_policies[0].cluster_header",
        ),
        (
            forwarding("internal_redirect_policy: {predicates: [{name: x}]}"),
            "route.internal_redirect_policy.predicates[0].typed_config",
        ),
        (
            forwarding("internal_redirect_policy: {response_headers_to_copy: [Host]}"),
            "route.internal_redirect_policy.response_headers_to_copy[0]",
        ),
        (
            forwarding("hedge_policy: {additional_request_chance: {numerator: 1}}"),
            "route.hedge_policy.additional_request_chance",
        ),
        (
            forwarding("upgrade_configs: [{upgrade_type: websocket, connect_config: {}}]"),
            "route.upgrade_configs[0].connect_config",
        ),
        (
            forwarding("upgrade_configs: [{upgrade_type: CONNECT, connect_config: {allow_post: true}}]"),
            "route.upgrade_configs[0].connect_config.allow_post",
        ),
        (retrying("retry_on: 5xx, per_try_idle_timeout: -1s"), "route.retry_policy.per_try_idle_timeout"),
        (retrying("retry_on: 5xx, retry_priority: {name: x}"), "route.retry_policy.retry_priority"),
        (
            retrying("retry_on: 5xx, retry_host_predicate: [{name: omit_canary_hosts}]"),
            "route.retry_policy.retry_host_predicate[0]",
        ),
        (
            retrying("retry_on: 5xx, retriable_status_codes: [99]"),
            "route.retry_policy.retriable_status_codes[0]",
        ),
        (
            retrying("retry_on: 5xx, retry_back_off: {max_interval: 1s}"),
            "route.retry_policy.retry_back_off.base_interval",
        ),
        (
            retrying("retry_on: 5xx, retry_back_off: {base_interval: 2s, max_interval: 1s}"),
            "route.retry_policy.retry_back_off.max_interval",
        ),
        (
            retrying("retry_on: 5xx, rate_limited_retry_back_off: {}"),
            "route.retry_policy.rate_limited_retry_back_off.reset_headers",
        ),
        (
            retrying("retry_on: 5xx, retriable_headers: [{name: 'x y'}]"),
            "route.retry_policy.retriable_headers[0].name",
        ),
        (
            retrying("retry_on: 5xx, host_selection_retry_max_attempts: -1"),
            "route.retry_policy.host_selection_retry_max_attempts",
        ),
    ];
    for (fields, want) in cases {
        assert_eq!(path(&fields), want, "{fields}");
    }
}

#[test]
fn direct_bodies_are_bounded_by_the_table() {
    let yaml = "{name: t, max_direct_response_body_size_bytes: 3, virtual_hosts: [{name: v, domains: ['*'], routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: long}}}]}]}";
    assert_eq!(route_table_of(yaml).unwrap_err().path, "virtual_hosts[0].routes[0].direct_response.body");
}

#[test]
fn cluster_fields() {
    let options = |fields: &str| {
        format!(
            r#"typed_extension_protocol_options: {{envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {{"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, {fields}}}}}"#
        )
    };
    let option = |path: &str| {
        let base =
            "typed_extension_protocol_options[\"envoy.extensions.upstreams.http.v3.HttpProtocolOptions\"]";
        if path.is_empty() { base.to_owned() } else { format!("{base}.{path}") }
    };
    let endpoint = |fields: &str| format!("load_assignment: {{cluster_name: c, endpoints: [{{{fields}}}]}}");
    let host = |fields: &str| endpoint(&format!("lb_endpoints: [{{{fields}}}]"));
    let in_host = |path: &str| format!("load_assignment.endpoints[0].lb_endpoints[0]{path}");
    let address = "endpoint: {address: {socket_address: {address: 10.0.0.1, port_value: 80}}}";
    let cases = [
        ("connect_timeout: 0s".to_owned(), "connect_timeout".to_owned()),
        ("transport_socket_matches: [{}]".to_owned(), "transport_socket_matches".to_owned()),
        ("upstream_bind_config: {}".to_owned(), "upstream_bind_config".to_owned()),
        ("filters: [{}]".to_owned(), "filters".to_owned()),
        ("connection_pool_per_downstream_connection: true".to_owned(), "connection_pool_per_downstream_connection".to_owned()),
        ("lb_subset_config: {subset_selectors: [{}]}".to_owned(), "lb_subset_config.subset_selectors[0].keys".to_owned()),
        ("lb_subset_config: {subset_selectors: [{keys: [a, b], single_host_per_subset: true}]}".to_owned(), "lb_subset_config.subset_selectors[0].single_host_per_subset".to_owned()),
        ("lb_subset_config: {subset_selectors: [{keys: [a, b], fallback_policy: KEYS_SUBSET, fallback_keys_subset: [b, a]}]}".to_owned(), "lb_subset_config.subset_selectors[0].fallback_keys_subset".to_owned()),
        ("lb_subset_config: {subset_selectors: [{keys: [a]}], metadata_fallback_policy: FALLBACK_LIST}".to_owned(), "lb_subset_config.metadata_fallback_policy".to_owned()),
        ("type: ORIGINAL_DST, lb_subset_config: {subset_selectors: [{keys: [a]}]}".to_owned(), "lb_subset_config".to_owned()),
        ("common_lb_config: {consistent_hashing_lb_config: {hash_balance_factor: 99}}".to_owned(), "common_lb_config.consistent_hashing_lb_config.hash_balance_factor".to_owned()),
        ("round_robin_lb_config: {slow_start_config: {aggression: {default_value: 0}}}".to_owned(), "round_robin_lb_config.slow_start_config.aggression".to_owned()),
        ("common_lb_config: {healthy_panic_threshold: {value: 101}}".to_owned(), "common_lb_config.healthy_panic_threshold".to_owned()),
        ("upstream_connection_options: {set_local_interface_name_on_upstream_connections: true}".to_owned(), "upstream_connection_options.set_local_interface_name_on_upstream_connections".to_owned()),
        ("circuit_breakers: {thresholds: [{retry_budget: {budget_interval: -1s}}]}".to_owned(), "circuit_breakers.thresholds[0].retry_budget.budget_interval".to_owned()),
        ("circuit_breakers: {thresholds: [{retry_budget: {budget_percent: {value: 101}}}]}".to_owned(), "circuit_breakers.thresholds[0].retry_budget.budget_percent".to_owned()),
        ("circuit_breakers: {per_host_thresholds: [{max_requests: 1}]}".to_owned(), "circuit_breakers.per_host_thresholds[0].max_requests".to_owned()),
        ("lb_policy: RING_HASH, ring_hash_lb_config: {minimum_ring_size: 5, maximum_ring_size: 4}".to_owned(), "ring_hash_lb_config.minimum_ring_size".to_owned()),
        ("lb_policy: RING_HASH, ring_hash_lb_config: {maximum_ring_size: 8388609}".to_owned(), "ring_hash_lb_config.maximum_ring_size".to_owned()),
        ("lb_policy: MAGLEV, maglev_lb_config: {table_size: 65536}".to_owned(), "maglev_lb_config.table_size".to_owned()),
        ("lb_policy: LEAST_REQUEST, least_request_lb_config: {active_request_bias: {default_value: -1}}".to_owned(), "least_request_lb_config.active_request_bias".to_owned()),
        ("lb_policy: CLUSTER_PROVIDED".to_owned(), "lb_policy".to_owned()),
        ("lb_policy: LOAD_BALANCING_POLICY_CONFIG".to_owned(), "load_balancing_policy".to_owned()),
        ("lb_policy: LEAST_REQUEST, least_request_lb_config: {choice_count: 1}".to_owned(), "least_request_lb_config.choice_count".to_owned()),
        ("type: ORIGINAL_DST, lb_policy: RANDOM".to_owned(), "lb_policy".to_owned()),
        ("load_balancing_policy: {}".to_owned(), "load_balancing_policy.policies".to_owned()),
        (r#"load_balancing_policy: {policies: [{typed_extension_config: {name: x, typed_config: {"@type": type.googleapis.com/envoy.extensions.load_balancing_policies.pick_first.v3.PickFirst}}}]}"#.to_owned(), "load_balancing_policy.policies".to_owned()),
        (r#"typed_extension_protocol_options: {x: {"@type": type.googleapis.com/google.protobuf.Struct, value: {}}}"#.to_owned(), "typed_extension_protocol_options[\"x\"]".to_owned()),
        (options(""), option("")),
        (options("auto_config: {}"), "transport_socket.typed_config".to_owned()),
        (options("explicit_http_config: {}"), option("explicit_http_config")),
        (options("explicit_http_config: {http3_protocol_options: {}}"), option("explicit_http_config.http3_protocol_options")),
        (options("explicit_http_config: {http_protocol_options: {}}, upstream_http_protocol_options: {auto_sni: true}"), option("upstream_http_protocol_options.auto_sni")),
        (options("explicit_http_config: {http_protocol_options: {}}, retry_policy: {retriable_status_codes: [9]}"), option("retry_policy.retriable_status_codes[0]")),
        (options("explicit_http_config: {http_protocol_options: {}}, http_filters: [{name: x}]"), option("http_filters[0]")),
        (options("explicit_http_config: {http2_protocol_options: {allow_metadata: true}}"), option("explicit_http_config.http2_protocol_options.allow_metadata")),
        ("type: EDS".to_owned(), "eds_cluster_config".to_owned()),
        ("type: EDS, eds_cluster_config: {}".to_owned(), "eds_cluster_config.eds_config".to_owned()),
        ("type: EDS, eds_cluster_config: {eds_config: {}}".to_owned(), "eds_cluster_config.eds_config.ads".to_owned()),
        ("type: EDS, eds_cluster_config: {eds_config: {path_config_source: {path: /x}}}".to_owned(), "eds_cluster_config.eds_config.path_config_source".to_owned()),
        ("type: STATIC, eds_cluster_config: {}".to_owned(), "eds_cluster_config".to_owned()),
        ("type: STRICT_DNS".to_owned(), "load_assignment".to_owned()),
        ("type: LOGICAL_DNS, load_assignment: {cluster_name: c}".to_owned(), "load_assignment".to_owned()),
        (format!("type: STRICT_DNS, dns_resolvers: [{{}}], {}", host(address)), "dns_resolvers".to_owned()),
        (format!("type: STRICT_DNS, dns_refresh_rate: 0s, {}", host(address)), "dns_refresh_rate".to_owned()),
        (format!("type: STRICT_DNS, {}", host(&format!("{address}, health_status: DRAINING"))), in_host(".endpoint.address")),
        ("type: ORIGINAL_DST, load_assignment: {}".to_owned(), "load_assignment".to_owned()),
        ("type: ORIGINAL_DST, original_dst_lb_config: {http_header_name: x}".to_owned(), "original_dst_lb_config.http_header_name".to_owned()),
        ("type: ORIGINAL_DST, original_dst_lb_config: {metadata_key: {}}".to_owned(), "original_dst_lb_config.metadata_key".to_owned()),
        (r#"cluster_type: {name: envoy.clusters.aggregate, typed_config: {"@type": type.googleapis.com/google.protobuf.Struct, value: {}}}"#.to_owned(), "cluster_type".to_owned()),
        (host(""), in_host(".endpoint")),
        (host("endpoint_name: x"), in_host(".endpoint_name")),
        (host("endpoint: {}"), in_host(".endpoint.address")),
        (host("endpoint: {address: {socket_address: {address: name, port_value: 80}}}"), in_host(".endpoint.address.socket_address.address")),
        (host(&format!("{address}, load_balancing_weight: 0")), in_host(".load_balancing_weight")),
        (endpoint("priority: 129"), "load_assignment.endpoints[0].priority".to_owned()),
        (endpoint("leds_cluster_locality_config: {}"), "load_assignment.endpoints[0]".to_owned()),
        (endpoint(&format!("lb_endpoints: [{{{address}, load_balancing_weight: 4294967295}}, {{{address}}}]")), "load_assignment.endpoints[0].lb_endpoints[1].load_balancing_weight".to_owned()),
        ("load_assignment: {policy: {drop_overloads: [{}]}}".to_owned(), "load_assignment.policy.drop_overloads".to_owned()),
        ("load_assignment: {named_endpoints: {a: {}}}".to_owned(), "load_assignment.named_endpoints".to_owned()),
    ];
    for (fields, path) in cases {
        let rejection = cluster_of(&format!("{{name: c, {fields}}}")).expect_err(&fields);
        assert_eq!(rejection.path, path, "{fields}: {rejection}");
    }
    assert_eq!(cluster_of("{}").unwrap_err().path, "name");
    let nameless = load_assignment(&message("{}"), &mut context()).unwrap_err();
    assert_eq!(nameless.path, "cluster_name");
}
