//! HTTP filter chains: every entry is known, harmless to leave out, or refused by name.
//! Source: `HttpConnectionManager.http_filters`, `envoy.extensions.filters.http.router.v3.Router`.

use outrigger_xds_protos::any;
use outrigger_xds_protos::pb::google::protobuf::Any;
use outrigger_xds_protos::v3::hcm::HttpFilter as FilterMessage;
use outrigger_xds_protos::v3::hcm::http_filter::ConfigType;
use outrigger_xds_protos::v3::router::Router;

use super::fields;
use super::fields::{refuse, refuse_true, warn_set};
use super::filter;
use super::path::{Path, Rejection};
use super::scope::Scope;
use crate::config::filter::HttpFilter;

const UPSTREAM_CODEC: &str = "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec";
/// Filters that only observe: leaving them out changes no request.
const OBSERVERS: &[&str] = &["envoy.extensions.filters.http.grpc_stats.v3.FilterConfig"];

/// A chain: the router's settings and the filters before it.
pub(super) struct Chain {
    pub(super) suppress_envoy_headers: bool,
    pub(super) respect_expected_rq_timeout: bool,
    pub(super) filters: Vec<HttpFilter>,
}

/// Checks a chain. The last filter must be the router.
pub(super) fn compile(
    messages: &[FilterMessage],
    stat_prefix: &str,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Chain, Rejection> {
    let mut filters = Vec::with_capacity(messages.len());
    let Some((last, before)) = messages.split_last() else {
        return Err(path.reject("must end with envoy.filters.http.router"));
    };
    for (i, filter) in before.iter().enumerate() {
        let path = path.index(i);
        if is_router(filter) {
            return Err(path.reject("the router must be the last filter"));
        }
        match compile_one(filter, stat_prefix, &path, scope)? {
            Some(filter) => filters.push(filter),
            None => leave_out(filter, &path, scope)?,
        }
    }
    let path = path.index(before.len());
    if !is_router(last) {
        return Err(path.reject(format_args!(
            "{:?} ({}) is not supported as the last filter; it must be envoy.filters.http.router",
            last.name,
            type_url(last)
        )));
    }
    if last.disabled {
        return Err(path.field("disabled").reject("the router cannot be disabled"));
    }
    let Some(ConfigType::TypedConfig(config)) = &last.config_type else { return Err(path.missing()) };
    let (suppress_envoy_headers, respect_expected_rq_timeout) =
        router(config, &path.field("typed_config"), scope)?;
    Ok(Chain { suppress_envoy_headers, respect_expected_rq_timeout, filters })
}

fn compile_one(
    message: &FilterMessage,
    stat_prefix: &str,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Option<HttpFilter>, Rejection> {
    let Some(config) = config(message) else { return Ok(None) };
    let kind = filter::compile(config, stat_prefix, &path.field("typed_config"), scope)?;
    let id = scope.context.filters.intern(&message.name);
    Ok(kind.map(|kind| HttpFilter { id, disabled: message.disabled, kind }))
}

/// Upstream filters of a cluster or router: only the codec, which is always there.
pub(super) fn upstream(messages: &[FilterMessage], path: &Path<'_>) -> Result<(), Rejection> {
    for (i, filter) in messages.iter().enumerate() {
        if any::type_name(type_url(filter)) != Some(UPSTREAM_CODEC) {
            let FilterMessage { name, .. } = filter;
            return Err(path
                .index(i)
                .reject(format_args!("{name:?} ({}) is not supported", type_url(filter))));
        }
    }
    Ok(())
}

fn config(filter: &FilterMessage) -> Option<&Any> {
    match &filter.config_type {
        Some(ConfigType::TypedConfig(config)) => Some(config),
        _ => None,
    }
}

fn type_url(filter: &FilterMessage) -> &str {
    config(filter).map_or("no typed_config", |config| config.type_url.as_str())
}

fn is_router(filter: &FilterMessage) -> bool {
    config(filter).is_some_and(any::is::<Router>)
}

/// Accepts a filter that may be left out, with a warning; refuses any other.
fn leave_out(filter: &FilterMessage, path: &Path<'_>, scope: &mut Scope<'_>) -> Result<(), Rejection> {
    let FilterMessage { name, is_optional, disabled: _, config_type } = filter;
    if let Some(ConfigType::ConfigDiscovery(_)) = config_type {
        return Err(path.field("config_discovery").unsupported());
    }
    let url = type_url(filter);
    let observes = any::type_name(url).is_some_and(|name| OBSERVERS.contains(&name));
    if observes {
        scope.warn(path, format_args!("{name:?} has no effect: its statistics do not exist"));
    } else if *is_optional {
        scope.warn(
            path,
            format_args!("{name:?} ({url}) is not supported and left out, as is_optional allows"),
        );
    } else {
        return Err(path.reject(format_args!("{name:?} ({url}) is not supported")));
    }
    Ok(())
}

/// `suppress_envoy_headers` and `respect_expected_rq_timeout`.
#[allow(deprecated, reason = "deprecated fields are decided on like the others")]
fn router(packed: &Any, path: &Path<'_>, scope: &mut Scope<'_>) -> Result<(bool, bool), Rejection> {
    let Router {
        dynamic_stats,
        start_child_span,
        upstream_log,
        upstream_log_options,
        suppress_envoy_headers,
        strict_check_headers,
        respect_expected_rq_timeout,
        suppress_grpc_request_failure_code_stats,
        upstream_http_filters,
        reject_connect_request_early_data,
    } = &any::unpack::<Router>(packed).map_err(|error| path.reject(error))?;
    refuse!(path; upstream_log, upstream_log_options, strict_check_headers);
    refuse_true!(path; reject_connect_request_early_data);
    warn_set!(scope, path, "has no effect without tracing"; start_child_span);
    warn_set!(scope, path, "has no effect: these statistics do not exist";
        suppress_grpc_request_failure_code_stats);
    if !fields::flag(dynamic_stats, true) {
        scope.warn(&path.field("dynamic_stats"), "is not in effect: cluster statistics are always kept");
    }
    upstream(upstream_http_filters, &path.field("upstream_http_filters"))?;
    Ok((*suppress_envoy_headers, *respect_expected_rq_timeout))
}
