//! Entries as Envoy's access-log service takes them, written straight into a buffer.
//! Source: `envoy.data.accesslog.v3`.

use std::time::{Instant, SystemTime};

use super::Entries;
use crate::base::error::ResponseFlags;
use crate::config::cluster::HostAddress;
use crate::config::secret::described::Described;
use crate::http::head::{HeaderBlock, RequestHead, Version};
use crate::http::header_id::HeaderId;
use crate::observe::format::{Escape, Out, request_bytes, response_bytes};
use crate::observe::protobuf::Message;
use crate::observe::protobuf::common::{self, address, structure, time};
use crate::observe::record::{LogType, Record};
use crate::observe::trace::tag::CustomTag;
use crate::tls::Agreed;

/// Longest text, in bytes.
const MAX_TEXT: usize = 8192;
/// `HTTPAccessLogEntries.log_entry` and `TCPAccessLogEntries.log_entry`.
const LOG_ENTRY: u32 = 1;

/// Appends one entry, as the field that lists of entries have it in.
pub(super) fn encode(entries: &Entries, tags: &[CustomTag], record: &Record<'_>, out: &mut Vec<u8>) {
    Message(out).message(LOG_ENTRY, |entry| {
        entry.message(1, |out| {
            properties(record, out);
            self::tags(record, tags, out);
        });
        match entries {
            Entries::Tcp => entry.message(2, |connection| {
                connection.number(1, record.bytes_received);
                connection.number(2, record.bytes_sent);
            }),
            Entries::Http { request, response, trailers } => {
                entry.number(2, record.protocol.map_or(0, protocol));
                entry.message(3, |out| self::request(record, request, out));
                entry.message(4, |out| self::response(record, response, trailers, out));
            }
        }
    });
}

fn protocol(version: Version) -> u64 {
    match version {
        Version::Http10 => 1,
        Version::Http11 => 2,
        Version::Http2 => 3,
    }
}

/// `AccessLogCommon`.
fn properties(record: &Record<'_>, out: &mut Message<'_>) {
    let timing = &record.timing;
    address(2, record.downstream_remote, out);
    address(3, record.downstream_local, out);
    if record.tls.is_some() {
        out.message(4, |out| tls(record, out));
    }
    let since_epoch = timing.started_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    time(5, since_epoch.as_secs(), since_epoch.subsec_nanos(), out);
    let mut since = |field, at: Option<Instant>| {
        if let Some(at) = at {
            let took = at.saturating_duration_since(timing.started);
            time(field, took.as_secs(), took.subsec_nanos(), out);
        }
    };
    since(6, timing.request_complete);
    since(7, timing.upstream_begun);
    since(8, timing.upstream_sent);
    since(9, timing.upstream_first_byte);
    since(10, timing.upstream_complete);
    since(11, timing.response_begun);
    since(12, timing.finished.filter(|_| record.response.is_some()));
    since(23, timing.finished);
    match record.upstream_host.map(|host| &host.address) {
        Some(HostAddress::Ip(host)) => address(13, *host, out),
        Some(HostAddress::Pipe(path)) => {
            out.message(13, |address| {
                address.message(2, |pipe| text(1, path.as_os_str().as_encoded_bytes(), pipe))
            });
        }
        None => {}
    }
    if let Some(local) = record.upstream.and_then(|upstream| upstream.local_address) {
        address(14, local, out);
    }
    text(15, record.cluster.as_bytes(), out);
    if record.flags != ResponseFlags::NONE {
        out.message(16, |out| flags(record.flags, out));
    }
    if let Some(left) = record.dynamic {
        out.message(17, |metadata| {
            for (name, fields) in left.namespaces() {
                metadata.message(1, |entry| {
                    entry.bytes(1, name.as_bytes());
                    entry.message(2, |out| structure(fields, out));
                });
            }
        });
    }
    text(18, record.upstream_failure.as_bytes(), out);
    text(19, record.route_name.as_bytes(), out);
    address(20, record.downstream_direct_remote, out);
    out.number(24, record.attempts.into());
    text(25, record.termination.as_bytes(), out);
    let id = record.request.and_then(|head| head.block.get(HeaderId::RequestId));
    text(26, id.unwrap_or_default(), out);
    let (down, up) = (&record.downstream_wire, &record.upstream_wire);
    out.number(29, down.sent);
    out.number(30, down.received);
    out.number(31, up.sent);
    out.number(32, up.received);
    text(28, record.downstream_failure.as_bytes(), out);
    out.number(33, log_type(record));
}

/// `custom_tags`: those that have a value.
fn tags(record: &Record<'_>, tags: &[CustomTag], out: &mut Message<'_>) {
    for tag in tags {
        let mut value = Vec::new();
        if tag.write(record, &mut Out::new(&mut value, Escape::Body, MAX_TEXT)) {
            out.message(22, |entry| {
                text(1, tag.name.as_bytes(), entry);
                text(2, &value, entry);
            });
        }
    }
}

/// `TLSProperties`.
fn tls(record: &Record<'_>, out: &mut Message<'_>) {
    let version = record.tls.map_or("", Agreed::version);
    out.number(
        1,
        match version {
            "TLSv1.2" => 3,
            _ => 4,
        },
    );
    if let Some(agreed) = record.tls {
        out.message(2, |suite| suite.number(1, agreed.suite().into()));
    }
    text(3, record.server_name.as_bytes(), out);
    if let Some(own) = record.downstream.and_then(|downstream| downstream.own.as_deref()) {
        out.message(4, |certificate| names(own, certificate));
    }
    let Some(peer) = record.peer else { return };
    out.message(5, |certificate| {
        names(&peer.names, certificate);
        text(3, peer.issuer.as_bytes(), certificate);
    });
}

/// `CertificateProperties`, as far as they are names.
fn names(names: &Described, out: &mut Message<'_>) {
    names.uris.iter().for_each(|uri| out.message(1, |name| text(1, uri.as_bytes(), name)));
    names.dns_names.iter().for_each(|dns| out.message(1, |name| text(2, dns.as_bytes(), name)));
    text(2, names.subject.as_bytes(), out);
}

/// `AccessLogType`.
fn log_type(record: &Record<'_>) -> u64 {
    match record.log_type() {
        None => 0,
        Some(LogType::TcpConnectionEnd) => 3,
        Some(LogType::DownstreamEnd) => 6,
    }
}

/// Text of a peer, cut.
fn text(field: u32, value: &[u8], out: &mut Message<'_>) {
    common::text(field, &value[..value.len().min(MAX_TEXT)], out);
}

/// `ResponseFlags`: one field per flag, all of them `true`.
fn flags(flags: ResponseFlags, out: &mut Message<'_>) {
    const NUMBERS: &[(&str, u32)] = &[
        ("LH", 1),
        ("UH", 2),
        ("UT", 3),
        ("LR", 4),
        ("UR", 5),
        ("UF", 6),
        ("UC", 7),
        ("UO", 8),
        ("NR", 9),
        ("DI", 10),
        ("FI", 11),
        ("RL", 12),
        ("DC", 15),
        ("URX", 16),
        ("SI", 17),
        ("DPE", 19),
        ("UMSDR", 20),
        ("DT", 23),
        ("UPE", 24),
        ("NC", 25),
        ("OM", 26),
        ("DF", 27),
        ("DR", 28),
    ];
    // `Unauthorized.reason`: EXTERNAL_SERVICE.
    if flags.contains(ResponseFlags::UNAUTHORIZED_EXTERNAL_SERVICE) {
        out.message(13, |unauthorized| unauthorized.number(1, 1));
    }
    for (short, _) in flags.names() {
        if let Some((_, field)) = NUMBERS.iter().find(|(name, _)| *name == short) {
            out.number(*field, 1);
        }
    }
}

/// `HTTPRequestProperties`.
fn request(record: &Record<'_>, wanted: &[Box<str>], out: &mut Message<'_>) {
    let Some(head) = record.request else { return };
    out.number(1, method(head));
    text(2, head.scheme().as_bytes(), out);
    text(3, head.authority(), out);
    text(5, head.path_and_query(), out);
    let field = |id| head.block.get(id).unwrap_or_default();
    text(6, field(HeaderId::UserAgent), out);
    text(7, head.block.get_by_name(b"referer").unwrap_or_default(), out);
    text(8, field(HeaderId::ForwardedFor), out);
    text(9, field(HeaderId::RequestId), out);
    let original = head.block.get(HeaderId::EnvoyOriginalPath).or(record.original_path);
    text(10, original.unwrap_or_default(), out);
    out.number(11, request_bytes(head));
    out.number(12, record.bytes_received);
    headers(13, &head.block, wanted, out);
}

/// `RequestMethod`.
fn method(head: &RequestHead) -> u64 {
    const METHODS: [&[u8]; 9] =
        [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH"];
    METHODS.iter().position(|name| *name == head.method_text()).map_or(0, |at| at as u64 + 1)
}

/// `HTTPResponseProperties`.
fn response(record: &Record<'_>, wanted: &[Box<str>], trailers: &[Box<str>], out: &mut Message<'_>) {
    if record.status > 0 {
        out.message(1, |code| code.number(1, record.status.into()));
    }
    out.number(2, response_bytes(record));
    out.number(3, record.bytes_sent);
    if let Some(head) = record.response {
        headers(4, &head.block, wanted, out);
    }
    if let Some(block) = record.trailers {
        headers(5, block, trailers, out);
    }
    text(6, record.details.as_bytes(), out);
}

/// A map from names to values; those of several lines are joined.
fn headers(field: u32, block: &HeaderBlock, wanted: &[Box<str>], out: &mut Message<'_>) {
    for name in wanted {
        let lines = block.fields_named(name.as_bytes()).map(|line| block.bytes(line.value));
        let lines: Vec<&[u8]> = lines.collect();
        if lines.is_empty() {
            continue;
        }
        let value = lines.join(&b","[..]);
        out.message(field, |entry| {
            text(1, name.as_bytes(), entry);
            text(2, &value, entry);
        });
    }
}
