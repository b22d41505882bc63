//! Rows 1 to 9 and 16 to 21: request heads.

use super::*;

#[tokio::test]
async fn row_01_length_and_coding() {
    let both = |first: &str, second: &str| post(&format!("{first}\r\n{second}"), "0\r\n\r\n");
    let mut cases = Vec::new();
    for coding in ["Transfer-Encoding: chunked", "transfer-encoding: CHUNKED", "TRANSFER-ENCODING:chunked"] {
        for length in ["Content-Length: 6", "content-length:0", "CONTENT-LENGTH: 5"] {
            cases.push((both(coding, length), BAD));
            cases.push((both(length, coding), BAD));
        }
    }
    check(1, cases).await;
}

#[tokio::test]
async fn row_02_two_lengths() {
    check(
        2,
        vec![
            (post("Content-Length: 5\r\ncontent-length: 5", "hello"), BAD),
            (post("Content-Length: 5\r\nContent-Length: 6", "hello"), BAD),
            (post("Content-Length: 5, 5", "hello"), BAD),
            (post("Content-Length: 5,6", "hello"), BAD),
            (post("Content-Length: 5\r\nx: y\r\nContent-Length: 0", "hello"), BAD),
        ],
    )
    .await;
}

#[tokio::test]
async fn row_03_odd_lengths() {
    let values: [&[u8]; 16] = [
        b"+5",
        b"-1",
        b"0x5",
        b"5 5",
        b"5;",
        b"",
        b" ",
        b"99999999999999999999",
        b"9223372036854775808",
        b"00000000000000000005",
        b"\xd9\xa5",
        b"5\xc2\xa0",
        b"five",
        b"5.0",
        b"5e0",
        b"'5'",
    ];
    let cases = values.iter().map(|value| (post_raw(&[b"content-length: ", *value].concat(), b"hello"), BAD));
    check(3, cases.collect()).await;
}

#[tokio::test]
async fn row_04_odd_codings() {
    let values = [
        "identity",
        "xchunked",
        "chunk",
        "\"chunked\"",
        "chunked;q=1",
        "chunked, identity",
        "cow",
        "",
        "chunked,",
        ",chunked",
        "chunked chunked",
        "chun\tked",
    ];
    let cases = values
        .iter()
        .map(|value| (post(&format!("Transfer-Encoding: {value}"), "0\r\n\r\n"), BAD_OR_UNIMPLEMENTED));
    check(4, cases.collect()).await;
}

#[tokio::test]
async fn row_05_several_codings() {
    check(
        5,
        vec![
            (post("Transfer-Encoding: gzip, chunked", "0\r\n\r\n"), BAD_OR_UNIMPLEMENTED),
            (post("Transfer-Encoding: chunked, chunked", "0\r\n\r\n"), BAD_OR_UNIMPLEMENTED),
            (
                post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
                BAD_OR_UNIMPLEMENTED,
            ),
            (
                post("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
                BAD_OR_UNIMPLEMENTED,
            ),
            (post("Transfer-Encoding: chunked\r\nTransfer-Encoding: cow", "0\r\n\r\n"), BAD_OR_UNIMPLEMENTED),
        ],
    )
    .await;
}

#[tokio::test]
async fn row_06_hidden_names() {
    let fields: [&[u8]; 10] = [
        b"Transfer-Encoding : chunked",
        b" Transfer-Encoding: chunked",
        b"\tTransfer-Encoding: chunked",
        b"Transfer-Encoding\t: chunked",
        b"Transfer\x00-Encoding: chunked",
        b"Transfer-\xC5ncoding: chunked",
        b"Transfer-Encoding\x0b: chunked",
        b"(Transfer-Encoding: chunked",
        b"Transfer Encoding: chunked",
        b"\"Transfer-Encoding\": chunked",
    ];
    let mut cases: Vec<_> = fields.iter().map(|field| (post_raw(field, b"0\r\n\r\n"), BAD)).collect();
    cases.push((post_raw(b"x: y\r\n Transfer-Encoding: chunked", b"0\r\n\r\n"), BAD));
    check(6, cases).await;
}

#[tokio::test]
async fn row_07_hidden_values() {
    let values: [&[u8]; 8] = [
        b"\x0bchunked",
        b"\x0cchunked",
        b"chunked\x00",
        b"\xffchunked",
        b"chunked\x7f",
        b"\x00chunked",
        b"chunked\x1b",
        b"chunked\xa0",
    ];
    let case = |value: &&[u8]| {
        (post_raw(&[b"Transfer-Encoding:", *value].concat(), b"0\r\n\r\n"), BAD_OR_UNIMPLEMENTED)
    };
    check(7, values.iter().map(case).collect()).await;
}

#[tokio::test]
async fn row_08_hidden_lines() {
    check(
        8,
        vec![
            (post("X: a\rTransfer-Encoding: chunked", "0\r\n\r\n"), BAD),
            (post("X: a\nTransfer-Encoding: chunked", "0\r\n\r\n"), BAD),
            (post("X: a\r\n Transfer-Encoding: chunked", "0\r\n\r\n"), BAD),
            (post("Transfer-Encoding:\r\n chunked", "0\r\n\r\n"), BAD_OR_UNIMPLEMENTED),
            (post("X: a\r\r\nY: b", ""), BAD),
            (post("X: a\r\n\tb", ""), BAD),
            (b"GET / HTTP/1.1\nhost: a\n\n".to_vec(), BAD),
            (b"GET / HTTP/1.1\r\nhost: a\n\r\n".to_vec(), BAD),
            (b"GET / HTTP/1.1\r\nhost: a\r\n\n".to_vec(), BAD),
            (b"GET / HTTP/1.1\r\nhost: a\r\n\r\r\n".to_vec(), BAD),
        ],
    )
    .await;
}

#[tokio::test]
async fn row_09_underscores_frame_nothing() {
    check(
        9,
        vec![
            (post("Content_Length: 5", ""), Must::Serve(b"")),
            (post("Transfer_Encoding: chunked", ""), Must::Serve(b"")),
            (post("content_length: 3\r\ncontent-length: 5", "hello"), Must::Serve(b"hello")),
        ],
    )
    .await;
    let events = serve(&[&post("Content_Length: 5", "")], server_options()).await;
    let [Event::Request(Seen { fields, .. }), _] = &events[..] else { panic!("{events:?}") };
    assert_eq!(fields[..], [("content_length".to_owned(), "5".to_owned())]);
}

#[tokio::test]
async fn row_16_http_10() {
    check(
        16,
        vec![
            (b"POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_vec(), BAD),
            (
                b"POST / HTTP/1.0\r\nconnection: keep-alive\r\ntransfer-encoding: chunked\r\n\r\n".to_vec(),
                BAD,
            ),
        ],
    )
    .await;
    // A body that would end with the connection is none, and what follows such a request is no other one.
    for (head, canary) in [
        ("POST / HTTP/1.0\r\nconnection: keep-alive", false),
        ("BREW / HTTP/1.0\r\nconnection: keep-alive", false),
        ("POST / HTTP/1.0\r\nconnection: close", false),
        ("POST / HTTP/1.0\r\nconnection: keep-alive\r\ncontent-length: 0", true),
        ("GET / HTTP/1.0\r\nconnection: keep-alive", true),
        ("GET / HTTP/1.0\r\nconnection: close", false),
    ] {
        let input = format!("{head}\r\n\r\n");
        let events = serve(&[input.as_bytes(), CANARY], server_options()).await;
        let requests =
            events.iter().filter(|event| matches!(event, Event::Request(seen) if seen.body.is_empty()));
        assert_eq!(requests.count(), 1 + usize::from(canary), "{events:?}");
    }
    let options = ServerOptions { accept_http_10: false, ..server_options() };
    assert_eq!(serve(&[b"GET / HTTP/1.0\r\nhost: a\r\n\r\n"], options).await, [Event::Invalid(426)]);
}

#[tokio::test]
async fn row_17_bodies_on_any_method() {
    let mut cases = Vec::new();
    for method in ["GET", "HEAD", "OPTIONS", "TRACE", "DELETE", "BREW"] {
        let start = format!("{method} / HTTP/1.1\r\nhost: a\r\n");
        cases.push((format!("{start}content-length: 5\r\n\r\nhello").into_bytes(), Must::Serve(b"hello")));
        let chunks = "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
        cases.push((format!("{start}{chunks}").into_bytes(), Must::Serve(b"hello")));
    }
    let connect = "CONNECT b:1 HTTP/1.1\r\nhost: a\r\n";
    cases.push((format!("{connect}content-length: 5\r\n\r\nhello").into_bytes(), BAD));
    cases.push((format!("{connect}transfer-encoding: chunked\r\n\r\n0\r\n\r\n").into_bytes(), BAD));
    check(17, cases).await;
    // A refused CONNECT: what was sent early is no request.
    let events = serve(&[format!("{connect}\r\n").as_bytes(), CANARY], server_options()).await;
    assert!(
        !events.iter().any(|event| matches!(event, Event::Request(seen) if seen.line.contains("canary")))
    );
}

#[tokio::test]
async fn row_18_expectations_do_not_move_the_frame() {
    let refused = Must::Refuse(&[417]);
    let with = |expect: &str| post(&format!("Expect:{expect}\r\ncontent-length: 5"), "hello");
    check(
        18,
        vec![
            (with(" 100-continue"), Must::Serve(b"hello")),
            (with("   100-CONTINUE "), Must::Serve(b"hello")),
            (with(" y 100-continue"), refused),
            (with(" 100-continue, x"), refused),
            (with(" 100-continue\r\nExpect: 100-continue"), refused),
            (with(" 200-ok"), refused),
            (with(""), refused),
            (with("\x0b100-continue"), BAD),
            (with("\r\n 100-continue"), BAD),
        ],
    )
    .await;
}

#[tokio::test]
async fn row_19_request_lines() {
    let refused = Must::Refuse(&[400, 505]);
    let lines: [&[u8]; 27] = [
        b"GET\t/ HTTP/1.1",
        b"GET  / HTTP/1.1",
        b"GET /  HTTP/1.1",
        b"GET /a b HTTP/1.1",
        b"GET /\x00 HTTP/1.1",
        b"GET /",
        b"GET / ",
        b"GET / HTTP/1.2",
        b"GET / HTTP/2.0",
        b"GET / HTTP/1.1 ",
        b" GET / HTTP/1.1",
        b"\x00GET / HTTP/1.1",
        b"PRI * HTTP/2.0",
        b"GET / http/1.1",
        b"GET / HTTP/1.",
        b"GET / HTTP/11",
        b"GET / HTTP/1.10",
        b"GET / HTTP/0.9",
        b"G(T / HTTP/1.1",
        b"GET /\xc3\xa9 HTTP/1.1",
        b"GET /\x7f HTTP/1.1",
        b"GET foo HTTP/1.1",
        b"GET * HTTP/1.1",
        b"GET /a#b HTTP/1.1",
        b"OPTIONS ** HTTP/1.1",
        b"GET ?a HTTP/1.1",
        b"/ HTTP/1.1",
    ];
    let mut cases: Vec<_> = lines.iter().map(|text| (line(text), refused)).collect();
    for target in [
        "ftp://a/",
        "http:///x",
        "http://",
        "http://a@b/",
        "http://a:x/",
        "https://a/",
        "http:/a",
        "://a/",
        "a:80",
    ] {
        cases.push((line(format!("GET {target} HTTP/1.1").as_bytes()), BAD));
    }
    for target in ["/", "a", "a:", "http://a:1/", "a:1/", "u@a:1", "*"] {
        cases.push((line(format!("CONNECT {target} HTTP/1.1").as_bytes()), BAD));
    }
    cases.push((b"\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(), Must::Serve(b"")));
    cases.push((b"\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(), BAD));
    cases.push((b"\nGET / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(), BAD));
    cases.push((b"\rGET / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(), BAD));
    check(19, cases).await;
}

#[tokio::test]
async fn row_20_hosts() {
    let mut cases = vec![
        (host(b"x: y"), BAD),
        (host(b"host: a\r\nhost: a"), BAD),
        (host(b"host: a\r\nHost: b"), BAD),
        (b"GET http://b/ HTTP/1.1\r\nx: y\r\n\r\n".to_vec(), BAD),
        (b"GET http://b/ HTTP/1.1\r\nhost: a b\r\n\r\n".to_vec(), BAD),
        (b"GET / HTTP/1.0\r\nhost: a\r\nhost: a\r\n\r\n".to_vec(), BAD),
    ];
    let long = [b'a'; 254];
    let refused: [&[u8]; 24] = [
        b"",
        b"a b",
        b"a/",
        b"/a",
        b"a#b",
        b"a?b",
        b"u@a",
        b"a\x00",
        b"a,b",
        b"a:",
        b"a:b",
        b"a:65536",
        b"a:123456",
        b"a:-1",
        b":80",
        b"[::1",
        b"[::1]x",
        b"[::1%25eth0]",
        b"[1.2.3.4]",
        b"a\\b",
        b"\xc3\xa9",
        b"a%20b",
        b"a:80:80",
        &long,
    ];
    cases.extend(refused.iter().map(|value| (host(&[b"host: ", *value].concat()), BAD)));
    let accepted: [&[u8]; 9] = [
        b"a",
        b"A.b-c_d.e.",
        b"a:80",
        b"a:0",
        b"1.2.3.4:65535",
        b"[::1]",
        b"[2001:db8::1]:443",
        b"*.a",
        b"xn--a",
    ];
    cases.extend(accepted.iter().map(|value| (host(&[b"host: ", *value].concat()), Must::Serve(b""))));
    check(20, cases).await;
}

#[tokio::test]
async fn row_21_field_lines() {
    check(
        21,
        vec![
            (host(b"host: a\r\n: x"), BAD),
            (host(b"host: a\r\nx"), BAD),
            (host(b" host: a"), BAD),
            (host(b"\thost: a\r\nhost: a"), BAD),
            (host(b"host: a\r\nx\r\ny: z"), BAD),
            (host(b"host: a\r\nx;y: z"), BAD),
            (host(b"host: a\r\nx: y\x01z"), BAD),
            (host(b"host: a\r\nx:"), Must::Serve(b"")),
            (host(b"host: a\r\nx:\t \t"), Must::Serve(b"")),
            (host(b"host: a\r\nx: \xc3\xa9 \t y"), Must::Serve(b"")),
            (host(b"host: a\r\nconnection: a b"), BAD),
            (host(b"host: a\r\nconnection: (x)"), BAD),
        ],
    )
    .await;
    let many = "x, ".repeat(40);
    check(21, vec![(host(format!("host: a\r\nconnection: {many}").as_bytes()), BAD)]).await;
    // A body shorter than announced takes the canary in, and waits for the rest.
    check(21, vec![(post("content-length: 500", "he"), Must::Wait)]).await;
}
