//! Accepts an upgrade or a CONNECT, then sends back what comes through the tunnel; after the peer's end it says `bye`.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Behaviour, Counts, TcpEcho};

/// See the module.
#[derive(Debug)]
pub struct Tunnel {
    kind: Kind,
    heads: Heads,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Upgrade,
    Connect,
    Http2,
}

/// The HTTP/1 request heads that a [`Tunnel`] received.
#[derive(Debug, Clone, Default)]
pub struct Heads(Arc<Mutex<Vec<String>>>);

impl Heads {
    /// In the order they came.
    pub fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Tunnel {
    /// Answers 101 to an upgrade to WebSocket.
    pub fn accepting_upgrades() -> Self {
        Self { kind: Kind::Upgrade, heads: Heads::default() }
    }

    /// Answers 200 to CONNECT.
    pub fn accepting_connect() -> Self {
        Self { kind: Kind::Connect, heads: Heads::default() }
    }

    /// Speaks HTTP/2 and accepts extended CONNECT (RFC 8441).
    pub fn over_http2() -> Self {
        Self { kind: Kind::Http2, heads: Heads::default() }
    }

    /// What it receives, usable while it runs.
    pub fn heads(&self) -> Heads {
        self.heads.clone()
    }
}

impl Behaviour for Tunnel {
    async fn serve(self: Arc<Self>, mut stream: TcpStream, counts: Arc<Counts>) {
        let answer: &[u8] = match self.kind {
            Kind::Http2 => return serve_http2(stream, counts).await,
            Kind::Connect => b"HTTP/1.1 200 OK\r\n\r\n",
            // The answer that RFC 6455, 1.3 gives for its sample key.
            Kind::Upgrade => {
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
            }
        };
        let Some(head) = read_head(&mut stream).await else { return };
        self.heads.0.lock().unwrap_or_else(PoisonError::into_inner).push(head);
        if stream.write_all(answer).await.is_ok() {
            Arc::new(TcpEcho).serve(stream, counts).await;
        }
    }
}

async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8_lossy(&head).into_owned())
}

async fn serve_http2(stream: TcpStream, counts: Arc<Counts>) {
    let mut builder = h2::server::Builder::new();
    builder.enable_connect_protocol();
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        counts.request();
        let is_tunnel = request.extensions().get::<h2::ext::Protocol>().is_some();
        let mut response = http::Response::new(());
        if !is_tunnel {
            *response.status_mut() = http::StatusCode::BAD_REQUEST;
        }
        if let Ok(sending) = respond.send_response(response, !is_tunnel)
            && is_tunnel
        {
            tokio::spawn(echo(request.into_body(), sending));
        }
    }
}

async fn echo(mut body: h2::RecvStream, mut sending: h2::SendStream<Bytes>) {
    while let Some(Ok(chunk)) = body.data().await {
        let _ = body.flow_control().release_capacity(chunk.len());
        if sending.send_data(chunk, false).is_err() {
            return;
        }
    }
    let _ = sending.send_data(Bytes::from_static(b"bye"), true);
}
