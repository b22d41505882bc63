//! Services that filters call. Source: `envoy.config.core.v3.{HttpUri, GrpcService, RetryPolicy}`.

use std::sync::Arc;
use std::time::Duration;

use outrigger_xds_protos::v3::core::grpc_service::{EnvoyGrpc, TargetSpecifier};
use outrigger_xds_protos::v3::core::http_uri::HttpUpstreamType;
use outrigger_xds_protos::v3::core::{
    BackoffStrategy, GrpcService as GrpcMessage, HeaderValue, HttpUri, RetryPolicy as RetryMessage,
};
use outrigger_xds_protos::v3::route::RetryPolicy as RouteRetries;
use outrigger_xds_protos::v3::route::retry_policy::RetryBackOff;

use super::fields;
use super::fields::refuse;
use super::headers::editable_name;
use super::path::{Path, Rejection};
use super::retry;
use super::scope::Scope;
use crate::config::call::Callee;
use crate::config::filter::authz::GrpcService;
use crate::config::retry::RetryPolicy;
use crate::config::route::{AppendAction, HeaderAdd};
use crate::observe::format::Format;

/// Envoy's default for a question over gRPC.
const TIMEOUT: Duration = Duration::from_millis(200);

/// Where an HTTP service is, and its URI.
pub(super) fn http<'m>(
    message: &'m Option<HttpUri>,
    retry: &Option<RetryMessage>,
    parent: &Path<'_>,
    field: &str,
    scope: &mut Scope<'_>,
) -> Result<(Callee, &'m str), Rejection> {
    let path = parent.field(field);
    let HttpUri { uri, timeout, http_upstream_type } = fields::message(message, &path)?;
    let uri = fields::required(uri, &path.field("uri"))?;
    let cluster_path = path.field("cluster");
    let Some(HttpUpstreamType::Cluster(cluster)) = http_upstream_type else {
        return Err(cluster_path.missing());
    };
    let timeout_path = path.field("timeout");
    let timeout = fields::duration(timeout, &timeout_path)?.ok_or_else(|| timeout_path.missing())?;
    let cluster = scope.cluster(cluster, &cluster_path)?;
    Ok((Callee { cluster, timeout, retry: retries(retry, &parent.field("retry_policy"), scope)? }, uri))
}

/// A gRPC service that is asked whether something may pass.
pub(super) fn grpc(
    message: &GrpcMessage,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<GrpcService, Rejection> {
    let GrpcMessage { timeout: own, initial_metadata, retry_policy, target_specifier } = message;
    let envoy = match target_specifier {
        Some(TargetSpecifier::EnvoyGrpc(envoy)) => envoy,
        Some(TargetSpecifier::GoogleGrpc(_)) => {
            return Err(path.field("google_grpc").reject("only envoy_grpc is supported"));
        }
        None => return Err(path.field("envoy_grpc").missing()),
    };
    let envoy_path = path.field("envoy_grpc");
    let EnvoyGrpc {
        cluster_name,
        authority,
        retry_policy: inner,
        max_receive_message_length,
        skip_envoy_headers,
    } = envoy;
    if max_receive_message_length.is_some() {
        let field = envoy_path.field("max_receive_message_length");
        scope.warn(&field, "is not in effect: an answer has at most a mebibyte");
    }
    if inner.is_some() {
        let field = envoy_path.field("retry_policy");
        scope.warn(
            &field,
            "has no effect: it is for streams of discovery; questions have that of grpc_service",
        );
    }
    let retry = retries(retry_policy, &path.field("retry_policy"), scope)?;
    let cluster = scope.cluster(cluster_name, &envoy_path.field("cluster_name"))?;
    let timeout = fields::duration(own, &path.field("timeout"))?.unwrap_or(TIMEOUT);
    Ok(GrpcService {
        callee: Callee { cluster, timeout, retry },
        authority: authority.as_str().into(),
        metadata: added(initial_metadata, &path.field("initial_metadata"))?,
        plain: *skip_envoy_headers,
    })
}

/// Headers that are added to a request, in the place of those of the same name.
pub(super) fn added(messages: &[HeaderValue], path: &Path<'_>) -> Result<Vec<HeaderAdd>, Rejection> {
    let one = |(i, message): (usize, &HeaderValue)| {
        let path = path.index(i);
        let HeaderValue { key, value, raw_value } = message;
        refuse!(path; raw_value);
        let format = Format::parse(value).map_err(|error| path.field("value").reject(error))?;
        let name = editable_name(key, &path.field("key"))?;
        Ok(HeaderAdd { name, value: format, action: AppendAction::OverwriteOrAdd, keep_empty: false })
    };
    messages.iter().enumerate().map(one).collect()
}

/// A policy in the words of a route's. Without conditions it is about whatever went wrong.
fn retries(
    message: &Option<RetryMessage>,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Option<Arc<RetryPolicy>>, Rejection> {
    const WHATEVER: &str = "5xx,gateway-error,connect-failure,reset";
    let Some(message) = message else { return Ok(None) };
    let RetryMessage {
        retry_back_off,
        num_retries,
        retry_on,
        retry_priority,
        retry_host_predicate,
        host_selection_retry_max_attempts,
    } = message;
    refuse!(path; retry_priority, retry_host_predicate);
    if *host_selection_retry_max_attempts != 0 {
        return Err(path.field("host_selection_retry_max_attempts").unsupported());
    }
    let back_off = retry_back_off.as_ref().map(|BackoffStrategy { base_interval, max_interval }| {
        RetryBackOff { base_interval: *base_interval, max_interval: *max_interval }
    });
    let as_route = RouteRetries {
        retry_on: if retry_on.is_empty() { WHATEVER.to_owned() } else { retry_on.clone() },
        num_retries: *num_retries,
        retry_back_off: back_off,
        ..RouteRetries::default()
    };
    retry::compile(&as_route, path, scope).map(Some)
}
