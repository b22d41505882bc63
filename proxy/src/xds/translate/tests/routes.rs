//! Route tables: lookup, conditions, actions.

use super::*;
use crate::base::matcher::HeaderMatchKind;
use crate::config::live::Priority;
use crate::config::retry::{LARGEST_REPLAY, ResetFormat, ResetHeader, RetryOn, RetryPolicy};
use crate::config::route::{
    ClusterChoice, Forward, HostRewrite, PathMatch, PathRewrite, Redirect, RouteAction, TlsRequirement,
};
use crate::config::subset::{Criterion, Metadata, MetadataValue};

/// A table with one virtual host of these routes (a YAML list, unindented).
fn routes(list: &str) -> Arc<RouteTable> {
    let yaml = format!(
        "name: t\nvirtual_hosts:\n- name: v\n  domains: ['*']\n  routes:\n  {}",
        indented(list.trim_start(), 2)
    );
    route_table_of(&yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}")).config
}

fn forward(table: &RouteTable, index: usize) -> &Forward {
    match &table.virtual_hosts[0].routes[index].action {
        RouteAction::Forward(forward) => forward,
        other => panic!("{other:?}"),
    }
}

#[test]
fn domains_fill_the_lookup_tables_longest_first() {
    let table = route_table_of(
        r#"
name: t
ignore_port_in_host_matching: true
most_specific_header_mutations_wins: true
internal_only_headers: [X-Secret]
virtual_hosts:
- {name: a, domains: [Books.Prod, "books.prod:15001"], require_tls: EXTERNAL_ONLY}
- {name: b, domains: ["*.com", "*.example.com", "*-x.com"], include_request_attempt_count: true}
- {name: c, domains: ["foo.*", "foo-bar.*"], include_attempt_count_in_response: true}
- {name: d, domains: ["*"]}
"#,
    )
    .unwrap()
    .config;
    assert_eq!(table.exact.get("books.prod"), Some(&0));
    assert_eq!(table.exact.get("books.prod:15001"), Some(&0));
    let suffixes: Vec<&str> = table.suffix.iter().map(|(part, _)| &**part).collect();
    assert_eq!(suffixes, [".example.com", "-x.com", ".com"]);
    let prefixes: Vec<&str> = table.prefix.iter().map(|(part, _)| &**part).collect();
    assert_eq!(prefixes, ["foo-bar.", "foo."]);
    assert_eq!(table.any, Some(3));
    assert!(table.ignore_port && table.most_specific_wins);
    assert_eq!(table.internal_only_headers, ["x-secret".into()]);
    assert_eq!(table.virtual_hosts[0].require_tls, TlsRequirement::External);
    assert!(table.virtual_hosts[1].include_request_attempt_count);
    assert!(table.virtual_hosts[2].include_attempt_count_in_response);
}

#[test]
fn every_path_kind_and_condition_arrives() {
    let table = routes(
        r#"
- {match: {prefix: /Api, case_sensitive: false}, direct_response: {status: 200}}
- {match: {path: /x}, direct_response: {status: 200}}
- {match: {safe_regex: {regex: "/v[0-9]+/.*"}}, direct_response: {status: 200}}
- {match: {path_separated_prefix: /p}, direct_response: {status: 200}}
- {match: {connect_matcher: {}}, direct_response: {status: 200}}
- name: all
  match:
    prefix: /
    grpc: {}
    runtime_fraction: {default_value: {numerator: 10}, runtime_key: some.key}
    headers: [{name: ":method", string_match: {exact: GET}}, {name: x-a, range_match: {start: 1, end: 5}, invert_match: true}]
    query_parameters: [{name: q, string_match: {prefix: a}}]
  direct_response: {status: 200}
"#,
    );
    let routes = &table.virtual_hosts[0].routes;
    assert!(matches!(&routes[0].matches.path, PathMatch::Prefix(p) if &*p.text == b"/api" && p.ignore_case));
    assert!(matches!(&routes[1].matches.path, PathMatch::Exact(p) if &*p.text == b"/x" && !p.ignore_case));
    assert!(
        matches!(&routes[2].matches.path, PathMatch::Regex(r) if r.is_match(b"/v12/a") && !r.is_match(b"x/v12/a"))
    );
    assert!(matches!(&routes[3].matches.path, PathMatch::SeparatedPrefix(p) if &*p.text == b"/p"));
    assert!(matches!(&routes[4].matches.path, PathMatch::Connect));
    let all = &routes[5];
    assert_eq!(&*all.name, "all");
    assert!(all.matches.grpc);
    assert_eq!(all.matches.runtime_fraction_ppm, Some(100_000));
    assert_eq!(all.matches.headers.len(), 2);
    assert!(matches!(all.matches.headers[1].kind, HeaderMatchKind::Range { start: 1, end: 5 }));
    assert!(all.matches.headers[1].invert);
    assert!(all.matches.query[0].matches(b"q=ab"));
}

#[test]
fn forwarding_takes_envoys_defaults() {
    let table = routes("- {match: {prefix: /}, route: {cluster: c}}");
    let forward = forward(&table, 0);
    assert_eq!(forward.timeout, Duration::from_secs(15));
    assert_eq!(forward.cluster_not_found_status, 503);
    assert!(
        forward.idle_timeout.is_none() && forward.max_stream_duration.is_none() && forward.retry.is_none()
    );
    assert!(forward.path_rewrite.is_none() && forward.host_rewrite.is_none());
    assert!(
        forward.priority == Priority::Default
            && !forward.append_x_forwarded_host
            && !forward.connect_terminate
    );
}

#[test]
fn every_forwarding_setting_arrives() {
    let mut context = context();
    let table: v3::route::RouteConfiguration = message(
        r#"
name: t
request_headers_to_add: [{header: {key: X-Table, value: a}}]
virtual_hosts:
- name: v
  domains: ['*']
  response_headers_to_remove: [X-Gone]
  routes:
  - match: {prefix: /}
    request_headers_to_remove: [X-Out]
    route:
      weighted_clusters:
        total_weight: 100
        clusters:
        - {name: a, weight: 99, request_headers_to_add: [{header: {key: x-w, value: w}}], host_rewrite_literal: w.example}
        - {name: b, weight: 1}
      cluster_not_found_response_code: NOT_FOUND
      prefix_rewrite: /new
      auto_host_rewrite: true
      append_x_forwarded_host: true
      timeout: 0s
      idle_timeout: 7s
      priority: HIGH
      max_stream_duration: {max_stream_duration: 1s, grpc_timeout_header_max: 0s, grpc_timeout_header_offset: 2s}
      upgrade_configs: [{upgrade_type: websocket, enabled: false}, {upgrade_type: CONNECT, connect_config: {}}]
  - {match: {prefix: /}, route: {cluster_header: X-Cluster, regex_rewrite: {pattern: {regex: "/(.)"}, substitution: "/\\1"}, host_rewrite_header: X-Host}}
  - {match: {prefix: /}, route: {cluster: c, host_rewrite_literal: h.example}}
  - {match: {prefix: /}, route: {cluster: c, host_rewrite_path_regex: {pattern: {regex: "^/(.+)$"}, substitution: "\\1.local"}}}
"#,
    );
    let table = route_table(&table, &mut context).unwrap().config;
    assert_eq!(&*table.headers.request_add[0].name, "x-table");
    assert_eq!(table.virtual_hosts[0].headers.response_remove, ["x-gone".into()]);
    assert_eq!(table.virtual_hosts[0].routes[0].headers.request_remove, ["x-out".into()]);
    let first = forward(&table, 0);
    let ClusterChoice::Weighted(weighted) = &first.clusters else { panic!() };
    assert_eq!(weighted.total, 100);
    assert_eq!(weighted.entries[0].cluster.named(), context.clusters.get("a"));
    assert_eq!(weighted.entries[0].host_rewrite.as_deref(), Some("w.example"));
    assert_eq!(&*weighted.entries[0].headers.request_add[0].name, "x-w");
    assert_eq!(first.cluster_not_found_status, 404);
    assert!(matches!(&first.path_rewrite, Some(PathRewrite::Prefix(to)) if &**to == "/new"));
    assert!(matches!(first.host_rewrite, Some(HostRewrite::Auto)));
    assert!(first.append_x_forwarded_host && first.priority == Priority::High && first.connect_terminate);
    assert_eq!((first.timeout, first.idle_timeout), (Duration::ZERO, Some(Duration::from_secs(7))));
    let stream = first.max_stream_duration.unwrap();
    assert_eq!(stream.max, Some(Duration::from_secs(1)));
    assert_eq!(stream.grpc_timeout_max, Some(Duration::ZERO));
    assert_eq!(stream.grpc_timeout_offset, Duration::from_secs(2));
    assert_eq!(first.upgrades, [("websocket".into(), false), ("connect".into(), true)]);
    let second = forward(&table, 1);
    assert!(matches!(&second.clusters, ClusterChoice::Header { name } if &**name == "x-cluster"));
    assert!(matches!(&second.path_rewrite, Some(PathRewrite::Regex { .. })));
    assert!(matches!(&second.host_rewrite, Some(HostRewrite::Header(name)) if &**name == "x-host"));
    assert!(
        matches!(&forward(&table, 2).host_rewrite, Some(HostRewrite::Literal(host)) if &**host == "h.example")
    );
    assert!(matches!(&forward(&table, 3).host_rewrite, Some(HostRewrite::PathRegex { .. })));
}

fn retry(route_action: &str) -> Option<Arc<RetryPolicy>> {
    let table = routes(&format!("- {{match: {{prefix: /}}, route: {{cluster: c, {route_action}}}}}"));
    forward(&table, 0).retry.clone()
}

#[test]
fn retry_policies_take_defaults_and_settings() {
    let plain = retry("retry_policy: {retry_on: 'connect-failure, 5xx'}").unwrap();
    assert!(plain.on.intersects(RetryOn::CONNECT_FAILURE) && plain.on.intersects(RetryOn::SERVER_ERROR));
    assert!(!plain.on.intersects(RetryOn::RESET));
    assert_eq!((plain.num_retries, plain.per_try_timeout), (1, Duration::ZERO));
    assert_eq!(plain.base_interval, Duration::from_millis(25));
    assert_eq!(plain.max_interval, Duration::from_millis(250));
    assert!(!plain.avoid.previous && plain.reset_headers.is_empty());
    let full = retry(
        r#"retry_policy: {retry_on: retriable-status-codes, num_retries: 0, per_try_timeout: 2s,
           retriable_status_codes: [503, 409, 503], host_selection_retry_max_attempts: 5,
           retry_back_off: {base_interval: 0.0001s, max_interval: 3s},
           retry_host_predicate: [{name: previous, typed_config: {"@type":
             type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate}}]}"#,
    )
    .unwrap();
    assert_eq!(full.status_codes, [409, 503]);
    assert_eq!((full.num_retries, full.per_try_timeout), (0, Duration::from_secs(2)));
    assert_eq!(full.base_interval, Duration::from_millis(1));
    assert_eq!(full.max_interval, Duration::from_secs(3));
    assert!(full.avoid.previous);
    assert_eq!(full.host_selection_attempts, 5);
    let bare = retry("retry_policy: {retry_on: '', num_retries: 3}").unwrap();
    assert!(bare.on.is_empty() && bare.num_retries == 3, "callers inside may bring conditions");
}

#[test]
fn everything_that_retries_depend_on_arrives() {
    let policy = retry(
        r#"retry_policy: {retry_on: 'retriable-headers, envoy-ratelimited,unavailable', per_try_idle_timeout: 3s,
           retriable_headers: [{name: X-Again}, {name: ':status', range_match: {start: 500, end: 502}}],
           retriable_request_headers: [{name: x-safe, present_match: true}],
           rate_limited_retry_back_off: {max_interval: 60s, reset_headers: [
             {name: Retry-After}, {name: X-Reset, format: UNIX_TIMESTAMP}]}}"#,
    )
    .unwrap();
    let on = [RetryOn::HEADERS, RetryOn::RATE_LIMITED, RetryOn::GRPC_UNAVAILABLE];
    assert!(on.into_iter().all(|condition| policy.on.intersects(condition)));
    assert_eq!(policy.per_try_idle_timeout, Duration::from_secs(3));
    let names: Vec<&str> = policy.response_headers.iter().map(|matcher| &*matcher.name).collect();
    assert_eq!((names.as_slice(), policy.request_headers.len()), (&["x-again", ":status"][..], 1));
    let reset = |name: &str, format| ResetHeader { name: name.into(), format };
    assert_eq!(
        policy.reset_headers,
        [reset("retry-after", ResetFormat::Seconds), reset("x-reset", ResetFormat::UnixTimestamp)]
    );
    assert_eq!(policy.max_reset_interval, Duration::from_secs(60));
}

#[test]
fn hosts_to_avoid_by_what_they_are() {
    let policy = retry(
        r#"retry_policy: {retry_host_predicate: [
             {name: canaries, typed_config: {"@type":
               type.googleapis.com/envoy.extensions.retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate}},
             {name: metadata, typed_config: {"@type":
               type.googleapis.com/envoy.extensions.retry.host.omit_host_metadata.v3.OmitHostMetadataConfig,
               metadata_match: {filter_metadata: {envoy.lb: {stage: old, tier: 1}}}}}]}"#,
    )
    .unwrap();
    let host = |fields: &[(&str, MetadataValue)]| {
        let criterion = |(key, value): &(&str, MetadataValue)| Criterion::new(key, value.clone());
        policy.avoid.omits(Some(&Metadata::new(fields.iter().map(criterion))))
    };
    let (old, one) = (MetadataValue::Text("old".into()), MetadataValue::Number(1f64.to_bits()));
    assert!(
        host(&[("canary", MetadataValue::Bool(true))]) && !host(&[("canary", MetadataValue::Bool(false))])
    );
    assert!(
        host(&[("stage", old.clone()), ("tier", one), ("more", old.clone())]) && !host(&[("stage", old)])
    );
    assert!(!policy.avoid.omits(None) && !policy.avoid.previous);
}

#[test]
fn hedging_and_buffer_limits_are_inherited() {
    let table = route_table_of(
        r#"
name: t
virtual_hosts:
- name: v
  domains: ['*']
  hedge_policy: {hedge_on_per_try_timeout: true}
  per_request_buffer_limit_bytes: 1000
  include_is_timeout_retry_header: true
  routes:
  - {match: {prefix: /own}, per_request_buffer_limit_bytes: 7, request_body_buffer_limit: 5000000000,
     route: {cluster: c, hedge_policy: {}}}
  - {match: {prefix: /}, route: {cluster: c}}
"#,
    )
    .unwrap()
    .config;
    assert!(table.virtual_hosts[0].include_is_timeout_retry);
    let of = |index| (forward(&table, index).hedge, forward(&table, index).replay_limit);
    assert_eq!(of(0), (false, Some(LARGEST_REPLAY)));
    assert_eq!(of(1), (true, Some(1000)));
}

#[test]
fn a_virtual_hosts_retry_policy_serves_routes_without_one() {
    let table = route_table_of(
        r#"
name: t
virtual_hosts:
- name: v
  domains: ['*']
  retry_policy: {retry_on: reset, num_retries: 4}
  routes:
  - {match: {prefix: /own}, route: {cluster: c, retry_policy: {retry_on: 5xx}}}
  - {match: {prefix: /}, route: {cluster: c}}
"#,
    )
    .unwrap()
    .config;
    assert_eq!(forward(&table, 0).retry.as_ref().unwrap().num_retries, 1);
    assert_eq!(forward(&table, 1).retry.as_ref().unwrap().num_retries, 4);
}

#[test]
fn redirects_and_direct_responses_arrive() {
    let table = routes(
        r#"
- {match: {prefix: /}, redirect: {https_redirect: true, host_redirect: n.example, port_redirect: 8443, path_redirect: "/n?x", strip_query: true, response_code: PERMANENT_REDIRECT}}
- {match: {prefix: /}, redirect: {scheme_redirect: http, prefix_rewrite: /p}}
- {match: {prefix: /}, redirect: {regex_rewrite: {pattern: {regex: a}, substitution: b}}}
- {match: {prefix: /}, direct_response: {status: 418, body: {inline_string: teapot}}}
"#,
    );
    let redirect = |index: usize| -> &Redirect {
        match &table.virtual_hosts[0].routes[index].action {
            RouteAction::Redirect(redirect) => redirect,
            other => panic!("{other:?}"),
        }
    };
    let full = redirect(0);
    assert_eq!((full.scheme.as_deref(), full.host.as_deref()), (Some("https"), Some("n.example")));
    assert_eq!((full.port, full.status, full.strip_query), (Some(8443), 308, true));
    assert!(matches!(&full.path, Some(PathRewrite::Full(path)) if &**path == "/n?x"));
    let plain = redirect(1);
    assert_eq!((plain.scheme.as_deref(), plain.port, plain.status), (Some("http"), None, 301));
    assert!(matches!(&plain.path, Some(PathRewrite::Prefix(path)) if &**path == "/p"));
    assert!(matches!(&redirect(2).path, Some(PathRewrite::Regex { .. })));
    let RouteAction::Direct(direct) = &table.virtual_hosts[0].routes[3].action else { panic!() };
    assert_eq!((direct.status, &*direct.body), (418, &b"teapot"[..]));
}

#[test]
fn rds_tables_do_not_ask_for_their_clusters_unless_told() {
    let with = |validate: &str| {
        let yaml = format!(
            "name: t\n{validate}virtual_hosts: [{{name: v, domains: ['*'], routes: [{{match: {{prefix: /}}, route: {{cluster: c}}}}]}}]"
        );
        route_table_of(&yaml).unwrap().required_clusters.len()
    };
    assert_eq!((with(""), with("validate_clusters: true\n")), (0, 1));
}

#[test]
fn a_route_is_of_the_service_in_its_metadata_else_of_its_virtual_host() {
    let service = |host: &str, config: &str| {
        let yaml = format!(
            r#"
name: t
virtual_hosts:
- name: "{host}"
  domains: ["*"]
  routes:
  - match: {{prefix: /}}
    route: {{cluster: a}}
    metadata: {{filter_metadata: {{aws.appmesh.aggregate_stats: {{config: '{config}'}}}}}}
"#
        );
        let table = route_table_of(&yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}")).config;
        forward(&table, 0).service.name.to_string()
    };
    let tagged = r#"{"tags":[{"key":"X","value":"x"},{"key":"TargetVirtualService","value":"s.local"}]}"#;
    assert_eq!(service("default_backend", tagged), "s.local");
    assert_eq!(service("books.local", tagged), "s.local");
    let nothing =
        ["", "{", "[]", r#"{"tags":[]}"#, r#"{"tags":[{"key":"TargetVirtualService","value":""}]}"#];
    for config in nothing {
        assert_eq!(service("books.local", config), "books.local", "{config}");
        for host in ["*", "default_backend"] {
            assert_eq!(service(host, config), "", "{host} {config}");
        }
    }
}

#[test]
fn routes_count_by_service_where_somebody_asks_for_it() {
    let yaml = r#"
name: t
virtual_hosts:
- name: books.local
  domains: ["*"]
  routes:
  - match: {prefix: /a}
    route: {weighted_clusters: {clusters: [{name: a, weight: 1}, {name: b, weight: 1}]}}
  - match: {prefix: /}
    route: {cluster: cds_ingress_shop_cart_http_8080}
"#;
    let counted = |counts_services| {
        let mut context = context();
        context.counts_services = counts_services;

        let table = route_table(&message(yaml), &mut context).unwrap().config;
        let ids = |index| forward(&table, index).service.counts.iter().map(|(id, _)| *id).collect::<Vec<_>>();
        (ids(0), ids(1), ["a", "b"].map(|name| context.clusters.get(name).unwrap()))
    };
    let (several, own, ids) = counted(true);
    assert_eq!((several.as_slice(), own.len()), (ids.as_slice(), 0));
    let (several, own, _) = counted(false);
    assert!(several.is_empty() && own.is_empty());
}
