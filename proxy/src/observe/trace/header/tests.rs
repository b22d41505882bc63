use super::*;

const ALL: [Format; 4] = [Format::XRay, Format::W3c, Format::B3, Format::Datadog];
const NAMES: [&str; 12] = [
    "x-amzn-trace-id",
    "traceparent",
    "tracestate",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-sampled",
    "x-b3-flags",
    "x-datadog-trace-id",
    "x-datadog-parent-id",
    "x-datadog-sampling-priority",
    "x-datadog-tags",
];
const PIECES: [&[u8]; 22] = [
    b"Root=1-5759e988-bd862e3fe1be46a994272793",
    b"4efaaf4d1e8720b39541901950019ee5",
    b"53995c3f42cd8ad8",
    b"00-",
    b"-",
    b"-01",
    b"01",
    b"d",
    b"1",
    b"0",
    b"-1",
    b";",
    b"=",
    b",",
    b"_dd.p.tid=",
    b"Sampled=?",
    b"18446744073709551615",
    b"18446744073709551616",
    b"\xff\x80",
    b" ",
    b"\t",
    b"true",
];

/// Headers that hold what peers might send, and what they might get wrong.
fn headers(random: &mut fastrand::Rng) -> HeaderBlock {
    let mut block = HeaderBlock::default();
    for _ in 0..random.usize(..6) {
        let mut value = Vec::new();
        for _ in 0..random.usize(..6) {
            match random.u8(..6) {
                0 => value.extend((0..random.usize(..9)).map(|_| random.u8(b' '..))),
                _ => value.extend_from_slice(PIECES[random.usize(..PIECES.len())]),
            }
        }
        block.append(NAMES[random.usize(..NAMES.len())].as_bytes(), &value);
    }
    block
}

#[test]
fn no_headers_make_it_panic_and_what_we_send_can_be_read() {
    let mut random = fastrand::Rng::with_seed(23);
    let mut found = 0;
    for _ in 0..40_000 {
        let mut formats = ALL;
        random.shuffle(&mut formats);
        let propagation = Propagation::of(&formats[..random.usize(1..=4)]);
        let mut block = headers(&mut random);
        let incoming = propagation.extract(&block);
        found += usize::from(incoming.is_some());
        assert!(incoming.is_none_or(|incoming| incoming.trace_id.is_none_or(|id| id.0 != 0)));
        let outgoing = Outgoing {
            trace_id: TraceId(random.u128(1..) << 1 | 1),
            parent: SpanId::new(random.u64(1..)),
            caller: SpanId::new(random.u64(..2)),
            sampled: random.bool(),
        };
        propagation.inject(&outgoing, &mut block);
        for format in &propagation.0 {
            let read = Propagation::of(&[*format]).extract(&block).expect("what we send can be read");
            assert_eq!((read.parent, read.sampled), (outgoing.parent, Some(outgoing.sampled)), "{format:?}");
            assert_eq!(read.trace_id, Some(outgoing.trace_id), "{format:?}");
        }
    }
    assert!(found > 100, "the headers are not all nonsense: {found}");
}
