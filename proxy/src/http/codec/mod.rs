//! The wire seam. Above it, heads, body bytes and [`StreamError`]s; below it, whoever parses HTTP:
//! our own HTTP/1.1 codec in [`h1`], the `h2` crate in [`h2`]. Nothing outside this folder names either.
//!
//! All methods are poll functions so that one task can drive the downstream half and the upstream half
//! of an exchange together. Bodies flow by *fill, look, consume*: [`BodySource::poll_fill`] makes a chunk
//! available, [`BodySource::chunk`] borrows it, a [`BodySink`] takes as much as it can and
//! [`BodySource::consume`] releases that much (which is also what reopens flow-control windows).

pub mod h1;
pub mod h2;
mod measured;
pub mod raw;

use std::task::{Context, Poll};

use super::head::{BodyLength, HeadSize, HeaderBlock, RequestHead, ResponseHead};
use crate::base::details::Detail;
use crate::base::error::DownstreamError;
pub use measured::Measured;

/// How a stream ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamError {
    /// The peer closed the connection before the message was complete.
    Closed,
    /// The peer reset the stream or connection. `refused`: certainly not processed.
    Reset {
        /// REFUSED_STREAM, or a stream above the GOAWAY id.
        refused: bool,
    },
    /// The peer broke the protocol; the text is for response-code details.
    Protocol(Detail),
    /// Reading or writing failed in the kernel.
    Io(std::io::ErrorKind),
}

/// What [`BodySource::poll_fill`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// [`BodySource::chunk`] is not empty.
    Data,
    /// The body is complete; [`BodySource::take_trailers`] has the trailers, if any.
    End,
}

/// The receiving half of a message body.
pub trait BodySource {
    /// Makes a chunk available or finds the end. Idempotent while a chunk is unconsumed.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<Fill, StreamError>>;
    /// The unconsumed bytes; empty before a successful `poll_fill`.
    fn chunk(&self) -> &[u8];
    /// Releases the first `count` bytes of the chunk.
    fn consume(&mut self, count: usize);
    /// Trailers, once, after [`Fill::End`].
    fn take_trailers(&mut self) -> Option<HeaderBlock>;
}

/// The sending half of a message body. The head goes first through the half's own `send_head`.
pub trait BodySink {
    /// Takes as much of `chunk` as fits: the number of its bytes taken, pending while nothing can be.
    /// What was taken may wait, together with the head, for the next call of `poll_flush` or `poll_finish`:
    /// flush when the source has no more for now. An empty `chunk` flushes.
    fn poll_write(&mut self, cx: &mut Context<'_>, chunk: &[u8]) -> Poll<Result<usize, StreamError>>;
    /// Ends the message with trailers if given, and flushes. Ready when the kernel has it all.
    fn poll_finish(
        &mut self,
        cx: &mut Context<'_>,
        trailers: Option<&HeaderBlock>,
    ) -> Poll<Result<(), StreamError>>;
    /// Flushes what is buffered so far.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>>;
}

/// Server half of one exchange, whatever the protocol.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "one per exchange, on the task's own frame; a box would be an allocation"
)]
pub enum Downstream<'conn> {
    /// The connection itself: HTTP/1 has one exchange at a time.
    H1(&'conn mut h1::ServerConn),
    /// One stream of a connection.
    H2(h2::ServerStream),
}

/// Client half of one exchange, whatever the protocol.
#[derive(Debug)]
pub enum Upstream {
    /// A whole connection, leased from the pool.
    H1(Box<h1::ClientConn>),
    /// One stream of a pooled connection. Boxed as it is moved from step to step of an exchange.
    H2(Box<h2::ClientStream>),
    /// Bytes without a protocol: CONNECT ends here.
    Raw(Box<raw::RawConn>),
}

/// Runs one expression on whichever protocol is inside.
macro_rules! on_codec {
    (Downstream, $self:expr, $half:ident => $call:expr) => {
        match $self {
            Downstream::H1($half) => $call,
            Downstream::H2($half) => $call,
        }
    };
    (Upstream, $self:expr, $half:ident => $call:expr) => {
        match $self {
            Upstream::H1($half) => $call,
            Upstream::H2($half) => $call,
            Upstream::Raw($half) => $call,
        }
    };
}

impl Downstream<'_> {
    /// Queues the response head; `head.body` says how the body will be framed. The codec adds framing
    /// and connection headers, the bytes leave with the body or the first flush. After a 101, or a 2xx to
    /// CONNECT, both directions carry opaque bytes until each is finished.
    /// `close`: this connection ends after the response (HTTP/1 `connection: close`).
    pub fn send_head(&mut self, head: &ResponseHead, close: bool) -> Result<(), StreamError> {
        on_codec!(Downstream, self, half => half.send_head(head, close))
    }

    /// Sends an interim response (100, 103) at once.
    pub fn send_informational(&mut self, head: &ResponseHead) -> Result<(), StreamError> {
        on_codec!(Downstream, self, half => half.send_informational(head))
    }

    /// Ready when the client is gone, so that the upstream can be cancelled while it is still silent.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<StreamError> {
        on_codec!(Downstream, self, half => half.poll_gone(cx))
    }

    /// Ends the stream without completing the message: HTTP/2 RST_STREAM, HTTP/1 close.
    pub fn reset(&mut self) {
        on_codec!(Downstream, self, half => half.reset())
    }

    /// What the exchange took on the wire so far. HTTP/2 knows it only where it was told to measure.
    pub fn measured(&self) -> Measured {
        on_codec!(Downstream, self, half => half.measured())
    }

    /// Ready when all that was sent is on the wire, where that is measured after it was taken.
    pub fn poll_measured(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Downstream::H1(_) => Poll::Ready(()),
            Downstream::H2(stream) => stream.poll_measured(cx),
        }
    }
}

impl Upstream {
    /// Queues the request head; `head.body` says how the body will be framed.
    pub fn send_head(&mut self, head: &RequestHead, body: BodyLength) -> Result<(), StreamError> {
        on_codec!(Upstream, self, half => half.send_head(head, body))
    }

    /// The next response head: informational ones come first, each once; the first with status >= 200,
    /// or a 101, is final.
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, StreamError>> {
        on_codec!(Upstream, self, half => half.poll_head(cx))
    }

    /// Gives the request up: HTTP/2 RST_STREAM CANCEL, HTTP/1 the connection is never reused.
    pub fn cancel(&mut self) {
        on_codec!(Upstream, self, half => half.cancel())
    }

    /// Asks for [`Upstream::answered`], before the request goes out.
    pub fn size_answer(&mut self) {
        if let Upstream::H2(stream) = self {
            stream.size_answer();
        }
    }

    /// The size of the response heads so far, interim ones with them, fields that stop at the codec too. `None` before
    /// the first. Ask before the trailers.
    pub fn answered(&self) -> Option<HeadSize> {
        on_codec!(Upstream, self, half => half.answered())
    }

    /// What the exchange took on the wire so far. HTTP/2 knows it only where it was told to measure.
    pub fn measured(&self) -> Measured {
        on_codec!(Upstream, self, half => half.measured())
    }
}

impl BodySource for Downstream<'_> {
    #[inline]
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<Fill, StreamError>> {
        on_codec!(Downstream, self, half => half.poll_fill(cx))
    }

    #[inline]
    fn chunk(&self) -> &[u8] {
        on_codec!(Downstream, self, half => half.chunk())
    }

    #[inline]
    fn consume(&mut self, count: usize) {
        on_codec!(Downstream, self, half => half.consume(count))
    }

    fn take_trailers(&mut self) -> Option<HeaderBlock> {
        on_codec!(Downstream, self, half => half.take_trailers())
    }
}

impl BodySink for Downstream<'_> {
    #[inline]
    fn poll_write(&mut self, cx: &mut Context<'_>, chunk: &[u8]) -> Poll<Result<usize, StreamError>> {
        on_codec!(Downstream, self, half => half.poll_write(cx, chunk))
    }

    #[inline]
    fn poll_finish(
        &mut self,
        cx: &mut Context<'_>,
        trailers: Option<&HeaderBlock>,
    ) -> Poll<Result<(), StreamError>> {
        on_codec!(Downstream, self, half => half.poll_finish(cx, trailers))
    }

    #[inline]
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        on_codec!(Downstream, self, half => half.poll_flush(cx))
    }
}

impl BodySource for Upstream {
    #[inline]
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<Fill, StreamError>> {
        on_codec!(Upstream, self, half => half.poll_fill(cx))
    }

    #[inline]
    fn chunk(&self) -> &[u8] {
        on_codec!(Upstream, self, half => half.chunk())
    }

    #[inline]
    fn consume(&mut self, count: usize) {
        on_codec!(Upstream, self, half => half.consume(count))
    }

    fn take_trailers(&mut self) -> Option<HeaderBlock> {
        on_codec!(Upstream, self, half => half.take_trailers())
    }
}

impl BodySink for Upstream {
    #[inline]
    fn poll_write(&mut self, cx: &mut Context<'_>, chunk: &[u8]) -> Poll<Result<usize, StreamError>> {
        on_codec!(Upstream, self, half => half.poll_write(cx, chunk))
    }

    #[inline]
    fn poll_finish(
        &mut self,
        cx: &mut Context<'_>,
        trailers: Option<&HeaderBlock>,
    ) -> Poll<Result<(), StreamError>> {
        on_codec!(Upstream, self, half => half.poll_finish(cx, trailers))
    }

    #[inline]
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        on_codec!(Upstream, self, half => half.poll_flush(cx))
    }
}

/// What a server connection yields instead of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextRequest<T> {
    /// A request head.
    Request(T),
    /// The peer closed between requests, or the connection is done.
    Closed,
    /// The peer broke HTTP/1: answer with this and close.
    Invalid(DownstreamError),
    /// Reading or writing failed.
    Failed(StreamError),
}
