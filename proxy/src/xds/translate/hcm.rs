//! The HTTP connection manager.
//! Source: `envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`.

use std::time::Duration;

use outrigger_xds_protos::any;
use outrigger_xds_protos::pb::envoy::extensions::request_id::uuid::v3::UuidRequestIdConfig;
use outrigger_xds_protos::v3::hcm::http_connection_manager::{
    CodecType as CodecNumber, ForwardClientCertDetails, HcmAccessLogOptions, InternalAddressConfig,
    PathWithEscapedSlashesAction, RouteSpecifier, ServerHeaderTransformation, SetCurrentClientCertDetails,
    StripPortMode, UpgradeConfig,
};
use outrigger_xds_protos::v3::hcm::{HttpConnectionManager, Rds, RequestIdExtension};

use super::fields;
use super::fields::{refuse, refuse_true, warn_set};
use super::path::{Path, Rejection};
use super::scope::{Scope, ads_reference};
use super::{access_log, http_filter, http_options, route, tracing as trace};
use crate::config::listener::{
    ClientCertMode, ClientCertParts, CodecType, EscapedSlashes, ForwardClientCert, HttpSettings, RouteSource,
    ServerHeader, StripHostPort,
};
use crate::stats::scope::{HttpStats, sanitize};

/// Envoy's default `server_name`.
const SERVER_NAME: &str = "envoy";
/// Envoy's default `stream_idle_timeout`.
const STREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// Envoy's default `delayed_close_timeout`.
const DELAYED_CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Compiles one connection manager.
#[allow(deprecated, reason = "deprecated fields are decided on like the others")]
pub(super) fn compile(
    message: &HttpConnectionManager,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<HttpSettings, Rejection> {
    let HttpConnectionManager {
        codec_type,
        stat_prefix,
        http_filters,
        add_user_agent,
        tracing,
        common_http_protocol_options,
        http1_safe_max_connection_duration,
        http_protocol_options,
        http2_protocol_options,
        http3_protocol_options,
        server_name,
        server_header_transformation,
        scheme_header_transformation,
        max_request_headers_kb,
        stream_idle_timeout,
        stream_flush_timeout,
        request_timeout,
        request_headers_timeout,
        drain_timeout,
        drain_timeout_jitter,
        delayed_close_timeout,
        access_log,
        access_log_flush_interval,
        flush_access_log_on_new_request,
        access_log_options,
        use_remote_address,
        xff_num_trusted_hops,
        original_ip_detection_extensions,
        early_header_mutation_extensions,
        internal_address_config,
        skip_xff_append,
        via,
        generate_request_id,
        preserve_external_request_id,
        always_set_request_id_in_response,
        forward_client_cert_details,
        set_current_client_cert_details,
        forward_client_cert_matcher,
        proxy_100_continue,
        represent_ipv4_remote_address_as_ipv4_mapped_ipv6,
        upgrade_configs,
        normalize_path,
        merge_slashes,
        path_with_escaped_slashes_action,
        request_id_extension,
        local_reply_config,
        strip_matching_host_port,
        stream_error_on_invalid_http_message,
        path_normalization_options,
        strip_trailing_host_dot,
        proxy_status_config,
        typed_header_validation_config,
        append_x_forwarded_port,
        append_local_overload,
        add_proxy_protocol_connection_state: _, // PROXY protocol is refused at the listener.
        forward_proto_config,
        route_specifier,
        strip_port_mode,
    } = message;
    refuse!(path; http1_safe_max_connection_duration, http3_protocol_options, scheme_header_transformation,
        stream_flush_timeout, drain_timeout_jitter, access_log_flush_interval, flush_access_log_on_new_request,
        original_ip_detection_extensions, early_header_mutation_extensions, forward_client_cert_matcher,
        represent_ipv4_remote_address_as_ipv4_mapped_ipv6, local_reply_config, path_normalization_options,
        proxy_status_config, typed_header_validation_config, forward_proto_config);
    warn_set!(scope, path, "is not in effect: the last GOAWAY follows the first by a round trip"; drain_timeout);
    refuse_true!(path; add_user_agent, stream_error_on_invalid_http_message);
    check_access_log_options(access_log_options, &path.field("access_log_options"))?;
    check_request_id(request_id_extension, &path.field("request_id_extension"), scope)?;
    let stat_prefix = fields::required(stat_prefix, &path.field("stat_prefix"))?;
    let common_path = path.field("common_http_protocol_options");
    let common = http_options::common(common_http_protocol_options.as_ref(), &common_path)?;
    let http1_path = path.field("http_protocol_options");
    let http2_path = path.field("http2_protocol_options");
    let chain = http_filter::compile(http_filters, stat_prefix, &path.field("http_filters"), scope)?;
    let off = |value, name| fields::duration_or_off(value, &path.field(name));
    let or = |value, name, default| Ok(fields::duration(value, &path.field(name))?.unwrap_or(default));
    Ok(HttpSettings {
        stat_prefix: stat_prefix.into(),
        codec: codec(*codec_type, &path.field("codec_type"))?,
        routes: routes(route_specifier, path, scope)?,
        http1: http_options::http1(http_protocol_options.as_ref(), &http1_path)?,
        http2: http_options::http2(http2_protocol_options.as_ref(), &http2_path, scope)?,
        max_head_bytes: http_options::request_head_bytes(
            max_request_headers_kb,
            &path.field("max_request_headers_kb"),
        )?,
        max_fields: common.max_fields,
        idle_timeout: common.idle_timeout,
        stream_idle_timeout: or(stream_idle_timeout, "stream_idle_timeout", STREAM_IDLE_TIMEOUT)?,
        request_timeout: off(request_timeout, "request_timeout")?,
        request_headers_timeout: off(request_headers_timeout, "request_headers_timeout")?,
        max_stream_duration: common.max_stream_duration,
        max_connection_duration: common.max_connection_duration,
        max_requests_per_connection: common.max_requests_per_connection,
        delayed_close_timeout: or(delayed_close_timeout, "delayed_close_timeout", DELAYED_CLOSE_TIMEOUT)?,
        server_header: server_header(*server_header_transformation, server_name, path)?,
        use_remote_address: fields::flag(use_remote_address, false),
        xff_num_trusted_hops: *xff_num_trusted_hops,
        skip_xff_append: *skip_xff_append,
        internal_ranges: internal_ranges(internal_address_config, path)?,
        generate_request_id: fields::flag(generate_request_id, true),
        preserve_external_request_id: *preserve_external_request_id,
        always_set_request_id_in_response: *always_set_request_id_in_response,
        upgrades: upgrades(upgrade_configs, &path.field("upgrade_configs"))?,
        normalize_path: fields::flag(normalize_path, false),
        merge_slashes: *merge_slashes,
        escaped_slashes: escaped_slashes(*path_with_escaped_slashes_action, path)?,
        underscores: common.underscores,
        strip_trailing_dot: *strip_trailing_host_dot,
        append_x_forwarded_port: *append_x_forwarded_port,
        strip_host_port: strip_port(*strip_matching_host_port, strip_port_mode, path)?,
        proxy_100_continue: *proxy_100_continue,
        client_cert: ForwardClientCert {
            mode: client_cert_mode(*forward_client_cert_details, path)?,
            parts: client_cert_parts(set_current_client_cert_details, path)?,
        },
        suppress_envoy_headers: chain.suppress_envoy_headers,
        respect_expected_rq_timeout: chain.respect_expected_rq_timeout,
        via: if via.is_empty() { None } else { Some(header_text(via, &path.field("via"))?) },
        access_logs: access_log::compile(access_log, &path.field("access_log"), scope)?,
        bypasses_overload: scope.bypasses_overload,
        drains_when_failing: scope.drains_when_failing,
        buffer_limit: scope.buffer_limit,
        append_local_overload: *append_local_overload,
        filters: chain.filters,
        tracing: trace::compile(tracing, stat_prefix, &path.field("tracing"), scope)?,
        stats: stats(stat_prefix, scope),
    })
}

/// Counts for the manager's prefix, and for the same prefix of this listener alone.
fn stats(stat_prefix: &str, scope: &Scope<'_>) -> HttpStats {
    let manager = format!("http.{}.", sanitize(stat_prefix));
    HttpStats::new(&scope.context.stats, &manager, &format!("{}{manager}", scope.listener_stats))
}

fn codec(number: i32, path: &Path<'_>) -> Result<CodecType, Rejection> {
    match CodecNumber::try_from(number) {
        Ok(CodecNumber::Auto) => Ok(CodecType::Auto),
        Ok(CodecNumber::Http1) => Ok(CodecType::Http1),
        Ok(CodecNumber::Http2) => Ok(CodecType::Http2),
        Ok(CodecNumber::Http3) => Err(path.reject("HTTP3 is not supported")),
        Err(_) => Err(path.reject(fields::unknown_enum(number))),
    }
}

fn routes(
    specifier: &Option<RouteSpecifier>,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<RouteSource, Rejection> {
    match specifier {
        None => Err(path.reject("needs one of rds, route_config")),
        Some(RouteSpecifier::ScopedRoutes(_)) => Err(path.field("scoped_routes").unsupported()),
        Some(RouteSpecifier::RouteConfig(message)) => {
            route::table(message, true, &path.field("route_config"), scope).map(RouteSource::Inline)
        }
        Some(RouteSpecifier::Rds(Rds { config_source, route_config_name })) => {
            let path = path.field("rds");
            let name = fields::required(route_config_name, &path.field("route_config_name"))?;
            let source_path = path.field("config_source");
            let source = fields::message(config_source, &source_path)?;
            scope.refer_to_routes(ads_reference(name, source, &source_path)?);
            Ok(RouteSource::Rds(scope.context.route_tables.intern(name)))
        }
    }
}

fn client_cert_mode(number: i32, path: &Path<'_>) -> Result<ClientCertMode, Rejection> {
    type Details = ForwardClientCertDetails;
    match Details::try_from(number) {
        Ok(Details::Sanitize) => Ok(ClientCertMode::Sanitize),
        Ok(Details::ForwardOnly) => Ok(ClientCertMode::ForwardOnly),
        Ok(Details::AppendForward) => Ok(ClientCertMode::AppendForward),
        Ok(Details::SanitizeSet) => Ok(ClientCertMode::SanitizeSet),
        Ok(Details::AlwaysForwardOnly) => Ok(ClientCertMode::AlwaysForwardOnly),
        Err(_) => Err(path.field("forward_client_cert_details").reject(fields::unknown_enum(number))),
    }
}

fn client_cert_parts(
    details: &Option<SetCurrentClientCertDetails>,
    path: &Path<'_>,
) -> Result<ClientCertParts, Rejection> {
    let Some(SetCurrentClientCertDetails { subject, cert, chain, dns, uri, issuer, format }) = details else {
        return Ok(ClientCertParts::default());
    };
    refuse!(path.field("set_current_client_cert_details"); issuer, format);
    let (cert, chain, dns, uri) = (*cert, *chain, *dns, *uri);
    Ok(ClientCertParts { subject: fields::flag(subject, false), cert, chain, dns, uri })
}

fn server_header(number: i32, name: &str, path: &Path<'_>) -> Result<ServerHeader, Rejection> {
    let name = header_text(if name.is_empty() { SERVER_NAME } else { name }, &path.field("server_name"))?;
    match ServerHeaderTransformation::try_from(number) {
        Ok(ServerHeaderTransformation::Overwrite) => Ok(ServerHeader::Overwrite(name)),
        Ok(ServerHeaderTransformation::AppendIfAbsent) => Ok(ServerHeader::AppendIfAbsent(name)),
        Ok(ServerHeaderTransformation::PassThrough) => Ok(ServerHeader::PassThrough),
        Err(_) => Err(path.field("server_header_transformation").reject(fields::unknown_enum(number))),
    }
}

/// Text that is written into a header must not break out of it.
fn header_text(text: &str, path: &Path<'_>) -> Result<Box<str>, Rejection> {
    if text.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(path.reject("must not hold control characters"));
    }
    Ok(text.into())
}

fn internal_ranges(
    config: &Option<InternalAddressConfig>,
    path: &Path<'_>,
) -> Result<Vec<ipnet::IpNet>, Rejection> {
    let Some(InternalAddressConfig { unix_sockets: _, cidr_ranges }) = config else { return Ok(Vec::new()) };
    fields::cidrs(cidr_ranges, &path.field("internal_address_config").field("cidr_ranges"))
}

fn upgrades(configs: &[UpgradeConfig], path: &Path<'_>) -> Result<Vec<Box<str>>, Rejection> {
    let mut upgrades: Vec<Box<str>> = Vec::new();
    for (i, UpgradeConfig { upgrade_type, filters, enabled }) in configs.iter().enumerate() {
        let path = path.index(i);
        refuse!(path; filters);
        let kind = fields::required(upgrade_type, &path.field("upgrade_type"))?.to_ascii_lowercase();
        if upgrades.iter().any(|known| **known == *kind) {
            return Err(path.field("upgrade_type").reject(format_args!("{kind:?} occurs twice")));
        }
        if fields::flag(enabled, true) {
            upgrades.push(kind.into_boxed_str());
        }
    }
    Ok(upgrades)
}

fn escaped_slashes(number: i32, path: &Path<'_>) -> Result<EscapedSlashes, Rejection> {
    type Action = PathWithEscapedSlashesAction;
    match Action::try_from(number) {
        Ok(Action::ImplementationSpecificDefault | Action::KeepUnchanged) => {
            Ok(EscapedSlashes::KeepUnchanged)
        }
        Ok(Action::RejectRequest) => Ok(EscapedSlashes::Reject),
        Ok(Action::UnescapeAndRedirect) => Ok(EscapedSlashes::UnescapeAndRedirect),
        Ok(Action::UnescapeAndForward) => Ok(EscapedSlashes::UnescapeAndForward),
        Err(_) => Err(path.field("path_with_escaped_slashes_action").reject(fields::unknown_enum(number))),
    }
}

fn strip_port(
    matching: bool,
    mode: &Option<StripPortMode>,
    path: &Path<'_>,
) -> Result<StripHostPort, Rejection> {
    match (matching, mode) {
        (true, Some(StripPortMode::StripAnyHostPort(true))) => {
            Err(path.field("strip_any_host_port").reject("cannot be combined with strip_matching_host_port"))
        }
        (_, Some(StripPortMode::StripAnyHostPort(true))) => Ok(StripHostPort::Any),
        (true, _) => Ok(StripHostPort::Matching),
        (false, _) => Ok(StripHostPort::Never),
    }
}

fn check_access_log_options(options: &Option<HcmAccessLogOptions>, path: &Path<'_>) -> Result<(), Rejection> {
    let Some(options) = options else { return Ok(()) };
    let HcmAccessLogOptions {
        access_log_flush_interval,
        flush_access_log_on_new_request,
        flush_log_on_tunnel_successfully_established,
    } = options;
    refuse!(path; access_log_flush_interval, flush_access_log_on_new_request,
        flush_log_on_tunnel_successfully_established);
    Ok(())
}

fn check_request_id(
    extension: &Option<RequestIdExtension>,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<(), Rejection> {
    let Some(RequestIdExtension { typed_config: Some(config) }) = extension else { return Ok(()) };
    let path = path.field("typed_config");
    let UuidRequestIdConfig { pack_trace_reason, use_request_id_for_trace_sampling } =
        any::unpack::<UuidRequestIdConfig>(config).map_err(|error| path.reject(error))?;
    if !fields::flag(&pack_trace_reason, true) {
        scope.warn(&path.field("pack_trace_reason"), "has no effect: identifiers carry no trace reason");
    }
    if !fields::flag(&use_request_id_for_trace_sampling, true) {
        scope.warn(&path.field("use_request_id_for_trace_sampling"), "has no effect without tracing");
    }
    Ok(())
}
