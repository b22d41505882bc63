//! Zipkin v2 spans, as JSON and as protobuf. Source: OpenZipkin API, `zipkin.proto3`.

use std::borrow::Cow;

use super::Settings;
use crate::config::listener::Direction;
use crate::observe::protobuf::Message;
use crate::observe::trace::facts;
use crate::observe::trace::json::Object;
use crate::observe::trace::span::Finished;

/// Longest text, bytes.
const MAX_TEXT: usize = 1000;

/// Envoy names spans after the host, unless it is told otherwise.
fn name<'a>(finished: &Finished<'a>) -> Cow<'a, [u8]> {
    match finished.operation() {
        Some(operation) => Cow::Owned(operation.into_bytes()),
        None => Cow::Borrowed(finished.head.authority()),
    }
}

/// Appends one object of the list.
pub(super) fn json(settings: &Settings, finished: &Finished<'_>, out: &mut Vec<u8>) {
    let span = finished.span;
    let hex = span.trace_id.hex();
    let mut object = Object::begin(out);
    object.text("traceId", if span.trace_id.0 >> 64 == 0 { &hex[16..] } else { &hex[..] }, MAX_TEXT);
    object.text("id", &span.id.hex(), MAX_TEXT);
    if let Some(parent) = span.parent {
        object.text("parentId", &parent.hex(), MAX_TEXT);
    }
    object.text("name", &name(finished), MAX_TEXT);
    let kind: &[u8] = if finished.direction == Direction::Outbound { b"CLIENT" } else { b"SERVER" };
    object.text("kind", kind, MAX_TEXT);
    object.number("timestamp", finished.start);
    // Zero would mean that nobody knows.
    object.number("duration", finished.duration().max(1));
    let mut local = object.object("localEndpoint");
    local.text("serviceName", settings.service.as_bytes(), MAX_TEXT);
    let address = finished.record.downstream_local;
    local.text(
        if address.is_ipv4() { "ipv4" } else { "ipv6" },
        address.ip().to_string().as_bytes(),
        MAX_TEXT,
    );
    local.number("port", address.port().into());
    local.end();
    let mut tags = object.object("tags");
    facts::tell(finished, &settings.node_id, &mut |(name, value)| {
        tags.pair(name.as_bytes(), value.as_bytes(), MAX_TEXT);
    });
    tags.end();
    object.end();
}

/// The list around many.
pub(super) fn json_frame<'d>(documents: impl Iterator<Item = &'d [u8]>) -> Vec<u8> {
    let mut out = vec![b'['];
    for document in documents {
        if out.len() > 1 {
            out.push(b',');
        }
        out.extend_from_slice(document);
    }
    out.push(b']');
    out
}

/// Appends `ListOfSpans.spans`; the list needs no frame.
pub(super) fn proto(settings: &Settings, finished: &Finished<'_>, out: &mut Vec<u8>) {
    let span = finished.span;
    Message(out).message(1, |message| {
        let id = span.trace_id.0.to_be_bytes();
        message.bytes(1, if span.trace_id.0 >> 64 == 0 { &id[8..] } else { &id });
        if let Some(parent) = span.parent {
            message.bytes(2, &parent.0.to_be_bytes());
        }
        message.bytes(3, &span.id.0.to_be_bytes());
        message.number(4, if finished.direction == Direction::Outbound { 1 } else { 2 });
        message.bytes(5, String::from_utf8_lossy(&name(finished)).as_bytes());
        message.fixed64(6, finished.start);
        message.number(7, finished.duration().max(1));
        message.message(8, |local| {
            local.bytes(1, settings.service.as_bytes());
            match finished.record.downstream_local.ip() {
                std::net::IpAddr::V4(ip) => local.bytes(2, &ip.octets()),
                std::net::IpAddr::V6(ip) => local.bytes(3, &ip.octets()),
            }
            local.number(4, finished.record.downstream_local.port().into());
        });
        facts::tell(finished, &settings.node_id, &mut |(name, value)| {
            message.message(11, |pair| {
                pair.bytes(1, name.as_bytes());
                pair.bytes(2, value.as_bytes());
            });
        });
    });
}
