//! B3: one header `b3`, or several `x-b3-...`. We write the several, and the one where it came.
//! Source: OpenZipkin "b3-propagation".

use smallvec::SmallVec;

use super::{Incoming, Outgoing};
use crate::http::head::HeaderBlock;
use crate::observe::trace::id::{SpanId, TraceId, parse_hex};

const SINGLE: &[u8] = b"b3";
const TRACE: &[u8] = b"x-b3-traceid";
const SPAN: &[u8] = b"x-b3-spanid";
const PARENT: &[u8] = b"x-b3-parentspanid";
const SAMPLED: &[u8] = b"x-b3-sampled";
const FLAGS: &[u8] = b"x-b3-flags";

pub(super) fn extract(block: &HeaderBlock) -> Option<Incoming> {
    block.get_by_name(SINGLE).and_then(single).or_else(|| several(block))
}

/// `<trace>-<span>[-<decision>[-<parent>]]`, or a decision alone.
fn single(value: &[u8]) -> Option<Incoming> {
    let mut parts = value.trim_ascii().split(|byte| *byte == b'-');
    let first = parts.next()?;
    let Some(span) = parts.next() else {
        let sampled = Some(decision(first)?);
        return Some(Incoming { trace_id: None, parent: None, sampled, asks: false });
    };
    let sampled = parts.next().and_then(decision);
    Some(Incoming { trace_id: Some(trace(first)?), parent: Some(SpanId::parse(span)?), sampled, asks: false })
}

fn several(block: &HeaderBlock) -> Option<Incoming> {
    let debug = block.get_by_name(FLAGS) == Some(b"1");
    let sampled = if debug { Some(true) } else { block.get_by_name(SAMPLED).and_then(decision) };
    let trace_id = block.get_by_name(TRACE).and_then(trace);
    if trace_id.is_none() && sampled.is_none() {
        return None;
    }
    let parent = block.get_by_name(SPAN).and_then(SpanId::parse).filter(|_| trace_id.is_some());
    Some(Incoming { trace_id, parent, sampled, asks: false })
}

/// 16 or 32 hexadecimal digits.
fn trace(text: &[u8]) -> Option<TraceId> {
    let id = parse_hex(text).filter(|id| *id != 0 && matches!(text.len(), 16 | 32))?;
    Some(TraceId(id))
}

fn decision(text: &[u8]) -> Option<bool> {
    match text {
        b"1" | b"d" | b"true" => Some(true),
        b"0" | b"false" => Some(false),
        _ => None,
    }
}

pub(super) fn inject(outgoing: &Outgoing, block: &mut HeaderBlock) {
    let Some(span) = outgoing.parent else { return };
    let hex = outgoing.trace_id.hex();
    // What came short goes on short: others know it by that.
    let trace = if outgoing.trace_id.0 >> 64 == 0 { &hex[16..] } else { &hex[..] };
    let sampled: &[u8] = if outgoing.sampled { b"1" } else { b"0" };
    block.set(TRACE, trace);
    block.set(SPAN, &span.hex());
    block.set(SAMPLED, sampled);
    block.remove_named(PARENT);
    if !outgoing.sampled {
        // To debug is to record.
        block.remove_named(FLAGS);
    }
    if let Some(caller) = outgoing.caller {
        block.append(PARENT, &caller.hex());
    }
    if block.get_by_name(SINGLE).is_some() {
        let mut text: SmallVec<[u8; 64]> = SmallVec::new();
        for part in [trace, b"-", &span.hex(), b"-", sampled] {
            text.extend_from_slice(part);
        }
        block.set(SINGLE, &text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4efaaf4d1e8720b39541901950019ee5";

    fn block(headers: &[(&str, &str)]) -> HeaderBlock {
        let mut block = HeaderBlock::default();
        headers.iter().for_each(|(name, value)| block.append(name.as_bytes(), value.as_bytes()));
        block
    }

    #[test]
    fn both_forms_are_read() {
        let whole = Incoming {
            trace_id: TraceId::parse_hex(ID.as_bytes()),
            parent: SpanId::new(0xab),
            sampled: Some(true),
            asks: false,
        };
        let span = "00000000000000ab";
        assert_eq!(extract(&block(&[("b3", &format!("{ID}-{span}-1-0000000000000001"))])), Some(whole));
        assert_eq!(extract(&block(&[("b3", &format!("{ID}-{span}-d"))])), Some(whole));
        let several =
            [("x-b3-traceid", ID), ("x-b3-spanid", span), ("x-b3-flags", "1"), ("x-b3-sampled", "0")];
        assert_eq!(extract(&block(&several)), Some(whole));
        let undecided = extract(&block(&several[..2])).unwrap();
        assert_eq!((undecided.trace_id, undecided.sampled), (whole.trace_id, None));
        let short = extract(&block(&[("b3", "9541901950019ee5-00000000000000ab")])).unwrap();
        assert_eq!(short.trace_id, Some(TraceId(0x9541_9019_5001_9ee5)));
        for only in [("b3", "0"), ("x-b3-sampled", "false")] {
            let incoming = extract(&block(&[only])).unwrap();
            assert_eq!((incoming.trace_id, incoming.sampled), (None, Some(false)));
        }
        for bad in ["", "x", "1-2-3", &format!("{ID}-"), &format!("-{span}"), "----"] {
            assert_eq!(extract(&block(&[("b3", bad)])), None, "{bad}");
        }
    }

    #[test]
    fn what_came_is_replaced() {
        let outgoing = Outgoing {
            trace_id: TraceId(0x77),
            parent: SpanId::new(0xcd),
            caller: SpanId::new(0xab),
            sampled: false,
        };
        let mut block = block(&[("b3", "1"), ("x-b3-traceid", ID), ("x-b3-parentspanid", ID)]);
        inject(&outgoing, &mut block);
        let get =
            |name: &str| String::from_utf8(block.get_by_name(name.as_bytes()).unwrap().to_vec()).unwrap();
        assert_eq!(get("b3"), "0000000000000077-00000000000000cd-0");
        assert_eq!(
            (get("x-b3-traceid"), get("x-b3-spanid")),
            ("0000000000000077".into(), "00000000000000cd".into())
        );
        assert_eq!((get("x-b3-sampled"), get("x-b3-parentspanid")), ("0".into(), "00000000000000ab".into()));
    }
}
