//! Server half: requests in, responses out, one exchange at a time.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::super::{BodySink, BodySource, Fill, Measured, NextRequest, StreamError};
use super::ServerOptions;
use super::encode::{self, Answered};
use super::framing::REQUEST_FRAMING;
use super::incoming::Incoming;
use super::parse::{Limits, MALFORMED, RequestLine, TOO_LARGE, request_line};
use super::request;
use super::sink::{Sending, Sink};
use super::source::{Receiving, Source};
use super::wire::{Wire, stream_error};
use crate::base::details::Detail;
use crate::base::error::DownstreamError;
use crate::http::head::{HeadPool, HeaderBlock, Method, RequestHead, ResponseHead, Version};
use crate::net::buffer::{BUF_SIZE, Buf};
use crate::net::stream::Stream;

/// Empty lines tolerated in front of a request (RFC 9112 section 2.2).
const MAX_EMPTY_LINES: u8 = 4;
/// A target that alone is more than the whole head may be.
const TARGET_TOO_LONG: DownstreamError = DownstreamError { status: 414, detail: Detail::H1_URI_TOO_LONG };

/// Server half of an HTTP/1 connection; one exchange at a time.
#[derive(Debug)]
pub struct ServerConn {
    wire: Wire,
    options: Rc<ServerOptions>,
    incoming: Incoming<RequestLine>,
    empty_lines: u8,
    source: Source,
    sink: Sink,
    phase: Phase,
    exchange: Exchange,
    /// The head that was refused last, where it was understood.
    refused: Option<Box<RequestHead>>,
}

/// Where the connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Between exchanges, or reading a head.
    Reading,
    /// A request was yielded; no final response head was queued.
    Requested,
    /// The final response head was queued.
    Responding,
    /// No further exchange.
    Finished,
    /// No further exchange, and FIN was sent.
    Shut,
}

/// What must be remembered of the request while it is answered.
#[derive(Clone, Copy, Debug)]
struct Exchange {
    method: Method,
    version: Version,
    persists: bool,
    accepts_trailers: bool,
    /// The client may be holding its body back until it sees 100.
    awaits_continue: bool,
    /// An interim response is in the output.
    interim: bool,
}

impl Exchange {
    /// Nothing is known: the request was malformed, or there was none.
    const NONE: Exchange = Exchange {
        method: Method::Other,
        version: Version::Http11,
        persists: false,
        accepts_trailers: false,
        awaits_continue: false,
        interim: false,
    };
}

impl ServerConn {
    /// A connection over `io` that starts with `preread`, bytes that were read while detecting the protocol.
    pub fn new(io: Stream, preread: Buf, options: Rc<ServerOptions>, pool: Rc<HeadPool>) -> Self {
        let limits = Limits { bytes: options.max_head_bytes, fields: options.max_fields };
        Self {
            wire: Wire::new(io, preread, pool, options.large_reads),
            incoming: Incoming::default(),
            empty_lines: 0,
            source: Source::new(limits, options.trailers),
            sink: Sink::new(options.header_case),
            phase: Phase::Reading,
            exchange: Exchange::NONE,
            refused: None,
            options,
        }
    }

    /// The next request head. Holds no buffer while no byte of it has arrived.
    /// The exchange before must be complete (see [`ServerConn::finish_exchange`]).
    pub fn poll_request(&mut self, cx: &mut Context<'_>) -> Poll<NextRequest<RequestHead>> {
        if self.phase != Phase::Reading {
            return Poll::Ready(NextRequest::Closed);
        }
        loop {
            match self.take_request() {
                Ok(Some(head)) => return Poll::Ready(NextRequest::Request(head)),
                Ok(None) => {}
                Err(error) => {
                    self.begin_refusal();
                    return Poll::Ready(NextRequest::Invalid(error));
                }
            }
            let ended = match ready!(self.wire.poll_receive(cx, 0)) {
                Ok(0) if self.is_idle() => NextRequest::Closed,
                Ok(0) => NextRequest::Failed(StreamError::Closed),
                Ok(_) => continue,
                // However it goes, nothing was begun.
                Err(_) if self.is_idle() => NextRequest::Closed,
                Err(error) => NextRequest::Failed(stream_error(&error)),
            };
            self.phase = Phase::Finished;
            return Poll::Ready(ended);
        }
    }

    /// The head of an [invalid](NextRequest::Invalid) request, where it was understood and is refused all the same.
    pub fn take_refused(&mut self) -> Option<Box<RequestHead>> {
        self.refused.take()
    }

    /// A malformed request, or one whose head takes too long, is answered like any other, except that nothing follows.
    pub fn begin_refusal(&mut self) {
        self.phase = Phase::Requested;
        self.exchange = Exchange::NONE;
        self.source.begin(Receiving::Done);
    }

    /// Parses a request head out of what was received.
    fn take_request(&mut self) -> Result<Option<RequestHead>, DownstreamError> {
        self.skip_empty_lines()?;
        let limits = Limits { bytes: self.options.max_head_bytes, fields: self.options.max_fields };
        let pool = Rc::clone(self.wire.buffers.pool());
        let text = self.wire.buffers.unread_mut();
        let parsed = self.incoming.parse(text, &pool, limits, request_line, REQUEST_FRAMING);
        let parsed = match parsed {
            Err(error) if error == TOO_LARGE && self.incoming.at_start() => return Err(TARGET_TOO_LONG),
            parsed => parsed?,
        };
        let Some(parsed) = parsed else { return Ok(None) };
        self.wire.heads.0 = parsed.told;
        let head = request::assemble(&mut self.wire, parsed, &self.options).map_err(|refusal| {
            self.refused = refusal.known;
            refusal.error
        })?;
        self.empty_lines = 0;
        self.phase = Phase::Requested;
        self.exchange = Exchange {
            method: head.request.method,
            version: head.request.version,
            persists: head.persists,
            accepts_trailers: head.request.accepts_trailers,
            awaits_continue: head.request.expects_continue,
            interim: false,
        };
        self.source.begin(head.receiving);
        Ok(Some(head.request))
    }

    /// Skips empty lines where a request line is due.
    fn skip_empty_lines(&mut self) -> Result<(), DownstreamError> {
        while self.incoming.at_start() && self.wire.buffers.unread().starts_with(b"\r\n") {
            self.wire.buffers.consume(2);
            self.empty_lines += 1;
            if self.empty_lines > MAX_EMPTY_LINES {
                return Err(MALFORMED);
            }
        }
        Ok(())
    }

    /// True while no byte of the next request has arrived: idle timeout rather than header timeout applies.
    pub fn is_idle(&self) -> bool {
        self.phase == Phase::Reading && self.incoming.at_start() && self.wire.buffers.unread_len() == 0
    }

    /// See [`super::super::Downstream::send_head`]. Also answers a request that was
    /// [invalid](NextRequest::Invalid).
    pub fn send_head(&mut self, head: &ResponseHead, close: bool) -> Result<(), StreamError> {
        if self.phase != Phase::Requested {
            return Err(StreamError::Closed);
        }
        let exchange = &mut self.exchange;
        // A client that was never told to continue may send its body or its next request: nobody can know.
        exchange.persists &= !close && !exchange.awaits_continue;
        let answered =
            Answered { method: exchange.method, version: exchange.version, close: !exchange.persists };
        let output = self.wire.buffers.output();
        let before = output.len();
        let written = encode::response_head(output, head, answered, self.options.header_case)
            .inspect_err(|_| output.truncate(before))?;
        let sending = written.sending;
        self.wire.heads.1 += written.fields;
        exchange.persists &= !matches!(sending, Sending::UntilClose | Sending::Tunnel);
        if sending == Sending::Tunnel {
            self.source.begin(Receiving::UntilClose);
        }
        self.sink.begin(sending, self.options.trailers && exchange.accepts_trailers);
        self.phase = Phase::Responding;
        Ok(())
    }

    /// See [`super::super::Downstream::send_informational`]. Clients of HTTP/1.0 know none and get none.
    /// The bytes leave with the next poll of anything on this connection.
    pub fn send_informational(&mut self, head: &ResponseHead) -> Result<(), StreamError> {
        if self.phase != Phase::Requested {
            return Err(StreamError::Closed);
        }
        if self.exchange.version == Version::Http10 {
            return Ok(());
        }
        let output = self.wire.buffers.output();
        let before = output.len();
        let fields = encode::informational(output, head, self.options.header_case)
            .inspect_err(|_| output.truncate(before))?;
        self.wire.heads.1 += fields;
        self.exchange.interim = true;
        self.exchange.awaits_continue &= head.status != 100;
        Ok(())
    }

    /// Pushes an interim response out, as far as the socket takes it.
    fn push_interim(&mut self, cx: &mut Context<'_>) -> Result<(), StreamError> {
        if !self.exchange.interim {
            return Ok(());
        }
        match self.wire.poll_flush(cx) {
            Poll::Ready(result) => {
                self.exchange.interim = false;
                result
            }
            Poll::Pending => Ok(()),
        }
    }

    /// See [`super::super::Downstream::poll_gone`]. Reads ahead within one buffer: pipelined requests are
    /// no sign of departure, and once the buffer is full the question stays open.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<StreamError> {
        if let Err(error) = self.push_interim(cx) {
            return Poll::Ready(error);
        }
        while self.wire.buffers.unread_len() < BUF_SIZE {
            match ready!(self.wire.poll_receive(cx, 0)) {
                Ok(0) => return Poll::Ready(StreamError::Closed),
                Ok(_) => {}
                Err(error) => return Poll::Ready(stream_error(&error)),
            }
        }
        Poll::Pending
    }

    /// See [`super::super::Downstream::reset`]: the connection will not be used again.
    pub fn reset(&mut self) {
        self.exchange.persists = false;
        self.sink.fail();
        self.phase = Phase::Finished;
    }

    /// After the response is finished: true when the connection can carry another request.
    /// False when it must close: `connection: close`, an unread request body (the caller may drain a bounded
    /// part first with [`BodySource`]), a protocol error or a tunnel.
    pub fn finish_exchange(&mut self, head: RequestHead) -> bool {
        drop(head);
        let is_answered = self.phase == Phase::Responding && self.sink.is_idle();
        let is_sent = self.wire.buffers.unsent().is_empty();
        if is_answered && is_sent && self.exchange.persists && self.source.is_complete() {
            self.phase = Phase::Reading;
            return true;
        }
        self.phase = Phase::Finished;
        false
    }

    /// Sends FIN and reads (and discards) until the peer closes, so that it can still read the last reply.
    pub fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.phase != Phase::Shut {
            let is_whole =
                ready!(self.wire.poll_flush(cx)).is_ok() && ready!(self.wire.poll_shutdown(cx)).is_ok();
            if !is_whole {
                return Poll::Ready(());
            }
            self.phase = Phase::Shut;
        }
        loop {
            self.wire.buffers.consume(usize::MAX);
            match ready!(self.wire.poll_receive(cx, 0)) {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Poll::Ready(()),
            }
        }
    }

    /// After a 101 or a 2xx to CONNECT was sent and flushed: the raw stream and bytes already read from it.
    pub fn into_tunnel(self) -> (Stream, Buf) {
        self.wire.into_parts()
    }

    /// See [`super::super::Downstream::measured`]. Requests that were sent ahead are not of this exchange.
    pub fn measured(&self) -> Measured {
        let ahead = if self.source.is_complete() { self.wire.buffers.unread_len() } else { 0 };
        self.wire.measured(ahead)
    }

    /// Wire bytes received and sent since the last call, for `downstream_cx_{rx,tx}_bytes_total`.
    pub fn take_wire_bytes(&mut self) -> (u64, u64) {
        self.wire.take_totals()
    }
}

impl BodySource for ServerConn {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<Fill, StreamError>> {
        self.push_interim(cx)?;
        let fill = ready!(self.source.poll_fill(&mut self.wire, cx))?;
        self.exchange.awaits_continue = false;
        Poll::Ready(Ok(fill))
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

impl BodySink for ServerConn {
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
