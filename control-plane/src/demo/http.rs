//! One HTTP request on a connection of its own, in the version that the other side speaks.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

const LIMIT: Duration = Duration::from_secs(20);
const MAX_BODY: usize = 4 * 1024 * 1024;

/// What to send, and where.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Where to connect.
    pub address: SocketAddr,
    /// With prior knowledge; else HTTP/1.1.
    pub http2: bool,
    /// Host.
    pub authority: String,
    /// Method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// Further headers.
    pub headers: HeaderMap,
}

impl Outgoing {
    /// `GET` of a path over HTTP/1.1.
    pub fn get(address: SocketAddr, path: &str) -> Self {
        Self {
            address,
            http2: false,
            authority: address.to_string(),
            method: Method::GET,
            path: path.to_owned(),
            headers: HeaderMap::new(),
        }
    }
}

/// A response, complete.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body, at most 4 MiB.
    pub body: Bytes,
}

impl Answer {
    /// A header as text; empty when it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }

    /// The body as JSON; null when it is something else.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// Sends and waits for the whole response.
///
/// # Errors
/// What went wrong, with the address; also when it takes longer than 20 s.
pub async fn send(outgoing: &Outgoing) -> Result<Answer, String> {
    match tokio::time::timeout(LIMIT, exchange(outgoing)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(format!("{}: {error}", outgoing.address)),
        Err(_) => Err(format!("{}: no answer within {} s", outgoing.address, LIMIT.as_secs())),
    }
}

async fn exchange(outgoing: &Outgoing) -> super::Result<Answer> {
    let stream = TcpStream::connect(outgoing.address).await?;
    stream.set_nodelay(true)?;
    let io = TokioIo::new(stream);
    let request = request(outgoing)?;
    let response = if outgoing.http2 {
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
        tokio::spawn(connection);
        sender.send_request(request).await?
    } else {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
        tokio::spawn(connection);
        sender.send_request(request).await?
    };
    let (head, body) = response.into_parts();
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, body: collect(body).await? })
}

fn request(outgoing: &Outgoing) -> super::Result<Request<Empty<Bytes>>> {
    let uri = match outgoing.http2 {
        true => format!("http://{}{}", outgoing.authority, outgoing.path),
        false => outgoing.path.clone(),
    };
    let mut request = Request::builder().method(&outgoing.method).uri(uri).body(Empty::new())?;
    *request.headers_mut() = outgoing.headers.clone();
    if !outgoing.http2 {
        request.headers_mut().insert(header::HOST, HeaderValue::from_str(&outgoing.authority)?);
    }
    Ok(request)
}

async fn collect(body: Incoming) -> super::Result<Bytes> {
    Ok(Limited::new(body, MAX_BODY).collect().await?.to_bytes())
}
