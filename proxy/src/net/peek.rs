//! Finding out what a new connection speaks before its filter chain is chosen: TLS (with SNI and ALPN),
//! HTTP/2 by prior knowledge, HTTP/1, or something opaque. Bytes are peeked with `MSG_PEEK`, so nothing is
//! consumed and whoever comes next reads the stream from its start. Bounded in bytes and time.

use std::io;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::config::listener::{Inspect, TransportProtocol};

/// Longest ClientHello looked at, bytes.
const MAX_HELLO: usize = 16 * 1024;
/// The HTTP/2 client preface (RFC 9113, 3.4).
pub const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detected {
    /// TLS or not.
    pub transport: TransportProtocol,
    /// SNI, lower case.
    pub server_name: Option<Box<str>>,
    /// ALPN of the ClientHello, or `h2c` / `http/1.1` / `http/1.0` for plaintext HTTP.
    pub application_protocols: Vec<Box<str>>,
}

impl Detected {
    /// Nothing known: opaque bytes, or nothing was looked at.
    pub fn opaque() -> Self {
        Self { transport: TransportProtocol::RawBuffer, server_name: None, application_protocols: Vec::new() }
    }
}

/// How peeking ended without an answer.
#[derive(Debug)]
pub enum PeekError {
    /// The peer sent nothing conclusive in time: a server-first protocol, or a slow one.
    Timeout,
    /// The peer closed before saying anything.
    Closed,
    /// Reading failed.
    Io(io::Error),
}

/// Peeks until the protocol is known. `timeout` zero waits for ever.
pub async fn detect(tcp: &TcpStream, inspect: Inspect, timeout: Duration) -> Result<Detected, PeekError> {
    if timeout.is_zero() {
        return detect_unbounded(tcp, inspect).await;
    }
    match tokio::time::timeout(timeout, detect_unbounded(tcp, inspect)).await {
        Ok(found) => found,
        Err(_) => Err(PeekError::Timeout),
    }
}

async fn detect_unbounded(tcp: &TcpStream, inspect: Inspect) -> Result<Detected, PeekError> {
    let mut bytes = vec![0; 1024];
    let (mut seen, mut pauses, mut ended) = (0, Pauses::new(), false);
    loop {
        let count = tcp.peek(&mut bytes).await.map_err(PeekError::Io)?;
        if count == 0 {
            return Err(PeekError::Closed);
        }
        if count == seen && ended {
            return Err(PeekError::Closed);
        }
        if count == seen {
            // Peeked bytes keep the socket readable, so readiness cannot tell that more arrived: look again after a while.
            // It does tell that no more will; what came with that is looked at, too.
            ended = tcp.ready(Interest::READABLE).await.map_err(PeekError::Io)?.is_read_closed();
            if !ended {
                tokio::time::sleep(pauses.next()).await;
            }
            continue;
        }
        seen = count;
        match classify(&bytes[..count], inspect) {
            Some(found) => return Ok(found),
            None if count == bytes.len() && count < MAX_HELLO => bytes.resize(count * 2, 0),
            None if count == bytes.len() => return Ok(Detected::opaque()),
            None => {}
        }
    }
}

/// Pauses between looks. They grow whatever arrives, so that somebody who sends byte after byte has few looks, too.
struct Pauses(Duration);

impl Pauses {
    const FIRST: Duration = Duration::from_millis(1);
    const LONGEST: Duration = Duration::from_millis(100);

    fn new() -> Self {
        Self(Self::FIRST)
    }

    fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (pause * 3 / 2).min(Self::LONGEST);
        pause
    }
}

/// The answer for these first bytes, or `None` when more are needed.
fn classify(bytes: &[u8], inspect: Inspect) -> Option<Detected> {
    let first = *bytes.first()?;
    if inspect.tls && first == TLS_HANDSHAKE {
        return classify_tls(bytes);
    }
    if inspect.http {
        return classify_http(bytes);
    }
    Some(Detected::opaque())
}

const TLS_HANDSHAKE: u8 = 0x16;

/// Lets rustls parse the ClientHello: an error means this is no TLS after all.
fn classify_tls(bytes: &[u8]) -> Option<Detected> {
    let mut acceptor = rustls::server::Acceptor::default();
    let mut left = bytes;
    while !left.is_empty() {
        if acceptor.read_tls(&mut left).is_err() {
            return Some(Detected::opaque());
        }
    }
    let accepted = match acceptor.accept() {
        Ok(Some(accepted)) => accepted,
        Ok(None) => return None,
        Err(_) => return Some(Detected::opaque()),
    };
    let hello = accepted.client_hello();
    let protocols = hello.alpn().into_iter().flatten();
    Some(Detected {
        transport: TransportProtocol::Tls,
        server_name: hello.server_name().map(|name| name.to_ascii_lowercase().into()),
        application_protocols: protocols.map(|name| String::from_utf8_lossy(name).into()).collect(),
    })
}

fn classify_http(bytes: &[u8]) -> Option<Detected> {
    let common = bytes.len().min(H2_PREFACE.len());
    if bytes[..common] == H2_PREFACE[..common] {
        return (bytes.len() >= H2_PREFACE.len()).then(|| plaintext("h2c"));
    }
    let line_end = memchr::memchr(b'\n', bytes);
    let line = &bytes[..line_end.unwrap_or(bytes.len())];
    if !looks_like_request_line(line) {
        return Some(Detected::opaque());
    }
    line_end?;
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match line.rsplit(|byte| *byte == b' ').next() {
        Some(b"HTTP/1.1") => Some(plaintext("http/1.1")),
        Some(b"HTTP/1.0") => Some(plaintext("http/1.0")),
        _ => Some(Detected::opaque()),
    }
}

/// True while the bytes can still become `METHOD SP target SP HTTP/1.x`: fails at the first byte that cannot,
/// so that a binary protocol is not kept waiting.
fn looks_like_request_line(line: &[u8]) -> bool {
    let method =
        line.iter().take_while(|byte| byte.is_ascii_alphabetic() || **byte == b'-' || **byte == b'_').count();
    let longest_method = 24;
    if method == line.len() {
        return method <= longest_method;
    }
    method > 0
        && method <= longest_method
        && line[method] == b' '
        && line.iter().all(|byte| *byte >= 0x20 || *byte == b'\r')
}

fn plaintext(protocol: &str) -> Detected {
    Detected { application_protocols: vec![protocol.into()], ..Detected::opaque() }
}

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;
