//! HTTP filters: what is compiled, and what is refused by its path.

use super::*;
use crate::config::filter::FilterKind;

/// A listener whose manager has these filters before the router.
fn with_filters(filters: &str) -> String {
    format!(
        r#"
name: l
address: {{socket_address: {{address: 0.0.0.0, port_value: 80}}}}
filter_chains: [{{filters: [{{name: http, typed_config: {{
  "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,
  stat_prefix: p, route_config: {{}},
  http_filters: [{filters}, {{name: router, typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}}]}}}}]}}]
"#
    )
}

fn filter(kind: &str, fields: &str) -> String {
    let kind = format!("type.googleapis.com/envoy.extensions.filters.http.{kind}");
    format!(r#"{{name: f, typed_config: {{"@type": {kind}, {fields}}}}}"#)
}

/// The path below `typed_config` at which a filter is refused.
fn refused(kind: &str, fields: &str) -> String {
    let path = listener_of(&with_filters(&filter(kind, fields))).expect_err(fields).path;
    let inside = path.strip_prefix("filter_chains[0].filters[0].typed_config.http_filters[0].typed_config");
    inside.unwrap_or_else(|| panic!("{fields}: {path}")).trim_start_matches('.').to_owned()
}

#[test]
fn a_chain_is_compiled_in_its_order() {
    let mut sleeping = filter("cors.v3.Cors", "");
    sleeping.insert_str(1, "disabled: true, ");
    let filters = [
        filter("fault.v3.HTTPFault", ""),
        sleeping,
        filter("buffer.v3.Buffer", "max_request_bytes: 5"),
        filter("header_mutation.v3.HeaderMutation", ""),
        filter("local_ratelimit.v3.LocalRateLimit", "stat_prefix: x"),
    ];
    let listener = listener_of(&with_filters(&filters.join(", "))).unwrap().config;
    let compiled = &http(&listener, 0).filters;
    assert!(matches!(compiled[0].kind, FilterKind::Fault(_)));
    assert!(matches!(compiled[1].kind, FilterKind::Cors(_)));
    assert!(matches!(compiled[2].kind, FilterKind::Buffer { max_request_bytes: 5 }));
    assert!(matches!(compiled[3].kind, FilterKind::Headers(_)));
    assert!(matches!(&compiled[4].kind, FilterKind::RateLimit(limit) if limit.limit.is_none()));
    let disabled: Vec<_> = compiled.iter().map(|filter| filter.disabled).collect();
    assert_eq!(disabled, [false, true, false, false, false]);
}

#[test]
fn rate_limits() {
    let kind = "local_ratelimit.v3.LocalRateLimit";
    let with = |fields: &str| refused(kind, &format!("stat_prefix: x, {fields}"));
    let bucket = |fields: &str| with(&format!("token_bucket: {{{fields}}}"));
    assert_eq!(refused(kind, ""), "stat_prefix");
    assert_eq!(bucket("max_tokens: 1"), "token_bucket.fill_interval");
    assert_eq!(bucket("max_tokens: 1, fill_interval: 0s"), "token_bucket.fill_interval");
    assert_eq!(bucket("max_tokens: 1, fill_interval: 0.049s"), "token_bucket.fill_interval");
    let none = "max_tokens: 1, fill_interval: 1s, tokens_per_fill: 0";
    assert_eq!(bucket(none), "token_bucket.tokens_per_fill");
    assert_eq!(with("filter_enabled: {}"), "filter_enabled.default_value");
    assert_eq!(with("stage: 11"), "stage");
    assert_eq!(with("vh_rate_limits: 7"), "vh_rate_limits");
    assert_eq!(with("max_dynamic_descriptors: 0"), "max_dynamic_descriptors");
    assert_eq!(with("local_cluster_rate_limit: {}"), "local_cluster_rate_limit");
    assert_eq!(
        with("response_headers_to_add: [{header: {key: ':status', value: x}}]"),
        "response_headers_to_add[0].header.key"
    );
}

#[test]
fn faults() {
    let kind = "fault.v3.HTTPFault";
    for (fields, path) in [
        ("delay: {}", "delay"),
        ("delay: {fixed_delay: 0s}", "delay.fixed_delay"),
        ("delay: {fixed_delay: 1s, percentage: {denominator: 9}}", "delay.percentage.denominator"),
        ("abort: {}", "abort"),
        ("abort: {http_status: 199}", "abort.http_status"),
        ("abort: {http_status: 600}", "abort.http_status"),
        ("response_rate_limit: {}", "response_rate_limit"),
        ("response_rate_limit: {fixed_limit: {}}", "response_rate_limit.fixed_limit.limit_kbps"),
        ("headers: [{}]", "headers[0].name"),
        ("filter_metadata: {a: 1}", "filter_metadata"),
    ] {
        assert_eq!(refused(kind, fields), path, "{fields}");
    }
}

#[test]
fn adaptive_concurrency() {
    let kind = "adaptive_concurrency.v3.AdaptiveConcurrency";
    let controller = |limit: &str, rtt: &str| {
        let fields = format!("concurrency_limit_params: {{{limit}}}, min_rtt_calc_params: {{{rtt}}}");
        let path = refused(kind, &format!("gradient_controller_config: {{{fields}}}"));
        path.strip_prefix("gradient_controller_config.").map(str::to_owned).unwrap_or(path)
    };
    let (update, interval) = ("concurrency_update_interval: 1s", "interval: 1s");
    assert_eq!(refused(kind, ""), "gradient_controller_config");
    assert_eq!(controller("", interval), "concurrency_limit_params.concurrency_update_interval");
    assert_eq!(controller(update, ""), "min_rtt_calc_params");
    assert_eq!(controller(update, "interval: 0.0009s"), "min_rtt_calc_params.interval");
    assert_eq!(controller(update, "fixed_value: 0s"), "min_rtt_calc_params.fixed_value");
    let jitter = "interval: 1s, jitter: {value: 101}";
    assert_eq!(controller(update, jitter), "min_rtt_calc_params.jitter");
    let none = "interval: 1s, request_count: 0";
    assert_eq!(controller(update, none), "min_rtt_calc_params.request_count");
}

/// The path of a refusal below `rules.policies["p"]`.
fn policy_refused(permission: &str, principal: &str) -> String {
    let fields =
        format!("rules: {{policies: {{p: {{permissions: [{permission}], principals: [{principal}]}}}}}}");
    let path = refused("rbac.v3.RBAC", &fields);
    path.strip_prefix("rules.policies[\"p\"].").map(str::to_owned).unwrap_or(path)
}

#[test]
fn rbac() {
    let any = "{any: true}";
    assert_eq!(policy_refused("", any), "permissions");
    assert_eq!(policy_refused(any, ""), "principals");
    for (permission, path) in [
        ("{}", ""),
        ("{any: false}", ".any"),
        ("{and_rules: {}}", ".and_rules.rules"),
        ("{or_rules: {rules: [{}]}}", ".or_rules.rules[0]"),
        ("{not_rule: {any: false}}", ".not_rule.any"),
        ("{header: {}}", ".header.name"),
        ("{url_path: {}}", ".url_path.path"),
        ("{destination_ip: {address_prefix: x}}", ".destination_ip.address_prefix"),
        ("{destination_port: 65536}", ".destination_port"),
        ("{destination_port_range: {start: 5, end: 5}}", ".destination_port_range"),
        ("{destination_port_range: {start: -1, end: 5}}", ".destination_port_range"),
        ("{metadata: {}}", ".metadata.filter"),
        ("{metadata: {filter: f}}", ".metadata.path"),
        ("{metadata: {filter: f, path: [{}]}}", ".metadata.path[0].key"),
        ("{metadata: {filter: f, path: [{key: k}]}}", ".metadata.value"),
        ("{metadata: {filter: f, path: [{key: k}], value: {}}}", ".metadata.value"),
        (
            "{metadata: {filter: f, path: [{key: k}], value: {double_match: {}}}}",
            ".metadata.value.double_match",
        ),
        (
            "{metadata: {filter: f, path: [{key: k}], value: {or_match: {value_matchers: [{null_match: {}}]}}}}",
            ".metadata.value.or_match.value_matchers",
        ),
        (
            "{metadata: {filter: f, path: [{key: k}], value: {list_match: {}}}}",
            ".metadata.value.list_match.one_of",
        ),
        ("{sourced_metadata: {}}", ".sourced_metadata.metadata_matcher"),
        ("{sourced_metadata: {metadata_source: 7}}", ".sourced_metadata.metadata_source"),
        ("{matcher: {}}", ".matcher"),
        ("{uri_template: {}}", ".uri_template"),
    ] {
        assert_eq!(policy_refused(permission, any), format!("permissions[0]{path}"), "{permission}");
    }
    for (principal, path) in [
        ("{}", ""),
        ("{any: false}", ".any"),
        ("{and_ids: {}}", ".and_ids.ids"),
        ("{not_id: {}}", ".not_id"),
        ("{remote_ip: {address_prefix: 10.0.0.0, prefix_len: 33}}", ".remote_ip.prefix_len"),
        ("{metadata: {}}", ".metadata.filter"),
        ("{sourced_metadata: {}}", ".sourced_metadata.metadata_matcher"),
        ("{filter_state: {}}", ".filter_state"),
        ("{custom: {}}", ".custom"),
    ] {
        assert_eq!(policy_refused(any, principal), format!("principals[0]{path}"), "{principal}");
    }
    for (condition, path) in [
        ("{}", ""),
        ("{ident_expr: {name: request}}", ""),
        ("{const_expr: {}}", ".const_expr"),
        ("{const_expr: {duration_value: 1s}}", ".duration_value"),
        ("{select_expr: {field: path}}", ".select_expr.operand"),
        ("{select_expr: {operand: {ident_expr: {name: request}}, field: what}}", ""),
        ("{call_expr: {function: f}}", ""),
        ("{struct_expr: {message_name: M}}", ".struct_expr.message_name"),
        ("{comprehension_expr: {}}", ".comprehension_expr"),
    ] {
        let policy = format!(
            "rules: {{policies: {{p: {{permissions: [{any}], principals: [{any}], condition: {condition}}}}}}}"
        );
        let wanted = format!("rules.policies[\"p\"].condition{path}");
        assert_eq!(refused("rbac.v3.RBAC", &policy), wanted, "{condition}");
    }
    let deep = format!("{}{any}{}", "{not_rule: ".repeat(40), "}".repeat(40));
    assert!(policy_refused(&deep, any).ends_with("not_rule"));
    assert_eq!(refused("rbac.v3.RBAC", "matcher: {}"), "matcher");
    assert_eq!(refused("rbac.v3.RBAC", "shadow_matcher: {}"), "shadow_matcher");
    assert_eq!(refused("rbac.v3.RBAC", "rules: {audit_logging_options: {}}"), "rules.audit_logging_options");
    assert_eq!(refused("rbac.v3.RBAC", "rules: {action: 9}"), "rules.action");
}

/// The path below `typed_config` at which a network filter before a TCP proxy is refused.
fn guard_refused(kind: &str, fields: &str) -> String {
    let kind = format!("type.googleapis.com/envoy.extensions.filters.network.{kind}");
    let proxy = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
    let yaml = format!(
        r#"
name: l
address: {{socket_address: {{address: 0.0.0.0, port_value: 80}}}}
filter_chains: [{{filters: [
  {{name: g, typed_config: {{"@type": {kind}, {fields}}}}},
  {{name: tcp, typed_config: {{"@type": {proxy}, stat_prefix: p, cluster: c}}}}]}}]
"#
    );
    let path = listener_of(&yaml).expect_err(fields).path;
    let inside = path.strip_prefix("filter_chains[0].filters[0].typed_config");
    inside.unwrap_or_else(|| panic!("{fields}: {path}")).trim_start_matches('.').to_owned()
}

#[test]
fn guards() {
    let rate = |fields: &str| guard_refused("local_ratelimit.v3.LocalRateLimit", fields);
    let bucket = "token_bucket: {max_tokens: 1, fill_interval: 1s}";
    assert_eq!(rate("stat_prefix: x"), "token_bucket");
    assert_eq!(rate(bucket), "stat_prefix");
    assert_eq!(rate(&format!("stat_prefix: x, {bucket}, share_key: k")), "share_key");
    let off = format!("stat_prefix: x, {bucket}, runtime_enabled: {{default_value: false, runtime_key: k}}");
    assert_eq!(rate(&off), "runtime_enabled.default_value");
    let count = |fields: &str| guard_refused("connection_limit.v3.ConnectionLimit", fields);
    assert_eq!(count("stat_prefix: x"), "max_connections");
    assert_eq!(count("stat_prefix: x, max_connections: 0"), "max_connections");
    assert_eq!(count("max_connections: 1"), "stat_prefix");
    let access = |fields: &str| guard_refused("rbac.v3.RBAC", fields);
    assert_eq!(access(""), "stat_prefix");
    assert_eq!(access("stat_prefix: x, matcher: {}"), "matcher");
    assert_eq!(access("stat_prefix: x, enforcement_type: 9"), "enforcement_type");
    assert_eq!(access("stat_prefix: x, rules: {policies: {p: {}}}"), "rules.policies[\"p\"].permissions");
    let asked = |fields: &str| guard_refused("ext_authz.v3.ExtAuthz", fields);
    let service = "grpc_service: {envoy_grpc: {cluster_name: c}}";
    assert_eq!(asked(service), "stat_prefix");
    assert_eq!(asked("stat_prefix: x"), "grpc_service");
    assert_eq!(asked("stat_prefix: x, grpc_service: {}"), "grpc_service.envoy_grpc");
    for (field, value) in [
        ("filter_enabled_metadata", "{filter: f}"),
        ("bootstrap_metadata_labels_key", "k"),
        ("shadow_mode", "true"),
    ] {
        assert_eq!(asked(&format!("stat_prefix: x, {service}, {field}: {value}")), field);
    }
}

/// What is without effect on a listener, by path below the first network filter's configuration.
fn warned(yaml: &str) -> Vec<String> {
    let mut context = context();
    listener(&message(yaml), &mut context).unwrap();
    let paths = context.warnings.take().into_iter().map(|warning| warning.path);
    let below = |path: String| path.replacen("filter_chains[0].filters[0].typed_config.", "", 1);
    paths.map(below).collect()
}

#[test]
fn what_an_authorization_service_is_not_shown_is_said() {
    let uri = "server_uri: {uri: u, cluster: c, timeout: 1s}";
    let shown = "include_peer_certificate: true, include_tls_session: true, metadata_context_namespaces: [ns], \
                 with_request_body: {max_request_bytes: 5, pack_as_bytes: true}";
    let over = |service: &str| {
        let filter = filter("ext_authz.v3.ExtAuthz", &format!("{service}, {shown}"));
        warned(&with_filters(&filter))
    };
    let place = "http_filters[0].typed_config";
    let fields = [
        "include_peer_certificate",
        "include_tls_session",
        "metadata_context_namespaces",
        "with_request_body.pack_as_bytes",
    ];
    assert_eq!(over(&format!("http_service: {{{uri}}}")), fields.map(|field| format!("{place}.{field}")));
    let grpc = |more: &str| format!("grpc_service: {{envoy_grpc: {{cluster_name: c{more}}}}}");
    assert_eq!(over(&grpc("")), [""; 0]);
    assert_eq!(over(&grpc(", retry_policy: {}")), [format!("{place}.grpc_service.envoy_grpc.retry_policy")]);
    let guard = format!(
        "name: l
address: {{socket_address: {{address: 0.0.0.0, port_value: 80}}}}
filter_chains: [{{filters: [
  {{name: g, typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.filters.network.ext_authz.v3.ExtAuthz,
    stat_prefix: x, {}, metadata_context_namespaces: [ns], typed_metadata_context_namespaces: [ns],
    send_tls_alert_on_denial: true}}}},
  {{name: t, typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy,
    stat_prefix: t, cluster: c}}}}]}}]
",
        grpc("")
    );
    let fields =
        ["metadata_context_namespaces", "typed_metadata_context_namespaces", "send_tls_alert_on_denial"];
    assert_eq!(warned(&guard), fields);
}

#[test]
fn what_routes_show_a_service_over_http_is_said() {
    let yaml = |service: &str| {
        format!(
            r#"
name: t
virtual_hosts:
- name: v
  domains: ['*']
  typed_per_filter_config:
    f: {{"@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute,
        check_settings: {{context_extensions: {{a: b}}{service}}}}}
"#
        )
    };
    let warned = |service: &str| {
        let mut context = context();
        route_table(&message(&yaml(service)), &mut context).unwrap();
        context.warnings.take().into_iter().map(|warning| warning.path).collect::<Vec<_>>()
    };
    let place = "virtual_hosts[0].typed_per_filter_config[\"f\"].check_settings.context_extensions";
    let http = ", http_service: {server_uri: {uri: u, cluster: c, timeout: 1s}}";
    assert_eq!(warned(http), [place]);
    assert_eq!(warned(", grpc_service: {envoy_grpc: {cluster_name: c}}"), [""; 0]);
}

#[test]
fn other_filters() {
    assert_eq!(refused("buffer.v3.Buffer", ""), "max_request_bytes");
    assert_eq!(refused("buffer.v3.Buffer", "max_request_bytes: 0"), "max_request_bytes");
    let mutation =
        |list: &str| refused("header_mutation.v3.HeaderMutation", &format!("mutations: {{{list}}}"));
    for (list, path) in [
        ("request_mutations: [{}]", "request_mutations[0]"),
        ("request_mutations: [{remove: ':path'}]", "request_mutations[0].remove"),
        ("response_mutations: [{remove: host}]", "response_mutations[0].remove"),
        ("request_mutations: [{append: {}}]", "request_mutations[0].append.header"),
        ("request_mutations: [{remove_on_match: {}}]", "request_mutations[0].remove_on_match.key_matcher"),
        ("query_parameter_mutations: [{remove: x}]", "query_parameter_mutations"),
        ("response_trailers_mutations: [{remove: x}]", "response_trailers_mutations"),
        ("request_trailers_mutations: [{remove: x}]", "request_trailers_mutations"),
    ] {
        assert_eq!(mutation(list), format!("mutations.{path}"), "{list}");
    }
}

/// The path at which the settings of filter `f` at a virtual host are refused, below its entry.
fn override_refused(entry: &str) -> String {
    let yaml = format!(
        "name: t\nvirtual_hosts: [{{name: v, domains: ['*'], typed_per_filter_config: {{f: {entry}}}}}]"
    );
    let path = route_table_of(&yaml).expect_err(entry).path;
    let inside = path.strip_prefix("virtual_hosts[0].typed_per_filter_config[\"f\"]");
    inside.unwrap_or_else(|| panic!("{entry}: {path}")).trim_start_matches('.').to_owned()
}

#[test]
fn settings_at_routes() {
    let of = |kind: &str, fields: &str| {
        format!(r#"{{"@type": type.googleapis.com/envoy.extensions.filters.http.{kind}, {fields}}}"#)
    };
    let wrapped = |fields: &str| {
        format!(r#"{{"@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, {fields}}}"#)
    };
    let limit = "local_ratelimit.v3.LocalRateLimit";
    assert_eq!(override_refused(&of(limit, "stat_prefix: x")), "token_bucket");
    assert_eq!(override_refused(&of("buffer.v3.BufferPerRoute", "")), "");
    assert_eq!(override_refused(&of("buffer.v3.BufferPerRoute", "disabled: false")), "disabled");
    assert_eq!(override_refused(&of("buffer.v3.Buffer", "max_request_bytes: 1")), "");
    assert_eq!(override_refused(&of("cors.v3.CorsPolicy", "max_age: \"1\\n\"")), "max_age");
    let origins = "allow_origin_string_match: [{}]";
    assert_eq!(override_refused(&of("cors.v3.CorsPolicy", origins)), "allow_origin_string_match[0]");
    assert_eq!(override_refused(&wrapped("")), "config");
    let lua = of("lua.v3.LuaPerRoute", "disabled: true");
    assert_eq!(override_refused(&wrapped(&format!("config: {lua}"))), "config");
}

#[test]
fn json_web_tokens() {
    let kind = "jwt_authn.v3.JwtAuthentication";
    let keys = r#"local_jwks: {inline_string: '{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}'}"#;
    let with = |fields: &str| refused(kind, &format!("providers: {{p: {{{keys}, {fields}}}}}"));
    let provider = |field: &str| format!("providers[\"p\"].{field}");
    for (fields, field) in [
        ("subjects: {prefix: ''}", "subjects.prefix"),
        ("max_lifetime: -1s", "max_lifetime"),
        ("claim_to_headers: [{header_name: a}]", "claim_to_headers[0].claim_name"),
    ] {
        assert_eq!(with(fields), provider(field), "{fields}");
    }
    let source = |source: &str| refused(kind, &format!("providers: {{p: {{{source}}}}}"));
    let remote = |fields: &str| source(&format!("remote_jwks: {{{fields}}}"));
    let whole_uri = "http_uri: {uri: 'http://a/', cluster: c, timeout: 1s}";
    for (fields, field) in [
        ("", "http_uri"),
        ("http_uri: {cluster: c, timeout: 1s}", "http_uri.uri"),
        ("http_uri: {uri: 'http://a/', timeout: 1s}", "http_uri.cluster"),
        ("http_uri: {uri: 'http://a/', cluster: c}", "http_uri.timeout"),
        ("http_uri: {uri: 'ftp://a/', cluster: c, timeout: 1s}", "http_uri.uri"),
        ("http_uri: {uri: 'http:///a', cluster: c, timeout: 1s}", "http_uri.uri"),
        (&format!("{whole_uri}, cache_duration: 0s"), "cache_duration"),
        (
            &format!("{whole_uri}, retry_policy: {{retry_priority: {{name: a}}}}"),
            "retry_policy.retry_priority",
        ),
        (
            &format!("{whole_uri}, retry_policy: {{retry_back_off: {{}}}}"),
            "retry_policy.retry_back_off.base_interval",
        ),
    ] {
        assert_eq!(remote(fields), provider(&format!("remote_jwks.{field}")), "{fields}");
    }
    let fetched = format!("providers: {{p: {{remote_jwks: {{{whole_uri}, async_fetch: {{}}}}}}}}");
    assert!(listener_of(&with_filters(&filter(kind, &fetched))).is_ok());
    assert_eq!(source("local_jwks: {inline_string: 'no keys'}"), provider("local_jwks"));
    let whole = |fields: &str| refused(kind, &format!("providers: {{p: {{{keys}}}}}, {fields}"));
    assert_eq!(whole("filter_state_rules: {name: a}"), "filter_state_rules");
    let rule = |requires: &str| whole(&format!("rules: [{{match: {{prefix: /}}, {requires}}}]"));
    assert_eq!(rule("requires: {provider_name: q}"), "rules[0].requires.provider_name");
    assert_eq!(rule("requirement_name: q"), "rules[0].requirement_name");
    assert_eq!(
        rule("requires: {extract_only_without_validation: {}}"),
        "rules[0].requires.extract_only_without_validation"
    );
}

#[test]
fn external_authorization() {
    let kind = "ext_authz.v3.ExtAuthz";
    let service = "grpc_service: {envoy_grpc: {cluster_name: c}}";
    let uri = "server_uri: {uri: 'http://a', cluster: c, timeout: 1s}";
    assert_eq!(refused(kind, ""), "");
    for (fields, path) in [
        ("typed_metadata_context_namespaces: [a]", "typed_metadata_context_namespaces"),
        ("route_metadata_context_namespaces: [a]", "route_metadata_context_namespaces"),
        ("route_typed_metadata_context_namespaces: [a]", "route_typed_metadata_context_namespaces"),
        ("filter_enabled_metadata: {}", "filter_enabled_metadata"),
        ("bootstrap_metadata_labels_key: a", "bootstrap_metadata_labels_key"),
        ("filter_metadata: {a: 1}", "filter_metadata"),
        ("emit_filter_state_stats: true", "emit_filter_state_stats"),
        ("enforce_response_header_limits: true", "enforce_response_header_limits"),
        ("shadow_mode: true", "shadow_mode"),
        ("with_request_body: {}", "with_request_body.max_request_bytes"),
        ("status_on_error: {code: Continue}", "status_on_error.code"),
        ("allowed_headers: {patterns: [{}]}", "allowed_headers.patterns[0]"),
        ("filter_enabled: {}", "filter_enabled.default_value"),
        (
            "decoder_header_mutation_rules: {allow_expression: {regex: '('}}",
            "decoder_header_mutation_rules.allow_expression.regex",
        ),
    ] {
        assert_eq!(refused(kind, &format!("{service}, {fields}")), path, "{fields}");
    }
    for (fields, path) in [
        ("google_grpc: {}", "google_grpc"),
        ("envoy_grpc: {}", "envoy_grpc.cluster_name"),
        ("timeout: 1s", "envoy_grpc"),
        ("envoy_grpc: {cluster_name: c}, initial_metadata: [{key: ':path'}]", "initial_metadata[0].key"),
    ] {
        assert_eq!(
            refused(kind, &format!("grpc_service: {{{fields}}}")),
            format!("grpc_service.{path}"),
            "{fields}"
        );
    }
    for (fields, path) in [
        ("", "server_uri"),
        (&format!("{uri}, path_prefix: a"), "path_prefix"),
        (&format!("{uri}, path_prefix: /a, path_override: /b"), "path_override"),
        (
            &format!("{uri}, authorization_request: {{headers_to_add: [{{key: 'a b'}}]}}"),
            "authorization_request.headers_to_add[0].key",
        ),
        (
            &format!("{uri}, authorization_response: {{allowed_client_headers: {{patterns: [{{}}]}}}}"),
            "authorization_response.allowed_client_headers.patterns[0]",
        ),
    ] {
        assert_eq!(
            refused(kind, &format!("http_service: {{{fields}}}")),
            format!("http_service.{path}"),
            "{fields}"
        );
    }
    let listener = listener_of(&with_filters(&filter(kind, service))).unwrap().config;
    assert!(matches!(http(&listener, 0).filters[0].kind, FilterKind::Authz(_)));
}
