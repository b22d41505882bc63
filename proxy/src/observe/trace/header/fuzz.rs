//! Arbitrary headers of other tracers: what is read goes out as it was understood.

#![allow(clippy::panic, reason = "what does not hold is a finding")]

use super::{Format, Incoming, Outgoing, Propagation};
use crate::http::head::HeaderBlock;
use crate::observe::trace::id::{SpanId, TraceId};

/// Lines of `name: value`.
pub fn trace_headers(data: &[u8]) {
    let mut block = HeaderBlock::default();
    for line in data.split(|byte| *byte == b'\n').take(16) {
        let Some(at) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = line[..at].to_ascii_lowercase();
        let value = line[at + 1..].trim_ascii();
        // A codec lets nothing else in.
        let is_value = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
        if !name.is_empty() && name.iter().all(u8::is_ascii_graphic) && value.iter().all(is_value) {
            block.append(&name, value);
        }
    }
    for format in [Format::XRay, Format::W3c, Format::B3, Format::Datadog] {
        passed_on(format, &block);
    }
    let all = Propagation::of(&[Format::W3c, Format::XRay, Format::Datadog, Format::B3]);
    let incoming = all.extract(&block);
    all.inject(&outgoing(incoming), &mut block);
    if let Some(Incoming { trace_id: Some(trace_id), .. }) = incoming {
        assert_eq!(all.extract(&block).and_then(|again| again.trace_id), Some(trace_id));
    }
}

fn passed_on(format: Format, block: &HeaderBlock) {
    let only = Propagation::of(&[format]);
    let outgoing = outgoing(only.extract(block));
    let mut sent = HeaderBlock::default();
    block.iter().for_each(|(name, value)| sent.append(name, value));
    only.inject(&outgoing, &mut sent);
    let Some(again) = only.extract(&sent) else { panic!("{format:?} does not read what it wrote: {sent:?}") };
    assert_eq!(again.trace_id, Some(outgoing.trace_id), "{format:?}");
    assert_eq!(again.parent, outgoing.parent, "{format:?}");
    assert_eq!(again.sampled, Some(outgoing.sampled), "{format:?}");
    let first = |block: &HeaderBlock| -> Vec<(Vec<u8>, Vec<u8>)> {
        block.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
    };
    // Said twice, it is said the same.
    let mut twice = HeaderBlock::default();
    sent.iter().for_each(|(name, value)| twice.append(name, value));
    only.inject(&outgoing, &mut twice);
    let (mut once, mut again) = (first(&sent), first(&twice));
    once.sort();
    again.sort();
    assert_eq!(once, again, "{format:?}");
    let length = |name: &[u8]| sent.get_by_name(name).map_or(0, <[u8]>::len);
    assert!(length(b"x-amzn-trace-id") <= 1024 || format != Format::XRay);
}

fn outgoing(incoming: Option<Incoming>) -> Outgoing {
    let trace_id = incoming.and_then(|it| it.trace_id).unwrap_or(TraceId(0x5759_e988 << 96 | 7));
    let caller = incoming.and_then(|it| it.parent);
    let sampled = incoming.and_then(|it| it.sampled).unwrap_or(true);
    Outgoing { trace_id, parent: Some(SpanId(0xab)), caller, sampled }
}
