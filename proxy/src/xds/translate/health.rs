//! Active health checks. Source: `envoy.config.core.v3.HealthCheck`, `Endpoint.HealthCheckConfig`.

use std::net::IpAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};
use outrigger_xds_protos::v3::core::health_check::{
    GrpcHealthCheck, HealthChecker, HttpHealthCheck, Payload, TcpHealthCheck, TlsOptions, payload,
};
use outrigger_xds_protos::v3::core::{
    Address, HeaderValueOption, HealthCheck as HealthCheckMessage, RequestMethod, address,
};
use outrigger_xds_protos::v3::endpoint::endpoint::HealthCheckConfig;
use outrigger_xds_protos::v3::types::{CodecClientType, Int64Range};

use super::fields::refuse;
use super::path::{Path, Rejection};
use super::scope::Scope;
use super::{fields, headers, matchers};
use crate::config::health::{
    CheckHeader, CheckKind, EventLog, GrpcCheck, HealthCheck, HostCheck, HttpCheck, Intervals, TcpCheck,
};
use crate::config::secret::ClientTls;
use crate::observe::access_log::sink::Lines;
use crate::stats::scope::HealthCheckStats;

/// Envoy's default `no_traffic_interval`.
const NO_TRAFFIC: Duration = Duration::from_secs(60);
/// Envoy's default `response_buffer_size`.
const RECEIVE_LIMIT: usize = 1024;
/// Most bytes of a response body that are searched.
const MAX_RECEIVE: u64 = 1024 * 1024;

/// The cluster that is being compiled.
pub(super) struct Checked<'c> {
    pub(super) name: &'c str,
    pub(super) stat_name: &'c str,
    pub(super) tls: &'c Option<Arc<ClientTls>>,
}

/// The one health check of a cluster; `path` is the list.
pub(super) fn check(
    messages: &[HealthCheckMessage],
    cluster: &Checked<'_>,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Option<HealthCheck>, Rejection> {
    match messages {
        [] => Ok(None),
        [one] => compile(one, cluster, &path.index(0), scope).map(Some),
        _ => Err(path.reject("multiple health checks are not supported; keep one")),
    }
}

#[allow(deprecated, reason = "event_log_path is what App Mesh users and templates know")]
fn compile(
    message: &HealthCheckMessage,
    cluster: &Checked<'_>,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<HealthCheck, Rejection> {
    let HealthCheckMessage {
        timeout,
        interval: _, // `intervals`, like the others of its kind.
        initial_jitter,
        interval_jitter,
        interval_jitter_percent,
        unhealthy_threshold,
        healthy_threshold,
        alt_port,
        reuse_connection,
        no_traffic_interval: _,
        no_traffic_healthy_interval: _,
        unhealthy_interval: _,
        unhealthy_edge_interval: _,
        healthy_edge_interval: _,
        event_log_path,
        event_logger,
        event_service,
        always_log_health_check_failures,
        always_log_health_check_success,
        tls_options,
        transport_socket_match_criteria,
        health_checker,
    } = message;
    refuse!(path; alt_port, event_logger, event_service, transport_socket_match_criteria);
    let timeout_path = path.field("timeout");
    let kind = kind(health_checker, cluster, path)?;
    let tls = tls(cluster.tls, &kind, tls_options);
    let log = match event_log_path.as_str() {
        "" => None,
        file => lines(file, &path.field("event_log_path"), scope)?.map(|lines| EventLog {
            lines,
            failures: *always_log_health_check_failures,
            successes: *always_log_health_check_success,
        }),
    };
    Ok(HealthCheck {
        timeout: fields::positive_duration(timeout, &timeout_path)?.ok_or_else(|| timeout_path.missing())?,
        intervals: intervals(message, path)?,
        initial_jitter: fields::duration_or_off(initial_jitter, &path.field("initial_jitter"))?,
        interval_jitter: fields::duration_or_off(interval_jitter, &path.field("interval_jitter"))?,
        interval_jitter_percent: *interval_jitter_percent,
        unhealthy_threshold: threshold(unhealthy_threshold, &path.field("unhealthy_threshold"))?,
        healthy_threshold: threshold(healthy_threshold, &path.field("healthy_threshold"))?,
        reuse_connection: fields::flag(reuse_connection, true),
        kind,
        tls,
        log,
        stats: HealthCheckStats::for_cluster(&scope.context.stats, cluster.stat_name),
    })
}

fn threshold(
    value: &Option<outrigger_xds_protos::v3::wkt::UInt32Value>,
    path: &Path<'_>,
) -> Result<u32, Rejection> {
    // Zero is accepted by Envoy; one result always decides.
    fields::count(value).map(|count| count.max(1)).ok_or_else(|| path.missing())
}

fn intervals(message: &HealthCheckMessage, path: &Path<'_>) -> Result<Intervals, Rejection> {
    let interval_path = path.field("interval");
    let healthy = fields::positive_duration(&message.interval, &interval_path)?;
    let healthy = healthy.ok_or_else(|| interval_path.missing())?;
    let or = |value, name, default| {
        fields::positive_duration(value, &path.field(name)).map(|value| value.unwrap_or(default))
    };
    let unhealthy = or(&message.unhealthy_interval, "unhealthy_interval", healthy)?;
    let no_traffic = or(&message.no_traffic_interval, "no_traffic_interval", NO_TRAFFIC)?;
    Ok(Intervals {
        healthy,
        healthy_edge: or(&message.healthy_edge_interval, "healthy_edge_interval", healthy)?,
        unhealthy,
        unhealthy_edge: or(&message.unhealthy_edge_interval, "unhealthy_edge_interval", unhealthy)?,
        no_traffic,
        no_traffic_healthy: or(
            &message.no_traffic_healthy_interval,
            "no_traffic_healthy_interval",
            no_traffic,
        )?,
    })
}

/// Nothing is opened where configuration is only checked.
fn lines(file: &str, path: &Path<'_>, scope: &Scope<'_>) -> Result<Option<Lines>, Rejection> {
    let Some(sinks) = &scope.context.sinks else { return Ok(None) };
    let sink = sinks.open(&PathBuf::from(file));
    sink.map(|sink| Some(Lines::new(sink))).map_err(|error| path.reject(format_args!("{file:?}: {error}")))
}

/// The cluster's settings, offering what the check speaks unless `tls_options` says otherwise.
fn tls(
    cluster: &Option<Arc<ClientTls>>,
    kind: &CheckKind,
    options: &Option<TlsOptions>,
) -> Option<Arc<ClientTls>> {
    let cluster = cluster.as_ref()?;
    let chosen = options.iter().flat_map(|TlsOptions { alpn_protocols }| alpn_protocols);
    let chosen: Vec<Vec<u8>> = chosen.map(|name| name.as_bytes().to_vec()).collect();
    let mut config = (*cluster.config).clone();
    config.alpn_protocols = match kind {
        _ if !chosen.is_empty() => chosen,
        CheckKind::Http(http) if !http.http2 => vec![b"http/1.1".to_vec()],
        CheckKind::Http(_) | CheckKind::Grpc(_) => vec![b"h2".to_vec()],
        CheckKind::Tcp(_) => config.alpn_protocols,
    };
    Some(Arc::new(ClientTls {
        config: Arc::new(config),
        stats: cluster.stats.clone(),
        sni: cluster.sni.clone(),
        generation: cluster.generation,
        shown: cluster.shown.clone(),
        own: cluster.own.clone(),
    }))
}

fn kind(
    message: &Option<HealthChecker>,
    cluster: &Checked<'_>,
    path: &Path<'_>,
) -> Result<CheckKind, Rejection> {
    match message {
        Some(HealthChecker::HttpHealthCheck(message)) => {
            http(message, cluster, &path.field("http_health_check"))
                .map(|check| CheckKind::Http(Box::new(check)))
        }
        Some(HealthChecker::GrpcHealthCheck(message)) => {
            grpc(message, cluster, &path.field("grpc_health_check")).map(CheckKind::Grpc)
        }
        Some(HealthChecker::TcpHealthCheck(message)) => {
            tcp(message, &path.field("tcp_health_check")).map(CheckKind::Tcp)
        }
        Some(HealthChecker::CustomHealthCheck(_)) => Err(path.field("custom_health_check").unsupported()),
        None => Err(path.reject("needs one of http_health_check, grpc_health_check, tcp_health_check")),
    }
}

fn http(message: &HttpHealthCheck, cluster: &Checked<'_>, path: &Path<'_>) -> Result<HttpCheck, Rejection> {
    let HttpHealthCheck {
        host,
        path: target,
        send,
        receive,
        response_buffer_size,
        request_headers_to_add,
        request_headers_to_remove,
        expected_statuses,
        retriable_statuses,
        codec_client_type,
        service_name_matcher,
        method,
    } = message;
    let target_path = path.field("path");
    fields::required(target, &target_path)?;
    let parsed = target.parse::<http::uri::PathAndQuery>();
    if !target.starts_with('/') || parsed.is_err() {
        return Err(target_path.reject(format_args!("{target:?} is not a path")));
    }
    let limit = response_buffer_size.map_or(RECEIVE_LIMIT as u64, |size| size.value);
    if limit > MAX_RECEIVE {
        return Err(path.field("response_buffer_size").reject(format_args!("is above {MAX_RECEIVE}")));
    }
    let matcher_path = path.field("service_name_matcher");
    let service_name = service_name_matcher.as_ref().map(|matcher| matchers::string(matcher, &matcher_path));
    let removed_path = path.field("request_headers_to_remove");
    let removed = headers::removals(request_headers_to_remove, &removed_path)?;
    let mut expected = ranges(expected_statuses, &path.field("expected_statuses"))?;
    if expected.is_empty() {
        expected.push(200..201);
    }
    Ok(HttpCheck {
        host: authority(host, cluster, &path.field("host"))?,
        path: target.as_str().into(),
        method: request_method(*method, &path.field("method"))?,
        http2: is_http2(*codec_client_type, &path.field("codec_client_type"))?,
        send: optional_payload(send, &path.field("send"))?,
        receive: payloads(receive, &path.field("receive"))?,
        // Zero is no limit in Envoy.
        receive_limit: if limit == 0 { MAX_RECEIVE as usize } else { limit as usize },
        expected,
        retriable: ranges(retriable_statuses, &path.field("retriable_statuses"))?,
        headers: constants(request_headers_to_add, &path.field("request_headers_to_add"))?,
        removed: removed.iter().filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok()).collect(),
        service_name: service_name.transpose()?,
    })
}

/// What is sent as authority; a configured one must be fit for a header.
fn authority(configured: &str, cluster: &Checked<'_>, path: &Path<'_>) -> Result<Box<str>, Rejection> {
    let authority = if configured.is_empty() { cluster.name } else { configured };
    match HeaderValue::from_str(authority) {
        Ok(_) => Ok(authority.into()),
        Err(_) => Err(path.reject(format_args!("{authority:?} cannot be sent as Host"))),
    }
}

fn request_method(number: i32, path: &Path<'_>) -> Result<Method, Rejection> {
    Ok(match RequestMethod::try_from(number) {
        Ok(RequestMethod::MethodUnspecified | RequestMethod::Get) => Method::GET,
        Ok(RequestMethod::Head) => Method::HEAD,
        Ok(RequestMethod::Post) => Method::POST,
        Ok(RequestMethod::Put) => Method::PUT,
        Ok(RequestMethod::Delete) => Method::DELETE,
        Ok(RequestMethod::Options) => Method::OPTIONS,
        Ok(RequestMethod::Trace) => Method::TRACE,
        Ok(RequestMethod::Patch) => Method::PATCH,
        Ok(RequestMethod::Connect) => return Err(path.reject("CONNECT cannot be used in a health check")),
        Err(_) => return Err(path.reject(fields::unknown_enum(number))),
    })
}

fn is_http2(number: i32, path: &Path<'_>) -> Result<bool, Rejection> {
    match CodecClientType::try_from(number) {
        Ok(CodecClientType::Http1) => Ok(false),
        Ok(CodecClientType::Http2) => Ok(true),
        Ok(CodecClientType::Http3) => Err(path.reject("HTTP3 is not supported; use HTTP1 or HTTP2")),
        Err(_) => Err(path.reject(fields::unknown_enum(number))),
    }
}

/// Half-open ranges of statuses from 100 to 599.
fn ranges(messages: &[Int64Range], path: &Path<'_>) -> Result<Vec<Range<u16>>, Rejection> {
    let range =
        |(i, Int64Range { start, end }): (usize, &Int64Range)| {
            let path = path.index(i);
            match (u16::try_from(*start), u16::try_from(*end)) {
                (Ok(start), Ok(end)) if 100 <= start && start < end && end <= 600 => Ok(start..end),
                _ => Err(path
                    .reject(format_args!("[{start}, {end}) is not a range of statuses within [100, 600)"))),
            }
        };
    messages.iter().enumerate().map(range).collect()
}

fn grpc(message: &GrpcHealthCheck, cluster: &Checked<'_>, path: &Path<'_>) -> Result<GrpcCheck, Rejection> {
    let GrpcHealthCheck { service_name, authority: configured, initial_metadata } = message;
    Ok(GrpcCheck {
        service_name: service_name.as_str().into(),
        authority: authority(configured, cluster, &path.field("authority"))?,
        headers: constants(initial_metadata, &path.field("initial_metadata"))?,
    })
}

fn tcp(message: &TcpHealthCheck, path: &Path<'_>) -> Result<TcpCheck, Rejection> {
    let TcpHealthCheck { send, receive, proxy_protocol_config } = message;
    refuse!(path; proxy_protocol_config);
    Ok(TcpCheck {
        send: optional_payload(send, &path.field("send"))?,
        receive: payloads(receive, &path.field("receive"))?,
    })
}

fn optional_payload(message: &Option<Payload>, path: &Path<'_>) -> Result<Bytes, Rejection> {
    message.as_ref().map_or_else(|| Ok(Bytes::new()), |message| payload(message, path).map(Bytes::from))
}

fn payloads(messages: &[Payload], path: &Path<'_>) -> Result<Vec<Box<[u8]>>, Rejection> {
    let one = |(i, message): (usize, &Payload)| payload(message, &path.index(i)).map(Vec::into_boxed_slice);
    messages.iter().enumerate().map(one).collect()
}

/// `text` is hexadecimal.
fn payload(message: &Payload, path: &Path<'_>) -> Result<Vec<u8>, Rejection> {
    let text_path = path.field("text");
    match &message.payload {
        Some(payload::Payload::Binary(bytes)) => Ok(bytes.clone()),
        Some(payload::Payload::Text(text)) => hexadecimal(fields::required(text, &text_path)?)
            .ok_or_else(|| text_path.reject("is not hexadecimal")),
        None => Err(path.reject("needs one of text, binary")),
    }
}

fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits = text.chars().map(|digit| digit.to_digit(16)).collect::<Option<Vec<u32>>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| (high << 4 | low) as u8).collect())
}

/// Headers to add. There is no request of a client that an operator could speak of.
fn constants(options: &[HeaderValueOption], path: &Path<'_>) -> Result<Vec<CheckHeader>, Rejection> {
    let one = |(i, added): (usize, crate::config::route::HeaderAdd)| {
        let path = path.index(i);
        let Some(text) = added.value.as_constant() else {
            return Err(path
                .field("header")
                .field("value")
                .reject("operators mean nothing in a health check"));
        };
        let name = HeaderName::from_bytes(added.name.as_bytes());
        match (name, HeaderValue::from_bytes(text)) {
            (Ok(name), Ok(value)) => Ok(CheckHeader { name, value, action: added.action }),
            _ => Err(path.field("header").reject("cannot be sent")),
        }
    };
    headers::additions(options, path)?.into_iter().enumerate().map(one).collect()
}

/// How one endpoint is checked; `None` when it says nothing about that.
pub(super) fn host(
    message: &Option<HealthCheckConfig>,
    path: &Path<'_>,
) -> Result<Option<Arc<HostCheck>>, Rejection> {
    let Some(HealthCheckConfig { port_value, hostname, address, disable_active_health_check }) = message
    else {
        return Ok(None);
    };
    if HeaderValue::from_str(hostname).is_err() {
        return Err(path.field("hostname").reject("cannot be sent as Host"));
    }
    let (ip, own_port) = host_address(address, &path.field("address"))?;
    let port = fields::port(*port_value, &path.field("port_value"))?;
    Ok(Some(Arc::new(HostCheck {
        ip,
        port: Some(port).filter(|port| *port != 0).or(own_port),
        hostname: hostname.as_str().into(),
        disabled: *disable_active_health_check,
    })))
}

fn host_address(
    message: &Option<Address>,
    path: &Path<'_>,
) -> Result<(Option<IpAddr>, Option<u16>), Rejection> {
    match message.as_ref().and_then(|message| message.address.as_ref()) {
        None => Ok((None, None)),
        Some(address::Address::SocketAddress(socket)) => {
            let address = fields::ip_port(socket, &path.field("socket_address"))?;
            Ok((Some(address.ip()), Some(address.port()).filter(|port| *port != 0)))
        }
        Some(_) => Err(path.reject("only socket_address is supported here")),
    }
}
