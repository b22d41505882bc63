//! Client half: requests out, responses in, one exchange at a time.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use smallvec::SmallVec;

use super::super::{BodySink, BodySource, Fill, Measured, StreamError};
use super::ClientOptions;
use super::encode;
use super::framing::RESPONSE_FRAMING;
use super::incoming::Incoming;
use super::parse::{Limits, StatusLine, status_line};
use super::response::{self, Asked};
use super::sink::{Sending, Sink};
use super::source::{Receiving, Source};
use super::wire::{Wire, stream_error};
use crate::base::error::DownstreamError;
use crate::http::head::{BodyLength, HeadPool, HeadSize, HeaderBlock, Method, RequestHead, ResponseHead};
use crate::net::buffer::Buf;
use crate::net::stream::Stream;

/// Interim responses accepted before the final one.
const MAX_INFORMATIONAL: u8 = 16;

/// Client half of an HTTP/1 connection; one exchange at a time.
#[derive(Debug)]
pub struct ClientConn {
    wire: Wire,
    options: Rc<ClientOptions>,
    incoming: Incoming<StatusLine>,
    source: Source,
    sink: Sink,
    phase: Phase,
    exchange: Exchange,
}

/// Where the connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No request was sent yet.
    Fresh,
    /// A request head was queued; the final response head has not arrived.
    Awaiting,
    /// The final response head was yielded.
    Responded,
    /// Never to be used again.
    Broken,
}

/// What must be remembered of the request while its response is read.
#[derive(Debug)]
struct Exchange {
    method: Method,
    /// Protocol asked for, lower case.
    upgrade: Option<SmallVec<[u8; 16]>>,
    /// Interim responses so far.
    informational: u8,
    /// Field lines of all response heads so far.
    lines: u64,
    started: bool,
    persists: bool,
}

impl ClientConn {
    /// A fresh connection over `io`.
    pub fn new(io: Stream, options: Rc<ClientOptions>, pool: Rc<HeadPool>) -> Self {
        let limits = Limits { bytes: options.max_head_bytes, fields: options.max_fields };
        Self {
            wire: Wire::new(io, Buf::default(), pool, options.large_reads),
            incoming: Incoming::default(),
            source: Source::new(limits, options.trailers),
            sink: Sink::new(options.header_case),
            phase: Phase::Fresh,
            exchange: Exchange {
                method: Method::Get,
                upgrade: None,
                informational: 0,
                lines: 0,
                started: false,
                persists: true,
            },
            options,
        }
    }

    /// See [`super::super::Upstream::send_head`].
    pub fn send_head(&mut self, head: &RequestHead, body: BodyLength) -> Result<(), StreamError> {
        // Bytes that came before anything was asked belong to nobody.
        if !(self.phase == Phase::Fresh || self.is_reusable()) || self.wire.buffers.unread_len() > 0 {
            self.cancel();
            return Err(StreamError::Closed);
        }
        let output = self.wire.buffers.output();
        let options = &self.options;
        let written = encode::request_head(output, head, body, options.header_case, options.trailers)
            .inspect_err(|_| output.truncate(0))?;
        self.wire.heads.1 = written.fields;
        self.sink.begin(written.sending, options.trailers);
        self.phase = Phase::Awaiting;
        self.exchange = Exchange {
            method: head.method,
            upgrade: head.upgrade.map(|span| SmallVec::from_slice(head.block.bytes(span))),
            informational: 0,
            lines: 0,
            started: false,
            persists: true,
        };
        Ok(())
    }

    /// See [`super::super::Upstream::poll_head`]. Pushes what is queued of the request meanwhile.
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, StreamError>> {
        if self.phase != Phase::Awaiting {
            return Poll::Ready(Err(StreamError::Closed));
        }
        if let Poll::Ready(Err(_)) = self.wire.poll_flush(cx) {
            // A server may refuse the rest of a request and still have answered: read on.
            self.sink.fail();
        }
        loop {
            match self.take_response() {
                Ok(Some(head)) => return Poll::Ready(Ok(head)),
                Ok(None) => {}
                Err(error) => {
                    self.cancel();
                    return Poll::Ready(Err(StreamError::Protocol(error.detail)));
                }
            }
            let error = match ready!(self.wire.poll_receive(cx, u64::MAX)) {
                Ok(0) => StreamError::Closed,
                Ok(_) => {
                    self.exchange.started = true;
                    continue;
                }
                Err(error) => stream_error(&error),
            };
            self.cancel();
            return Poll::Ready(Err(error));
        }
    }

    /// Parses a response head out of what was received.
    fn take_response(&mut self) -> Result<Option<ResponseHead>, DownstreamError> {
        let limits = Limits { bytes: self.options.max_head_bytes, fields: self.options.max_fields };
        let pool = Rc::clone(self.wire.buffers.pool());
        let text = self.wire.buffers.unread_mut();
        let parsed = self.incoming.parse(text, &pool, limits, status_line, RESPONSE_FRAMING)?;
        let Some(parsed) = parsed else { return Ok(None) };
        let asked = Asked { method: self.exchange.method, upgrade: self.exchange.upgrade.as_deref() };
        self.wire.heads.0 += parsed.told;
        self.exchange.lines += parsed.lines as u64;
        let head = response::assemble(&mut self.wire, parsed, asked)?;
        if head.response.status < 200 && head.response.upgrade.is_none() {
            self.exchange.informational += 1;
            if self.exchange.informational > MAX_INFORMATIONAL {
                return Err(response::TOO_MANY_INFORMATIONAL);
            }
        } else {
            self.phase = Phase::Responded;
            // A server that answers before it has the request may not read the rest of it as we mean it.
            self.exchange.persists = head.persists && self.is_request_sent();
            self.source.begin(head.receiving);
            if head.response.upgrade.is_some() {
                self.source.begin(Receiving::UntilClose);
                self.sink.begin(Sending::Tunnel, false);
            }
        }
        Ok(Some(head.response))
    }

    /// See [`super::super::Upstream::cancel`].
    pub fn cancel(&mut self) {
        self.phase = Phase::Broken;
        self.sink.fail();
    }

    /// True when request and response are complete, both framed, and the peer wants to keep the connection.
    pub fn is_reusable(&self) -> bool {
        let is_received = self.phase == Phase::Responded && self.source.is_complete();
        is_received && self.is_request_sent() && self.exchange.persists && self.wire.buffers.unread_len() == 0
    }

    fn is_request_sent(&self) -> bool {
        self.sink.is_idle() && self.wire.buffers.unsent().is_empty()
    }

    /// For an idle pooled connection: false when the peer closed it or sent bytes nobody asked for.
    /// Makes no system call unless the socket signalled something.
    pub fn is_quiet(&mut self, cx: &mut Context<'_>) -> bool {
        (self.phase == Phase::Fresh || self.is_reusable()) && self.wire.is_silent(cx)
    }

    /// True when any byte of the response has arrived: decides whether a closed connection may be retried.
    pub fn response_started(&self) -> bool {
        self.exchange.started
    }

    /// After a 101 or a 2xx to CONNECT: the raw stream and bytes already read from it.
    pub fn into_tunnel(self) -> (Stream, Buf) {
        self.wire.into_parts()
    }

    /// See [`super::super::Upstream::measured`].
    pub fn measured(&self) -> Measured {
        self.wire.measured(0)
    }

    /// See [`super::super::Upstream::answered`].
    pub fn answered(&self) -> Option<HeadSize> {
        let lines = self.exchange.lines;
        let heads = u64::from(self.exchange.informational) + u64::from(self.phase == Phase::Responded);
        // A line is told with its colon and line end.
        let bytes = self.wire.heads.0.saturating_sub(3 * lines);
        (heads > 0).then(|| HeadSize::of_responses(heads, bytes, lines))
    }

    /// Wire bytes received and sent since the last call.
    pub fn take_wire_bytes(&mut self) -> (u64, u64) {
        self.wire.take_totals()
    }
}

impl BodySource for ClientConn {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<Fill, StreamError>> {
        if self.phase != Phase::Responded {
            return Poll::Ready(Err(StreamError::Closed));
        }
        self.source.poll_fill(&mut self.wire, cx)
    }

    fn chunk(&self) -> &[u8] {
        self.source.chunk(&self.wire)
    }

    fn consume(&mut self, count: usize) {
        self.source.consume(&mut self.wire, count);
    }

    fn take_trailers(&mut self) -> Option<HeaderBlock> {
        self.source.take_trailers()
    }
}

impl BodySink for ClientConn {
    fn poll_write(&mut self, cx: &mut Context<'_>, chunk: &[u8]) -> Poll<Result<usize, StreamError>> {
        self.sink.poll_write(&mut self.wire, cx, chunk)
    }

    fn poll_finish(
        &mut self,
        cx: &mut Context<'_>,
        trailers: Option<&HeaderBlock>,
    ) -> Poll<Result<(), StreamError>> {
        self.sink.poll_finish(&mut self.wire, cx, trailers)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        self.wire.poll_flush(cx)
    }
}
