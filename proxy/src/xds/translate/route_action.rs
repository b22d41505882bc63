//! What a matched route does: forward, redirect, answer.
//! Source: `envoy.config.route.v3.RouteAction`, `RedirectAction`, `DirectResponseAction`.

use std::time::Duration;

use outrigger_xds_protos::v3::core::RoutingPriority;
use outrigger_xds_protos::v3::route::redirect_action::{
    PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier,
};
use outrigger_xds_protos::v3::route::route::Action;
use outrigger_xds_protos::v3::route::route_action::{
    ClusterNotFoundResponseCode, HostRewriteSpecifier, MaxStreamDuration as StreamMessage, UpgradeConfig,
    upgrade_config::ConnectConfig,
};
use outrigger_xds_protos::v3::route::{DirectResponseAction, RedirectAction, RouteAction as ActionMessage};

use super::fields;
use super::fields::{refuse, warn_set};
use super::path::{Path, Rejection};
use super::route::Inherited;
use super::scope::Scope;
use super::{cluster_choice, data_source, matchers, retry};
use crate::config::live::Priority;
use crate::config::route::{
    DirectResponse, Forward, HostRewrite, MaxStreamDuration, PathRewrite, Redirect, RouteAction,
};

/// Envoy's default `RouteAction.timeout`.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Compiles an action; `path` is the route that holds it.
pub(super) fn compile(
    action: &Action,
    inherited: &Inherited<'_>,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<RouteAction, Rejection> {
    match action {
        Action::Route(message) => forward(message, inherited, &path.field("route"), scope)
            .map(|f| RouteAction::Forward(Box::new(f))),
        Action::Redirect(message) => {
            redirect(message, &path.field("redirect")).map(|r| RouteAction::Redirect(Box::new(r)))
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
    inherited: &Inherited<'_>,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Forward, Rejection> {
    let ActionMessage {
        cluster_not_found_response_code,
        metadata_match: _, // Selects subsets; no cluster has any (`lb_subset_config` is refused).
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
        include_vh_rate_limits: _, // Says where rate_limits come from; warned about there.
        hash_policy,
        cors,
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
    refuse!(path; path_rewrite_policy, path_rewrite, flush_timeout, retry_policy_typed_config,
        request_mirror_policies, internal_redirect_policy, internal_redirect_action);
    warn_set!(scope, path, "has no effect without a filter that reads it"; rate_limits, cors);
    warn_set!(scope, path, "has no effect: no hash-based load balancing is supported"; hash_policy);
    warn_set!(scope, path, "has no effect: TLS early data is never accepted"; early_data_policy);
    warn_set!(scope, path, "is not in effect; use max_stream_duration.grpc_timeout_header_max";
        max_grpc_timeout, grpc_timeout_offset);
    let retry_path = path.field("retry_policy");
    let retry = match (retry_policy, &inherited.retry_policy) {
        (Some(policy), _) => Some(retry::compile(policy, &retry_path, scope)?),
        (None, Some((policy, path))) => Some(retry::compile(policy, path, scope)?),
        (None, None) => None,
    };
    let (upgrades, connect_terminate) = upgrades(upgrade_configs, &path.field("upgrade_configs"))?;
    Ok(Forward {
        clusters: cluster_choice::for_route(cluster_specifier, inherited, path, scope)?,
        cluster_not_found_status: not_found_status(*cluster_not_found_response_code, path)?,
        path_rewrite: path_rewrite_of(prefix_rewrite, regex_rewrite, path)?,
        host_rewrite: host_rewrite(host_rewrite_specifier, path)?,
        append_x_forwarded_host: *append_x_forwarded_host,
        timeout: fields::duration(timeout, &path.field("timeout"))?.unwrap_or(TIMEOUT),
        idle_timeout: fields::duration(idle_timeout, &path.field("idle_timeout"))?,
        max_stream_duration: stream_duration(max_stream_duration, &path.field("max_stream_duration"))?,
        retry,
        hedge: retry::hedge(hedge_policy, &path.field("hedge_policy"))?.unwrap_or(inherited.hedge),
        replay_limit: inherited.replay_limit,
        priority: priority_of(*priority, &path.field("priority"))?,
        upgrades,
        connect_terminate,
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

fn path_rewrite_of(
    prefix: &str,
    regex: &Option<outrigger_xds_protos::v3::matcher::RegexMatchAndSubstitute>,
    path: &Path<'_>,
) -> Result<Option<PathRewrite>, Rejection> {
    match (prefix, regex) {
        ("", None) => Ok(None),
        ("", Some(rewrite)) => {
            let (pattern, substitution) = matchers::substitution(rewrite, &path.field("regex_rewrite"))?;
            Ok(Some(PathRewrite::Regex { pattern, substitution }))
        }
        (prefix, None) => {
            check_path_text(prefix, &path.field("prefix_rewrite"))?;
            Ok(Some(PathRewrite::Prefix(prefix.into())))
        }
        (_, Some(_)) => Err(path.field("regex_rewrite").reject("cannot be combined with prefix_rewrite")),
    }
}

/// Text that becomes part of a request line or a header must not break out of it.
fn check_path_text(text: &str, path: &Path<'_>) -> Result<(), Rejection> {
    if text.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return Err(path.reject("must not hold spaces or control characters"));
    }
    Ok(())
}

fn host_rewrite(
    specifier: &Option<HostRewriteSpecifier>,
    path: &Path<'_>,
) -> Result<Option<HostRewrite>, Rejection> {
    let Some(specifier) = specifier else { return Ok(None) };
    Ok(Some(match specifier {
        HostRewriteSpecifier::HostRewriteLiteral(host) => {
            check_path_text(host, &path.field("host_rewrite_literal"))?;
            HostRewrite::Literal(host.as_str().into())
        }
        HostRewriteSpecifier::AutoHostRewrite(auto) if !auto.value => return Ok(None),
        HostRewriteSpecifier::AutoHostRewrite(_) => HostRewrite::Auto,
        HostRewriteSpecifier::HostRewriteHeader(name) => {
            HostRewrite::Header(matchers::header_name(name, &path.field("host_rewrite_header"))?)
        }
        HostRewriteSpecifier::HostRewritePathRegex(rewrite) => {
            let (pattern, substitution) =
                matchers::substitution(rewrite, &path.field("host_rewrite_path_regex"))?;
            HostRewrite::PathRegex { pattern, substitution }
        }
        HostRewriteSpecifier::HostRewrite(_) => return Err(path.field("host_rewrite").unsupported()),
    }))
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
        max: fields::duration_or_off(max_stream_duration, &path.field("max_stream_duration"))?,
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

fn redirect(message: &RedirectAction, path: &Path<'_>) -> Result<Redirect, Rejection> {
    let RedirectAction {
        host_redirect,
        port_redirect,
        response_code,
        strip_query,
        scheme_rewrite_specifier,
        path_rewrite_specifier,
    } = message;
    let text = |text: &str, name: &str| -> Result<Box<str>, Rejection> {
        check_path_text(text, &path.field(name))?;
        Ok(text.into())
    };
    let port = fields::port(*port_redirect, &path.field("port_redirect"))?;
    Ok(Redirect {
        scheme: match scheme_rewrite_specifier {
            Some(SchemeRewriteSpecifier::HttpsRedirect(true)) => Some("https".into()),
            Some(SchemeRewriteSpecifier::HttpsRedirect(false)) | None => None,
            Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) => Some(text(scheme, "scheme_redirect")?),
        },
        host: if host_redirect.is_empty() { None } else { Some(text(host_redirect, "host_redirect")?) },
        port: (port != 0).then_some(port),
        path: match path_rewrite_specifier {
            None => None,
            Some(PathRewriteSpecifier::PathRedirect(to)) => {
                Some(PathRewrite::Full(text(to, "path_redirect")?))
            }
            Some(PathRewriteSpecifier::PrefixRewrite(to)) => {
                Some(PathRewrite::Prefix(text(to, "prefix_rewrite")?))
            }
            Some(PathRewriteSpecifier::RegexRewrite(rewrite)) => {
                let (pattern, substitution) = matchers::substitution(rewrite, &path.field("regex_rewrite"))?;
                Some(PathRewrite::Regex { pattern, substitution })
            }
            Some(PathRewriteSpecifier::PathRewrite(_)) => {
                return Err(path.field("path_rewrite").unsupported());
            }
        },
        strip_query: *strip_query,
        status: redirect_status(*response_code, &path.field("response_code"))?,
    })
}

fn redirect_status(number: i32, path: &Path<'_>) -> Result<u16, Rejection> {
    Ok(match RedirectResponseCode::try_from(number) {
        Ok(RedirectResponseCode::MovedPermanently) => 301,
        Ok(RedirectResponseCode::Found) => 302,
        Ok(RedirectResponseCode::SeeOther) => 303,
        Ok(RedirectResponseCode::TemporaryRedirect) => 307,
        Ok(RedirectResponseCode::PermanentRedirect) => 308,
        Err(_) => return Err(path.reject(fields::unknown_enum(number))),
    })
}

fn direct_response(
    message: &DirectResponseAction,
    inherited: &Inherited<'_>,
    path: &Path<'_>,
) -> Result<DirectResponse, Rejection> {
    let DirectResponseAction { status, body, body_format } = message;
    refuse!(path; body_format);
    let body_path = path.field("body");
    let body =
        body.as_ref().map(|source| data_source::read(source, &body_path)).transpose()?.unwrap_or_default();
    if body.len() > inherited.max_direct_body {
        return Err(body_path.reject(format_args!(
            "is {} bytes, more than max_direct_response_body_size_bytes ({})",
            body.len(),
            inherited.max_direct_body
        )));
    }
    Ok(DirectResponse {
        status: fields::status(*status, 200..600, &path.field("status"))?,
        body: body.into(),
    })
}
