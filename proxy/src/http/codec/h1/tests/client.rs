//! Client half: ordinary exchanges.

use std::future::poll_fn;
use std::task::Poll;

use super::harness::*;
use crate::http::codec::h1::ClientConn;
use crate::http::codec::{BodySink, BodySource, StreamError};
use crate::http::head::{BodyLength, Version};

/// Sends a GET and takes it off the wire.
async fn get(conn: &mut ClientConn, peer: &mut tokio::net::UnixStream) {
    conn.send_head(&request_head("GET", "/", &[]), BodyLength::None).unwrap();
    send_body(conn, b"").await.unwrap();
    assert_eq!(read_until(peer, "\r\n\r\n").await, "GET / HTTP/1.1\r\nhost: mesh.local\r\n\r\n");
}

async fn is_quiet(conn: &mut ClientConn) -> bool {
    // Let the reactor see what has arrived.
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    poll_fn(|cx| Poll::Ready(conn.is_quiet(cx))).await
}

#[tokio::test]
async fn a_connection_carries_one_exchange_after_another() {
    let (mut conn, mut peer) = client();
    for _ in 0..3 {
        assert!(is_quiet(&mut conn).await);
        get(&mut conn, &mut peer).await;
        assert!(!conn.response_started());
        write(&mut peer, "HTTP/1.1 200 Fine\r\nContent-Length: 2\r\nX-A: b\r\n\r\nok").await;
        let head = response(&mut conn).await.unwrap();
        assert!(conn.response_started() && !conn.is_reusable());
        assert_eq!((head.status, head.version, head.body), (200, Version::Http11, BodyLength::Fixed(2)));
        assert_eq!(fields(&head.block), [("x-a".into(), "b".into())]);
        assert_eq!(body(&mut conn).await.unwrap(), b"ok");
        assert!(conn.is_reusable());
    }
    drop(peer);
    assert!(!is_quiet(&mut conn).await);
}

#[tokio::test]
async fn bodies_end_as_framed() {
    let cases: [(&str, &[u8], BodyLength, bool); 6] = [
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b"", BodyLength::Fixed(0), true),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n2\r\nab\r\n1 ;e\r\nc\r\n000\r\n\r\n",
            b"abc",
            BodyLength::Streamed,
            true,
        ),
        ("HTTP/1.1 200 OK\r\n\r\nuntil close", b"until close", BodyLength::Streamed, false),
        ("HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\nx", b"x", BodyLength::Fixed(1), false),
        (
            "HTTP/1.0 200\r\ncontent-length: 1\r\nconnection: keep-alive\r\n\r\nx",
            b"x",
            BodyLength::Fixed(1),
            true,
        ),
        (
            "HTTP/1.1 204 No Content\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            b"",
            BodyLength::None,
            false,
        ),
    ];
    for (reply, content, announced, reusable) in cases {
        let (mut conn, mut peer) = client();
        get(&mut conn, &mut peer).await;
        write(&mut peer, reply).await;
        if announced == BodyLength::Streamed && !reusable {
            drop(peer);
        }
        let head = response(&mut conn).await.unwrap();
        assert_eq!(head.body, announced, "{reply}");
        assert_eq!(body(&mut conn).await.unwrap(), content, "{reply}");
        assert_eq!(conn.is_reusable(), reusable, "{reply}");
    }
}

#[tokio::test]
async fn a_body_cut_short_is_an_error() {
    for reply in [
        "content-length: 5\r\n\r\nabc",
        "transfer-encoding: chunked\r\n\r\n5\r\nabc",
        "transfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n",
    ] {
        let (mut conn, mut peer) = client();
        get(&mut conn, &mut peer).await;
        write(&mut peer, format!("HTTP/1.1 200 OK\r\n{reply}")).await;
        drop(peer);
        response(&mut conn).await.unwrap();
        assert_eq!(body(&mut conn).await, Err(StreamError::Closed), "{reply}");
        assert_eq!(body(&mut conn).await, Err(StreamError::Closed), "{reply}");
        assert!(!conn.is_reusable());
    }
}

#[tokio::test]
async fn requests_are_written_with_their_framing() {
    let cases = [
        ("POST", BodyLength::Fixed(3), "content-length: 3\r\n\r\nabc"),
        ("POST", BodyLength::Streamed, "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
        ("PUT", BodyLength::None, "content-length: 0\r\n\r\n"),
        ("GET", BodyLength::None, "\r\n"),
    ];
    for (method, length, end) in cases {
        let (mut conn, mut peer) = client();
        let content: &[u8] = if length == BodyLength::None { b"" } else { b"abc" };
        conn.send_head(&request_head(method, "/p", &[("x-a", "b")]), length).unwrap();
        send_body(&mut conn, content).await.unwrap();
        let text = read_until(&mut peer, end).await;
        assert_eq!(text, format!("{method} /p HTTP/1.1\r\nhost: mesh.local\r\nx-a: b\r\n{end}"));
    }
}

#[tokio::test]
async fn a_body_must_be_as_long_as_announced() {
    let (mut conn, _peer) = client();
    conn.send_head(&request_head("POST", "/", &[]), BodyLength::Fixed(3)).unwrap();
    assert!(matches!(send_body(&mut conn, b"ab").await, Err(StreamError::Protocol(_))));
    let (mut conn, _peer) = client();
    conn.send_head(&request_head("POST", "/", &[]), BodyLength::Fixed(3)).unwrap();
    assert!(matches!(send_body(&mut conn, b"abcd").await, Err(StreamError::Protocol(_))));
    assert!(!conn.is_reusable());
}

#[tokio::test]
async fn interim_responses_come_one_by_one() {
    let (mut conn, mut peer) = client();
    get(&mut conn, &mut peer).await;
    let text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    write(&mut peer, text).await;
    for status in [100, 103, 200] {
        let head = response(&mut conn).await.unwrap();
        assert_eq!((head.status, head.block.len()), (status, usize::from(status == 103)));
    }
    assert!(conn.is_reusable());
    get(&mut conn, &mut peer).await;
    write(&mut peer, "HTTP/1.1 102 Processing\r\n\r\n".repeat(17)).await;
    for _ in 0..16 {
        assert_eq!(response(&mut conn).await.unwrap().status, 102);
    }
    assert!(matches!(response(&mut conn).await, Err(StreamError::Protocol(_))));
}

#[tokio::test]
async fn an_upgrade_that_was_asked_for_becomes_a_tunnel() {
    let (mut conn, mut peer) = client();
    let mut head = request_head("GET", "/ws", &[]);
    head.upgrade = Some(head.block.push_text(b"websocket"));
    conn.send_head(&head, BodyLength::None).unwrap();
    send_body(&mut conn, b"").await.unwrap();
    let text = read_until(&mut peer, "\r\n\r\n").await;
    assert!(text.ends_with("connection: upgrade\r\nupgrade: websocket\r\n\r\n"), "{text}");
    write(
        &mut peer,
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\nbytes",
    )
    .await;
    let head = response(&mut conn).await.unwrap();
    assert_eq!(head.upgrade.map(|span| head.block.bytes(span)), Some(&b"websocket"[..]));
    assert!(!conn.is_reusable());
    let (_, early) = conn.into_tunnel();
    assert_eq!(early.filled(), b"bytes");
}

#[tokio::test]
async fn connect_makes_a_tunnel_or_an_ordinary_refusal() {
    for (reply, is_tunnel) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nbytes", true),
        ("HTTP/1.1 403 No\r\ncontent-length: 5\r\n\r\nbytes", false),
    ] {
        let (mut conn, mut peer) = client();
        let mut head = request_head("CONNECT", "", &[]);
        head.set_authority(b"far:443");
        conn.send_head(&head, BodyLength::None).unwrap();
        send_body(&mut conn, b"").await.unwrap();
        assert_eq!(
            read_until(&mut peer, "\r\n\r\n").await,
            "CONNECT far:443 HTTP/1.1\r\nhost: far:443\r\n\r\n"
        );
        write(&mut peer, reply).await;
        let head = response(&mut conn).await.unwrap();
        assert_eq!(head.upgrade.is_some(), is_tunnel);
        if is_tunnel {
            assert_eq!(conn.into_tunnel().1.filled(), b"bytes");
        } else {
            assert_eq!(body(&mut conn).await.unwrap(), b"bytes");
        }
    }
}

#[tokio::test]
async fn an_early_response_is_seen_while_the_request_is_unfinished_and_ends_reuse() {
    let (mut conn, mut peer) = client();
    conn.send_head(&request_head("POST", "/", &[]), BodyLength::Fixed(1_000_000)).unwrap();
    assert_eq!(poll_fn(|cx| conn.poll_write(cx, b"abc")).await, Ok(3));
    poll_fn(|cx| conn.poll_flush(cx)).await.unwrap();
    assert!(read_until(&mut peer, "abc").await.starts_with("POST / "));
    write(&mut peer, "HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(response(&mut conn).await.unwrap().status, 413);
    assert_eq!(body(&mut conn).await.unwrap(), b"");
    assert!(!conn.is_reusable());
}

#[tokio::test]
async fn trailers_are_read_stripped_and_bounded() {
    let (mut conn, mut peer) = client();
    get(&mut conn, &mut peer).await;
    write(&mut peer, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nHost: b\r\nGrpc-Status: 0\r\nx-envoy-a: b\r\n\r\n").await;
    response(&mut conn).await.unwrap();
    assert_eq!(body(&mut conn).await.unwrap(), b"a");
    let trailers = conn.take_trailers().unwrap();
    assert_eq!(fields(&trailers), [("grpc-status".to_owned(), "0".to_owned())]);
    assert!(conn.is_reusable());

    get(&mut conn, &mut peer).await;
    write(
        &mut peer,
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n{}\r\n", "a: b\r\n".repeat(101)),
    )
    .await;
    response(&mut conn).await.unwrap();
    assert_eq!(
        body(&mut conn).await,
        Err(StreamError::Protocol(crate::base::details::Detail::H1_TOO_MANY_HEADERS))
    );
}
