//! Server half: ordinary exchanges.

use std::future::poll_fn;
use std::task::Poll;

use tokio::io::AsyncWriteExt;

use super::harness::*;
use crate::config::listener::HeaderCase;
use crate::http::codec::{BodySink, BodySource, NextRequest, StreamError};
use crate::http::head::{BodyLength, Method, Version};

#[tokio::test]
async fn a_get_is_read_and_answered_and_the_connection_goes_on() {
    let (mut conn, mut peer) = server();
    for round in 0..3 {
        assert!(conn.is_idle());
        write(
            &mut peer,
            format!("GET /a?b={round} HTTP/1.1\r\nHost: mesh.local:80\r\nAccept:  */* \r\nX-One: 1\r\n\r\n"),
        )
        .await;
        let head = request(&mut conn).await;
        assert_eq!(head.method, Method::Get);
        assert_eq!(head.path_and_query(), format!("/a?b={round}").as_bytes());
        assert_eq!(head.authority(), b"mesh.local:80");
        assert_eq!(fields(&head.block), [("accept".into(), "*/*".into()), ("x-one".into(), "1".into())]);
        assert_eq!((head.body, head.version), (BodyLength::None, Version::Http11));
        assert_eq!(body(&mut conn).await.unwrap(), b"");
        conn.send_head(&response_head(200, BodyLength::Fixed(2), &[("date", "now")]), false).unwrap();
        send_body(&mut conn, b"ok").await.unwrap();
        assert!(conn.finish_exchange(head));
        let reply = read_until(&mut peer, "ok").await;
        assert_eq!(reply, "HTTP/1.1 200 OK\r\ndate: now\r\ncontent-length: 2\r\n\r\nok");
    }
    drop(peer);
    assert!(matches!(next_request(&mut conn).await, NextRequest::Closed));
}

#[tokio::test]
async fn bodies_are_read_in_both_framings_and_pipelined_requests_wait() {
    let (mut conn, mut peer) = server();
    write(
        &mut peer,
        "POST /1 HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello\
         POST /2 HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0A\r\n0123456789\r\n0\r\nx-sum: 7\r\ncontent-length: 9\r\n\r\n\
         GET /3 HTTP/1.1\r\nhost: a\r\n\r\n",
    )
    .await;
    let expected: [(&[u8], &[u8], BodyLength); 3] = [
        (b"/1", b"hello", BodyLength::Fixed(5)),
        (b"/2", b"abc0123456789", BodyLength::Streamed),
        (b"/3", b"", BodyLength::None),
    ];
    for (path, content, length) in expected {
        let head = request(&mut conn).await;
        assert_eq!((head.path_and_query(), head.body), (path, length));
        assert_eq!(body(&mut conn).await.unwrap(), content);
        let trailers = conn.take_trailers().map(|block| fields(&block));
        let expected = (path == b"/2").then(|| vec![("x-sum".to_owned(), "7".to_owned())]);
        assert_eq!(trailers, expected);
        conn.send_head(&response_head(204, BodyLength::None, &[]), false).unwrap();
        send_body(&mut conn, b"").await.unwrap();
        assert!(conn.finish_exchange(head));
        assert_eq!(read_until(&mut peer, "\r\n\r\n").await, "HTTP/1.1 204 No Content\r\n\r\n");
    }
}

#[tokio::test]
async fn streamed_responses_are_chunked_with_trailers_for_those_who_take_them() {
    for (te, end) in [("te: trailers, deflate\r\n", "0\r\nx-sum: 7\r\n\r\n"), ("", "0\r\n\r\n")] {
        let (mut conn, mut peer) = server();
        write(&mut peer, format!("GET / HTTP/1.1\r\nhost: a\r\n{te}\r\n")).await;
        let head = request(&mut conn).await;
        assert_eq!(head.accepts_trailers, !te.is_empty());
        conn.send_head(&response_head(200, BodyLength::Streamed, &[]), false).unwrap();
        for part in ["hello ", "world"] {
            assert_eq!(poll_fn(|cx| conn.poll_write(cx, part.as_bytes())).await, Ok(part.len()));
        }
        let trailers = block(&[("x-sum", "7"), ("content-length", "1"), ("authorization", "x")]);
        poll_fn(|cx| conn.poll_finish(cx, Some(&trailers))).await.unwrap();
        assert!(conn.finish_exchange(head));
        let reply = read_until(&mut peer, end).await;
        let start = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\nhello \r\n5\r\nworld\r\n";
        assert_eq!(reply, format!("{start}{end}"));
    }
}

#[tokio::test]
async fn a_large_streamed_body_reaches_a_slow_reader_whole() {
    let (mut conn, mut peer) = server();
    let content: Vec<u8> = (0..3_000_000_u32).map(|at| ((at * 7) >> 3) as u8).collect();
    write(&mut peer, "GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let head = request(&mut conn).await;
    conn.send_head(&response_head(200, BodyLength::Streamed, &[]), true).unwrap();
    let (sent, got) = tokio::join!(send_body(&mut conn, &content), async {
        let mut all = Vec::new();
        while !all.ends_with(b"\r\n0\r\n\r\n") {
            tokio::task::yield_now().await;
            use tokio::io::AsyncReadExt;
            let mut piece = [0; 30_011];
            let count = within(peer.read(&mut piece)).await.unwrap();
            assert_ne!(count, 0);
            all.extend_from_slice(&piece[..count]);
        }
        all
    });
    sent.unwrap();
    assert!(!conn.finish_exchange(head));
    let text_end = got.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let mut rest = &got[text_end..];
    let mut decoded = Vec::new();
    loop {
        let line = rest.windows(2).position(|two| two == b"\r\n").unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
        if size == 0 {
            break;
        }
        decoded.extend_from_slice(&rest[line + 2..line + 2 + size]);
        assert_eq!(&rest[line + 2 + size..line + 4 + size], b"\r\n");
        rest = &rest[line + 4 + size..];
    }
    assert!(decoded == content);
}

#[tokio::test]
async fn close_is_announced_and_kept() {
    for (input, close) in [
        ("GET / HTTP/1.1\r\nhost: a\r\nconnection: Close\r\n\r\n", false),
        ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", true),
        ("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n", false),
    ] {
        let (mut conn, mut peer) = server();
        write(&mut peer, input).await;
        let head = request(&mut conn).await;
        conn.send_head(&response_head(200, BodyLength::None, &[]), close).unwrap();
        send_body(&mut conn, b"").await.unwrap();
        assert!(!conn.finish_exchange(head));
        assert!(matches!(next_request(&mut conn).await, NextRequest::Closed));
        let (reply, ()) = tokio::join!(
            async {
                let reply = read_all(&mut peer).await;
                drop(peer);
                reply
            },
            within(poll_fn(|cx| conn.poll_close(cx)))
        );
        assert_eq!(reply, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    }
}

#[tokio::test]
async fn continue_is_sent_when_the_body_is_asked_for() {
    let (mut conn, mut peer) = server();
    write(&mut peer, "PUT / HTTP/1.1\r\nhost: a\r\nExpect: 100-Continue\r\ncontent-length: 3\r\n\r\n").await;
    let head = request(&mut conn).await;
    assert!(head.expects_continue && head.block.is_empty());
    conn.send_informational(&response_head(100, BodyLength::None, &[])).unwrap();
    let (content, ()) = tokio::join!(body(&mut conn), async {
        assert_eq!(read_until(&mut peer, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
        write(&mut peer, "abc").await;
    });
    assert_eq!(content.unwrap(), b"abc");
    conn.send_head(&response_head(200, BodyLength::None, &[]), false).unwrap();
    send_body(&mut conn, b"").await.unwrap();
    assert!(conn.finish_exchange(head));
}

#[tokio::test]
async fn http_10_is_answered_in_kind() {
    for (connection, reply_end, persists) in [
        ("", "connection: close\r\n\r\nhi", false),
        ("connection: keep-alive\r\n", "connection: close\r\n\r\nhi", false),
    ] {
        let (mut conn, mut peer) = server();
        write(&mut peer, format!("GET / HTTP/1.0\r\n{connection}\r\n")).await;
        let head = request(&mut conn).await;
        assert_eq!((head.version, head.authority()), (Version::Http10, &b""[..]));
        conn.send_informational(&response_head(103, BodyLength::None, &[])).unwrap();
        conn.send_head(&response_head(200, BodyLength::Streamed, &[]), false).unwrap();
        send_body(&mut conn, b"hi").await.unwrap();
        assert_eq!(conn.finish_exchange(head), persists);
        assert_eq!(read_until(&mut peer, "hi").await, format!("HTTP/1.0 200 OK\r\n{reply_end}"));
    }
    let (mut conn, mut peer) = server();
    write(&mut peer, "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\nhost: a\r\n\r\n").await;
    let head = request(&mut conn).await;
    conn.send_head(&response_head(200, BodyLength::Fixed(2), &[]), false).unwrap();
    send_body(&mut conn, b"hi").await.unwrap();
    assert!(conn.finish_exchange(head));
    let reply = read_until(&mut peer, "hi").await;
    assert_eq!(reply, "HTTP/1.0 200 OK\r\ncontent-length: 2\r\nconnection: keep-alive\r\n\r\nhi");
}

#[tokio::test]
async fn http_10_is_refused_or_given_a_host_as_configured() {
    let (mut conn, mut peer) =
        server_with(super::super::ServerOptions { accept_http_10: false, ..server_options() });
    write(&mut peer, "GET / HTTP/1.0\r\nhost: a\r\n\r\n").await;
    let NextRequest::Invalid(error) = next_request(&mut conn).await else { panic!() };
    assert_eq!((error.status, error.detail.text()), (426, "low_version"));

    let options =
        super::super::ServerOptions { default_host_for_http_10: Some("fallback".into()), ..server_options() };
    let (mut conn, mut peer) = server_with(options);
    write(&mut peer, "GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(request(&mut conn).await.authority(), b"fallback");
}

#[tokio::test]
async fn absolute_form_replaces_the_host() {
    let cases = [
        ("GET", "http://b:81/p?q", "/p?q", "b:81"),
        ("GET", "HTTP://b", "/", "b"),
        ("GET", "http://[::1]:8?q=/", "/?q=/", "[::1]:8"),
        ("OPTIONS", "http://b", "*", "b"),
        ("OPTIONS", "*", "*", "a"),
        ("CONNECT", "b:443", "", "b:443"),
    ];
    for (method, target, path, authority) in cases {
        let (mut conn, mut peer) = server();
        write(&mut peer, format!("{method} {target} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        let head = request(&mut conn).await;
        assert_eq!(head.path_and_query(), path.as_bytes(), "{target}");
        assert_eq!(head.authority(), authority.as_bytes(), "{target}");
        assert_eq!(head.block.len(), 0);
    }
    let options = super::super::ServerOptions { allow_absolute_url: false, ..server_options() };
    let (mut conn, mut peer) = server_with(options);
    write(&mut peer, "GET http://b/ HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let NextRequest::Invalid(error) = next_request(&mut conn).await else { panic!() };
    assert_eq!((error.status, error.detail.text()), (404, "absolute_path_rejected"));
}

#[tokio::test]
async fn connection_options_take_fields_away_but_not_those_of_the_mesh() {
    let (mut conn, mut peer) = server();
    write(
        &mut peer,
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: x-mine, X-Amzn-Trace-Id, x-forwarded-for, authorization, host\r\n\
         keep-alive: 5\r\nproxy-connection: x\r\nhttp2-settings: x\r\ntrailer: y\r\nx-mine: 1\r\nx-amzn-trace-id: 2\r\n\
         x-forwarded-for: 3\r\nauthorization: 4\r\nx-other: 5\r\n\r\n",
    )
    .await;
    let head = request(&mut conn).await;
    let names: Vec<_> = fields(&head.block).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["x-amzn-trace-id", "x-forwarded-for", "authorization", "x-other"]);
}

#[tokio::test]
async fn an_upgrade_becomes_a_tunnel_with_the_bytes_that_came_early() {
    let (mut conn, mut peer) = server();
    write(
        &mut peer,
        "GET /ws HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, Upgrade\r\nupgrade: WebSocket\r\nsec-websocket-key: k\r\n\r\nearly",
    )
    .await;
    let head = request(&mut conn).await;
    assert_eq!(head.upgrade.map(|span| head.block.bytes(span)), Some(&b"websocket"[..]));
    assert_eq!(head.block.len(), 1);
    let mut reply = response_head(101, BodyLength::None, &[("sec-websocket-accept", "v")]);
    reply.upgrade = Some(reply.block.push_text(b"websocket"));
    conn.send_head(&reply, false).unwrap();
    send_body(&mut conn, b"").await.unwrap();
    assert!(!conn.finish_exchange(head));
    let reply = read_until(&mut peer, "\r\n\r\n").await;
    assert_eq!(
        reply,
        "HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: v\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    );
    let (_, early) = conn.into_tunnel();
    assert_eq!(early.filled(), b"early");
}

#[tokio::test]
async fn an_upgrade_without_its_option_or_to_h2c_is_none() {
    for fields in [
        "upgrade: websocket\r\n",
        "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: x\r\n",
    ] {
        let (mut conn, mut peer) = server();
        write(&mut peer, format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n")).await;
        let head = request(&mut conn).await;
        assert!(head.upgrade.is_none() && head.block.is_empty());
    }
}

#[tokio::test]
async fn head_and_304_announce_a_body_they_do_not_have() {
    for (method, status, expected) in [("HEAD", 200, "200 OK"), ("GET", 304, "304 Not Modified")] {
        let (mut conn, mut peer) = server();
        write(&mut peer, format!("{method} / HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        let head = request(&mut conn).await;
        conn.send_head(&response_head(status, BodyLength::Fixed(99), &[]), false).unwrap();
        send_body(&mut conn, b"dropped").await.unwrap();
        assert!(conn.finish_exchange(head));
        let reply = read_until(&mut peer, "\r\n\r\n").await;
        assert_eq!(reply, format!("HTTP/1.1 {expected}\r\ncontent-length: 99\r\n\r\n"));
    }
}

#[tokio::test]
async fn names_are_written_with_capitals_when_asked() {
    let options = super::super::ServerOptions { header_case: HeaderCase::Proper, ..server_options() };
    let (mut conn, mut peer) = server_with(options);
    write(&mut peer, "GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let _head = request(&mut conn).await;
    conn.send_head(&response_head(200, BodyLength::None, &[("x-a1-b", "v")]), false).unwrap();
    send_body(&mut conn, b"").await.unwrap();
    let reply = read_until(&mut peer, "\r\n\r\n").await;
    assert_eq!(reply, "HTTP/1.1 200 OK\r\nX-A1-B: v\r\nContent-Length: 0\r\n\r\n");
}

#[tokio::test]
async fn a_client_is_gone_when_it_closed_and_not_when_it_pipelines() {
    let (mut conn, mut peer) = server();
    write(&mut peer, "GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let head = request(&mut conn).await;
    poll_fn(|cx| {
        assert!(conn.poll_gone(cx).is_pending());
        Poll::Ready(())
    })
    .await;
    write(&mut peer, "GET /2 HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let early =
        tokio::time::timeout(std::time::Duration::from_millis(50), poll_fn(|cx| conn.poll_gone(cx))).await;
    assert!(early.is_err(), "{early:?}");
    conn.send_head(&response_head(200, BodyLength::None, &[]), false).unwrap();
    send_body(&mut conn, b"").await.unwrap();
    assert!(conn.finish_exchange(head));
    let head = request(&mut conn).await;
    assert_eq!(head.path_and_query(), b"/2");
    read_until(&mut peer, "\r\n\r\n").await;
    drop(peer);
    assert_eq!(within(poll_fn(|cx| conn.poll_gone(cx))).await, StreamError::Closed);
}

#[tokio::test]
async fn an_invalid_request_can_be_answered_before_the_close() {
    let (mut conn, mut peer) = server();
    write(&mut peer, "HEAD / HTTP/1.1\r\nhost: a\r\nx y: z\r\n\r\nGET /canary HTTP/1.1\r\nhost: a\r\n\r\n")
        .await;
    let NextRequest::Invalid(error) = next_request(&mut conn).await else { panic!() };
    assert_eq!((error.status, error.detail.text()), (400, "http1.codec_error"));
    conn.send_head(&response_head(400, BodyLength::Fixed(3), &[]), false).unwrap();
    send_body(&mut conn, b"bad").await.unwrap();
    assert!(matches!(next_request(&mut conn).await, NextRequest::Closed));
    let reply = read_until(&mut peer, "bad").await;
    assert_eq!(reply, "HTTP/1.1 400 Bad Request\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbad");
}

#[tokio::test]
async fn heads_beyond_their_limits_are_refused_with_the_right_status() {
    let long = "x".repeat(61 * 1024);
    let many = "a: b\r\n".repeat(100);
    let cases = [
        (format!("GET / HTTP/1.1\r\nhost: a\r\nx: {long}"), 431, "http1.headers_too_large"),
        (format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n"), 431, "http1.too_many_headers"),
        (format!("GET /{long}"), 414, "http1.uri_too_long"),
    ];
    for (input, status, detail) in cases {
        let (mut conn, mut peer) = server();
        let (next, ()) = tokio::join!(next_request(&mut conn), write(&mut peer, &input));
        let NextRequest::Invalid(error) = next else { panic!("{detail}: {next:?}") };
        assert_eq!((error.status, error.detail.text()), (status, detail));
    }
}

#[tokio::test]
async fn a_tunnel_carries_bytes_both_ways_and_half_closes() {
    let (mut conn, mut peer) = server();
    write(&mut peer, "CONNECT b:1 HTTP/1.1\r\nhost: b:1\r\n\r\nearly ").await;
    let _head = request(&mut conn).await;
    assert_eq!(body(&mut conn).await.unwrap(), b"");
    conn.send_head(&response_head(200, BodyLength::Streamed, &[]), false).unwrap();
    poll_fn(|cx| conn.poll_flush(cx)).await.unwrap();
    assert_eq!(read_until(&mut peer, "\r\n\r\n").await, "HTTP/1.1 200 OK\r\n\r\n");
    send_body(&mut conn, b"down").await.unwrap();
    assert_eq!(read_all(&mut peer).await, "down");
    write(&mut peer, "and late").await;
    peer.shutdown().await.unwrap();
    assert_eq!(body(&mut conn).await.unwrap(), b"early and late");
}
