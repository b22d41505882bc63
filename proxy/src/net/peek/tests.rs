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

/// A real ClientHello with a server name and protocols.
fn hello() -> Vec<u8> {
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let name = "Api.Shop.example".try_into().unwrap();
    let mut client = rustls::ClientConnection::new(std::sync::Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_hello_is_read_once_it_is_whole() {
    let whole = hello();
    for end in 1..whole.len() {
        assert_eq!(classify(&whole[..end], BOTH), None, "{end} of {} bytes", whole.len());
    }
    let found = classify(&whole, BOTH).unwrap();
    assert_eq!(found.transport, TransportProtocol::Tls);
    assert_eq!(found.server_name.as_deref(), Some("api.shop.example"));
    assert_eq!(found.application_protocols, ["h2".into(), "http/1.1".into()]);
}

/// Damaged, cut and prolonged hellos, and one in many records: an answer or the wish for more, and nothing odd in it.
#[test]
fn damaged_hellos_are_answered() {
    let whole = hello();
    let mut random = fastrand::Rng::with_seed(3);
    let mut tls = 0;
    for _ in 0..20_000 {
        let mut bytes = whole.clone();
        for _ in 0..random.usize(1..5) {
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(..);
        }
        match random.u8(..4) {
            0 => bytes.truncate(random.usize(1..=bytes.len())),
            1 => bytes.extend(std::iter::repeat_with(|| random.u8(..)).take(64)),
            2 => bytes = in_records(&bytes[5..], random.usize(1..200)),
            _ => {}
        }
        let Some(found) = classify(&bytes, BOTH) else { continue };
        tls += u32::from(found.transport == TransportProtocol::Tls);
        if let Some(name) = &found.server_name {
            let legal =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
            assert!(!name.is_empty() && name.len() <= 255 && name.bytes().all(legal), "{name:?}");
        }
        assert!(found.application_protocols.iter().all(|name| name.len() <= 3 * 255));
    }
    assert!(tls > 100, "some are still read: {tls}");
}

/// A handshake message in records of at most so many bytes.
fn in_records(message: &[u8], size: usize) -> Vec<u8> {
    let record = |part: &[u8]| [&[0x16, 3, 1, (part.len() >> 8) as u8, part.len() as u8], part].concat();
    message.chunks(size).flat_map(record).collect()
}

#[test]
fn a_hello_in_records_of_any_size_is_read() {
    let whole = hello();
    for size in [1, 2, 3, 7, 64, 1000] {
        let records = in_records(&whole[5..], size);
        for end in [1, 5, 6, records.len() / 2, records.len() - 1] {
            assert_eq!(classify(&records[..end], BOTH), None, "{end} bytes of records of {size}");
        }
        let found = classify(&records, BOTH).unwrap();
        assert_eq!(found.server_name.as_deref(), Some("api.shop.example"), "records of {size}");
        assert_eq!(found.application_protocols, ["h2".into(), "http/1.1".into()]);
    }
}

#[test]
fn looks_become_rare() {
    let (mut pauses, mut looks, mut time) = (Pauses::new(), 0, Duration::ZERO);
    while time < Duration::from_secs(15) {
        time += pauses.next();
        looks += 1;
    }
    assert!(looks < 170, "{looks} looks in the time that a client has");
    let first: Duration = std::iter::repeat_with({
        let mut pauses = Pauses::new();
        move || pauses.next()
    })
    .take(4)
    .sum();
    assert!(first < Duration::from_millis(10), "{first:?} for a hello of a few segments");
}

#[tokio::test]
async fn what_comes_in_pieces_is_put_together_and_what_ends_before_is_closed() {
    use tokio::io::AsyncWriteExt;

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (whole, records) = (hello(), in_records(&hello()[5..], 100));
    for (bytes, found) in [(&whole[..], true), (&records, true), (&whole[..whole.len() - 1], false)] {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.set_nodelay(true).unwrap();
        let (server, _) = listener.accept().await.unwrap();
        let send = async {
            for piece in bytes.chunks(97) {
                client.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            client.shutdown().await.unwrap();
        };
        let (detected, ()) = tokio::join!(detect(&server, BOTH, Duration::ZERO), send);
        match found {
            true => assert_eq!(detected.unwrap().transport, TransportProtocol::Tls),
            false => assert!(matches!(detected, Err(PeekError::Closed)), "{detected:?}"),
        }
    }
}
