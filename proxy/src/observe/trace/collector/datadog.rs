//! Traces for Datadog's agent: MessagePack, version 0.4. Source: Datadog "Agent trace API".

use super::Settings;
use crate::observe::trace::facts;
use crate::observe::trace::span::Finished;

/// What Envoy calls its spans.
const OPERATION: &str = "envoy.proxy";

/// Where the upper half of a trace's identifier stands.
const HIGH_ID: &str = "_dd.p.tid";

/// Appends text.
fn text(out: &mut Vec<u8>, text: &str) {
    let text = &text.as_bytes()[..text.floor_char_boundary(u16::MAX.into())];
    match text.len() {
        length @ 0..32 => out.push(0xa0 | length as u8),
        length => {
            out.push(0xda);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
    }
    out.extend_from_slice(text);
}

/// Appends a key and a number.
fn number(out: &mut Vec<u8>, key: &str, number: u64) {
    text(out, key);
    out.push(0xcf);
    out.extend_from_slice(&number.to_be_bytes());
}

/// Appends a key and text.
fn pair(out: &mut Vec<u8>, key: &str, value: &str) {
    text(out, key);
    text(out, value);
}

/// Opens a map whose size is not known yet; says where the size goes.
fn open_map(out: &mut Vec<u8>) -> usize {
    out.extend_from_slice(&[0xde, 0, 0]);
    out.len() - 2
}

fn close_map(out: &mut [u8], at: usize, size: u16) {
    out[at..at + 2].copy_from_slice(&size.to_be_bytes());
}

/// Appends a trace of one span.
pub(super) fn trace(settings: &Settings, finished: &Finished<'_>, out: &mut Vec<u8>) {
    let span = finished.span;
    // A list of one span, a map of so many members.
    out.extend_from_slice(&[0x91, 0x8c]);
    pair(out, "service", &settings.service);
    pair(out, "name", OPERATION);
    let resource = finished.operation();
    pair(out, "resource", resource.as_deref().unwrap_or(facts::operation(finished.direction)));
    pair(out, "type", "web");
    number(out, "trace_id", span.trace_id.0 as u64);
    number(out, "span_id", span.id.0);
    number(out, "parent_id", span.parent.map_or(0, |parent| parent.0));
    number(out, "start", finished.start.saturating_mul(1000));
    number(out, "duration", finished.duration().saturating_mul(1000));
    number(out, "error", finished.outcome().fault.into());
    text(out, "meta");
    let (at, mut size) = (open_map(out), 1);
    let hex = span.trace_id.hex();
    pair(out, HIGH_ID, &String::from_utf8_lossy(&hex[..16]));
    facts::tell(finished, &settings.node_id, &mut |(name, value)| {
        if name != HIGH_ID {
            size += 1;
            pair(out, name, value);
        }
    });
    close_map(out, at, size);
    text(out, "metrics");
    let at = open_map(out);
    number(out, "_sampling_priority_v1", 1);
    close_map(out, at, 1);
}

/// The list around many.
pub(super) fn frame<'d>(documents: impl Iterator<Item = &'d [u8]>) -> Vec<u8> {
    let mut out = vec![0xdd, 0, 0, 0, 0];
    let mut count = 0_u32;
    for document in documents {
        count += 1;
        out.extend_from_slice(document);
    }
    out[1..5].copy_from_slice(&count.to_be_bytes());
    out
}
