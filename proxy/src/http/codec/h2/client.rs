//! Client half of HTTP/2: one connection shared by many streams, driven by a task of its own.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::ErrorKind;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use h2::Reason;
use h2::client::{ResponseFuture, SendRequest};

use super::body::{Incoming, Outgoing};
use super::frames::{Frames, Share};
use super::io::{Counted, WireBytes};
use super::keepalive::Keepalive;
use super::*;
use crate::http::codec::{BodySink, BodySource, Fill, Measured, StreamError};
use crate::http::head::{BodyLength, HeadSize, HeaderBlock, Method, RequestHead, ResponseHead};
use crate::net::buffer::Buf;
use crate::net::stream::Stream;

/// A shared client connection: opens streams while its driver task runs.
#[derive(Clone, Debug)]
pub struct ClientConn {
    shared: Rc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// `None` once the connection drains: dropping the handle lets it end with its last stream.
    sender: RefCell<Option<SendRequest<Bytes>>>,
    active: Cell<u32>,
    /// We have ended it.
    drained: Cell<bool>,
    limit: u32,
    max_fields: usize,
    bytes: Rc<WireBytes>,
    frames: Option<Rc<Frames>>,
}

/// One client stream; the request leaves with [`ClientStream::send_head`].
#[derive(Debug)]
pub struct ClientStream {
    conn: Rc<Shared>,
    sender: Option<SendRequest<Bytes>>,
    response: Option<ResponseFuture>,
    incoming: Incoming,
    outgoing: Outgoing,
    upgrade: bool,
    bodiless: bool,
    share: Option<Share>,
    /// The response heads so far, where that is asked for.
    answered: Option<HeadSize>,
}

impl ClientConn {
    /// Handshakes over `io`. The returned future is the connection's driver: spawn it; it ends with the connection.
    pub async fn handshake(
        io: Stream,
        options: Options,
    ) -> Result<(Self, impl Future<Output = StreamError> + 'static), StreamError> {
        let frames = options.measured.then(Frames::of_client);
        let (io, bytes) = Counted::new(io, Buf::default(), frames.clone());
        let mut builder = h2::client::Builder::new();
        configure!(builder, options).enable_push(false);
        let (sender, mut conn) =
            builder.handshake::<_, Bytes>(io).await.map_err(|error| stream_error(&error))?;
        let settings = &options.settings;
        let mut keepalive = match settings.keepalive_interval.is_zero() {
            true => None,
            false => {
                Keepalive::new(conn.ping_pong(), settings.keepalive_interval, settings.keepalive_timeout)
            }
        };
        let shared = Rc::new(Shared {
            sender: RefCell::new(Some(sender)),
            active: Cell::new(0),
            drained: Cell::new(false),
            limit: settings.max_concurrent_streams,
            max_fields: options.max_fields,
            bytes,
            frames,
        });
        let handle = shared.clone();
        let driver = poll_fn(move |cx| {
            let dead = keepalive.as_mut().is_some_and(|keepalive| keepalive.poll_dead(cx).is_ready());
            let ended = if dead {
                StreamError::Io(ErrorKind::TimedOut)
            } else {
                ready!(poll_connection(&mut conn, cx))
            };
            handle.sender.borrow_mut().take();
            Poll::Ready(ended)
        });
        Ok((Self { shared }, driver))
    }

    /// A stream, when the connection is alive, not going away and below its concurrency limit.
    pub fn open_stream(&self) -> Option<ClientStream> {
        if self.is_draining() || self.active_streams() >= self.max_streams() {
            return None;
        }
        let sender = self.shared.sender.borrow().clone()?;
        self.shared.active.set(self.shared.active.get() + 1);
        Some(ClientStream {
            conn: self.shared.clone(),
            sender: Some(sender),
            response: None,
            incoming: Incoming::pending(),
            outgoing: Outgoing::default(),
            upgrade: false,
            bodiless: false,
            share: None,
            answered: None,
        })
    }

    /// Streams open now.
    pub fn active_streams(&self) -> u32 {
        self.shared.active.get()
    }

    /// Streams that may be open at once: the smaller of our limit and the peer's SETTINGS.
    pub fn max_streams(&self) -> u32 {
        let sender = self.shared.sender.borrow();
        let peer = sender.as_ref().map_or(0, SendRequest::current_max_send_streams);
        self.shared.limit.min(u32::try_from(peer).unwrap_or(u32::MAX))
    }

    /// True once the connection takes no new streams (GOAWAY, error, closed).
    pub fn is_draining(&self) -> bool {
        let mut sender = self.shared.sender.borrow_mut();
        let Some(handle) = sender.as_mut() else { return true };
        let mut cx = Context::from_waker(Waker::noop());
        let failed = matches!(handle.poll_ready(&mut cx), Poll::Ready(Err(_)));
        if failed {
            sender.take();
        }
        failed
    }

    /// Takes no new streams and ends when the last stream ends.
    pub fn drain(&self) {
        self.shared.drained.set(true);
        self.shared.sender.borrow_mut().take();
    }

    /// Whether we have told it to end.
    pub fn was_drained(&self) -> bool {
        self.shared.drained.get()
    }

    /// Wire bytes received and sent since the last call.
    pub fn take_wire_bytes(&self) -> (u64, u64) {
        self.shared.bytes.take()
    }
}

fn poll_connection(
    conn: &mut h2::client::Connection<Counted, Bytes>,
    cx: &mut Context<'_>,
) -> Poll<StreamError> {
    use std::pin::Pin;
    Pin::new(conn)
        .poll(cx)
        .map(|ended| ended.map_or_else(|error| stream_error(&error), |()| StreamError::Closed))
}

impl ClientStream {
    /// See [`crate::http::codec::Upstream::send_head`].
    pub fn send_head(&mut self, head: &RequestHead, body: BodyLength) -> Result<(), StreamError> {
        let mut sender = self.sender.take().ok_or(StreamError::Closed)?;
        self.upgrade = head.upgrade.is_some() || head.method == Method::Connect;
        self.bodiless = head.method == Method::Head;
        // Whether the server takes extended CONNECT (RFC 8441) is in its SETTINGS, which on a new connection are still
        // on their way; one that does not take it resets the stream.
        let ended = matches!(body, BodyLength::None | BodyLength::Fixed(0)) && !self.upgrade;
        let request = convert::request(head, if self.upgrade { BodyLength::None } else { body })?;
        // A connection that went away since the stream was opened has processed nothing of it.
        let refused = |_| StreamError::Reset { refused: true };
        let length =
            self.conn.frames.as_ref().map(|_| {
                told::request(request.method(), request.uri(), request.headers(), request.extensions())
            });
        let (response, stream) = sender.send_request(request, ended).map_err(refused)?;
        self.response = Some(response);
        self.share = self.conn.frames.as_ref().map(|frames| frames.claim(stream.stream_id().as_u32()));
        if let Some(share) = &self.share {
            share.encoded(length.unwrap_or_default());
        }
        self.outgoing.start(stream, ended);
        Ok(())
    }

    /// See [`crate::http::codec::Upstream::poll_head`].
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, StreamError>> {
        let response = self.response.as_mut().ok_or(StreamError::Closed)?;
        if let Poll::Ready(Some(informational)) = response.poll_informational(cx) {
            let informational = informational.map_err(|error| stream_error(&error))?;
            let (parts, ()) = informational.into_parts();
            self.count_head(&parts.headers);
            return Poll::Ready(convert::response_head(parts, true, false, self.conn.max_fields));
        }
        use std::pin::Pin;
        let response = ready!(Pin::new(response).poll(cx)).map_err(|error| stream_error(&error))?;
        self.response = None;
        let (parts, body) = response.into_parts();
        self.count_head(&parts.headers);
        let ended = body.is_end_stream();
        let mut head = convert::response_head(parts, ended, self.bodiless, self.conn.max_fields)?;
        self.incoming = Incoming::new(body);
        if self.upgrade && (200..300).contains(&head.status) {
            head.upgrade = Some(head.block.push_text(b""));
        }
        Poll::Ready(Ok(head))
    }

    /// See [`crate::http::codec::Upstream::cancel`].
    pub fn cancel(&mut self) {
        self.outgoing.reset(Reason::CANCEL);
    }

    fn count_head(&mut self, headers: &http::HeaderMap) {
        if let Some(share) = &self.share {
            share.decoded(told::response(headers));
        }
        if let Some(answered) = &mut self.answered {
            answered.bytes += told::response(headers);
            answered.fields += headers.len() as u64 + 1;
        }
    }

    /// See [`crate::http::codec::Upstream::size_answer`].
    pub fn size_answer(&mut self) {
        self.answered = Some(HeadSize::default());
    }

    /// See [`crate::http::codec::Upstream::answered`].
    pub fn answered(&self) -> Option<HeadSize> {
        self.answered.filter(|size| size.fields > 0)
    }

    /// See [`crate::http::codec::Upstream::measured`].
    pub fn measured(&self) -> Measured {
        self.share.as_ref().map(Share::measured).unwrap_or_default()
    }
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        self.conn.active.set(self.conn.active.get().saturating_sub(1));
    }
}

impl BodySource for ClientStream {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<Fill, StreamError>> {
        self.incoming.poll_fill(cx)
    }

    fn chunk(&self) -> &[u8] {
        self.incoming.chunk()
    }

    fn consume(&mut self, count: usize) {
        self.incoming.consume(count);
    }

    fn take_trailers(&mut self) -> Option<HeaderBlock> {
        let trailers = self.incoming.take_trailers();
        if let (Some(share), Some(trailers)) = (&self.share, &trailers) {
            share.decoded(told::trailers(trailers));
        }
        trailers
    }
}

impl BodySink for ClientStream {
    fn poll_write(&mut self, cx: &mut Context<'_>, chunk: &[u8]) -> Poll<Result<usize, StreamError>> {
        self.outgoing.poll_write(cx, chunk)
    }

    fn poll_finish(
        &mut self,
        cx: &mut Context<'_>,
        trailers: Option<&HeaderBlock>,
    ) -> Poll<Result<(), StreamError>> {
        ready!(self.outgoing.poll_finish(cx, trailers))?;
        if let (Some(share), Some(trailers)) = (&self.share, trailers) {
            share.encoded(told::trailers(trailers));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        self.outgoing.poll_flush(cx)
    }
}
