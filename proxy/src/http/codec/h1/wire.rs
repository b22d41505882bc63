//! The socket of one connection: reads into and writes from its [`Buffers`].
//!
//! Owns system calls, the read size and byte counts; knows nothing of HTTP. Invariant: while nothing is
//! buffered and the socket is quiet, no buffer is held.

use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::super::{Measured, StreamError};
use super::buffers::Buffers;
use crate::http::head::HeadPool;
use crate::net::buffer::{BUF_SIZE, Buf};
use crate::net::stream::Stream;

/// Socket and buffers.
#[derive(Debug)]
pub(super) struct Wire {
    io: Stream,
    pub(super) buffers: Buffers,
    /// Bodies may be read into large buffers.
    large_reads: bool,
    /// The last read filled all the room it had: more is waiting, a larger read pays.
    backlog: bool,
    /// The last read was a large one: the next message may be as large, and be read with its head at once.
    bulky: bool,
    /// The TLS layer may hold records that the socket did not take.
    unflushed: bool,
    /// Since the last [`Wire::take_totals`].
    received_total: u64,
    sent_total: u64,
    /// Bytes that had been received already at that moment and belong to what comes after it.
    ahead: u64,
    /// Of heads and trailers since then: received, sent.
    pub(super) heads: (u64, u64),
}

impl Wire {
    pub(super) fn new(io: Stream, preread: Buf, pool: Rc<HeadPool>, large_reads: bool) -> Self {
        let received_total = preread.len() as u64;
        let buffers = Buffers::new(preread, pool);
        Self {
            io,
            buffers,
            large_reads,
            backlog: false,
            bulky: false,
            unflushed: false,
            received_total,
            sent_total: 0,
            ahead: 0,
            heads: (0, 0),
        }
    }

    /// True when TLS is spoken.
    pub(super) fn is_tls(&self) -> bool {
        self.io.is_tls()
    }

    /// Reads once, behind what is unread: the number of bytes, 0 at the end of the stream.
    /// `expected`: how much may be coming, which is what a large buffer is taken for.
    pub(super) fn poll_receive(&mut self, cx: &mut Context<'_>, expected: u64) -> Poll<io::Result<usize>> {
        let large = self.large_reads && (self.backlog || self.bulky) && expected > BUF_SIZE as u64;
        // Small buffers are at hand; a large one is taken only for bytes that are there.
        if large && self.buffers.unread_len() == 0 && self.io.poll_read_ready(cx).is_pending() {
            self.buffers.release_input();
            return Poll::Pending;
        }
        let room = self.buffers.room(large);
        let size = room.len();
        let Poll::Ready(result) = self.io.poll_read(cx, room) else {
            self.buffers.release_input();
            return Poll::Pending;
        };
        let count = result?;
        self.buffers.received(count);
        self.backlog = count == size;
        self.bulky = count > BUF_SIZE;
        self.received_total += count as u64;
        Poll::Ready(Ok(count))
    }

    /// Whether an idle connection is still open and silent. Asks the kernel only when the socket signalled.
    pub(super) fn is_silent(&mut self, cx: &mut Context<'_>) -> bool {
        if self.buffers.unread_len() > 0 {
            return false;
        }
        if self.io.poll_read_ready(cx).is_pending() {
            return true;
        }
        // TLS may have signalled for a session ticket: that is no data, the read stays pending.
        let mut probe = [0; 64];
        self.io.poll_read(cx, &mut probe).is_pending()
    }

    /// Sends the output.
    #[inline]
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        while !self.buffers.unsent().is_empty() {
            let count = written(ready!(self.io.poll_write(cx, self.buffers.unsent())))?;
            self.count_sent(count);
            self.buffers.sent(count);
        }
        Poll::Ready(Ok(()))
    }

    /// Sends the output followed by `body` and `tail`, as one write: how many bytes of `body` and of
    /// `tail` the socket took, at least one of `body`.
    pub(super) fn poll_send_with(
        &mut self,
        cx: &mut Context<'_>,
        body: &[u8],
        tail: &[u8],
    ) -> Poll<Result<(usize, usize), StreamError>> {
        loop {
            let output = self.buffers.unsent();
            let waiting = output.len();
            let result = if waiting == 0 && tail.is_empty() {
                ready!(self.io.poll_write(cx, body))
            } else {
                let slices = [IoSlice::new(output), IoSlice::new(body), IoSlice::new(tail)];
                ready!(self.io.poll_write_vectored(cx, &slices))
            };
            let count = written(result)?;
            self.count_sent(count);
            self.buffers.sent(count.min(waiting));
            if count > waiting {
                let of_body = (count - waiting).min(body.len());
                return Poll::Ready(Ok((of_body, count - waiting - of_body)));
            }
        }
    }

    /// Sends the output and whatever the TLS layer holds.
    #[inline]
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        ready!(self.poll_send(cx))?;
        if self.unflushed {
            ready!(self.io.poll_flush(cx)).map_err(|error| stream_error(&error))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn count_sent(&mut self, count: usize) {
        self.sent_total += count as u64;
        self.unflushed = self.io.is_tls();
    }

    /// Sends FIN.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.poll_shutdown(cx)
    }

    /// The stream and what was received on it but not used.
    pub(super) fn into_parts(mut self) -> (Stream, Buf) {
        let rest = self.buffers.take_unread();
        (self.io, rest)
    }

    /// What was received and sent since the last [`Wire::take_totals`]. `ahead` bytes of what is unread belong
    /// to the next message.
    pub(super) fn measured(&self, ahead: usize) -> Measured {
        let (heads_received, heads_sent) = self.heads;
        let received = (self.ahead + self.received_total).saturating_sub(ahead as u64);
        Measured {
            received,
            sent: self.sent_total,
            heads_received,
            heads_sent,
            decoded_received: heads_received,
            decoded_sent: heads_sent,
        }
    }

    /// Bytes received and sent since the last call.
    pub(super) fn take_totals(&mut self) -> (u64, u64) {
        self.ahead = self.buffers.unread_len() as u64;
        self.heads = (0, 0);
        (std::mem::take(&mut self.received_total), std::mem::take(&mut self.sent_total))
    }
}

/// What a write achieved; taking nothing is a failure.
fn written(result: io::Result<usize>) -> Result<usize, StreamError> {
    match result {
        Ok(0) => Err(StreamError::Io(io::ErrorKind::WriteZero)),
        Ok(count) => Ok(count),
        Err(error) => Err(stream_error(&error)),
    }
}

/// What an I/O error says of the peer. A TLS stream that ends without close_notify is cut off: `Closed`.
pub(super) fn stream_error(error: &io::Error) -> StreamError {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => {
            StreamError::Reset { refused: false }
        }
        io::ErrorKind::UnexpectedEof => StreamError::Closed,
        kind => StreamError::Io(kind),
    }
}
