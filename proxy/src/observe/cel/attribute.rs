//! Attributes of a record. Source: Envoy, "attributes".

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use outrigger_grammar::cel::attribute::{Attribute, MetadataOf, Side, Tls};

use super::object::{Block, Object, Space};
use super::value::Value;
use super::{Failed, headers};
use crate::base::error::ResponseFlags;
use crate::config::cluster::HostAddress;
use crate::config::listener::Direction;
use crate::config::secret::described::Described;
use crate::http::head::{BodyLength, RequestHead};
use crate::observe::format::{fields_bytes, grpc_code_of_any, request_bytes, response_bytes};
use crate::observe::record::Record;
use crate::tls::{Agreed, PeerIdentity};

/// Envoy's numbers of the flags, as bits.
pub(super) const FLAGS: &[(ResponseFlags, u32)] = &[
    (ResponseFlags::FAILED_LOCAL_HEALTH_CHECK, 0),
    (ResponseFlags::NO_HEALTHY_UPSTREAM, 1),
    (ResponseFlags::UPSTREAM_REQUEST_TIMEOUT, 2),
    (ResponseFlags::LOCAL_RESET, 3),
    (ResponseFlags::UPSTREAM_REMOTE_RESET, 4),
    (ResponseFlags::UPSTREAM_CONNECTION_FAILURE, 5),
    (ResponseFlags::UPSTREAM_CONNECTION_TERMINATION, 6),
    (ResponseFlags::UPSTREAM_OVERFLOW, 7),
    (ResponseFlags::NO_ROUTE_FOUND, 8),
    (ResponseFlags::FAULT_DELAY, 9),
    (ResponseFlags::FAULT_ABORT, 10),
    (ResponseFlags::RATE_LIMITED, 11),
    (ResponseFlags::UNAUTHORIZED_EXTERNAL_SERVICE, 12),
    (ResponseFlags::DOWNSTREAM_CONNECTION_TERMINATION, 14),
    (ResponseFlags::UPSTREAM_RETRY_LIMIT_EXCEEDED, 15),
    (ResponseFlags::STREAM_IDLE_TIMEOUT, 16),
    (ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR, 18),
    (ResponseFlags::UPSTREAM_MAX_STREAM_DURATION, 19),
    (ResponseFlags::DURATION_TIMEOUT, 22),
    (ResponseFlags::UPSTREAM_PROTOCOL_ERROR, 23),
    (ResponseFlags::NO_CLUSTER_FOUND, 24),
    (ResponseFlags::OVERLOAD_MANAGER, 25),
    (ResponseFlags::DNS_RESOLUTION_FAILED, 26),
    (ResponseFlags::DOWNSTREAM_REMOTE_RESET, 28),
];

/// What an attribute is; `None` where there is none.
pub(super) fn value<'a>(which: Attribute, record: &'a Record<'a>) -> Option<Value<'a>> {
    match which {
        Attribute::Metadata(of) => message(of, record),
        Attribute::Namespaces(of) => space(of, record).map(|space| Value::Object(Object::Namespaces(space))),
        Attribute::FilterState => Some(Value::Object(Object::Nothing)),
        Attribute::Tls(side, fact) => tls(side, fact, record),
        Attribute::RequestHeaders => Some(Value::Object(Object::Headers(Block::Request, record))),
        Attribute::ResponseHeaders => Some(Value::Object(Object::Headers(Block::Response, record))),
        Attribute::ResponseTrailers => Some(Value::Object(Object::Headers(Block::Trailers, record))),
        other => {
            request(other, record).or_else(|| response(other, record)).or_else(|| connection(other, record))
        }
    }
}

/// Whether there is the attribute; a map of metadata is there when something is in it.
pub(super) fn has(which: Attribute, record: &Record<'_>) -> Result<bool, Failed> {
    match which {
        Attribute::Namespaces(of) => space(of, record).map(|space| !space.is_empty()).ok_or(Failed),
        other => Ok(value(other, record).is_some()),
    }
}

fn request<'a>(which: Attribute, record: &'a Record<'a>) -> Option<Value<'a>> {
    let header = |name| headers::value(record, Block::Request, name).map(Value::Text);
    match which {
        Attribute::RequestPath => header(":path"),
        Attribute::RequestUrlPath => record.request.map(|head| Value::bytes_of(head.path_only())),
        Attribute::RequestHost => header(":authority"),
        Attribute::RequestScheme => header(":scheme"),
        Attribute::RequestMethod => header(":method"),
        Attribute::RequestReferer => header("referer"),
        Attribute::RequestId => header("x-request-id"),
        Attribute::RequestUserAgent => header("user-agent"),
        Attribute::RequestHeadersBytes => count(record.request.map_or(0, request_bytes)),
        Attribute::RequestTime => Some(Value::Timestamp(nanos_of(started_at(record)))),
        Attribute::RequestSize => match record.request.map(|head| head.body) {
            Some(BodyLength::Fixed(length)) => count(length),
            _ => count(record.bytes_received),
        },
        Attribute::RequestTotalSize => count(record.bytes_received + record.request.map_or(0, request_bytes)),
        Attribute::RequestDuration => between(Some(record.timing.started), record.timing.finished),
        Attribute::RequestProtocol => record.protocol.map(|version| Value::text(version.as_str())),
        Attribute::RequestQuery => record.request.map(|head| Value::bytes_of(query(head))),
        _ => None,
    }
}

/// Without a fragment.
fn query(head: &RequestHead) -> &[u8] {
    let query = head.query();
    memchr::memchr(b'#', query).map_or(query, |at| &query[..at])
}

fn response<'a>(which: Attribute, record: &'a Record<'a>) -> Option<Value<'a>> {
    let trailers = || record.trailers.map_or(0, fields_bytes);
    match which {
        Attribute::ResponseCode => {
            Some(record.status).filter(|status| *status > 0).map(|status| Value::Int(status.into()))
        }
        Attribute::ResponseSize => count(record.bytes_sent),
        Attribute::ResponseHeadersBytes => count(response_bytes(record)),
        Attribute::ResponseFlags => {
            let set = FLAGS.iter().filter(|(flag, _)| record.flags.contains(*flag));
            Some(Value::Int(set.fold(0, |bits, (_, bit)| bits | 1 << bit)))
        }
        Attribute::ResponseGrpcStatus => grpc_code_of_any(record).and_then(count),
        Attribute::ResponseTotalSize => count(record.bytes_sent + response_bytes(record) + trailers()),
        Attribute::ResponseCodeDetails => not_empty(record.details),
        Attribute::ResponseBackendLatency => {
            between(record.timing.upstream_begun, record.timing.upstream_complete)
        }
        _ => None,
    }
}

fn connection<'a>(which: Attribute, record: &'a Record<'a>) -> Option<Value<'a>> {
    // A host is found on the way that a route leads.
    let has_route = !record.virtual_host.is_empty();
    match which {
        Attribute::SourceAddress => Some(Value::made(record.downstream_remote.to_string())),
        Attribute::SourcePort => Some(Value::Int(record.downstream_remote.port().into())),
        Attribute::DestinationAddress => Some(Value::made(record.downstream_local.to_string())),
        Attribute::DestinationPort => Some(Value::Int(record.downstream_local.port().into())),
        Attribute::ConnectionMtls => Some(Value::Bool(record.tls.is_some() && record.peer.is_some())),
        Attribute::ConnectionServerName => Some(Value::text(record.server_name)),
        Attribute::ConnectionId => Some(Value::Uint(record.connection_id)),
        Attribute::UpstreamAddress => record.upstream_host.map(|host| Value::text(&host.display)),
        Attribute::UpstreamPort => match record.upstream_host?.address {
            HostAddress::Ip(address) => Some(Value::Int(address.port().into())),
            _ => None,
        },
        Attribute::UpstreamLocalAddress => Some(Value::made(record.upstream?.local_address?.to_string())),
        Attribute::UpstreamFailure => Some(Value::text(record.upstream_failure)),
        Attribute::UpstreamPoolReady => between(Some(record.timing.started), record.timing.pool_ready),
        Attribute::UpstreamAttempts => Some(Value::Uint(record.attempts.into())),
        Attribute::ClusterName => not_empty(record.cluster),
        Attribute::RouteName => Some(Value::text(record.route_name)).filter(|_| has_route),
        Attribute::VirtualHostName => not_empty(record.virtual_host),
        Attribute::FilterChainName => Some(Value::text(record.filter_chain)),
        Attribute::ListenerDirection => Some(Value::Int(match record.downstream?.listener.direction {
            Direction::Unspecified => 0,
            Direction::Inbound => 1,
            Direction::Outbound => 2,
        })),
        _ => None,
    }
}

fn count(number: u64) -> Option<Value<'static>> {
    i64::try_from(number).ok().map(Value::Int)
}

fn not_empty(text: &str) -> Option<Value<'_>> {
    Some(Value::text(text)).filter(|_| !text.is_empty())
}

fn between(from: Option<Instant>, to: Option<Instant>) -> Option<Value<'static>> {
    Some(Value::Duration(to?.checked_duration_since(from?)?.as_nanos() as i128))
}

/// The wall clock was read when the request began if somebody logs it; else it is asked now.
fn started_at(record: &Record<'_>) -> SystemTime {
    let (read, now) = (record.timing.started_at, SystemTime::now());
    if read == UNIX_EPOCH { now.checked_sub(record.timing.started.elapsed()).unwrap_or(now) } else { read }
}

fn nanos_of(time: SystemTime) -> i128 {
    let nanos = |duration: Duration| duration.as_nanos() as i128;
    time.duration_since(UNIX_EPOCH).map_or_else(|before| -nanos(before.duration()), nanos)
}

/// Whose metadata there is, be it empty.
fn space<'a>(of: MetadataOf, record: &'a Record<'a>) -> Option<Space<'a>> {
    let has_route = !record.virtual_host.is_empty();
    let configured = |there: bool, namespaces| there.then_some(Space::Configured(namespaces));
    match of {
        MetadataOf::Request => Some(Space::Dynamic(record.dynamic)),
        MetadataOf::Cluster => configured(!record.cluster.is_empty(), record.metadata.cluster),
        MetadataOf::Route => configured(has_route, record.metadata.route),
        MetadataOf::VirtualHost => configured(has_route, record.metadata.virtual_host),
        // A host without metadata has no message either.
        MetadataOf::Host => record.upstream_host.map(Space::Host).filter(|space| !space.is_empty()),
        MetadataOf::Listener => Some(Space::Configured(record.downstream?.listener.metadata.as_deref())),
    }
}

fn message<'a>(of: MetadataOf, record: &'a Record<'a>) -> Option<Value<'a>> {
    match space(of, record) {
        Some(space) => Some(Value::Object(Object::Message(space))),
        None if of == MetadataOf::Host && record.upstream_host.is_some() => Some(Value::Null),
        None => None,
    }
}

/// Missing without TLS, and where a certificate has no such name.
fn tls<'a>(side: Side, fact: Tls, record: &'a Record<'a>) -> Option<Value<'a>> {
    let (agreed, peer, own): (Agreed, Option<&'a PeerIdentity>, Option<&'a Described>) = match side {
        Side::Downstream => {
            (record.tls?, record.peer, record.downstream.and_then(|downstream| downstream.own.as_deref()))
        }
        Side::Upstream => {
            let tls = record.upstream?.tls.as_ref()?;
            (tls.agreed, tls.peer.as_deref(), Some(&tls.settings.own))
        }
    };
    let names = peer.map(|peer| &peer.names);
    let subject = |of: Option<&'a Described>| Some(Value::text(of.map_or("", |names| &names.subject)));
    let first = |list: &'a Vec<String>| list.first().map(|name| Value::text(name));
    match fact {
        Tls::Version => Some(Value::text(agreed.version())),
        Tls::LocalSubject => subject(own),
        Tls::PeerSubject => subject(names),
        Tls::LocalUri => first(&own?.uris),
        Tls::PeerUri => first(&names?.uris),
        Tls::LocalDns => first(&own?.dns_names),
        Tls::PeerDns => first(&names?.dns_names),
        Tls::PeerDigest => Some(Value::text(&peer?.hash)),
    }
}
