//! `x-datadog-...`: decimal 64-bit identifiers, the upper half of the trace's in `x-datadog-tags`.
//! Source: Datadog "Trace context propagation".

use super::{Incoming, Outgoing};
use crate::http::head::HeaderBlock;
use crate::observe::trace::id::{SpanId, TraceId, parse_hex};

const TRACE: &[u8] = b"x-datadog-trace-id";
const PARENT: &[u8] = b"x-datadog-parent-id";
const PRIORITY: &[u8] = b"x-datadog-sampling-priority";
const TAGS: &[u8] = b"x-datadog-tags";
const UPPER: &[u8] = b"_dd.p.tid=";

fn number<T: std::str::FromStr>(block: &HeaderBlock, name: &[u8]) -> Option<T> {
    std::str::from_utf8(block.get_by_name(name)?).ok()?.trim().parse().ok()
}

pub(super) fn extract(block: &HeaderBlock) -> Option<Incoming> {
    let lower = number::<u64>(block, TRACE).filter(|id| *id != 0)?;
    let tags = block.get_by_name(TAGS).unwrap_or_default();
    let upper = tags.split(|byte| *byte == b',').find_map(|tag| tag.strip_prefix(UPPER));
    let upper = upper.filter(|upper| upper.len() == 16).and_then(parse_hex).unwrap_or(0);
    Some(Incoming {
        trace_id: Some(TraceId(upper << 64 | u128::from(lower))),
        parent: number(block, PARENT).and_then(SpanId::new),
        sampled: number::<i32>(block, PRIORITY).map(|priority| priority > 0),
        asks: false,
    })
}

pub(super) fn inject(outgoing: &Outgoing, block: &mut HeaderBlock) {
    let Some(parent) = outgoing.parent else { return };
    let came = number::<i32>(block, PRIORITY).filter(|priority| (*priority > 0) == outgoing.sampled);
    let mut text = itoa::Buffer::new();
    block.set(TRACE, text.format(outgoing.trace_id.0 as u64).as_bytes());
    block.set(PARENT, text.format(parent.0).as_bytes());
    block.set(PRIORITY, text.format(came.unwrap_or(outgoing.sampled.into())).as_bytes());
    upper_half(outgoing, block);
}

/// Says the upper half of the trace's identifier among the tags, in place of any other.
fn upper_half(outgoing: &Outgoing, block: &mut HeaderBlock) {
    let told = block.get_by_name(TAGS).unwrap_or_default();
    let others = told.split(|byte| *byte == b',').filter(|tag| !tag.is_empty() && !tag.starts_with(UPPER));
    let mut tags: Vec<u8> = others.collect::<Vec<_>>().join(&b',');
    if outgoing.trace_id.0 >> 64 != 0 {
        if !tags.is_empty() {
            tags.push(b',');
        }
        tags.extend_from_slice(UPPER);
        tags.extend_from_slice(&outgoing.trace_id.hex()[..16]);
    }
    match tags.is_empty() {
        true => block.remove_named(TAGS),
        false => block.set(TAGS, &tags),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_what_it_writes() {
        let trace_id = TraceId::parse_hex(b"4efaaf4d1e8720b39541901950019ee5").unwrap();
        for sampled in [true, false] {
            let mut block = HeaderBlock::default();
            block.append(TAGS, b"_dd.p.dm=-1");
            block.append(PRIORITY, b"2");
            inject(&Outgoing { trace_id, parent: SpanId::new(9), caller: None, sampled }, &mut block);
            let incoming = extract(&block).unwrap();
            assert_eq!((incoming.trace_id, incoming.parent), (Some(trace_id), SpanId::new(9)));
            assert_eq!(incoming.sampled, Some(sampled));
            assert_eq!(block.get_by_name(PRIORITY), Some(if sampled { &b"2"[..] } else { b"0" }));
            assert!(block.get_by_name(TAGS).unwrap().starts_with(b"_dd.p.dm=-1,_dd.p.tid=4efaaf4d1e8720b3"));
        }
        for bad in ["", "0", "-1", "x", "99999999999999999999999"] {
            let mut block = HeaderBlock::default();
            block.append(TRACE, bad.as_bytes());
            assert_eq!(extract(&block), None, "{bad}");
        }
    }
}
