//! What a matched route does: forward, redirect, answer.
//! Source: `envoy.config.route.v3.RouteAction`, `RedirectAction`, `DirectResponseAction`.

use std::time::Duration;

use outrigger_xds_protos::v3::core::{RoutingPriority, SubstitutionFormatString};
use outrigger_xds_protos::v3::route::route::Action;
use outrigger_xds_protos::v3::route::route_action::{
    ClusterNotFoundResponseCode, MaxStreamDuration as StreamMessage, UpgradeConfig,
    upgrade_config::ConnectConfig,
};
use outrigger_xds_protos::v3::route::{DirectResponseAction, RouteAction as ActionMessage};

use super::fields;
use super::fields::{refuse, warn_set};
use super::path::{Path, Rejection};
use super::route::Inherited;
use super::scope::Scope;
use super::uri_template::{self, UriTemplate};
use super::{
    access_log, cluster_choice, data_source, hash_policy, internal_redirect, metadata, mirror, rate_limits,
    retry, rewrite,
};
use crate::config::live::Priority;
use crate::config::route::{BodyFormat, DirectResponse, Forward, MaxStreamDuration, RouteAction};
use crate::config::service::Service;
use crate::observe::access_log::LogFormat;

/// Envoy's default `RouteAction.timeout`.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Compiles an action; `path` is the route that holds it, `template` what its condition compares paths with.
pub(super) fn compile(
    action: &Action,
    template: Option<&UriTemplate>,
    inherited: &Inherited<'_>,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<RouteAction, Rejection> {
    match action {
        Action::Route(message) => forward(message, template, inherited, &path.field("route"), scope)
            .map(|f| RouteAction::Forward(Box::new(f))),
        Action::Redirect(message) => {
            rewrite::redirect(message, &path.field("redirect")).map(|r| RouteAction::Redirect(Box::new(r)))
        }
        Action::DirectResponse(message) => {
            direct_response(message, inherited, &path.field("direct_response")).map(RouteAction::Direct)
        }
        Action::FilterAction(_) => Err(path.field("filter_action").unsupported()),
        Action::NonForwardingAction(_) => Err(path.field("non_forwarding_action").unsupported()),
    }
}

#[allow(deprecated, reason = "deprecated fields are decided on like the others")]
fn forward(
    message: &ActionMessage,
    template: Option<&UriTemplate>,
    inherited: &Inherited<'_>,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Forward, Rejection> {
    let ActionMessage {
        cluster_not_found_response_code,
        metadata_match,
        prefix_rewrite,
        regex_rewrite,
        path_rewrite_policy,
        path_rewrite,
        append_x_forwarded_host,
        timeout,
        idle_timeout,
        flush_timeout,
        early_data_policy,
        retry_policy,
        retry_policy_typed_config,
        request_mirror_policies,
        priority,
        rate_limits,
        include_vh_rate_limits,
        hash_policy,
        cors: _, // Read with the route.
        max_grpc_timeout,
        grpc_timeout_offset,
        upgrade_configs,
        internal_redirect_policy,
        internal_redirect_action,
        max_internal_redirects: _, // Only read together with internal_redirect_action.
        hedge_policy,
        max_stream_duration,
        cluster_specifier,
        host_rewrite_specifier,
    } = message;
    refuse!(path; flush_timeout, retry_policy_typed_config, internal_redirect_action);
    warn_set!(scope, path, "has no effect: TLS early data is never accepted"; early_data_policy);
    let retry_path = path.field("retry_policy");
    let retry = match (retry_policy, &inherited.retry_policy) {
        (Some(policy), _) => Some(retry::compile(policy, &retry_path, scope)?),
        (None, Some((policy, path))) => Some(retry::compile(policy, path, scope)?),
        (None, None) => None,
    };
    let hash_policy = hash_policy::compile(hash_policy, &path.field("hash_policy"))?;
    let by_template = uri_template::rewrite(path_rewrite_policy, template, path)?;
    let path_rewrite =
        match (rewrite::of_path(prefix_rewrite, regex_rewrite, path_rewrite, path)?, by_template) {
            (Some(_), Some(_)) => {
                return Err(path
                    .field("path_rewrite_policy")
                    .reject("cannot be combined with another rewrite"));
            }
            (one, other) => one.or(other),
        };
    let (upgrades, connect_terminate) = upgrades(upgrade_configs, &path.field("upgrade_configs"))?;
    Ok(Forward {
        clusters: cluster_choice::for_route(
            cluster_specifier,
            metadata_match,
            &hash_policy,
            inherited,
            path,
            scope,
        )?,
        service: Service::default(), // Told when its virtual host is known.
        cluster_not_found_status: not_found_status(*cluster_not_found_response_code, path)?,
        path_rewrite,
        host_rewrite: rewrite::of_host(host_rewrite_specifier, path)?,
        append_x_forwarded_host: *append_x_forwarded_host,
        timeout: fields::duration(timeout, &path.field("timeout"))?.unwrap_or(TIMEOUT),
        idle_timeout: fields::duration(idle_timeout, &path.field("idle_timeout"))?,
        max_grpc_timeout: fields::duration(max_grpc_timeout, &path.field("max_grpc_timeout"))?,
        grpc_timeout_offset: fields::duration_or_off(
            grpc_timeout_offset,
            &path.field("grpc_timeout_offset"),
        )?,
        max_stream_duration: stream_duration(max_stream_duration, &path.field("max_stream_duration"))?,
        retry,
        hedge: retry::hedge(hedge_policy, &path.field("hedge_policy"))?.unwrap_or(inherited.hedge),
        replay_limit: inherited.replay_limit,
        priority: priority_of(*priority, &path.field("priority"))?,
        internal_redirects: internal_redirect_policy
            .as_ref()
            .map(|policy| internal_redirect::compile(policy, &path.field("internal_redirect_policy")))
            .transpose()?
            .map(Box::new),
        mirrors: mirror::compile(request_mirror_policies, path, scope)?
            .or_else(|| inherited.mirrors.cloned()),
        upgrades,
        connect_terminate,
        hash_policy,
        metadata_match: metadata::of_balancing(metadata_match),
        rate_limits: rate_limits::of_route(
            rate_limits,
            include_vh_rate_limits,
            &path.field("rate_limits"),
            scope,
        )?,
    })
}

fn not_found_status(number: i32, path: &Path<'_>) -> Result<u16, Rejection> {
    match ClusterNotFoundResponseCode::try_from(number) {
        Ok(ClusterNotFoundResponseCode::ServiceUnavailable) => Ok(503),
        Ok(ClusterNotFoundResponseCode::NotFound) => Ok(404),
        Ok(ClusterNotFoundResponseCode::InternalServerError) => Ok(500),
        Err(_) => Err(path.field("cluster_not_found_response_code").reject(fields::unknown_enum(number))),
    }
}

/// A `RoutingPriority`.
pub(super) fn priority_of(number: i32, path: &Path<'_>) -> Result<Priority, Rejection> {
    match RoutingPriority::try_from(number) {
        Ok(RoutingPriority::Default) => Ok(Priority::Default),
        Ok(RoutingPriority::High) => Ok(Priority::High),
        Err(_) => Err(path.reject(fields::unknown_enum(number))),
    }
}

fn stream_duration(
    message: &Option<StreamMessage>,
    path: &Path<'_>,
) -> Result<Option<MaxStreamDuration>, Rejection> {
    let Some(StreamMessage { max_stream_duration, grpc_timeout_header_max, grpc_timeout_header_offset }) =
        message
    else {
        return Ok(None);
    };
    Ok(Some(MaxStreamDuration {
        max: fields::duration(max_stream_duration, &path.field("max_stream_duration"))?,
        grpc_timeout_max: fields::duration(grpc_timeout_header_max, &path.field("grpc_timeout_header_max"))?,
        grpc_timeout_offset: fields::duration_or_off(
            grpc_timeout_header_offset,
            &path.field("grpc_timeout_header_offset"),
        )?,
    }))
}

/// Upgrade types of one route, on or off.
type Upgrades = Vec<(Box<str>, bool)>;

fn upgrades(configs: &[UpgradeConfig], path: &Path<'_>) -> Result<(Upgrades, bool), Rejection> {
    let mut upgrades = Upgrades::new();
    let mut connect_terminate = false;
    for (i, UpgradeConfig { upgrade_type, enabled, connect_config }) in configs.iter().enumerate() {
        let path = path.index(i);
        let kind = fields::required(upgrade_type, &path.field("upgrade_type"))?.to_ascii_lowercase();
        if upgrades.iter().any(|(known, _)| **known == *kind) {
            return Err(path.field("upgrade_type").reject(format_args!("{kind:?} occurs twice")));
        }
        if let Some(ConnectConfig { proxy_protocol_config, allow_post }) = connect_config {
            let path = path.field("connect_config");
            refuse!(path; proxy_protocol_config, allow_post);
            if kind != "connect" {
                return Err(path.reject("is only meant for upgrade_type CONNECT"));
            }
            connect_terminate = true;
        }
        upgrades.push((kind.into_boxed_str(), fields::flag(enabled, true)));
    }
    Ok((upgrades, connect_terminate))
}

fn direct_response(
    message: &DirectResponseAction,
    inherited: &Inherited<'_>,
    path: &Path<'_>,
) -> Result<DirectResponse, Rejection> {
    let DirectResponseAction { status, body, body_format } = message;
    let body_path = path.field("body");
    let bytes =
        body.as_ref().map(|source| data_source::read(source, &body_path)).transpose()?.unwrap_or_default();
    if bytes.len() > inherited.max_direct_body {
        return Err(body_path.reject(format_args!(
            "is {} bytes, more than max_direct_response_body_size_bytes ({})",
            bytes.len(),
            inherited.max_direct_body
        )));
    }
    let format_path = path.field("body_format");
    let format = body_format.as_ref().map(|format| body_format_of(format, &format_path)).transpose()?;
    Ok(DirectResponse {
        status: fields::status(*status, 200..600, &path.field("status"))?,
        body: bytes.into(),
        format,
    })
}

/// What is made of a body.
fn body_format_of(message: &SubstitutionFormatString, path: &Path<'_>) -> Result<BodyFormat, Rejection> {
    let format = access_log::substitution(message, path)?;
    let content_type = match (message.content_type.as_str(), &format) {
        ("", LogFormat::Text { .. }) => "text/plain",
        ("", LogFormat::Json(_)) => "application/json",
        (given, _) => given,
    };
    rewrite::check_value(content_type, &path.field("content_type"))?;
    Ok(BodyFormat { format, content_type: content_type.into() })
}
