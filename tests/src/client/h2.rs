//! HTTP/2 with prior knowledge, one connection, streams and trailers in the open.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, StatusCode};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::{Io, LIMIT};
use crate::netns::Place;
use crate::{Result, wait};

/// A complete response.
#[derive(Debug)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The header fields.
    pub headers: HeaderMap,
    /// The concatenated DATA frames.
    pub body: Bytes,
    /// The trailers, empty if there were none.
    pub trailers: HeaderMap,
}

impl Response {
    /// The body as JSON.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.body).map_err(|e| format!("{e} in the body of {self:?}").into())
    }
}

/// One HTTP/2 connection; closed when dropped.
#[derive(Debug)]
pub struct Connection {
    sender: SendRequest<Bytes>,
    driver: JoinHandle<Result<(), h2::Error>>,
}

impl Connection {
    /// Connects from the test's own network.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        Self::open_from(&Place::Host, address).await
    }

    /// Connects from `place`.
    pub async fn open_from(place: &Place, address: SocketAddr) -> Result<Self> {
        let stream = place.connect(address)?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Self::over(TcpStream::from_std(stream)?).await
    }

    /// Speaks over a stream made elsewhere, as TLS.
    pub async fn over(stream: impl Io + 'static) -> Result<Self> {
        let (sender, connection) = h2::client::handshake(stream).await?;
        Ok(Self { sender, driver: tokio::spawn(connection) })
    }

    /// Sends a whole request and reads the whole response.
    pub async fn exchange(&mut self, request: Request<Bytes>) -> Result<Response> {
        let (head, body) = request.into_parts();
        let (response, mut sending) = self.start(Request::from_parts(head, ()), body.is_empty()).await?;
        if !body.is_empty() {
            sending.send_data(body, true)?;
        }
        read(response).await
    }

    /// Opens a stream; the caller sends the body and reads the response.
    pub async fn start(
        &mut self,
        request: Request<()>,
        end_of_stream: bool,
    ) -> Result<(h2::client::ResponseFuture, SendStream<Bytes>)> {
        let mut sender = wait::within("a free stream", LIMIT, self.sender.clone().ready()).await??;
        Ok(sender.send_request(request, end_of_stream)?)
    }

    /// Waits until the server has said that it takes extended CONNECT (RFC 8441).
    pub async fn until_extended_connect(&self) -> Result<()> {
        let check = || std::future::ready(self.sender.is_extended_connect_protocol_enabled().then_some(()));
        wait::until("SETTINGS_ENABLE_CONNECT_PROTOCOL", LIMIT, check).await
    }

    /// Waits for the connection to end: `Ok` after a graceful GOAWAY or close, else the HTTP/2 error.
    pub async fn ended(&mut self) -> Result<Result<(), h2::Error>> {
        Ok(wait::within("the end of the connection", LIMIT, &mut self.driver).await??)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A `GET` for [`Connection::exchange`].
pub fn get(host: &str, path: &str) -> Result<Request<Bytes>> {
    Ok(Request::get(format!("http://{host}{path}")).body(Bytes::new())?)
}

/// Reads a response to its end.
pub async fn read(response: h2::client::ResponseFuture) -> Result<Response> {
    let (head, mut body) = wait::within("the response head", LIMIT, response).await??.into_parts();
    let (bytes, trailers) = wait::within("the response body", LIMIT, read_body(&mut body)).await??;
    Ok(Response { status: head.status, headers: head.headers, body: bytes, trailers })
}

/// Reads exactly `count` bytes of a body, however they are cut into frames.
pub async fn exact_bytes(body: &mut RecvStream, count: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while bytes.len() < count {
        let chunk = wait::within("body bytes", LIMIT, body.data()).await?;
        let chunk = chunk.ok_or_else(|| format!("the body ended after {bytes:?}"))??;
        body.flow_control().release_capacity(chunk.len())?;
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

async fn read_body(body: &mut RecvStream) -> Result<(Bytes, HeaderMap)> {
    let mut bytes = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        bytes.extend_from_slice(&chunk);
    }
    Ok((bytes.into(), body.trailers().await?.unwrap_or_default()))
}
