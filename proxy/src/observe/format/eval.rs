//! What each operator prints for one record.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant, SystemTime};

use super::Out;
use super::operator::{
    AddressPart, GrpcStatusForm, HeaderChoice, HeaderName, Message, Operator, PathChoice, Point, TlsFact,
    Unit, Whose,
};
use crate::base::error::ResponseFlags;
use crate::config::cluster::HostAddress;
use crate::http::head::{BodyLength, HeaderBlock, RequestHead, Span};
use crate::http::header_id::HeaderId;
use crate::observe::record::{Record, Timing};
use crate::tls::Agreed;

impl Operator {
    /// Appends the value; false, and nothing appended, when it is missing.
    #[inline]
    pub(super) fn write(&self, record: &Record<'_>, out: &mut Out<'_>) -> bool {
        match self {
            Operator::StartTime(format) => format.write(record.timing.started_at, out),
            Operator::EmitTime(format) => format.write(emitted_at(&record.timing), out),
            Operator::Header(choice) => return header(choice, record, out),
            Operator::Duration { from, to, unit } => return duration(&record.timing, *from, *to, *unit, out),
            Operator::ResponseCode => out.number(record.status.into()),
            Operator::BytesReceived => out.number(record.bytes_received),
            Operator::BytesSent => out.number(record.bytes_sent),
            Operator::ResponseFlags { long } => flags(record.flags, *long, out),
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
            Operator::Address { whose, part } => return address(record, *whose, *part, out),
            Operator::GrpcStatus(form) => return grpc_status(record, *form, out),
            Operator::Path { query, which } => return path(record, *query, *which, out),
            Operator::QueryParam(name) => return query_param(record, name, out),
            Operator::QueryParams => return bytes(record.request.map_or(b"", RequestHead::query), out),
            Operator::UpstreamProtocol => {
                return text(record.upstream_protocol.map_or("", |version| version.as_str()), out);
            }
            Operator::ResponseCodeDetails { allow_whitespace } => {
                return details(record.details, *allow_whitespace, out);
            }
            Operator::RequestHeadersBytes => out.number(record.request.map_or(0, request_bytes)),
            Operator::ResponseHeadersBytes => out.number(response_bytes(record)),
            Operator::ResponseTrailersBytes => out.number(record.trailers.map_or(0, block_bytes)),
            Operator::AttemptCount => out.number(record.attempts.into()),
            Operator::RouteName => return text(record.route_name, out),
            Operator::FilterChainName => return text(record.filter_chain, out),
            Operator::AccessLogType => out.plain(log_type(record)),
            Operator::UpstreamHostName { port } => return host_name(record, *port, out),
            Operator::UpstreamCluster => return text(record.cluster, out),
            Operator::UpstreamFailure => return details(record.upstream_failure, false, out),
            Operator::ServerName => return text(record.server_name, out),
            Operator::ConnectionId => out.number(record.connection_id),
            Operator::UniqueId => out.display(uuid(fastrand::u128(..))),
            Operator::Tls(fact) => return tls(record, fact, out),
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

/// A present header prints even when empty.
#[inline]
fn header(choice: &HeaderChoice, record: &Record<'_>, out: &mut Out<'_>) -> bool {
    if let Some(found) = named(choice.of, &choice.main, record, choice.keep_query, out) {
        return found;
    }
    let alternative = choice.alternative.as_ref();
    alternative.and_then(|name| named(choice.of, name, record, choice.keep_query, out)).unwrap_or(false)
}

/// Appends one header; `None` when it is absent.
#[inline]
fn named(
    of: Message,
    name: &HeaderName,
    record: &Record<'_>,
    keep_query: bool,
    out: &mut Out<'_>,
) -> Option<bool> {
    let value = match (of, name) {
        (Message::Request, HeaderName::Known(id)) => record.request?.block.get(*id)?,
        (Message::Request, HeaderName::Method) => record.request?.method_text(),
        (Message::Request, HeaderName::Path) => record.request?.path_and_query(),
        (Message::Request, HeaderName::Authority) => not_empty(record.request?.authority())?,
        (Message::Request, HeaderName::Scheme) => record.request?.scheme().as_bytes(),
        (Message::Request, HeaderName::OriginalPath) => {
            record.request?.block.get(HeaderId::EnvoyOriginalPath).or(record.original_path)?
        }
        (Message::Response, HeaderName::Status) => {
            out.number(Some(record.status).filter(|status| *status > 0)?.into());
            return Some(true);
        }
        (_, HeaderName::ContentLength) => return content_length(of, record, out),
        (_, HeaderName::Upgrade) => upgrade(of, record)?,
        (_, name) => field(block(of, record)?, name)?,
    };
    let value = if keep_query { value } else { cut_query(value) };
    out.text(value);
    Some(true)
}

fn not_empty(value: &[u8]) -> Option<&[u8]> {
    Some(value).filter(|value| !value.is_empty())
}

fn block<'r>(of: Message, record: &Record<'r>) -> Option<&'r HeaderBlock> {
    match of {
        Message::Request => Some(&record.request?.block),
        Message::Response => Some(&record.response?.block),
        Message::Trailers => record.trailers,
    }
}

fn field<'r>(block: &'r HeaderBlock, name: &HeaderName) -> Option<&'r [u8]> {
    match name {
        HeaderName::Known(id) => block.get(*id),
        HeaderName::OriginalPath => block.get(HeaderId::EnvoyOriginalPath),
        HeaderName::Other(name) => block.get_by_name(name),
        _ => None,
    }
}

/// Framing is kept apart from the fields, so this one comes from there.
fn content_length(of: Message, record: &Record<'_>, out: &mut Out<'_>) -> Option<bool> {
    let body = match of {
        Message::Request => record.request?.body,
        Message::Response => record.response?.body,
        Message::Trailers => return None,
    };
    let BodyLength::Fixed(length) = body else { return None };
    out.number(length);
    Some(true)
}

fn upgrade<'r>(of: Message, record: &Record<'r>) -> Option<&'r [u8]> {
    let of_block = |block: &'r HeaderBlock, span: Option<Span>| Some(block.bytes(span?));
    match of {
        Message::Request => record.request.and_then(|head| of_block(&head.block, head.upgrade)),
        Message::Response => record.response.and_then(|head| of_block(&head.block, head.upgrade)),
        Message::Trailers => None,
    }
}

fn cut_query(path: &[u8]) -> &[u8] {
    memchr::memchr(b'?', path).map_or(path, |at| &path[..at])
}

fn at(timing: &Timing, point: Point) -> Option<Instant> {
    match point {
        Point::RequestBegin => Some(timing.started),
        Point::RequestEnd => timing.request_complete,
        Point::UpstreamSent => timing.upstream_sent,
        Point::UpstreamFirstByte => timing.upstream_first_byte,
        Point::End => timing.finished,
    }
}

#[inline]
fn duration(timing: &Timing, from: Point, to: Point, unit: Unit, out: &mut Out<'_>) -> bool {
    let (Some(from), Some(to)) = (at(timing, from), at(timing, to)) else { return false };
    let elapsed = to.saturating_duration_since(from);
    out.number(match unit {
        Unit::Millis => elapsed.as_millis() as u64,
        Unit::Micros => elapsed.as_micros() as u64,
        Unit::Nanos => elapsed.as_nanos() as u64,
    });
    true
}

/// Wall clock at the end, by the monotonic clock: a stepped clock cannot make it precede the start.
fn emitted_at(timing: &Timing) -> SystemTime {
    let elapsed = timing.finished.map_or(Duration::ZERO, |end| end.saturating_duration_since(timing.started));
    timing.started_at + elapsed
}

fn flags(flags: ResponseFlags, long: bool, out: &mut Out<'_>) {
    if flags == ResponseFlags::NONE {
        return out.plain(b"-");
    }
    for (at, (short, long_name)) in flags.names().enumerate() {
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

fn fields_bytes(block: &HeaderBlock) -> u64 {
    block.fields().iter().map(|field| u64::from(field.name.len) + u64::from(field.value.len)).sum()
}

fn block_bytes(block: &HeaderBlock) -> u64 {
    fields_bytes(block)
}

/// Uncompressed size with pseudo-headers, as Envoy counts it.
pub(in crate::observe) fn request_bytes(head: &RequestHead) -> u64 {
    let pseudo = [
        (":method", head.method_text().len()),
        (":path", head.path_and_query().len()),
        (":authority", head.authority().len()),
        (":scheme", head.scheme().len()),
    ];
    let pseudo = pseudo.iter().filter(|(_, len)| *len > 0).map(|(name, len)| (name.len() + len) as u64);
    fields_bytes(&head.block) + pseudo.sum::<u64>()
}

/// Likewise.
pub(in crate::observe) fn response_bytes(record: &Record<'_>) -> u64 {
    record.response.map_or(0, |head| fields_bytes(&head.block) + ":status200".len() as u64)
}

fn log_type(record: &Record<'_>) -> &'static [u8] {
    if record.protocol.is_some() { b"DownstreamEnd" } else { b"TcpConnectionEnd" }
}

/// Missing without TLS, or where the client has shown no certificate.
fn tls(record: &Record<'_>, fact: &TlsFact, out: &mut Out<'_>) -> bool {
    match fact {
        TlsFact::Version => return text(record.tls.map_or("", Agreed::version), out),
        TlsFact::Cipher => return text(record.tls.map_or("", Agreed::cipher), out),
        _ => {}
    }
    let Some(peer) = record.peer else { return false };
    match fact {
        TlsFact::PeerUris => text(&peer.uris.join(","), out),
        TlsFact::PeerDnsNames => text(&peer.dns_names.join(","), out),
        TlsFact::PeerSubject => text(&peer.subject, out),
        TlsFact::PeerIssuer => text(&peer.issuer, out),
        TlsFact::PeerSerial => text(&peer.serial, out),
        TlsFact::PeerFingerprint => text(&peer.hash, out),
        TlsFact::PeerCertificate => text(&peer.pem(1), out),
        TlsFact::PeerValidFrom(format) => {
            format.write(peer.not_before, out);
            true
        }
        TlsFact::PeerValidUntil(format) => {
            format.write(peer.not_after, out);
            true
        }
        TlsFact::Version | TlsFact::Cipher => false,
    }
}

fn host_name(record: &Record<'_>, port: bool, out: &mut Out<'_>) -> bool {
    let Some(host) = record.upstream_host else { return false };
    let name = if host.hostname.is_empty() { &host.display } else { &host.hostname };
    if port {
        return text(name, out);
    }
    text(without_port(name), out)
}

fn without_port(name: &str) -> &str {
    match name.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => name,
    }
}

fn address(record: &Record<'_>, whose: Whose, part: AddressPart, out: &mut Out<'_>) -> bool {
    let address = match whose {
        Whose::DownstreamRemote => Some(record.downstream_remote),
        Whose::DownstreamDirectRemote => Some(record.downstream_direct_remote),
        Whose::DownstreamLocal => Some(record.downstream_local),
        Whose::UpstreamLocal => record.upstream_local_address,
        Whose::UpstreamRemote => return upstream_remote(record, part, out),
    };
    let Some(address) = address else { return false };
    socket_address(address, part, out);
    true
}

/// The address of the connected host: missing when no connection was made.
fn upstream_remote(record: &Record<'_>, part: AddressPart, out: &mut Out<'_>) -> bool {
    let connected = record.upstream_host.filter(|_| record.upstream_local_address.is_some());
    match connected.map(|host| &host.address) {
        Some(HostAddress::Ip(address)) => socket_address(*address, part, out),
        Some(HostAddress::Pipe(path)) if part != AddressPart::Port => {
            out.text(path.as_os_str().as_encoded_bytes());
        }
        _ => return false,
    }
    true
}

fn socket_address(address: SocketAddr, part: AddressPart, out: &mut Out<'_>) {
    if part == AddressPart::Port {
        return out.number(address.port().into());
    }
    match address.ip() {
        IpAddr::V4(ip) => {
            for (at, octet) in ip.octets().into_iter().enumerate() {
                if at > 0 {
                    out.plain(b".");
                }
                out.number(octet.into());
            }
        }
        IpAddr::V6(ip) if part == AddressPart::Whole => out.display(format_args!("[{ip}]")),
        IpAddr::V6(ip) => out.display(ip),
    }
    if part == AddressPart::Whole {
        out.plain(b":");
        out.number(address.port().into());
    }
}

fn path(record: &Record<'_>, query: bool, which: PathChoice, out: &mut Out<'_>) -> bool {
    let Some(request) = record.request else { return false };
    let original = request.block.get(HeaderId::EnvoyOriginalPath).or(record.original_path);
    let found = match which {
        PathChoice::Original => original,
        PathChoice::Current => Some(request.path_and_query()),
        PathChoice::OriginalOrCurrent => original.or(Some(request.path_and_query())),
    };
    let Some(path) = found else { return false };
    bytes(if query { path } else { cut_query(path) }, out)
}

fn query_param(record: &Record<'_>, name: &[u8], out: &mut Out<'_>) -> bool {
    let query = record.request.map_or(b"" as &[u8], RequestHead::query);
    let value = query.split(|byte| *byte == b'&').find_map(|pair| match memchr::memchr(b'=', pair) {
        Some(at) if &pair[..at] == name => Some(&pair[at + 1..]),
        None if pair == name => Some(&pair[pair.len()..]),
        _ => None,
    });
    value.is_some_and(|value| {
        out.text(value);
        true
    })
}

/// gRPC status codes in order: camel and snake spelling.
const GRPC_CODES: [(&str, &str); 17] = [
    ("OK", "OK"),
    ("Canceled", "CANCELLED"),
    ("Unknown", "UNKNOWN"),
    ("InvalidArgument", "INVALID_ARGUMENT"),
    ("DeadlineExceeded", "DEADLINE_EXCEEDED"),
    ("NotFound", "NOT_FOUND"),
    ("AlreadyExists", "ALREADY_EXISTS"),
    ("PermissionDenied", "PERMISSION_DENIED"),
    ("ResourceExhausted", "RESOURCE_EXHAUSTED"),
    ("FailedPrecondition", "FAILED_PRECONDITION"),
    ("Aborted", "ABORTED"),
    ("OutOfRange", "OUT_OF_RANGE"),
    ("Unimplemented", "UNIMPLEMENTED"),
    ("Internal", "INTERNAL"),
    ("Unavailable", "UNAVAILABLE"),
    ("DataLoss", "DATA_LOSS"),
    ("Unauthenticated", "UNAUTHENTICATED"),
];

fn grpc_status(record: &Record<'_>, form: GrpcStatusForm, out: &mut Out<'_>) -> bool {
    let Some(code) = grpc_code(record) else { return false };
    match (GRPC_CODES.get(code as usize), form) {
        (Some((camel, _)), GrpcStatusForm::Camel) => out.plain(camel.as_bytes()),
        (Some((_, snake)), GrpcStatusForm::Snake) => out.plain(snake.as_bytes()),
        _ => out.number(code),
    }
    true
}

/// The status of a gRPC request.
pub(in crate::observe) fn grpc_code(record: &Record<'_>) -> Option<u64> {
    record.request.filter(|head| head.is_grpc())?;
    grpc_code_of_any(record)
}

/// From trailers, else headers, else the HTTP status.
pub(in crate::observe) fn grpc_code_of_any(record: &Record<'_>) -> Option<u64> {
    let blocks = [record.trailers, record.response.map(|head| &head.block)];
    let told = blocks.iter().flatten().find_map(|block| block.get(HeaderId::GrpcStatus));
    match told {
        Some(value) => {
            Some(std::str::from_utf8(value).ok().and_then(|value| value.parse().ok()).unwrap_or(2))
        }
        None if record.status > 0 => Some(grpc_code_of_http(record.status)),
        None => None,
    }
}

/// gRPC's mapping of HTTP statuses (`http-grpc-status-mapping`).
fn grpc_code_of_http(status: u16) -> u64 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

/// A version 4 UUID from random bits.
fn uuid(random: u128) -> impl std::fmt::Display {
    let bits = random & !(0xf000 << 64) & !(0b11 << 62) | 0x4000 << 64 | 0b10 << 62;
    let (a, b, c) = (bits >> 96, bits >> 80 & 0xffff, bits >> 64 & 0xffff);
    let (d, e) = (bits >> 48 & 0xffff, bits & 0xffff_ffff_ffff);
    format!("{a:08x}-{b:04x}-{c:04x}-{d:04x}-{e:012x}")
}
