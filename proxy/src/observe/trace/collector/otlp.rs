//! OpenTelemetry spans. Names and types follow the semantic conventions, so that a collector's X-Ray exporter makes the
//! same map of them; what those have no name for is called as Envoy calls it. Older names (`http.*`) are not told
//! beside them: exporters prefer those, and Envoy has them as text. Queries stay here. Source:
//! `opentelemetry.proto.trace.v1`, semantic conventions for HTTP, of the collector `awsxrayexporter`.

mod resource;

use super::Settings;
use crate::config::cluster::HostAddress;
use crate::config::listener::Direction;
use crate::http::head::RequestHead;
use crate::http::header_id::HeaderId;
use crate::observe::platform::Platform;
use crate::observe::protobuf::Message;
use crate::observe::trace::attempt::AttemptSpan;
use crate::observe::trace::facts::{self, Tagged};
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
/// Which attributes X-Ray is to index: what segments have as annotations.
const ANNOTATIONS: &str = "aws.xray.annotations";
/// Attributes of ours that X-Ray indexes.
const INDEXED: [&str; 5] =
    ["direction", "response_flags", "upstream_cluster", "downstream_cluster", "grpc.status_code"];
/// Custom tags that it indexes at most: it keeps fifty of a trace.
const MAX_INDEXED_TAGS: usize = 34;

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
        let tagged = Tagged::of(finished);
        let into = &mut Attributes { message, tagged: &tagged };
        attributes(settings, finished, into);
        if call {
            self::call(settings, finished, into);
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

/// Writes attributes of a span, whose names must be unique.
struct Attributes<'a, 'o> {
    message: &'a mut Message<'o>,
    /// What tags say comes in place of what is told anyway.
    tagged: &'a Tagged<'a>,
}

impl Attributes<'_, '_> {
    fn pair(&mut self, key: &str, value: impl FnOnce(&mut Message<'_>)) {
        if !self.tagged.has(key) {
            write(self.message, key, value);
        }
    }

    /// Text; nothing for an empty one.
    fn text(&mut self, key: &str, value: &[u8]) {
        let value = &value[..value.len().min(MAX_TEXT)];
        if !value.is_empty() {
            self.pair(key, |any| any.bytes(1, String::from_utf8_lossy(value).as_bytes()));
        }
    }

    fn number(&mut self, key: &str, value: u64) {
        self.pair(key, |any| any.number(3, value));
    }

    /// Several texts.
    fn texts<'t>(&mut self, key: &str, values: impl Iterator<Item = &'t str>) {
        self.pair(key, |any| {
            any.message(5, |list| {
                values.for_each(|value| list.message(1, |any| any.bytes(1, value.as_bytes())))
            });
        });
    }
}

fn write(message: &mut Message<'_>, key: &str, value: impl FnOnce(&mut Message<'_>)) {
    message.message(9, |pair| {
        pair.bytes(1, key.as_bytes());
        pair.message(2, value);
    });
}

fn attributes(settings: &Settings, finished: &Finished<'_>, into: &mut Attributes<'_, '_>) {
    let (head, record) = (finished.head, finished.record);
    request(head, without_query(finished.path()), into);
    into.text("network.protocol.name", b"http");
    let version = head.version.as_str();
    into.text("network.protocol.version", version.strip_prefix("HTTP/").unwrap_or(version).as_bytes());
    into.text("user_agent.original", head.block.get(HeaderId::UserAgent).unwrap_or_default());
    into.text("client.address", record.downstream_remote.ip().to_canonical().to_string().as_bytes());
    let peer = record.downstream_direct_remote.ip().to_canonical();
    into.text("network.peer.address", peer.to_string().as_bytes());
    if record.status > 0 {
        into.number("http.response.status_code", record.status.into());
    }
    into.text("direction", facts::operation(finished.direction).as_bytes());
    let Attributes { message, tagged } = into;
    facts::besides(finished, tagged, &settings.node_id, &mut |(name, value)| {
        write(message, name, |any| any.bytes(1, value.as_bytes()));
    });
    let tags = tagged.names().filter(|name| !INDEXED.contains(name)).take(MAX_INDEXED_TAGS);
    into.texts(ANNOTATIONS, INDEXED.into_iter().chain(tags));
}

fn without_query(path: &[u8]) -> &[u8] {
    path.split(|byte| *byte == b'?').next().unwrap_or_default()
}

/// What was asked of whom.
fn request(head: &RequestHead, path: &[u8], into: &mut Attributes<'_, '_>) {
    into.text("http.request.method", head.method_text());
    into.text("url.scheme", head.scheme().as_bytes());
    into.text("url.path", path);
    let (host, port) = host_and_port(head.authority());
    into.text("server.address", host);
    if let Some(port) = port {
        into.number("server.port", port.into());
    }
}

/// The parts of an authority; IPv6 addresses keep their brackets.
fn host_and_port(authority: &[u8]) -> (&[u8], Option<u16>) {
    let parts = authority.iter().rposition(|byte| *byte == b':').map(|at| authority.split_at(at));
    let port = |text: &[u8]| std::str::from_utf8(text.get(1..)?).ok()?.parse().ok();
    match parts.map(|(host, rest)| (host, port(rest))) {
        Some((host, port @ Some(_))) => (host, port),
        _ => (authority, None),
    }
}

/// A call tells its whole address, without the query.
fn full_url(head: &RequestHead, path: &[u8], into: &mut Attributes<'_, '_>) {
    let url = [head.scheme().as_bytes(), b"://", head.authority(), path].concat();
    into.text("url.full", &url);
}

/// Envoy's single span of an outgoing hop. One that begins a trace has nobody to be a part of: the exporter makes a
/// segment of ours around it when it is told so.
fn call(settings: &Settings, finished: &Finished<'_>, into: &mut Attributes<'_, '_>) {
    full_url(finished.head, without_query(finished.path()), into);
    into.text("peer.service", finished.record.cluster.as_bytes());
    if finished.span.parent.is_none() {
        into.text("aws.span.kind", b"LOCAL_ROOT");
        into.text("aws.local.service", settings.service.as_bytes());
        into.text("aws.remote.service", finished.record.cluster.as_bytes());
    }
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
    let tagged = Tagged::default();
    let into = &mut Attributes { message, tagged: &tagged };
    into.text("peer.service", finished.callee().as_bytes());
    request(head, head.path_only(), into);
    full_url(head, head.path_only(), into);
    into.text("upstream_cluster", finished.record.cluster.as_bytes());
    match &attempt.host.address {
        HostAddress::Ip(address) => {
            into.text("network.peer.address", address.ip().to_canonical().to_string().as_bytes());
            into.number("network.peer.port", address.port().into());
        }
        HostAddress::Pipe(path) => {
            into.text("network.peer.address", path.as_os_str().as_encoded_bytes());
        }
    }
    if attempt.status > 0 {
        into.number("http.response.status_code", attempt.status.into());
    }
    if let Some(code) = attempt.grpc_status(finished) {
        into.text("grpc.status_code", itoa::Buffer::new().format(code).as_bytes());
    }
    status(message, attempt.outcome(finished), attempt.failure.as_deref().unwrap_or_default());
    flags(message);
}

/// An `ExportTraceServiceRequest` around many.
pub(super) fn frame<'d>(
    settings: &Settings,
    place: &Platform,
    documents: impl Iterator<Item = &'d [u8]>,
) -> Vec<u8> {
    let mut out = Vec::new();
    Message(&mut out).message(1, |resource_spans| {
        resource_spans.message(1, |resource| {
            for (key, value) in resource::attributes(settings, place) {
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
