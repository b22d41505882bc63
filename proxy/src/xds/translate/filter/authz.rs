//! `envoy.extensions.filters.http.ext_authz.v3`.

use outrigger_xds_protos::v3::core::{GrpcService as GrpcMessage, RuntimeFeatureFlag};
use outrigger_xds_protos::v3::ext_authz::check_settings::ServiceOverride;
use outrigger_xds_protos::v3::ext_authz::ext_authz::Services;
use outrigger_xds_protos::v3::ext_authz::ext_authz_per_route::Override;
use outrigger_xds_protos::v3::ext_authz::{
    AuthorizationRequest, AuthorizationResponse, BufferSettings, CheckSettings as CheckMessage, ExtAuthz,
    ExtAuthzPerRoute, HttpService as HttpMessage,
};
use outrigger_xds_protos::v3::matcher::{ListStringMatcher, RegexMatcher};
use outrigger_xds_protos::v3::mutation_rules::HeaderMutationRules;
use outrigger_xds_protos::v3::types::HttpStatus;

use super::super::fields;
use super::super::fields::{refuse, warn_set};
use super::super::path::{Path, Rejection};
use super::super::scope::Scope;
use super::super::{call, matchers};
use crate::base::matcher::StringMatch;
use crate::config::filter::authz::{
    Authz, AuthzRoute, Body, CheckSettings, HttpService, OfClusters, Rules, Service, ServicePath,
};
use crate::stats::scope::AuthzStats;

/// An HTTP service is shown the request itself, and nothing beside it.
const GRPC_ONLY: &str = "has no effect on what http_service is asked";

/// The filter in a chain.
#[allow(deprecated, reason = "deprecated fields are decided on like the others")]
pub(super) fn filter(
    message: &ExtAuthz,
    stat_prefix: &str,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Authz, Rejection> {
    let ExtAuthz {
        services,
        transport_api_version: _, // AUTO, V2 and V3 all mean V3 since V2 was removed.
        failure_mode_allow,
        failure_mode_allow_header_add,
        with_request_body,
        clear_route_cache,
        status_on_error,
        validate_mutations: _, // Always: no answer can break a message.
        metadata_context_namespaces,
        typed_metadata_context_namespaces,
        route_metadata_context_namespaces,
        route_typed_metadata_context_namespaces,
        filter_enabled,
        filter_enabled_metadata,
        deny_at_disable,
        include_peer_certificate,
        stat_prefix: own_prefix,
        bootstrap_metadata_labels_key,
        allowed_headers,
        disallowed_headers,
        include_tls_session,
        charge_cluster_response_stats,
        encode_raw_headers,
        decoder_header_mutation_rules,
        enable_dynamic_metadata_ingestion,
        filter_metadata,
        emit_filter_state_stats,
        max_denied_response_body_bytes,
        enforce_response_header_limits,
        shadow_mode,
        emit_client_span,
    } = message;
    refuse!(path; typed_metadata_context_namespaces, route_metadata_context_namespaces,
        route_typed_metadata_context_namespaces, filter_enabled_metadata, bootstrap_metadata_labels_key);
    refuse!(path; filter_metadata, emit_filter_state_stats, enforce_response_header_limits, shadow_mode);
    if fields::flag(emit_client_span, false) {
        let path = path.field("emit_client_span");
        scope.warn(&path, "has no effect: questions are told of the trace, and have no spans of their own");
    }
    let allowed_path = path.field("allowed_headers");
    let mut allowed = list(allowed_headers, &allowed_path)?;
    let service = match services {
        Some(Services::GrpcService(message)) => grpc(message, &path.field("grpc_service"), scope)?,
        Some(Services::HttpService(message)) => {
            let path = path.field("http_service");
            let older = message.authorization_request.as_ref().and_then(|it| it.allowed_headers.as_ref());
            if let Some(older) = older {
                let path = path.field("authorization_request");
                let path = path.field("allowed_headers");
                if allowed.is_some() {
                    return Err(path.reject("cannot be combined with allowed_headers of the filter"));
                }
                allowed = Some(matchers_of(older, &path)?);
            }
            http(message, &path, scope)?
        }
        None => return Err(path.reject("needs one of grpc_service, http_service")),
    };
    if let Service::Http(_) = service {
        warn_set!(scope, path, GRPC_ONLY; include_peer_certificate, include_tls_session, metadata_context_namespaces);
        let path = path.field("with_request_body");
        if with_request_body.as_ref().is_some_and(|body| body.pack_as_bytes) {
            scope.warn(&path.field("pack_as_bytes"), GRPC_ONLY);
        }
    }
    let below = match own_prefix.as_str() {
        "" => "ext_authz.".to_owned(),
        prefix => format!("ext_authz.{}.", prefix.trim_end_matches('.')),
    };
    let registry = &scope.context.stats;
    let rules_path = path.field("decoder_header_mutation_rules");
    let rules = decoder_header_mutation_rules.as_ref().map(|message| rules(message, &rules_path));
    Ok(Authz {
        stats: AuthzStats::for_manager(registry, stat_prefix, &below),
        of_clusters: OfClusters::new(registry, &below),
        service,
        body: with_request_body
            .as_ref()
            .map(|message| body(message, &path.field("with_request_body")))
            .transpose()?,
        allow_on_error: *failure_mode_allow,
        tell_failure: *failure_mode_allow_header_add,
        status_on_error: status(status_on_error.as_ref(), &path.field("status_on_error"))?,
        clear_route: *clear_route_cache,
        rules: rules.transpose()?,
        allowed,
        disallowed: list(disallowed_headers, &path.field("disallowed_headers"))?.unwrap_or_default(),
        raw_headers: *encode_raw_headers,
        peer_certificate: *include_peer_certificate,
        tls_session: *include_tls_session,
        enabled_ppm: super::share(filter_enabled, 1_000_000, &path.field("filter_enabled"))?,
        deny_disabled: flag(deny_at_disable.as_ref()),
        charge: fields::flag(charge_cluster_response_stats, true),
        most_denied_bytes: *max_denied_response_body_bytes as usize,
        namespaces: metadata_context_namespaces.iter().map(|name| name.as_str().into()).collect(),
        ingests_metadata: fields::flag(enable_dynamic_metadata_ingestion, true),
    })
}

/// What a route says.
pub(super) fn of_route(
    message: &ExtAuthzPerRoute,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<AuthzRoute, Rejection> {
    match &message.r#override {
        Some(Override::Disabled(disabled)) => Ok(AuthzRoute::Disabled(*disabled)),
        Some(Override::CheckSettings(message)) => {
            settings(message, &path.field("check_settings"), scope).map(AuthzRoute::Check)
        }
        None => Err(path.reject("needs one of disabled, check_settings")),
    }
}

fn settings(
    message: &CheckMessage,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<CheckSettings, Rejection> {
    let CheckMessage {
        context_extensions,
        disable_request_body_buffering,
        with_request_body,
        emit_client_span,
        service_override,
    } = message;
    warn_set!(scope, path, "has no effect: questions have no spans"; emit_client_span);
    let body_path = path.field("with_request_body");
    let own = with_request_body.as_ref().map(|message| body(message, &body_path)).transpose()?;
    let body = match (own, disable_request_body_buffering) {
        (Some(_), true) => {
            return Err(body_path.reject("cannot be combined with disable_request_body_buffering"));
        }
        (None, true) => Some(None),
        (Some(body), false) => Some(Some(body)),
        (None, false) => None,
    };
    let service = match service_override {
        Some(ServiceOverride::GrpcService(message)) => {
            Some(grpc(message, &path.field("grpc_service"), scope)?)
        }
        Some(ServiceOverride::HttpService(message)) => {
            Some(http(message, &path.field("http_service"), scope)?)
        }
        None => None,
    };
    if let Some(Service::Http(_)) = service {
        warn_set!(scope, path, GRPC_ONLY; context_extensions);
    }
    let context = context_extensions.iter();
    let context = context.map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect();
    Ok(CheckSettings { context, body, service })
}

fn grpc(message: &GrpcMessage, path: &Path<'_>, scope: &mut Scope<'_>) -> Result<Service, Rejection> {
    call::grpc(message, path, scope).map(Service::Grpc)
}

fn http(message: &HttpMessage, path: &Path<'_>, scope: &mut Scope<'_>) -> Result<Service, Rejection> {
    let HttpMessage {
        server_uri,
        path_prefix,
        path_override,
        authorization_request,
        authorization_response,
        retry_policy,
    } = message;
    // The URI itself is nowhere: host and path are the request's.
    let (callee, _) = call::http(server_uri, retry_policy, path, "server_uri", scope)?;
    let override_path = path.field("path_override");
    let service_path = match (path_prefix.as_str(), path_override.as_str()) {
        (prefix, "") => ServicePath::Prefixed(checked(prefix, &path.field("path_prefix"))?),
        ("", whole) => ServicePath::Fixed(checked(whole, &override_path)?),
        _ => return Err(override_path.reject("cannot be combined with path_prefix")),
    };
    let request_path = path.field("authorization_request");
    let add = match authorization_request {
        #[allow(deprecated, reason = "read where the filter's own list is")]
        Some(AuthorizationRequest { headers_to_add, allowed_headers: _ }) => {
            call::added(headers_to_add, &request_path.field("headers_to_add"))?
        }
        None => Vec::new(),
    };
    let path = path.field("authorization_response");
    let absent = AuthorizationResponse::default();
    let AuthorizationResponse {
        allowed_upstream_headers,
        allowed_upstream_headers_to_append,
        allowed_client_headers,
        allowed_client_headers_on_success,
        dynamic_metadata_from_headers,
    } = authorization_response.as_ref().unwrap_or(&absent);
    let or_none = |message, name| Ok(list(message, &path.field(name))?.unwrap_or_default());
    Ok(Service::Http(Box::new(HttpService {
        callee,
        path: service_path,
        add,
        upstream: or_none(allowed_upstream_headers, "allowed_upstream_headers")?,
        upstream_append: or_none(allowed_upstream_headers_to_append, "allowed_upstream_headers_to_append")?,
        client: list(allowed_client_headers, &path.field("allowed_client_headers"))?,
        client_on_success: or_none(allowed_client_headers_on_success, "allowed_client_headers_on_success")?,
        metadata: or_none(dynamic_metadata_from_headers, "dynamic_metadata_from_headers")?,
    })))
}

/// A path, or nothing.
fn checked(text: &str, path: &Path<'_>) -> Result<Box<str>, Rejection> {
    let sound =
        text.is_empty() || (text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic()));
    if sound { Ok(text.into()) } else { Err(path.reject(format_args!("{text:?} is no path; begin with /"))) }
}

fn body(message: &BufferSettings, path: &Path<'_>) -> Result<Body, Rejection> {
    let BufferSettings { max_request_bytes, allow_partial_message, pack_as_bytes } = *message;
    if max_request_bytes == 0 {
        return Err(path.field("max_request_bytes").reject("must be at least 1"));
    }
    Ok(Body { most: max_request_bytes, partial: allow_partial_message, as_bytes: pack_as_bytes })
}

fn status(message: Option<&HttpStatus>, path: &Path<'_>) -> Result<u16, Rejection> {
    const FORBIDDEN: u16 = 403;
    let Some(HttpStatus { code }) = message else { return Ok(FORBIDDEN) };
    let path = path.field("code");
    let code = u32::try_from(*code).map_err(|_| path.reject("is no status"))?;
    fields::status(code, 200..600, &path)
}

fn flag(message: Option<&RuntimeFeatureFlag>) -> bool {
    // There is no runtime, so the key is never found and the default holds.
    message.and_then(|message| message.default_value).is_some_and(|value| value.value)
}

fn list(message: &Option<ListStringMatcher>, path: &Path<'_>) -> Result<Option<Vec<StringMatch>>, Rejection> {
    message.as_ref().map(|message| matchers_of(message, path)).transpose()
}

fn matchers_of(message: &ListStringMatcher, path: &Path<'_>) -> Result<Vec<StringMatch>, Rejection> {
    let path = path.field("patterns");
    let ListStringMatcher { patterns } = message;
    patterns.iter().enumerate().map(|(i, matcher)| matchers::string(matcher, &path.index(i))).collect()
}

fn rules(message: &HeaderMutationRules, path: &Path<'_>) -> Result<Rules, Rejection> {
    let HeaderMutationRules {
        allow_all_routing,
        allow_envoy,
        disallow_system,
        disallow_all,
        allow_expression,
        disallow_expression,
        disallow_is_error,
    } = message;
    let regex = |message: &Option<RegexMatcher>, name: &str| {
        message.as_ref().map(|message| matchers::regex(message, &path.field(name))).transpose()
    };
    Ok(Rules {
        allow_routing: fields::flag(allow_all_routing, false),
        allow_envoy: fields::flag(allow_envoy, false),
        disallow_system: fields::flag(disallow_system, false),
        disallow_all: fields::flag(disallow_all, false),
        allow: regex(allow_expression, "allow_expression")?,
        disallow: regex(disallow_expression, "disallow_expression")?,
        is_error: fields::flag(disallow_is_error, false),
    })
}
