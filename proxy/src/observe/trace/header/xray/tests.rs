use super::*;

const ROOT: &str = "1-5759e988-bd862e3fe1be46a994272793";

fn block(lines: &[&str]) -> HeaderBlock {
    let mut block = HeaderBlock::default();
    lines.iter().for_each(|line| block.append(b"x-amzn-trace-id", line.as_bytes()));
    block
}

fn read(line: &str) -> Option<Incoming> {
    extract(&block(&[line]))
}

/// What is sent after `lines` came, with a parent of ours and a decision to record.
fn sent(lines: &[&str]) -> String {
    let mut block = block(lines);
    let trace_id = TraceId::parse_xray(ROOT.as_bytes()).unwrap();
    inject(&Outgoing { trace_id, parent: Some(SpanId(0xab)), caller: None, sampled: true }, &mut block);
    assert_eq!(block.len(), 1, "one line goes out");
    String::from_utf8(block.get(HeaderId::AmznTraceId).unwrap().to_vec()).unwrap()
}

#[test]
fn the_grammar() {
    let whole = read(&format!("Root={ROOT};Parent=53995c3f42cd8ad8;Sampled=1")).unwrap();
    assert_eq!(whole.trace_id.unwrap().xray(), ROOT.as_bytes());
    assert_eq!(whole.parent, Some(SpanId(0x5399_5c3f_42cd_8ad8)));
    assert_eq!((whole.sampled, whole.asks), (Some(true), false));
    let blanks = format!("  root = {ROOT} ; PARENT= 53995c3f42cd8ad8 ;sampled=1;");
    assert_eq!(read(&blanks), Some(whole), "case and blanks do not matter");
    let balancer =
        read(&format!("Self=1-67891234-12456789abcdef0123456789;Root={ROOT};CalledFrom=app")).unwrap();
    assert_eq!((balancer.trace_id, balancer.parent, balancer.sampled), (whole.trace_id, None, None));
    let asks = read(&format!("Root={ROOT};Parent=53995c3f42cd8ad8;Sampled=?")).unwrap();
    assert_eq!((asks.sampled, asks.asks), (None, true));
    assert_eq!(read(&format!("Root={ROOT};Sampled=0")).unwrap().sampled, Some(false));
    assert_eq!(read(&format!("Root={ROOT};Sampled=yes")).unwrap().sampled, None);
    assert_eq!(read(&format!("Root={ROOT};Parent=xyz;Sampled=1")).unwrap().parent, None);
}

#[test]
fn without_a_root_nothing_is_believed() {
    for line in
        ["", "garbage", ";;;===", "Root=", "Parent=53995c3f42cd8ad8;Sampled=1", "Root=1-5759e988-x;Sampled=1"]
    {
        assert_eq!(read(line), None, "{line}");
    }
}

#[test]
fn of_several_lines_the_first_with_a_root_counts() {
    let lines = [
        "Root=bad;Sampled=0",
        &format!("Root={ROOT};Sampled=1;A=b"),
        "Root=1-00000000-000000000000000000000001",
    ];
    let incoming = extract(&block(&lines)).unwrap();
    assert_eq!((&incoming.trace_id.unwrap().xray()[..], incoming.sampled), (ROOT.as_bytes(), Some(true)));
    assert_eq!(sent(&lines), format!("Root={ROOT};Parent=00000000000000ab;Sampled=1;A=b"));
}

#[test]
fn fields_of_others_go_on_and_those_of_the_hop_end() {
    let line = format!(
        "Self=1-1-2;Lineage=a87bd80c:1|68fd508a:5;Root={ROOT};Parent=53995c3f42cd8ad8;CalledFrom=app;;x"
    );
    assert_eq!(
        sent(&[&line]),
        format!("Root={ROOT};Parent=00000000000000ab;Sampled=1;Lineage=a87bd80c:1|68fd508a:5;CalledFrom=app")
    );
    assert_eq!(sent(&[]), format!("Root={ROOT};Parent=00000000000000ab;Sampled=1"));
    assert_eq!(sent(&["Root=bad;Parent=1;Sampled=0;Keep=me"]).rsplit(';').next(), Some("Keep=me"));
}

#[test]
fn what_is_too_long_is_left_out() {
    let long = "v".repeat(1000);
    let text = sent(&[&format!("Root={ROOT};A={long};B=c")]);
    assert!(text.ends_with(";Sampled=1;B=c") && text.len() < MAX_VALUE, "{text}");
    let many: String = (0..10_000).map(|i| format!("k{i}=v;")).collect();
    assert!(sent(&[&many]).len() <= MAX_VALUE);
}

#[test]
fn the_answer_to_a_question() {
    let trace_id = TraceId::parse_xray(ROOT.as_bytes()).unwrap();
    assert_eq!(answer(trace_id, true), format!("Root={ROOT};Sampled=1").as_bytes());
    assert_eq!(answer(trace_id, false), format!("Root={ROOT};Sampled=0").as_bytes());
}

#[test]
fn no_header_makes_it_panic() {
    let mut random = fastrand::Rng::with_seed(7);
    let pieces: [&[u8]; 14] = [
        b"Root=",
        b"1-5759e988-bd862e3fe1be46a994272793",
        b";",
        b"=",
        b"Parent=",
        b"53995c3f42cd8ad8",
        b"Sampled=",
        b"?",
        b"1",
        b" ",
        b"Self=",
        b"\xff\x80",
        b"Lineage=a:1|b",
        b"\t",
    ];
    for _ in 0..20_000 {
        let mut block = HeaderBlock::default();
        for _ in 0..random.usize(..3) {
            let mut line = Vec::new();
            for _ in 0..random.usize(..12) {
                match random.u8(..4) {
                    0 => line.extend((0..random.usize(..8)).map(|_| random.u8(b' '..))),
                    _ => line.extend_from_slice(pieces[random.usize(..pieces.len())]),
                }
            }
            block.append(b"x-amzn-trace-id", &line);
        }
        let incoming = extract(&block);
        let outgoing = Outgoing {
            trace_id: TraceId(1),
            parent: SpanId::new(random.u64(..)),
            caller: None,
            sampled: random.bool(),
        };
        inject(&outgoing, &mut block);
        let again = extract(&block).expect("what we send can be read");
        assert_eq!(
            (again.trace_id, again.parent, again.sampled),
            (Some(TraceId(1)), outgoing.parent, Some(outgoing.sampled))
        );
        assert!(incoming.is_none_or(|incoming| incoming.trace_id.is_some_and(|id| id.0 != 0)));
    }
}
