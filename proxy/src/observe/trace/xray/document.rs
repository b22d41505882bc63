//! Segment documents. Their shape is what App Mesh's Envoy sent: one segment per hop and no subsegments, so that
//! service maps, groups and filters stay as they are. [`rich`] adds to it. Source: AWS X-Ray "Segment documents".

mod rich;

use smallvec::SmallVec;

use super::{MAX_DOCUMENT, Settings};
use crate::base::error::ResponseFlags;
use crate::config::listener::Direction;
use crate::http::header_id::HeaderId;
use crate::observe::format::Out;
use crate::observe::platform::Platform;
use crate::observe::trace::json::Object;
use crate::observe::trace::span::Finished;

/// Longest text in a document, bytes; annotations may have more.
const MAX_TEXT: usize = 250;
const MAX_ANNOTATION: usize = 1000;
/// X-Ray indexes no more annotations than these.
const MAX_ANNOTATIONS: usize = 50;
/// What we say ourselves at most.
const OWN_ANNOTATIONS: usize = 16;

/// Appends the segment of one exchange. One that is too long leaves out what others added to it, and explanations;
/// false: even so it does not fit.
pub fn encode(settings: &Settings, place: &Platform, finished: &Finished<'_>, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    write(settings, place, finished, false, out);
    if out.len() - start > MAX_DOCUMENT {
        out.truncate(start);
        write(settings, place, &Finished { tags: &[], route: None, ..*finished }, true, out);
    }
    out.len() - start <= MAX_DOCUMENT
}

fn write(settings: &Settings, place: &Platform, finished: &Finished<'_>, lean: bool, out: &mut Vec<u8>) {
    let span = finished.span;
    let mut segment = Object::begin(out);
    segment.text("name", settings.name.as_bytes(), usize::MAX);
    segment.text("id", &span.id.hex(), MAX_TEXT);
    segment.text("trace_id", &span.trace_id.xray(), MAX_TEXT);
    if let Some(parent) = span.parent {
        segment.text("parent_id", &parent.hex(), MAX_TEXT);
    }
    segment.seconds("start_time", finished.start);
    segment.seconds("end_time", finished.end);
    segment.text("origin", settings.origin.as_bytes(), MAX_TEXT);
    match settings.rich {
        true => rich::aws(settings, place, &mut segment),
        false => segment.raw("aws", settings.aws.as_bytes()),
    }
    let outcome = finished.outcome();
    segment.flag("error", outcome.error);
    segment.flag("fault", outcome.fault);
    segment.flag("throttle", outcome.throttle);
    http(settings, finished, &mut segment);
    annotations(settings, finished, &mut segment);
    if settings.rich && !lean {
        rich::add(finished, &mut segment);
    }
    rich::attempts(settings, finished, lean, &mut segment);
    segment.end();
}

fn http(settings: &Settings, finished: &Finished<'_>, segment: &mut Object<'_>) {
    let (head, record) = (finished.head, finished.record);
    let mut http = segment.object("http");
    let mut request = http.object("request");
    request.text("method", head.method_text(), MAX_TEXT);
    // Envoy told the query, which may hold what is nobody's business; X-Ray's SDKs do not.
    let path = if settings.rich { rich::without_query(finished.path()) } else { finished.path() };
    request.parts("url", &[head.scheme().as_bytes(), b"://", head.authority(), path], MAX_TEXT);
    request.text("user_agent", head.block.get(HeaderId::UserAgent).unwrap_or_default(), MAX_TEXT);
    match head.block.get(HeaderId::ForwardedFor) {
        Some(forwarded) => {
            let first = forwarded.split(|byte| *byte == b',').next().unwrap_or_default();
            request.text("client_ip", first.trim_ascii(), MAX_TEXT);
            request.flag("x_forwarded_for", true);
        }
        None => {
            request.written("client_ip", MAX_TEXT, |out| {
                out.display(record.downstream_direct_remote.ip().to_canonical());
                true
            });
        }
    }
    request.end();
    if record.status > 0 {
        let mut response = http.object("response");
        response.number("status", record.status.into());
        response.number("content_length", record.bytes_sent);
        response.end();
    }
    http.end();
}

/// Annotations, each name once. As with Envoy's tracer what was said first stays: a tag takes no place of ours, nor one
/// of another tag whose name is the same in the alphabet of annotations.
struct Annotations<'a, 'o> {
    list: Object<'o>,
    said: SmallVec<[&'a str; OWN_ANNOTATIONS]>,
}

impl<'a> Annotations<'a, '_> {
    fn text(&mut self, name: &'a str, value: &[u8]) {
        if !value.is_empty() {
            self.list.text(name, value, MAX_ANNOTATION);
            self.said.push(name);
        }
    }

    fn number(&mut self, name: &'a str, value: u64) {
        self.text(name, itoa::Buffer::new().format(value).as_bytes());
    }

    fn written(&mut self, name: &'a str, write: impl FnOnce(&mut Out<'_>) -> bool) {
        if !self.said.contains(&name) && self.list.written(name, MAX_ANNOTATION, write) {
            self.said.push(name);
        }
    }
}

/// Envoy's tags, in the alphabet of annotations.
fn annotations(settings: &Settings, finished: &Finished<'_>, segment: &mut Object<'_>) {
    let (head, record) = (finished.head, finished.record);
    let header = |id| head.block.get(id).unwrap_or_default();
    let mut list = Annotations { list: segment.object("annotations"), said: SmallVec::new() };
    list.text("direction", direction(finished.direction).as_bytes());
    list.text("component", b"proxy");
    list.text("node_id", settings.node_id.as_bytes());
    list.text("guid_x_request_id", header(HeaderId::RequestId));
    list.text("http_protocol", head.version.as_str().as_bytes());
    list.number("request_size", record.bytes_received);
    list.written("response_flags", |out| flags(record.flags, out));
    list.text(
        "downstream_cluster",
        head.block.get_by_name(b"x-envoy-downstream-service-cluster").unwrap_or_default(),
    );
    list.text("upstream_cluster", record.cluster.as_bytes());
    list.text("upstream_cluster_name", record.cluster.as_bytes());
    if let Some(code) = finished.grpc_status() {
        list.number("grpc_status_code", code);
    }
    if settings.rich {
        list.text("cluster", record.cluster.as_bytes());
        list.text("route", record.route_name.as_bytes());
    }
    if record.attempts > 1 {
        list.list.number("attempts", record.attempts.into());
        list.said.push("attempts");
    }
    for tag in finished.all_tags().take(MAX_ANNOTATIONS - OWN_ANNOTATIONS) {
        list.written(&tag.key, |out| tag.write(finished.record, out));
    }
    list.list.end();
}

/// Short names, with commas; false when there is none.
fn flags(flags: ResponseFlags, out: &mut Out<'_>) -> bool {
    for (i, (short, _)) in flags.names().enumerate() {
        out.plain(if i > 0 { b"," } else { b"" });
        out.plain(short.as_bytes());
    }
    flags != ResponseFlags::NONE
}

/// What dashboards filter by.
fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Outbound => "egress",
        Direction::Inbound | Direction::Unspecified => "ingress",
    }
}

#[cfg(test)]
mod tests;
