//! Server half of HTTP/2.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::Reason;
use h2::server::{Connection, SendResponse};

use super::body::{Incoming, Outgoing, reset_error};
use super::frames::{Frames, Share};
use super::io::{Counted, WireBytes};
use super::keepalive::Keepalive;
use super::refused::{Openings, Refused};
use super::*;
use crate::http::codec::{BodySink, BodySource, Fill, Measured, StreamError};
use crate::http::head::{BodyLength, HeaderBlock, Method, RequestHead, ResponseHead};
use crate::net::buffer::Buf;
use crate::net::stream::Stream;

/// Server half of an HTTP/2 connection.
#[derive(Debug)]
pub struct ServerConn {
    conn: Connection<Counted, Bytes>,
    bytes: Rc<WireBytes>,
    frames: Option<Rc<Frames>>,
    openings: Rc<Openings>,
    keepalive: Option<Keepalive>,
    max_fields: usize,
}

/// What came in the place of a request.
#[derive(Debug)]
pub enum NoRequest {
    /// One that the codec refused; it has been answered or reset.
    Refused(Refused),
    /// The connection broke.
    Broken(StreamError),
}

type NextRequest = Option<Result<(RequestHead, ServerStream), NoRequest>>;

/// One server stream.
#[derive(Debug)]
pub struct ServerStream {
    incoming: Incoming,
    respond: SendResponse<Bytes>,
    outgoing: Outgoing,
    bodiless: bool,
    share: Option<Share>,
}

impl ServerConn {
    /// Starts the server half; `preread` are bytes read while detecting the protocol (starting with the preface).
    pub async fn handshake(io: Stream, preread: Buf, options: Options) -> Result<Self, StreamError> {
        let frames = options.measured.then(Frames::of_server);
        let openings = Rc::new(Openings::default());
        let (io, bytes) = Counted::new(io, preread, frames.clone());
        let io = io.watched_by(openings.clone());
        let mut builder = h2::server::Builder::new();
        configure!(builder, options);
        if options.settings.allow_connect {
            builder.enable_connect_protocol();
        }
        let mut conn = builder.handshake(io).await.map_err(|error| stream_error(&error))?;
        let settings = &options.settings;
        let keepalive = match settings.keepalive_interval.is_zero() {
            true => None,
            false => {
                Keepalive::new(conn.ping_pong(), settings.keepalive_interval, settings.keepalive_timeout)
            }
        };
        Ok(Self { conn, bytes, frames, openings, keepalive, max_fields: options.max_fields })
    }

    /// Drives the connection and yields the next request. `None`: the connection ended cleanly.
    pub fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<NextRequest> {
        let polled = self.poll_request(cx);
        match polled.is_pending().then(|| self.take_refused()).flatten() {
            Some(refused) => Poll::Ready(Some(Err(NoRequest::Refused(refused)))),
            None => polled,
        }
    }

    /// A request that the codec refused. Some may be left when the connection has ended.
    pub fn take_refused(&mut self) -> Option<Refused> {
        self.openings.take_refused()
    }

    fn poll_request(&mut self, cx: &mut Context<'_>) -> Poll<NextRequest> {
        loop {
            if let Some(keepalive) = &mut self.keepalive
                && keepalive.poll_dead(cx).is_ready()
            {
                return Poll::Ready(Some(Err(NoRequest::Broken(StreamError::Closed))));
            }
            let (request, mut respond) = match ready!(self.conn.poll_accept(cx)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => {
                    let error = connection_error(&error);
                    if matches!(error, StreamError::Protocol(_)) {
                        self.openings.broken();
                    }
                    return Poll::Ready(Some(Err(NoRequest::Broken(error))));
                }
                Some(Ok(accepted)) => accepted,
            };
            self.openings.accepted(respond.stream_id().as_u32());
            let share = self.frames.as_ref().map(|frames| frames.claim(respond.stream_id().as_u32()));
            let (parts, body) = request.into_parts();
            if let Some(share) = &share {
                share.decoded(told::request(&parts.method, &parts.uri, &parts.headers, &parts.extensions));
            }
            match convert::request_head(parts, body.is_end_stream(), self.max_fields) {
                Ok(head) => {
                    let bodiless = head.method == Method::Head;
                    let incoming = Incoming::new(body);
                    let outgoing = Outgoing::default();
                    let stream = ServerStream { incoming, respond, outgoing, bodiless, share };
                    return Poll::Ready(Some(Ok((head, stream))));
                }
                Err(error) => {
                    respond.send_reset(Reason::PROTOCOL_ERROR);
                    if let StreamError::Protocol(details) = error {
                        return Poll::Ready(Some(Err(NoRequest::Refused(Refused::of(details)))));
                    }
                }
            }
        }
    }

    /// First GOAWAY (last stream id 2^31-1), then the final one after a round trip.
    pub fn graceful_shutdown(&mut self) {
        self.conn.graceful_shutdown();
    }

    /// GOAWAY, and the connection ends at once.
    pub fn abrupt_shutdown(&mut self) {
        self.conn.abrupt_shutdown(Reason::NO_ERROR);
    }

    /// GOAWAY with ENHANCE_YOUR_CALM, and the connection ends at once.
    pub fn enhance_your_calm(&mut self) {
        self.conn.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
    }

    /// Wire bytes received and sent since the last call.
    pub fn take_wire_bytes(&mut self) -> (u64, u64) {
        self.bytes.take()
    }
}

impl ServerStream {
    /// See [`crate::http::codec::Downstream::send_head`]. `close` concerns connections, not streams.
    pub fn send_head(&mut self, head: &ResponseHead, _close: bool) -> Result<(), StreamError> {
        let without_body = self.bodiless || matches!(head.body, BodyLength::None | BodyLength::Fixed(0));
        let ended = without_body && head.upgrade.is_none();
        let response = convert::response(head)?;
        self.count_head(&response);
        let stream = self.respond.send_response(response, ended).map_err(|error| stream_error(&error))?;
        self.outgoing.start(stream, ended);
        Ok(())
    }

    /// See [`crate::http::codec::Downstream::send_informational`].
    pub fn send_informational(&mut self, head: &ResponseHead) -> Result<(), StreamError> {
        let response = convert::response(head)?;
        self.count_head(&response);
        self.respond.send_informational(response).map_err(|error| stream_error(&error))
    }

    /// See [`crate::http::codec::Downstream::poll_gone`].
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<StreamError> {
        if self.outgoing.is_started() {
            return self.outgoing.poll_reset(cx);
        }
        self.respond.poll_reset(cx).map(|reset| reset_error(&reset))
    }

    /// RST_STREAM with INTERNAL_ERROR: the response cannot be completed.
    pub fn reset(&mut self) {
        if self.outgoing.is_started() {
            self.outgoing.reset(Reason::INTERNAL_ERROR);
        } else {
            self.respond.send_reset(Reason::INTERNAL_ERROR);
        }
    }

    fn count_head(&self, response: &http::Response<()>) {
        if let Some(share) = &self.share {
            share.encoded(told::response(response.headers()));
        }
    }

    /// See [`crate::http::codec::Downstream::measured`].
    pub fn measured(&self) -> Measured {
        self.share.as_ref().map(Share::measured).unwrap_or_default()
    }

    /// See [`crate::http::codec::Downstream::poll_measured`].
    pub fn poll_measured(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.share.as_ref().map_or(Poll::Ready(()), |share| share.poll_over(cx))
    }
}

impl BodySource for ServerStream {
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

impl BodySink for ServerStream {
    fn poll_write(&mut self, cx: &mut Context<'_>, chunk: &[u8]) -> Poll<Result<usize, StreamError>> {
        if self.bodiless {
            return Poll::Ready(Ok(chunk.len()));
        }
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
