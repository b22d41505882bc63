//! A connection under test and the raw peer at its other end.

use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::config::listener::HeaderCase;
use crate::http::codec::h1::{ClientConn, ClientOptions, ServerConn, ServerOptions};
use crate::http::codec::{BodySink, BodySource, Fill, NextRequest, StreamError};
use crate::http::head::{
    BodyLength, HeadPool, HeaderBlock, Method, RequestHead, ResponseHead, Span, Version,
};
use crate::net::buffer::Buf;
use crate::net::stream::Stream;

pub(super) fn server_options() -> ServerOptions {
    ServerOptions {
        max_head_bytes: 60 * 1024,
        max_fields: 100,
        accept_http_10: true,
        default_host_for_http_10: None,
        allow_absolute_url: true,
        trailers: true,
        header_case: HeaderCase::Lower,
        large_reads: true,
    }
}

pub(super) fn client_options() -> ClientOptions {
    ClientOptions {
        max_head_bytes: 60 * 1024,
        max_fields: 100,
        trailers: true,
        header_case: HeaderCase::Lower,
        large_reads: true,
    }
}

pub(super) fn pool() -> Rc<HeadPool> {
    HeadPool::new(Rc::default())
}

/// A server half and the raw client at its other end.
pub(super) fn server_with(options: ServerOptions) -> (ServerConn, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    (ServerConn::new(Stream::Unix(near), Buf::default(), Rc::new(options), pool()), far)
}

pub(super) fn server() -> (ServerConn, UnixStream) {
    server_with(server_options())
}

/// A client half and the raw server at its other end.
pub(super) fn client_with(options: ClientOptions) -> (ClientConn, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    (ClientConn::new(Stream::Unix(near), Rc::new(options), pool()), far)
}

pub(super) fn client() -> (ClientConn, UnixStream) {
    client_with(client_options())
}

/// Fails a test that would otherwise hang.
pub(super) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future).await.expect("no progress")
}

pub(super) async fn next_request(conn: &mut ServerConn) -> NextRequest<RequestHead> {
    within(poll_fn(|cx| conn.poll_request(cx))).await
}

pub(super) async fn request(conn: &mut ServerConn) -> RequestHead {
    match next_request(conn).await {
        NextRequest::Request(head) => head,
        other => panic!("no request: {other:?}"),
    }
}

pub(super) async fn response(conn: &mut ClientConn) -> Result<ResponseHead, StreamError> {
    within(poll_fn(|cx| conn.poll_head(cx))).await
}

/// Reads a whole body.
pub(super) async fn body(source: &mut impl BodySource) -> Result<Vec<u8>, StreamError> {
    let mut all = Vec::new();
    within(async {
        while poll_fn(|cx| source.poll_fill(cx)).await? == Fill::Data {
            let chunk = source.chunk();
            assert!(!chunk.is_empty());
            all.extend_from_slice(chunk);
            let length = chunk.len();
            source.consume(length);
        }
        Ok(all)
    })
    .await
}

/// Writes a whole body and ends the message.
pub(super) async fn send_body(sink: &mut impl BodySink, mut bytes: &[u8]) -> Result<(), StreamError> {
    within(async {
        while !bytes.is_empty() {
            let taken = poll_fn(|cx| sink.poll_write(cx, bytes)).await?;
            bytes = &bytes[taken..];
        }
        poll_fn(|cx| sink.poll_finish(cx, None)).await
    })
    .await
}

pub(super) fn block(fields: &[(&str, &str)]) -> HeaderBlock {
    let mut block = HeaderBlock::default();
    for (name, value) in fields {
        block.append(name.as_bytes(), value.as_bytes());
    }
    block
}

pub(super) fn response_head(status: u16, body: BodyLength, fields: &[(&str, &str)]) -> ResponseHead {
    ResponseHead { block: block(fields), status, version: Version::Http11, body, upgrade: None }
}

pub(super) fn request_head(method: &str, path: &str, fields: &[(&str, &str)]) -> RequestHead {
    let mut block = block(fields);
    let method_text = block.push_text(method.as_bytes());
    let path = block.push_text(path.as_bytes());
    let authority = block.push_text(b"mesh.local");
    RequestHead {
        block,
        method: Method::of(method.as_bytes()),
        method_text,
        path,
        authority,
        https: false,
        version: Version::Http11,
        body: BodyLength::None,
        upgrade: None::<Span>,
        expects_continue: false,
        accepts_trailers: false,
    }
}

pub(super) async fn write(peer: &mut UnixStream, bytes: impl AsRef<[u8]>) {
    within(peer.write_all(bytes.as_ref())).await.unwrap();
}

/// Reads until what was read ends with `end`.
pub(super) async fn read_until(peer: &mut UnixStream, end: &str) -> String {
    let mut all = Vec::new();
    within(async {
        while !all.ends_with(end.as_bytes()) {
            assert_ne!(
                peer.read_buf(&mut all).await.unwrap(),
                0,
                "closed after {:?}",
                String::from_utf8_lossy(&all)
            );
        }
    })
    .await;
    String::from_utf8(all).unwrap()
}

/// Reads to the end of the stream.
pub(super) async fn read_all(peer: &mut UnixStream) -> String {
    let mut all = Vec::new();
    within(peer.read_to_end(&mut all)).await.unwrap();
    String::from_utf8_lossy(&all).into_owned()
}

/// The fields of a block as text.
pub(super) fn fields(block: &HeaderBlock) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    block.iter().map(|(name, value)| (text(name), text(value))).collect()
}
