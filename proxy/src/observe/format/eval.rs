//! What each operator prints for one record.

mod address;
mod grpc;
mod header;
mod metadata;
mod path;
mod timing;
mod tls;
mod wire;

use super::Out;
use super::operator::Operator;
use crate::base::error::ResponseFlags;
use crate::base::hash::xxhash64;
use crate::http::header_id::HeaderId;
use crate::observe::record::{LogType, Record, Subject, Trace};
pub(in crate::observe) use grpc::{grpc_code, grpc_code_of_any};
pub(in crate::observe) use header::{fields_bytes, request_bytes, response_bytes};
pub(super) use metadata::json as metadata_json;

impl Operator {
    /// Appends the value; false, and nothing appended, when it is missing.
    #[inline]
    pub(super) fn write(&self, record: &Record<'_>, out: &mut Out<'_>) -> bool {
        match self {
            Operator::StartTime(format, zone) => format.write(record.timing.started_at, zone, out),
            Operator::EmitTime(format, zone) => format.write(timing::emitted_at(&record.timing), zone, out),
            Operator::Header(choice) => return header::header(choice, record, out),
            Operator::Duration { from, to, unit } => return timing::duration(record, *from, *to, *unit, out),
            Operator::ResponseCode => out.number(record.status.into()),
            Operator::BytesReceived => out.number(record.bytes_received),
            Operator::BytesSent => out.number(record.bytes_sent),
            Operator::ResponseFlags { long } => flags(record, *long, out),
            Operator::UpstreamHost => {
                return text(record.upstream_host.map_or("", |host| &host.display), out);
            }
            Operator::Protocol => return text(record.protocol.map_or("", |version| version.as_str()), out),
            other => return other.write_rare(record, out),
        }
        true
    }

    /// The operators that are not in the default format.
    fn write_rare(&self, record: &Record<'_>, out: &mut Out<'_>) -> bool {
        match self {
            Operator::Fixed(fixed) => out.text(fixed),
            Operator::Address { whose, part } => return address::address(record, *whose, *part, out),
            Operator::GrpcStatus(form) => return grpc::grpc_status(record, *form, out),
            Operator::Path { query, which } => return path::path(record, *query, *which, out),
            Operator::QueryParam(name) => return path::query_param(record, name, out),
            Operator::QueryParams { decoded } => return path::query_params(record, *decoded, out),
            Operator::UpstreamProtocol => {
                return text(record.upstream_protocol.map_or("", |version| version.as_str()), out);
            }
            Operator::ResponseCodeDetails { allow_whitespace } => {
                return details(record.details, *allow_whitespace, out);
            }
            Operator::RequestHeadersBytes => out.number(record.request.map_or(0, request_bytes)),
            Operator::ResponseHeadersBytes => out.number(response_bytes(record)),
            Operator::ResponseTrailersBytes => out.number(record.trailers.map_or(0, header::fields_bytes)),
            Operator::AttemptCount => out.number(record.attempts.into()),
            Operator::RouteName => return text(record.route_name, out),
            Operator::FilterChainName => return text(record.filter_chain, out),
            Operator::AccessLogType => out.plain(log_type(record)),
            Operator::UpstreamHostName { port } => return address::host_name(record, *port, out),
            Operator::UpstreamCluster { raw } => {
                let alias = record.cluster_alias.filter(|_| !raw);
                return text(alias.unwrap_or(record.cluster), out);
            }
            Operator::UpstreamConnectionId => out.number(record.upstream.map_or(0, |upstream| upstream.id)),
            Operator::Attempted(part) => return address::attempted(record, *part, out),
            Operator::Metadata(place) => return metadata::metadata(record, place, out),
            Operator::Expression { program, .. } => return program.print(record, out),
            Operator::StreamId => return stream_id(record, out),
            Operator::TraceId => return record.trace.is_some_and(|trace| trace_id(trace, out)),
            Operator::SpanId => return record.trace.is_some_and(|trace| span_id(trace, out)),
            Operator::Nothing => {}
            Operator::EndpointId => return record.upstream.is_some(),
            Operator::Always(number) => out.number(*number),
            Operator::UpstreamFailure => return details(record.upstream_failure, false, out),
            Operator::DownstreamFailure => return details(record.downstream_failure, false, out),
            Operator::ServerName => return text(record.server_name, out),
            Operator::ConnectionId => out.number(record.connection_id),
            Operator::UniqueId => out.display(uuid(fastrand::u128(..))),
            Operator::Tls(side, fact) => return tls::tls(record, *side, fact, out),
            Operator::Wire(side, part) => out.number(wire::bytes(record, *side, *part)),
            Operator::CloseType(side) => return wire::close_type(record, *side, out),
            Operator::CloseReason => return text(record.closes.reason, out),
            Operator::Termination => return text(record.termination, out),
            Operator::ListenerName => {
                return text(record.downstream.map_or("", |downstream| &downstream.listener.name), out);
            }
            Operator::LocalReplyBody => out.text(record.local_reply_body),
            _ => return false,
        }
        true
    }
}

/// Appends `value` unless it is empty, which means missing.
#[inline]
fn bytes(value: &[u8], out: &mut Out<'_>) -> bool {
    out.text(value);
    !value.is_empty()
}

#[inline]
fn text(value: &str, out: &mut Out<'_>) -> bool {
    bytes(value.as_bytes(), out)
}

/// In the order in which Envoy raises them: a TCP session fails first, and then has used up its attempts.
fn flags(record: &Record<'_>, long: bool, out: &mut Out<'_>) {
    let flags = record.flags;
    if flags == ResponseFlags::NONE {
        return out.plain(b"-");
    }
    let late = match record.subject {
        Subject::TcpSession => flags.both(ResponseFlags::UPSTREAM_RETRY_LIMIT_EXCEEDED),
        _ => ResponseFlags::NONE,
    };
    for (at, (short, long_name)) in flags.without(late).names().chain(late.names()).enumerate() {
        if at > 0 {
            out.plain(b",");
        }
        out.plain(if long { long_name } else { short }.as_bytes());
    }
}

/// Details are one word unless asked otherwise: white space would shift the fields after it.
fn details(value: &str, allow_whitespace: bool, out: &mut Out<'_>) -> bool {
    if allow_whitespace || !value.contains(char::is_whitespace) {
        return text(value, out);
    }
    text(&value.replace(char::is_whitespace, "_"), out)
}

fn log_type(record: &Record<'_>) -> &'static [u8] {
    match record.log_type() {
        None => b"NotSet",
        Some(LogType::DownstreamEnd) => b"DownstreamEnd",
        Some(LogType::TcpConnectionEnd) => b"TcpConnectionEnd",
    }
}

/// The request's identifier; a connection without requests has one that every logger of it makes alike.
fn stream_id(record: &Record<'_>, out: &mut Out<'_>) -> bool {
    if record.subject == Subject::Connection {
        return false;
    }
    if let Some(head) = record.request {
        return head.block.get(HeaderId::RequestId).is_some_and(|id| bytes(id, out));
    }
    let since_epoch = record.timing.started_at.duration_since(std::time::SystemTime::UNIX_EPOCH);
    let seed = since_epoch.unwrap_or_default().as_nanos().to_le_bytes();
    let half = |salt| u128::from(xxhash64(&seed, record.connection_id ^ salt));
    out.display(uuid(half(0) << 64 | half(u64::MAX)));
    true
}

fn trace_id(trace: Trace<'_>, out: &mut Out<'_>) -> bool {
    let id = trace.span.trace_id;
    if trace.xray {
        out.plain(&id.xray())
    } else {
        out.plain(&id.hex())
    }
    true
}

fn span_id(trace: Trace<'_>, out: &mut Out<'_>) -> bool {
    out.plain(&trace.span.id.hex());
    true
}

/// A version 4 UUID from random bits.
fn uuid(random: u128) -> impl std::fmt::Display {
    let bits = random & !(0xf000 << 64) & !(0b11 << 62) | 0x4000 << 64 | 0b10 << 62;
    let (a, b, c) = (bits >> 96, bits >> 80 & 0xffff, bits >> 64 & 0xffff);
    let (d, e) = (bits >> 48 & 0xffff, bits & 0xffff_ffff_ffff);
    format!("{a:08x}-{b:04x}-{c:04x}-{d:04x}-{e:012x}")
}
