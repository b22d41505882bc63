//! gRPC calls with opaque messages: what matters here is framing, trailers and status, not protobuf.

use std::net::SocketAddr;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request};

use super::h2::{Connection, Response};
use crate::Result;

/// The outcome of a call.
#[derive(Debug)]
pub struct Reply {
    /// The HTTP status under it.
    pub http_status: u16,
    /// `grpc-status`, wherever it was.
    pub status: Option<u32>,
    /// `grpc-message`, wherever it was.
    pub message: String,
    /// Whether the status came with the response head ("trailers-only").
    pub trailers_only: bool,
    /// The response messages.
    pub messages: Vec<Bytes>,
    /// The response head's fields.
    pub headers: HeaderMap,
    /// The trailers' fields.
    pub trailers: HeaderMap,
}

/// Calls `/package.Service/Method` with these messages on a connection of its own.
pub async fn call(address: SocketAddr, host: &str, method: &str, messages: &[&[u8]]) -> Result<Reply> {
    let mut connection = Connection::open(address).await?;
    let request = Request::post(format!("http://{host}{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    call_with(&mut connection, request, messages).await
}

/// Calls on an open connection with a prepared head.
pub async fn call_with(
    connection: &mut Connection,
    request: http::request::Builder,
    messages: &[&[u8]],
) -> Result<Reply> {
    reply(connection.exchange(request.body(encode(messages))?).await?)
}

/// Length-prefixed, uncompressed messages.
pub fn encode(messages: &[&[u8]]) -> Bytes {
    let mut encoded = BytesMut::new();
    for message in messages {
        encoded.put_u8(0);
        encoded.put_u32(message.len() as u32);
        encoded.put_slice(message);
    }
    encoded.freeze()
}

/// Takes the next complete message off the front of `buffer`.
pub fn next_message(buffer: &mut BytesMut) -> Option<Bytes> {
    let length: [u8; 4] = buffer.get(1..5)?.try_into().ok()?;
    let end = 5 + u32::from_be_bytes(length) as usize;
    (buffer.len() >= end).then(|| buffer.split_to(end).freeze().slice(5..))
}

fn reply(response: Response) -> Result<Reply> {
    let trailers_only = response.headers.contains_key("grpc-status");
    let fields = if trailers_only { &response.headers } else { &response.trailers };
    let text = |name: &str| fields.get(name).and_then(|value| value.to_str().ok());
    let status = text("grpc-status").map(str::parse).transpose()?;
    let message = text("grpc-message").unwrap_or_default().to_owned();
    let mut buffer = BytesMut::from(&response.body[..]);
    let mut messages = Vec::new();
    while let Some(message) = next_message(&mut buffer) {
        messages.push(message);
    }
    let http_status = response.status.as_u16();
    let Response { headers, trailers, .. } = response;
    Ok(Reply { http_status, status, message, trailers_only, messages, headers, trailers })
}
