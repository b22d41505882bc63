//! What Envoy tells of an exchange, as names and values. X-Ray has words of its own for most of it.
//! Source: Envoy "Tracing", `http_tracer_impl`.

use std::ops::Range;

use super::span::Finished;
use crate::config::listener::Direction;
use crate::http::header_id::HeaderId;
use crate::observe::format::{Escape, Out};

/// Longest value, bytes.
const MAX_VALUE: usize = 1000;

/// A name and its value.
pub type Fact<'a> = (&'a str, &'a str);

/// What the tags of an exchange say: each name once, as the last of them with a value has it. What is told anyway under
/// such a name gives way, too, as with Envoy's tracers, which keep the last value of a name.
#[derive(Debug, Default)]
pub struct Tagged<'a> {
    text: Vec<u8>,
    tags: Vec<(&'a str, Range<usize>)>,
}

impl<'a> Tagged<'a> {
    /// Of an exchange.
    pub fn of(finished: &Finished<'a>) -> Self {
        let mut tagged = Self::default();
        for tag in finished.all_tags() {
            let start = tagged.text.len();
            if tag.write(finished.record, &mut Out::new(&mut tagged.text, Escape::Header, MAX_VALUE)) {
                tagged.tags.retain(|(name, _)| **name != *tag.name);
                tagged.tags.push((&tag.name, start..tagged.text.len()));
            } else {
                tagged.text.truncate(start);
            }
        }
        tagged
    }

    /// Whether there is one of this name.
    pub fn has(&self, name: &str) -> bool {
        self.tags.iter().any(|(known, _)| *known == name)
    }

    /// Names.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.tags.iter().map(|(name, _)| *name)
    }
}

/// Collects facts and hands them on, one by one.
struct Teller<'t> {
    text: Vec<u8>,
    tagged: &'t Tagged<'t>,
    tell: &'t mut dyn FnMut(Fact<'_>),
}

impl Teller<'_> {
    fn bytes(&mut self, name: &str, value: &[u8]) {
        let value = &value[..value.len().min(MAX_VALUE)];
        if !value.is_empty() && !self.tagged.has(name) {
            (self.tell)((name, &String::from_utf8_lossy(value)));
        }
    }

    fn number(&mut self, name: &str, value: u64) {
        self.bytes(name, itoa::Buffer::new().format(value).as_bytes());
    }

    fn written(&mut self, name: &str, write: impl FnOnce(&mut Out<'_>) -> bool) {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        if write(&mut Out::new(&mut text, Escape::Header, MAX_VALUE)) {
            self.bytes(name, &text);
        }
        self.text = text;
    }
}

/// Tells every fact.
pub fn tell(finished: &Finished<'_>, node_id: &str, tell: &mut dyn FnMut(Fact<'_>)) {
    let tagged = Tagged::of(finished);
    http(finished, &tagged, tell);
    besides(finished, &tagged, node_id, tell);
}

/// What OpenTelemetry has names and types of its own for.
fn http(finished: &Finished<'_>, tagged: &Tagged<'_>, tell: &mut dyn FnMut(Fact<'_>)) {
    let (head, record) = (finished.head, finished.record);
    let mut teller = Teller { text: Vec::new(), tagged, tell };
    teller.bytes("http.method", head.method_text());
    let mut url = Vec::new();
    for part in [head.scheme().as_bytes(), b"://", head.authority(), finished.path()] {
        url.extend_from_slice(part);
    }
    teller.bytes("http.url", &url);
    teller.bytes("http.protocol", head.version.as_str().as_bytes());
    teller.bytes("user_agent", head.block.get(HeaderId::UserAgent).unwrap_or_default());
    teller.written("peer.address", |out| {
        out.display(record.downstream_direct_remote.ip().to_canonical());
        true
    });
    teller.number("http.status_code", record.status.into());
}

/// Everything else.
pub fn besides(finished: &Finished<'_>, tagged: &Tagged<'_>, node_id: &str, tell: &mut dyn FnMut(Fact<'_>)) {
    let (head, record) = (finished.head, finished.record);
    let mut teller = Teller { text: Vec::new(), tagged, tell };
    teller.bytes("component", b"proxy");
    teller.bytes("node_id", node_id.as_bytes());
    teller.bytes("guid:x-request-id", head.block.get(HeaderId::RequestId).unwrap_or_default());
    teller.bytes(
        "downstream_cluster",
        head.block.get_by_name(b"x-envoy-downstream-service-cluster").unwrap_or(b"-"),
    );
    teller.number("request_size", record.bytes_received);
    teller.number("response_size", record.bytes_sent);
    teller.written("response_flags", |out| {
        for (i, (short, _)) in record.flags.names().enumerate() {
            out.plain(if i > 0 { b"," } else { b"" });
            out.plain(short.as_bytes());
        }
        if record.flags.names().next().is_none() {
            out.plain(b"-");
        }
        true
    });
    teller.bytes("upstream_cluster", record.cluster.as_bytes());
    teller.bytes("upstream_cluster.name", record.cluster.as_bytes());
    if let Some(code) = finished.grpc_status() {
        teller.number("grpc.status_code", code);
    }
    if finished.outcome().fault {
        teller.bytes("error", b"true");
    }
    for (name, value) in &tagged.tags {
        (teller.tell)((name, &String::from_utf8_lossy(&tagged.text[value.clone()])));
    }
}

/// `ingress` or `egress`: what Envoy calls the operation.
pub fn operation(direction: Direction) -> &'static str {
    match direction {
        Direction::Outbound => "egress",
        Direction::Inbound | Direction::Unspecified => "ingress",
    }
}
