//! `traceparent`: `00-<32 hex>-<16 hex>-<2 hex>`. `tracestate` goes on as it is, as long as its trace does.
//! Source: W3C Trace Context.

use super::{Incoming, Outgoing};
use crate::http::head::HeaderBlock;
use crate::observe::trace::id::{SpanId, TraceId, parse_hex};

const NAME: &[u8] = b"traceparent";
/// Length of version 00; later versions may be longer.
const LEN: usize = 55;
const SAMPLED: u128 = 1;

pub(super) fn extract(block: &HeaderBlock) -> Option<Incoming> {
    let mut lines = block.fields_named(NAME);
    let value = block.bytes(lines.next()?.value);
    // Two of them are none.
    if lines.next().is_some() {
        return None;
    }
    read(value)
}

fn read(value: &[u8]) -> Option<Incoming> {
    let (version, rest) = (value.get(..2)?, value.get(LEN..)?);
    let known = version == b"00";
    if version == b"ff" || parse_hex(version).is_none() || known && !rest.is_empty() {
        return None;
    }
    if !rest.is_empty() && rest.first() != Some(&b'-') || [2, 35, 52].iter().any(|at| value[*at] != b'-') {
        return None;
    }
    let lower = |text: &[u8]| !text.iter().any(u8::is_ascii_uppercase);
    let flags = parse_hex(&value[53..LEN])?;
    Some(Incoming {
        trace_id: Some(TraceId::parse_hex(&value[3..35]).filter(|_| lower(&value[3..35]))?),
        parent: Some(SpanId::parse(&value[36..52]).filter(|_| lower(&value[36..52]))?),
        sampled: Some(flags & SAMPLED != 0),
        asks: false,
    })
}

pub(super) fn inject(outgoing: &Outgoing, block: &mut HeaderBlock) {
    let Some(parent) = outgoing.parent else { return };
    let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
    text[3..35].copy_from_slice(&outgoing.trace_id.hex());
    text[36..52].copy_from_slice(&parent.hex());
    text[54] = b'0' + u8::from(outgoing.sampled);
    // What vendors noted belongs to the trace that came.
    let same = extract(block).and_then(|incoming| incoming.trace_id) == Some(outgoing.trace_id);
    if !same {
        block.remove_named(b"tracestate");
    }
    block.set(NAME, &text);
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4efaaf4d1e8720b39541901950019ee5-53995c3f42cd8ad8-01";

    #[test]
    fn what_is_valid_and_what_is_not() {
        let incoming = read(GOOD.as_bytes()).unwrap();
        assert_eq!(incoming.trace_id.unwrap().xray(), *b"1-4efaaf4d-1e8720b39541901950019ee5");
        assert_eq!((incoming.parent, incoming.sampled), (SpanId::new(0x5399_5c3f_42cd_8ad8), Some(true)));
        assert_eq!(read(GOOD.replace("-01", "-02").as_bytes()).unwrap().sampled, Some(false));
        assert!(read(format!("cc{}-more", &GOOD[2..]).as_bytes()).is_some(), "of the future");
        for bad in [
            GOOD.replace("00-", "ff-"),
            format!("{GOOD}-more"),
            format!("cc{}more", &GOOD[2..]),
            GOOD.replace('-', "_"),
            GOOD.to_uppercase(),
            GOOD.replace("53995c3f42cd8ad8", "0000000000000000"),
            GOOD.replace("4efaaf4d1e8720b39541901950019ee5", &"0".repeat(32)),
            GOOD.replace("-01", "-0x"),
            GOOD[..54].to_owned(),
            String::new(),
        ] {
            assert_eq!(read(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn tracestate_stays_with_its_trace() {
        let outgoing =
            |trace| Outgoing { trace_id: trace, parent: SpanId::new(1), caller: None, sampled: true };
        let id = read(GOOD.as_bytes()).unwrap().trace_id.unwrap();
        for (trace, kept) in [(id, true), (TraceId(7), false)] {
            let mut block = HeaderBlock::default();
            block.append(b"traceparent", GOOD.as_bytes());
            block.append(b"tracestate", b"a=b");
            inject(&outgoing(trace), &mut block);
            assert_eq!(block.get_by_name(b"tracestate").is_some(), kept);
            let sent = read(block.get_by_name(NAME).unwrap()).unwrap();
            assert_eq!((sent.trace_id, sent.parent, sent.sampled), (Some(trace), SpanId::new(1), Some(true)));
        }
    }
}
