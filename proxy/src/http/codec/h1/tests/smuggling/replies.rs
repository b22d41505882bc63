//! Rows 22 to 25: responses, and answers that come at the wrong time.

use std::future::poll_fn;

use super::super::harness::*;
use super::super::outcome::ask;
use super::CANARY;
use crate::http::codec::{NextRequest, StreamError};
use crate::http::head::BodyLength;

async fn is_refused(method: &str, reply: &[u8]) {
    let result = ask(method, &[reply], true).await;
    let is_protocol = matches!(result.head, Err(StreamError::Protocol(_)));
    assert!(is_protocol && !result.reusable, "{:?}: {result:?}", String::from_utf8_lossy(reply));
}

#[tokio::test]
async fn row_22_responses() {
    let refused: [&[u8]; 22] = [
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\n\r\nx",
        b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.1 204 No\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 103 Hints\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.1 101 Switch\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        b"HTTP/1.1 101 Switch\r\n\r\n",
        b"HTTP/1.1 200 OK\nx: y\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: y\r\n z\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx : y\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
    ];
    for reply in refused {
        is_refused("GET", reply).await;
    }
    // Bytes after the response never reach the next request.
    for tail in [&b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison"[..], b"x", b"\r\n"] {
        let reply = [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", tail].concat();
        let result = ask("GET", &[&reply], false).await;
        assert_eq!((result.body, result.reusable), (Ok(b"ok".to_vec()), false));
    }
    for reply in ["HTTP/1.1 204 No\r\n\r\nhello", "HTTP/1.1 304 Same\r\n\r\nhello"] {
        let result = ask("GET", &[reply.as_bytes()], false).await;
        assert_eq!((result.body, result.reusable), (Ok(Vec::new()), false));
    }
}

#[tokio::test]
async fn row_22_an_upgrade_must_be_the_one_asked_for() {
    let replies = [
        ("connection: upgrade\r\nupgrade: websocket\r\n", true),
        ("connection: upgrade\r\nupgrade: h2c\r\n", false),
        ("connection: upgrade\r\nupgrade: other\r\n", false),
        ("upgrade: websocket\r\n", false),
        ("connection: upgrade\r\n", false),
    ];
    for (reply, accepted) in replies {
        let (mut conn, mut peer) = client();
        let mut head = request_head("GET", "/", &[]);
        head.upgrade = Some(head.block.push_text(b"websocket"));
        conn.send_head(&head, BodyLength::None).unwrap();
        send_body(&mut conn, b"").await.unwrap();
        write(&mut peer, format!("HTTP/1.1 101 Switch\r\n{reply}\r\n")).await;
        assert_eq!(response(&mut conn).await.is_ok(), accepted, "{reply}");
        assert!(!conn.is_reusable());
    }
    // A 200 is not an upgrade.
    let (mut conn, mut peer) = client();
    let mut head = request_head("GET", "/", &[]);
    head.upgrade = Some(head.block.push_text(b"websocket"));
    conn.send_head(&head, BodyLength::None).unwrap();
    send_body(&mut conn, b"").await.unwrap();
    write(
        &mut peer,
        "HTTP/1.1 200 OK\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 2\r\n\r\nok",
    )
    .await;
    let head = response(&mut conn).await.unwrap();
    assert!(head.upgrade.is_none());
    assert_eq!(body(&mut conn).await.unwrap(), b"ok");
}

#[tokio::test]
async fn row_23_head_and_304() {
    let replies: [(&str, &str, bool); 5] = [
        ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", true),
        ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", false),
        ("HEAD", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", true),
        ("GET", "HTTP/1.1 304 Same\r\ncontent-length: 5\r\n\r\n", true),
        ("GET", "HTTP/1.1 304 Same\r\ncontent-length: 5\r\n\r\nhello", false),
    ];
    for (method, reply, reusable) in replies {
        let result = ask(method, &[reply.as_bytes()], false).await;
        assert_eq!((result.body, result.reusable), (Ok(Vec::new()), reusable), "{method} {reply}");
    }
    is_refused("HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n").await;
}

#[tokio::test]
async fn row_24_a_response_nobody_asked_for() {
    const POISON: &str = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
    // On a fresh connection, and on one that has served a request.
    for used in [false, true] {
        let (mut conn, mut peer) = client();
        if used {
            conn.send_head(&request_head("GET", "/", &[]), BodyLength::None).unwrap();
            send_body(&mut conn, b"").await.unwrap();
            write(&mut peer, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            response(&mut conn).await.unwrap();
            assert_eq!(body(&mut conn).await.unwrap(), b"ok");
            assert!(conn.is_reusable());
        }
        assert!(poll_fn(|cx| std::task::Poll::Ready(conn.is_quiet(cx))).await);
        write(&mut peer, POISON).await;
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        assert!(!poll_fn(|cx| std::task::Poll::Ready(conn.is_quiet(cx))).await, "used: {used}");
    }
}

#[tokio::test]
async fn row_25_an_answer_before_the_body() {
    // Server half: an unread body ends the connection; its late bytes are no request.
    let (mut conn, mut peer) = server();
    write(&mut peer, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 33\r\n\r\n").await;
    let head = request(&mut conn).await;
    conn.send_head(&response_head(504, BodyLength::None, &[]), true).unwrap();
    send_body(&mut conn, b"").await.unwrap();
    write(&mut peer, CANARY).await;
    assert!(!conn.finish_exchange(head));
    assert!(matches!(next_request(&mut conn).await, NextRequest::Closed));
    // Unless it was drained.
    let (mut conn, mut peer) = server();
    write(&mut peer, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n").await;
    let head = request(&mut conn).await;
    conn.send_head(&response_head(504, BodyLength::None, &[]), false).unwrap();
    send_body(&mut conn, b"").await.unwrap();
    write(&mut peer, [b"hello", CANARY].concat()).await;
    assert_eq!(body(&mut conn).await.unwrap(), b"hello");
    assert!(conn.finish_exchange(head));
    assert_eq!(request(&mut conn).await.path_and_query(), b"/canary");
    // Client half: an early answer to an unfinished request ends reuse even when the body is finished later.
    let (mut conn, mut peer) = client();
    conn.send_head(&request_head("POST", "/", &[]), BodyLength::Fixed(5)).unwrap();
    write(&mut peer, "HTTP/1.1 504 Late\r\ncontent-length: 0\r\n\r\n").await;
    response(&mut conn).await.unwrap();
    assert_eq!(body(&mut conn).await.unwrap(), b"");
    send_body(&mut conn, b"hello").await.unwrap();
    assert!(!conn.is_reusable());
}
