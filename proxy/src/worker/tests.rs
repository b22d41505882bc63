//! The data path in one process: a snapshot written by hand, real workers, real sockets.

mod cancellation;
mod world;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use world::{Upstream, World};

/// Sends bytes and reads until the peer closes or `until` was seen.
fn exchange(stream: &mut TcpStream, request: &[u8], until: &str) -> String {
    stream.write_all(request).unwrap();
    let mut seen = Vec::new();
    let mut buf = [0; 4096];
    while !String::from_utf8_lossy(&seen).contains(until) {
        match stream.read(&mut buf) {
            Ok(0) => break,
            Ok(count) => seen.extend_from_slice(&buf[..count]),
            Err(error) => panic!("{error}: {}", String::from_utf8_lossy(&seen)),
        }
    }
    String::from_utf8_lossy(&seen).into_owned()
}

fn connect(world: &World) -> TcpStream {
    let stream = TcpStream::connect(world.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream
}

#[test]
fn requests_reach_the_upstream_over_kept_connections() {
    let upstream = Upstream::start(|request| {
        assert!(request.contains("\r\nhost: svc.local\r\n"), "{request}");
        assert!(request.contains("\r\nx-request-id: "), "{request}");
        assert!(request.contains("\r\nx-forwarded-proto: http\r\n"), "{request}");
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: app\r\n\r\nhello".into()
    });
    let world = World::start(&upstream.address);
    let mut client = connect(&world);
    for _ in 0..3 {
        let reply = exchange(&mut client, b"GET /a HTTP/1.1\r\nHost: svc.local\r\n\r\n", "hello");
        assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"), "{reply}");
        assert!(reply.contains("\r\nserver: envoy\r\n"), "{reply}");
        assert!(reply.contains("\r\nx-envoy-upstream-service-time: "), "{reply}");
        assert!(reply.contains("\r\ndate: "), "{reply}");
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn bodies_go_up_and_pipelined_requests_wait_their_turn() {
    let upstream = Upstream::start(|request| {
        let body = request.split("\r\n\r\n").nth(1).unwrap_or_default();
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    });
    let world = World::start(&upstream.address);
    let mut client = connect(&world);
    let request = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nonePOST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\ntwo";
    let reply = exchange(&mut client, request, "two");
    assert_eq!(reply.matches("HTTP/1.1 200 OK").count(), 2, "{reply}");
    assert!(reply.contains("one") && reply.ends_with("two"), "{reply}");
}

#[test]
fn failures_get_envoys_answers() {
    let world = World::start("127.0.0.1:1");
    let mut client = connect(&world);
    let reply = exchange(&mut client, b"GET /a HTTP/1.1\r\nhost: a\r\n\r\n", "connection failure");
    assert!(reply.starts_with("HTTP/1.1 503 "), "{reply}");
    let reply = exchange(&mut connect(&world), b"GET / HTTP/1.1\r\nhost: none\r\n\r\n", "\r\n\r\n");
    assert!(reply.starts_with("HTTP/1.1 404 "), "{reply}");
    let reply = exchange(&mut connect(&world), b"garbage\r\n\r\n", "never");
    assert!(reply.starts_with("HTTP/1.1 400 "), "{reply}");
}

#[test]
fn an_idempotent_request_survives_the_keep_alive_race() {
    // Every connection serves one request and then closes without saying so.
    let upstream = Upstream::start_once(|_| "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".into());
    let world = World::start(&upstream.address);
    let mut client = connect(&world);
    for _ in 0..20 {
        let reply = exchange(&mut client, b"GET /a HTTP/1.1\r\nhost: a\r\n\r\n", "ok");
        assert!(reply.starts_with("HTTP/1.1 200 OK"), "{reply}");
    }
}

#[test]
fn http2_by_prior_knowledge_reaches_an_http1_upstream() {
    let upstream = Upstream::start(|_| "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello".into());
    let world = World::start(&upstream.address);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let tcp = tokio::net::TcpStream::connect(world.address).await.unwrap();
        let (sender, connection) = h2::client::handshake(tcp).await.unwrap();
        let driver = tokio::spawn(connection);
        let mut sender = sender.ready().await.unwrap();
        let request = http::Request::get("http://svc.local/x").body(()).unwrap();
        let (response, _) = sender.send_request(request, true).unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.status(), 200);
        let mut body = response.into_body();
        let mut text = Vec::new();
        while let Some(chunk) = body.data().await {
            text.extend_from_slice(&chunk.unwrap());
        }
        assert_eq!(text, b"hello");
        driver.abort();
    });
}
