//! What rate limits tell requests apart by: every form, and every refusal with its path.

use super::*;
use crate::config::filter::FilterKind;
use crate::config::filter::descriptor::{DescriptorAction, DescriptorEntry, HostRules};
use crate::config::filter::rate_limit::{Limit, RateLimit};

const BUCKET: &str = "token_bucket: {max_tokens: 1, fill_interval: 1s}";

fn listener_with(fields: &str) -> Result<TranslatedListener, Rejection> {
    let yaml = format!(
        r#"
name: l
address: {{socket_address: {{address: 127.0.0.1, port_value: 80}}}}
filter_chains:
- filters:
  - name: h
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
      stat_prefix: s
      route_config: {{name: r}}
      http_filters:
      - name: limit
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
          stat_prefix: x
          {fields}
      - name: router
        typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
"#
    );
    let mut context = context();
    context.service_cluster = "shop".into();
    listener(&message(&yaml), &mut context)
}

fn with_limit<T>(fields: &str, read: impl FnOnce(&RateLimit) -> T) -> T {
    let translated = listener_with(fields).unwrap_or_else(|error| panic!("{fields}: {error}"));
    let NetworkFilter::Http(settings) = &translated.config.chains[0].filter else { panic!("no HTTP") };
    let FilterKind::RateLimit(limit) = &settings.filters[0].kind else { panic!("no limit") };
    read(limit)
}

/// The place of a refusal, after that of the filter.
fn refused(fields: &str) -> String {
    let Err(rejection) = listener_with(fields) else { panic!("{fields} is accepted") };
    rejection
        .path
        .split_once("http_filters[0].typed_config.")
        .map_or(rejection.path.clone(), |(_, at)| at.into())
}

/// A limit by one descriptor whose rule has this one action.
fn by(action: &str) -> String {
    format!("rate_limits: [{{actions: [{{{action}}}]}}], descriptors: [{{entries: [{{key: k}}], {BUCKET}}}]")
        .replace("], descriptors", "]\n          descriptors")
}

#[test]
fn every_action_is_compiled() {
    let entry = |key: &str, value: &str| DescriptorEntry { key: key.into(), value: value.into() };
    let constant = |text: &str| {
        with_limit(&by(text), |limit| match &limit.descriptors.as_ref().unwrap().rules[0].actions[..] {
            [DescriptorAction::Constant(entry)] => entry.clone(),
            other => panic!("{other:?}"),
        })
    };
    assert_eq!(constant("source_cluster: {}"), entry("source_cluster", "shop"));
    assert_eq!(constant("generic_key: {descriptor_value: v}"), entry("generic_key", "v"));
    assert_eq!(constant("generic_key: {descriptor_value: v, descriptor_key: k}"), entry("k", "v"));
    let kind = |text: &str| {
        with_limit(&by(text), |limit| {
            format!("{:?}", limit.descriptors.as_ref().unwrap().rules[0].actions[0])
        })
    };
    for (text, shown) in [
        ("destination_cluster: {}", "DestinationCluster"),
        ("remote_address: {}", "ClientAddress"),
        ("masked_remote_address: {}", "ClientNetwork { v4: 32, v6: 128 }"),
        (
            "masked_remote_address: {v4_prefix_mask_len: 0, v6_prefix_mask_len: 64}",
            "ClientNetwork { v4: 0, v6: 64 }",
        ),
        (
            "request_headers: {header_name: X-A, descriptor_key: a, skip_if_absent: true}",
            "Header(Named { name: \"x-a\", key: \"a\", skip_if_absent: true })",
        ),
        (
            "query_parameters: {query_parameter_name: Q, descriptor_key: q}",
            "Query(Named { name: \"Q\", key: \"q\", skip_if_absent: false })",
        ),
        (
            "metadata: {descriptor_key: k, metadata_key: {key: ns, path: [{key: a}, {key: b}]}, source: ROUTE_ENTRY, skip_if_absent: true}",
            "Metadata { place: MetadataPlace { source: Route, namespace: \"ns\", path: [\"a\", \"b\"] }, key: \"k\", default: \"\", skip_if_absent: true }",
        ),
        (
            "dynamic_metadata: {descriptor_key: k, metadata_key: {key: ns, path: [{key: a}]}, default_value: d}",
            "Metadata { place: MetadataPlace { source: Request, namespace: \"ns\", path: [\"a\"] }, key: \"k\", default: \"d\", skip_if_absent: false }",
        ),
    ] {
        assert_eq!(kind(text), shown);
    }
    for (text, start) in [
        (
            "header_value_match: {descriptor_value: v, expect_match: false, headers: [{name: a}]}",
            "HeaderMatch",
        ),
        ("query_parameter_value_match: {descriptor_value: v, query_parameters: [{name: a}]}", "QueryMatch"),
        (
            "remote_address_match: {descriptor_value: v, address_matcher: {ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}}",
            "ClientMatch",
        ),
    ] {
        assert!(kind(text).starts_with(start), "{}", kind(text));
    }
}

#[test]
fn defaults_are_envoys() {
    with_limit(&by("remote_address: {}"), |limit| {
        let descriptors = limit.descriptors.as_ref().unwrap();
        assert_eq!((descriptors.stage, descriptors.host_rules), (0, HostRules::Override));
        assert!(descriptors.always_default);
        assert_eq!((descriptors.rules[0].hits, descriptors.rules[0].tell), (1, None));
        let Some(Limit::Process(buckets)) = &limit.limit else { panic!("no buckets") };
        assert!(buckets.default.is_none() && buckets.by_descriptor.is_some());
    });
    with_limit("token_bucket: {max_tokens: 0, fill_interval: 0.001s}", |limit| {
        assert!(limit.limit.is_some() && limit.descriptors.is_none());
    });
}

#[test]
fn refusals_name_the_field() {
    let rule = |fields: &str| refused(&format!("rate_limits: [{{{fields}}}]"));
    assert_eq!(rule(""), "rate_limits[0].actions");
    let address = "actions: [{remote_address: {}}]";
    for (field, value) in [
        ("stage", "0"),
        ("disable_key", "x"),
        ("limit", "{rate_limit: {}}"),
        ("apply_on_stream_done", "true"),
        ("x_ratelimit_option", "7"),
    ] {
        assert_eq!(rule(&format!("{address}, {field}: {value}")), format!("rate_limits[0].{field}"));
    }
    for (hits, field) in [("{}", "number"), ("{number: 0}", "number"), ("{format: '%REQ(x)%'}", "format")] {
        let found = rule(&format!("{address}, hits_addend: {hits}"));
        assert_eq!(found, format!("rate_limits[0].hits_addend.{field}"));
    }
    for (action, field) in [
        ("", ""),
        ("request_headers: {descriptor_key: k}", ".request_headers.header_name"),
        ("request_headers: {header_name: a}", ".request_headers.descriptor_key"),
        ("query_parameters: {descriptor_key: k}", ".query_parameters.query_parameter_name"),
        ("generic_key: {}", ".generic_key.descriptor_value"),
        ("header_value_match: {descriptor_value: v}", ".header_value_match.headers"),
        (
            "query_parameter_value_match: {descriptor_value: v}",
            ".query_parameter_value_match.query_parameters",
        ),
        ("masked_remote_address: {v4_prefix_mask_len: 33}", ".masked_remote_address.v4_prefix_mask_len"),
        ("remote_address_match: {descriptor_value: v}", ".remote_address_match.address_matcher"),
        ("metadata: {descriptor_key: k}", ".metadata.metadata_key"),
        ("metadata: {descriptor_key: k, metadata_key: {key: ns}}", ".metadata.metadata_key.path"),
        ("metadata: {metadata_key: {key: ns, path: [{key: a}]}}", ".metadata.descriptor_key"),
        ("metadata: {source: CLUSTER_ENTRY}", ".metadata.source"),
        (
            "dynamic_metadata: {descriptor_key: k, metadata_key: {path: [{key: a}]}}",
            ".dynamic_metadata.metadata_key.key",
        ),
        ("extension: {name: e}", ".extension"),
    ] {
        let found = rule(&format!("actions: [{{{action}}}]"));
        assert_eq!(found, format!("rate_limits[0].actions[0]{field}"));
    }
    let descriptor = |fields: &str| refused(&format!("descriptors: [{{{fields}}}]"));
    assert_eq!(descriptor(BUCKET), "descriptors[0].entries");
    assert_eq!(descriptor(&format!("entries: [{{}}], {BUCKET}")), "descriptors[0].entries[0].key");
    assert_eq!(descriptor("entries: [{key: k}]"), "descriptors[0].token_bucket");
    let twice = format!("entries: [{{key: k}}], {BUCKET}}}, {{entries: [{{key: k}}], {BUCKET}");
    assert_eq!(descriptor(&twice), "descriptors[1].entries");
}
