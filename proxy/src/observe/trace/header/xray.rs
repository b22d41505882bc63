//! `X-Amzn-Trace-Id`: `Root=1-<8 hex>-<24 hex>;Parent=<16 hex>;Sampled=1|0|?` and fields of others.
//!
//! Keys are matched without regard to case and blanks are trimmed. `Self`, which a load balancer writes, ends
//! here; `Lineage` and every other field go on unchanged, as far as they fit. Source: AWS X-Ray "Tracing header".

use smallvec::SmallVec;

use super::{Incoming, Outgoing};
use crate::http::head::HeaderBlock;
use crate::http::header_id::HeaderId;
use crate::observe::trace::id::{SpanId, TraceId};

/// Longest value we send. What others put into the header beyond that is left out, field by field.
const MAX_VALUE: usize = 1024;
/// Fields looked at in one header.
const MAX_FIELDS: usize = 64;

/// Key and value of each field.
fn fields(value: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    value.split(|byte| *byte == b';').take(MAX_FIELDS).filter_map(|field| {
        let at = memchr::memchr(b'=', field)?;
        Some((field[..at].trim_ascii(), field[at + 1..].trim_ascii()))
    })
}

fn is(key: &[u8], name: &[u8]) -> bool {
    key.eq_ignore_ascii_case(name)
}

fn root(value: &[u8]) -> Option<TraceId> {
    fields(value).find(|(key, _)| is(key, b"root")).and_then(|(_, root)| TraceId::parse_xray(root))
}

/// The line that counts: the first with a valid root, else the first.
fn line(block: &HeaderBlock) -> Option<&[u8]> {
    let mut first = None;
    for field in block.fields().iter().filter(|field| field.id == HeaderId::AmznTraceId) {
        let value = block.bytes(field.value);
        if root(value).is_some() {
            return Some(value);
        }
        first = first.or(Some(value));
    }
    first
}

/// The context; `None` without a valid root, whatever else the header says.
pub(super) fn extract(block: &HeaderBlock) -> Option<Incoming> {
    let value = line(block)?;
    let mut incoming = Incoming { trace_id: Some(root(value)?), parent: None, sampled: None, asks: false };
    for (key, value) in fields(value) {
        if is(key, b"parent") {
            incoming.parent = incoming.parent.or_else(|| SpanId::parse(value));
        } else if is(key, b"sampled") {
            match value {
                b"1" => incoming.sampled = Some(true),
                b"0" => incoming.sampled = Some(false),
                b"?" => incoming.asks = true,
                _ => {}
            }
        }
    }
    Some(incoming)
}

/// Writes one header in place of all that came.
pub(super) fn inject(outgoing: &Outgoing, block: &mut HeaderBlock) {
    let mut text: SmallVec<[u8; 256]> = SmallVec::new();
    context(outgoing, &mut text);
    if let Some(value) = line(block) {
        for (key, value) in fields(value).filter(|(key, _)| is_foreign(key)) {
            if text.len() + key.len() + value.len() + 2 <= MAX_VALUE {
                for part in [b";", key, b"=", value] {
                    text.extend_from_slice(part);
                }
            }
        }
    }
    block.replace(HeaderId::AmznTraceId, &text);
}

/// Of another's making: `Lineage`, and keys of applications.
fn is_foreign(key: &[u8]) -> bool {
    !key.is_empty() && ![&b"root"[..], b"parent", b"sampled", b"self"].iter().any(|own| is(key, own))
}

fn context(outgoing: &Outgoing, text: &mut SmallVec<[u8; 256]>) {
    text.extend_from_slice(b"Root=");
    text.extend_from_slice(&outgoing.trace_id.xray());
    if let Some(parent) = outgoing.parent {
        text.extend_from_slice(b";Parent=");
        text.extend_from_slice(&parent.hex());
    }
    text.extend_from_slice(if outgoing.sampled { b";Sampled=1" } else { b";Sampled=0" });
}

/// The answer to `Sampled=?`: what we decided.
pub fn answer(trace_id: TraceId, sampled: bool) -> [u8; 50] {
    let mut text = *b"Root=1-00000000-000000000000000000000000;Sampled=0";
    text[5..40].copy_from_slice(&trace_id.xray());
    text[49] = b'0' + u8::from(sampled);
    text
}

#[cfg(test)]
mod tests;
