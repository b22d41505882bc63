//! The body of the message being sent: framed as its head announced, in as few writes as possible.
//!
//! A head and small pieces of body are gathered in the connection's output; a large piece goes out
//! together with what is gathered and its chunk framing in one vectored write, without being copied.

use std::task::{Context, Poll, ready};

use super::super::StreamError;
use super::encode;
use super::trailers;
use super::wire::{Wire, stream_error};
use crate::base::details::Detail;
use crate::config::listener::HeaderCase;
use crate::http::head::HeaderBlock;

/// Pieces of body up to this size are gathered rather than written in place, bytes.
const GATHER: usize = 4096;
/// Unsent output beyond which nothing more is gathered, bytes.
const GATHERED_MAX: usize = 16 * 1024;

/// How the body being sent ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sending {
    /// No message is being sent.
    Idle,
    /// The message has no body on the wire: bytes offered are dropped.
    Nothing,
    /// After this many more bytes.
    Length(u64),
    /// With a last chunk. This many bytes of the current chunk are still to be sent.
    Chunked(u64),
    /// By closing the connection.
    UntilClose,
    /// With FIN: no message any more, but one direction of a tunnel.
    Tunnel,
    /// It cannot be completed.
    Failed,
}

/// Body being sent.
#[derive(Debug)]
pub(super) struct Sink {
    state: Sending,
    trailers: bool,
    case: HeaderCase,
}

impl Sink {
    pub(super) fn new(case: HeaderCase) -> Self {
        Self { state: Sending::Idle, trailers: false, case }
    }

    /// Starts on the body of a message whose head was queued. `trailers`: they may be sent.
    pub(super) fn begin(&mut self, state: Sending, trailers: bool) {
        self.state = state;
        self.trailers = trailers;
    }

    pub(super) fn fail(&mut self) {
        self.state = Sending::Failed;
    }

    /// No message is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.state == Sending::Idle
    }

    /// See [`super::super::BodySink::poll_write`].
    pub(super) fn poll_write(
        &mut self,
        wire: &mut Wire,
        cx: &mut Context<'_>,
        chunk: &[u8],
    ) -> Poll<Result<usize, StreamError>> {
        if chunk.is_empty() {
            return wire.poll_flush(cx).map_ok(|()| 0);
        }
        let result = match self.state {
            Sending::Nothing => Poll::Ready(Ok(chunk.len())),
            Sending::Idle | Sending::Failed => Poll::Ready(Err(StreamError::Closed)),
            Sending::Length(left) if left < chunk.len() as u64 => {
                Poll::Ready(Err(StreamError::Protocol(Detail::H1_BODY_TOO_LONG)))
            }
            _ if self.may_gather(wire, chunk.len()) => {
                self.gather(wire, chunk);
                Poll::Ready(Ok(chunk.len()))
            }
            _ => self.poll_write_in_place(wire, cx, chunk),
        };
        if let Poll::Ready(Err(_)) = result {
            self.fail();
        }
        result
    }

    fn may_gather(&self, wire: &Wire, length: usize) -> bool {
        let between_chunks = !matches!(self.state, Sending::Chunked(1..));
        between_chunks && length <= GATHER && wire.buffers.unsent().len() + length <= GATHERED_MAX
    }

    /// Copies a small piece behind the output, to be sent with what follows or with the next flush.
    fn gather(&mut self, wire: &mut Wire, chunk: &[u8]) {
        let output = wire.buffers.output();
        if let Sending::Chunked(_) = self.state {
            encode::chunk_size(output, chunk.len());
            output.extend(chunk);
            output.extend(b"\r\n");
            return;
        }
        output.extend(chunk);
        if let Sending::Length(left) = &mut self.state {
            *left -= chunk.len() as u64;
        }
    }

    fn poll_write_in_place(
        &mut self,
        wire: &mut Wire,
        cx: &mut Context<'_>,
        chunk: &[u8],
    ) -> Poll<Result<usize, StreamError>> {
        let Sending::Chunked(open) = &mut self.state else {
            let (taken, _) = ready!(wire.poll_send_with(cx, chunk, b""))?;
            if let Sending::Length(left) = &mut self.state {
                *left -= taken as u64;
            }
            return Poll::Ready(Ok(taken));
        };
        if *open == 0 {
            encode::chunk_size(wire.buffers.output(), chunk.len());
            *open = chunk.len() as u64;
        }
        let piece = usize::try_from(*open).map_or(chunk, |open| &chunk[..open.min(chunk.len())]);
        let tail: &[u8] = if piece.len() as u64 == *open { b"\r\n" } else { b"" };
        let (taken, of_tail) = ready!(wire.poll_send_with(cx, piece, tail))?;
        *open -= taken as u64;
        if *open == 0 {
            wire.buffers.output().extend(&tail[of_tail..]);
        }
        Poll::Ready(Ok(taken))
    }

    /// See [`super::super::BodySink::poll_finish`].
    pub(super) fn poll_finish(
        &mut self,
        wire: &mut Wire,
        cx: &mut Context<'_>,
        trailers: Option<&HeaderBlock>,
    ) -> Poll<Result<(), StreamError>> {
        match self.state {
            Sending::Failed => return Poll::Ready(Err(StreamError::Closed)),
            Sending::Length(1..) | Sending::Chunked(1..) => {
                self.fail();
                return Poll::Ready(Err(StreamError::Protocol(Detail::H1_BODY_TOO_SHORT)));
            }
            Sending::Chunked(0) => {
                let trailers = trailers.filter(|_| self.trailers);
                let trailers = trailers.map(|block| (block, trailers::sendable(block)));
                match encode::last_chunk(wire.buffers.output(), trailers, self.case) {
                    Ok(fields) => wire.heads.1 += fields,
                    Err(error) => {
                        self.fail();
                        return Poll::Ready(Err(error));
                    }
                }
            }
            Sending::Tunnel => {
                ready!(wire.poll_flush(cx))?;
                ready!(wire.poll_shutdown(cx)).map_err(|error| stream_error(&error))?;
            }
            Sending::Idle | Sending::Nothing | Sending::Length(0) | Sending::UntilClose => {}
        }
        self.state = Sending::Idle;
        wire.poll_flush(cx)
    }
}
