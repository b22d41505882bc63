//! OpenTelemetry spans. Names follow the semantic conventions, so that a collector's X-Ray exporter makes the same map
//! of them; Envoy's own tags are there as well. Source: `opentelemetry.proto.trace.v1`, semantic conventions for HTTP.

use super::Settings;
use crate::config::listener::Direction;
use crate::http::header_id::HeaderId;
use crate::observe::protobuf::Message;
use crate::observe::trace::attempt::AttemptSpan;
use crate::observe::trace::facts;
use crate::observe::trace::id::SpanId;
use crate::observe::trace::span::{Finished, Outcome};

/// `SpanKind`.
const SERVER: u64 = 2;
const CLIENT: u64 = 3;
/// `StatusCode`.
const ERROR: u64 = 2;
/// Field of spans in `ScopeSpans`.
const SPANS: u32 = 2;
/// Longest name and text, bytes.
const MAX_TEXT: usize = 1000;

/// Appends `ScopeSpans.spans`: the exchange and its tries.
pub(super) fn spans(settings: &Settings, finished: &Finished<'_>, out: &mut Vec<u8>) {
    let span = finished.span;
    let mut list = Message(out);
    list.message(SPANS, |message| {
        let name = finished.operation();
        let name = name.as_deref().unwrap_or(facts::operation(finished.direction));
        begin(message, finished, span.id, span.parent, name);
        // A hop that tells of its tries serves its caller; the tries are the calls. Envoy's single span of an outgoing
        // hop is the call itself.
        let call = finished.direction == Direction::Outbound && !settings.attempts;
        message.number(6, if call { CLIENT } else { SERVER });
        times(message, finished.start, finished.end);
        attributes(settings, finished, message);
        if call {
            text(message, "peer.service", finished.record.cluster.as_bytes());
        }
        status(message, finished.outcome(), finished.record.details);
        flags(message);
    });
    for attempt in &span.attempts {
        list.message(SPANS, |message| self::attempt(finished, attempt, message));
    }
}

/// What every span of the trace begins with.
fn begin(message: &mut Message<'_>, finished: &Finished<'_>, id: SpanId, parent: Option<SpanId>, name: &str) {
    message.bytes(1, &finished.span.trace_id.0.to_be_bytes());
    message.bytes(2, &id.0.to_be_bytes());
    if let Some(parent) = parent {
        message.bytes(4, &parent.0.to_be_bytes());
    }
    message.bytes(5, name.as_bytes());
}

/// Microseconds in, nanoseconds out.
fn times(message: &mut Message<'_>, start: u64, end: u64) {
    message.fixed64(7, start.saturating_mul(1000));
    message.fixed64(8, end.saturating_mul(1000));
}

/// Recorded, and the context says so.
fn flags(message: &mut Message<'_>) {
    message.fixed32(16, 1);
}

/// An attribute with text; nothing for an empty one.
fn text(message: &mut Message<'_>, key: &str, value: &[u8]) {
    let value = &value[..value.len().min(MAX_TEXT)];
    if !value.is_empty() {
        message.message(9, |pair| {
            pair.bytes(1, key.as_bytes());
            pair.message(2, |any| any.bytes(1, String::from_utf8_lossy(value).as_bytes()));
        });
    }
}

fn number(message: &mut Message<'_>, key: &str, value: u64) {
    message.message(9, |pair| {
        pair.bytes(1, key.as_bytes());
        pair.message(2, |any| any.number(3, value));
    });
}

fn attributes(settings: &Settings, finished: &Finished<'_>, message: &mut Message<'_>) {
    let (head, record) = (finished.head, finished.record);
    text(message, "http.request.method", head.method_text());
    text(message, "url.scheme", head.scheme().as_bytes());
    text(message, "url.path", finished.path().split(|byte| *byte == b'?').next().unwrap_or_default());
    text(message, "server.address", head.authority());
    text(message, "user_agent.original", head.block.get(HeaderId::UserAgent).unwrap_or_default());
    text(message, "client.address", record.downstream_remote.ip().to_canonical().to_string().as_bytes());
    let peer = record.downstream_direct_remote.ip().to_canonical();
    text(message, "network.peer.address", peer.to_string().as_bytes());
    if record.status > 0 {
        number(message, "http.response.status_code", record.status.into());
    }
    facts::tell(finished, &settings.node_id, &mut |(name, value)| text(message, name, value.as_bytes()));
}

/// Faults are errors; a caller's mistake is none of ours.
fn status(message: &mut Message<'_>, outcome: Outcome, why: &str) {
    if outcome.fault {
        message.message(15, |status| {
            status.bytes(2, why.as_bytes());
            status.number(3, ERROR);
        });
    }
}

/// A try is a call to somebody.
fn attempt(finished: &Finished<'_>, attempt: &AttemptSpan, message: &mut Message<'_>) {
    let head = finished.head;
    begin(message, finished, attempt.id, Some(finished.span.id), "try");
    message.number(6, CLIENT);
    let (start, end) = attempt.times(finished);
    times(message, start, end);
    text(message, "peer.service", finished.callee().as_bytes());
    text(message, "http.request.method", head.method_text());
    text(message, "url.scheme", head.scheme().as_bytes());
    text(message, "url.path", head.path_only());
    text(message, "server.address", head.authority());
    text(message, "upstream_cluster", finished.record.cluster.as_bytes());
    text(message, "network.peer.address", attempt.host.display.as_bytes());
    if attempt.status > 0 {
        number(message, "http.response.status_code", attempt.status.into());
    }
    status(message, attempt.outcome(), attempt.failure.as_deref().unwrap_or_default());
    flags(message);
}

/// An `ExportTraceServiceRequest` around many.
pub(super) fn frame<'d>(settings: &Settings, documents: impl Iterator<Item = &'d [u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    Message(&mut out).message(1, |resource_spans| {
        resource_spans.message(1, |resource| {
            for (key, value) in [
                ("service.name", &*settings.service),
                ("telemetry.sdk.name", "outrigger"),
                ("telemetry.sdk.language", "rust"),
                ("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
            ] {
                resource.message(1, |pair| {
                    pair.bytes(1, key.as_bytes());
                    pair.message(2, |any| any.bytes(1, value.as_bytes()));
                });
            }
        });
        resource_spans.message(2, |scope_spans| {
            scope_spans.message(1, |scope| {
                scope.bytes(1, b"outrigger");
                scope.bytes(2, env!("CARGO_PKG_VERSION").as_bytes());
            });
            documents.for_each(|document| scope_spans.0.extend_from_slice(document));
        });
    });
    out
}
