use super::*;

const BOTH: Inspect = Inspect { tls: true, http: true };

fn protocols(bytes: &[u8]) -> Option<Vec<Box<str>>> {
    classify(bytes, BOTH).map(|found| found.application_protocols)
}

#[test]
fn http_versions_are_told_apart() {
    assert_eq!(protocols(b"GET / HTTP/1.1\r\n"), Some(vec!["http/1.1".into()]));
    assert_eq!(protocols(b"GET / HTTP/1.0\r\n"), Some(vec!["http/1.0".into()]));
    assert_eq!(protocols(H2_PREFACE), Some(vec!["h2c".into()]));
}

#[test]
fn incomplete_beginnings_wait() {
    for bytes in [&b"P"[..], b"PRI * HT", b"GET", b"GET / HTTP/1.", b"M-SEARCH * HTTP/1.1\r"] {
        assert_eq!(protocols(bytes), None, "{bytes:?}");
    }
}

#[test]
fn binary_protocols_are_opaque_at_once() {
    for bytes in [
        &b"\x00\x00"[..],
        b"*1\r\n",
        b"\x4a\x00\x00\x00\x0a",
        b"GET\t/",
        b" GET / HTTP/1.1\r\n",
        b"GET / HTTP/2.0\r\n",
    ] {
        assert_eq!(protocols(bytes), Some(vec![]), "{bytes:?}");
    }
}

#[test]
fn a_handshake_byte_followed_by_garbage_is_opaque() {
    let found = classify(&[0x16, 0xff, 0xff, 0xff, 0xff, 0xff], BOTH);
    assert_eq!(found.map(|found| found.transport), Some(TransportProtocol::RawBuffer));
}

#[test]
fn without_inspectors_everything_is_opaque() {
    assert_eq!(classify(b"GET / HTTP/1.1\r\n", Inspect::default()), Some(Detected::opaque()));
}
