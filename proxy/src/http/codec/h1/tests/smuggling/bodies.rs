//! Rows 10 to 15: the chunked coding.

use super::*;

#[tokio::test]
async fn row_10_odd_chunk_sizes() {
    let sizes: [&[u8]; 12] = [
        b"0x5",
        b"+5",
        b"5_0",
        b" 5",
        b"00000000000000005",
        b"",
        b"-1",
        b"5g",
        b"\xef\xbc\x95",
        b"fffffffffffffffff",
        b"\t5",
        b"5 5",
    ];
    let case = |size: &&[u8]| (chunked(&[*size, b"\r\nhello\r\n0\r\n\r\n"].concat()), Must::BreakBody);
    check(10, sizes.iter().map(case).collect()).await;
}

#[tokio::test]
async fn row_11_padded_chunk_sizes_are_read_as_their_value() {
    let sizes: [&[u8]; 4] = [b"5 ", b"5\t", b"0000000000000005", b"05"];
    let case = |size: &&[u8]| (chunked(&[*size, b"\r\nhello\r\n0\r\n\r\n"].concat()), Must::Serve(b"hello"));
    check(11, sizes.iter().map(case).collect()).await;
}

#[tokio::test]
async fn row_12_chunk_extensions() {
    let long = [b"5;".as_slice(), &[b'a'; 4200], b"\r\nhello\r\n0\r\n\r\n"].concat();
    let small = [b"1;".as_slice(), &[b'a'; 200], b"\r\nx\r\n"].concat().repeat(200);
    check(
        12,
        vec![
            (chunked(b"5;a\nhello\r\n0\r\n\r\n"), Must::BreakBody),
            (chunked(b"5;a\rX\r\nhello\r\n0\r\n\r\n"), Must::BreakBody),
            (chunked(b"5;a\x00\r\nhello\r\n0\r\n\r\n"), Must::BreakBody),
            (chunked(&long), Must::BreakBody),
            (chunked(&[&small[..], b"0\r\n\r\n"].concat()), Must::BreakBody),
            (chunked(b"5;a=\"b;c\";d\r\nhello\r\n0;z\r\n\r\n"), Must::Serve(b"hello")),
        ],
    )
    .await;
}

#[tokio::test]
async fn row_13_chunk_ends() {
    check(
        13,
        vec![
            (chunked(b"5\nhello\r\n0\r\n\r\n"), Must::BreakBody),
            (chunked(b"5\r\nhello\n0\r\n\r\n"), Must::BreakBody),
            (chunked(b"5\r\nhelloXX0\r\n\r\n"), Must::BreakBody),
            (chunked(b"5\r\nhello\r\r0\r\n\r\n"), Must::BreakBody),
            (chunked(b"5\r\nhello0\r\n\r\n"), Must::BreakBody),
            (chunked(b"5\r\nhello\r\n0\n\r\n"), Must::BreakBody),
            (chunked(b"5\r\nhello\r\n0\r\n\n"), Must::BreakBody),
        ],
    )
    .await;
}

#[tokio::test]
async fn row_14_last_chunks() {
    check(
        14,
        vec![(chunked(b"00\r\n\r\n"), Must::Serve(b"")), (chunked(b"000;x\r\n\r\n"), Must::Serve(b""))],
    )
    .await;
    // Without the final empty line the canary's request line is a malformed trailer.
    check(14, vec![(chunked(b"0\r\n"), Must::BreakBody)]).await;
    let events = serve(&[&chunked(b"0\r\n")], server_options()).await;
    assert_eq!(events, [Event::BrokenBody(StreamError::Closed)]);
}

#[tokio::test]
async fn row_15_trailers_never_become_headers() {
    let section = "Content-Length: 9\r\nHost: b\r\nTransfer-Encoding: chunked\r\nAuthorization: x\r\nx-envoy-a: b\r\nX-Good: 1\r\n";
    let input = [chunked(format!("0\r\n{section}\r\n").as_bytes()), CANARY.to_vec()].concat();
    let events = serve(&[&input], server_options()).await;
    let [Event::Request(seen), Event::Request(canary), Event::Closed] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((seen.fields.len(), seen.authority.as_str(), canary.line.as_str()), (0, "a", "GET /canary"));
    assert_eq!(seen.trailers, [("x-good".to_owned(), "1".to_owned())]);
    check(15, vec![(chunked(b"0\r\n:path: /x\r\n\r\n"), Must::BreakBody)]).await;
    let options = ServerOptions { trailers: false, ..server_options() };
    let events = serve(&[&chunked(b"0\r\nx-good: 1\r\n\r\n")], options).await;
    assert!(matches!(&events[..], [Event::Request(Seen { trailers, .. }), _] if trailers.is_empty()));
}
