//! A client connection of HTTP and gRPC checks. The peer is not trusted: heads and bodies are bounded.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::JoinHandle;

use super::probe::Target;
use crate::config::health::CheckHeader;
use crate::config::route::AppendAction;

/// Longest response head, bytes.
const MAX_HEAD: usize = 64 * 1024;
/// Longest response body; a longer one is no answer.
const MAX_BODY: usize = 16 * 1024 * 1024;

/// Why there is no answer; the caller needs to know only that.
#[derive(Debug)]
pub(super) struct NoAnswer;

impl<E: std::error::Error> From<E> for NoAnswer {
    fn from(error: E) -> Self {
        tracing::trace!("health check: {error}");
        Self
    }
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// An open connection; it closes when dropped.
pub(super) struct Connection {
    sender: Sender,
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A response: its head, the beginning of its body, its trailers.
pub(super) struct Answer {
    pub(super) head: Response<()>,
    pub(super) body: Bytes,
    pub(super) trailers: HeaderMap,
}

impl Connection {
    async fn open(target: &Target, over_http2: bool) -> Result<Self, NoAnswer> {
        let io = TokioIo::new(target.connect().await?);
        if over_http2 {
            let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                .max_header_list_size(MAX_HEAD as u32)
                .handshake(io)
                .await?;
            let driver = tokio::spawn(async move { drop(connection.await) });
            return Ok(Self { sender: Sender::Http2(sender), driver });
        }
        let (sender, connection) = http1::Builder::new().max_buf_size(MAX_HEAD).handshake(io).await?;
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Self { sender: Sender::Http1(sender), driver })
    }

    /// Whether the next request can be sent.
    async fn is_usable(&mut self) -> bool {
        match &mut self.sender {
            Sender::Http1(sender) => sender.ready().await.is_ok(),
            Sender::Http2(sender) => sender.ready().await.is_ok(),
        }
    }

    async fn send(&mut self, request: Request<Full<Bytes>>, keep: usize) -> Result<Answer, NoAnswer> {
        let response = match &mut self.sender {
            Sender::Http1(sender) => sender.send_request(request).await?,
            Sender::Http2(sender) => sender.send_request(request).await?,
        };
        let (head, mut body) = response.into_parts();
        let mut answer =
            Answer { head: Response::from_parts(head, ()), body: Bytes::new(), trailers: HeaderMap::new() };
        read(&mut body, keep, &mut answer).await?;
        Ok(answer)
    }
}

/// Reads to the end, keeping the first bytes.
async fn read(body: &mut Incoming, keep: usize, answer: &mut Answer) -> Result<(), NoAnswer> {
    let (mut kept, mut total) = (BytesMut::new(), 0usize);
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(data) => {
                total = total.saturating_add(data.len());
                let room = keep.saturating_sub(kept.len()).min(data.len());
                kept.extend_from_slice(&data[..room]);
            }
            Err(frame) => answer.trailers = frame.into_trailers().unwrap_or_default(),
        }
        if total > MAX_BODY {
            return Err(NoAnswer);
        }
    }
    answer.body = kept.freeze();
    Ok(())
}

/// Asks over the connection in `slot`, or over a new one when there is none that is still open. Keeps it there for the
/// next time unless something went wrong.
pub(super) async fn exchange(
    slot: &mut Option<Connection>,
    target: &Target,
    over_http2: bool,
    request: Request<Full<Bytes>>,
    keep: usize,
) -> Result<Answer, NoAnswer> {
    let mut connection = match slot.take() {
        Some(mut open) => match open.is_usable().await {
            true => open,
            false => Connection::open(target, over_http2).await?,
        },
        None => Connection::open(target, over_http2).await?,
    };
    let answer = connection.send(request, keep).await?;
    *slot = Some(connection);
    Ok(answer)
}

/// Adds configured headers.
pub(super) fn add(headers: &mut HeaderMap, added: &[CheckHeader]) {
    for CheckHeader { name, value, action } in added {
        let there = headers.contains_key(name);
        match action {
            AppendAction::AppendOrAdd => drop(headers.append(name, value.clone())),
            AppendAction::AddIfAbsent if there => {}
            AppendAction::OverwriteIfExists if !there => {}
            AppendAction::AddIfAbsent | AppendAction::OverwriteOrAdd | AppendAction::OverwriteIfExists => {
                headers.insert(name, value.clone());
            }
        }
    }
}
