//! A byte stream where an HTTP upstream would be: CONNECT ends at us, and its payload goes on as it is.
//!
//! The answer to CONNECT is made up here, because a connection that stands is all there is to say. Nothing is read
//! ahead: a buffer is held only while bytes wait for the client.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::{BodySink, BodySource, Fill, Measured, StreamError};
use crate::http::head::{BodyLength, HeadSize, HeaderBlock, RequestHead, ResponseHead, Span, Version};
use crate::net::buffer::{Buf, BufPool};
use crate::net::stream::Stream;

/// A connected stream that carries one tunnel.
#[derive(Debug)]
pub struct RawConn {
    io: Stream,
    pool: Rc<BufPool>,
    /// Received and not passed on yet; `consumed` bytes of it are gone.
    input: Option<Buf>,
    consumed: usize,
    received_total: u64,
    sent_total: u64,
}

impl RawConn {
    /// A tunnel over `io`.
    pub fn new(io: Stream, pool: Rc<BufPool>) -> Self {
        Self { io, pool, input: None, consumed: 0, received_total: 0, sent_total: 0 }
    }

    /// See [`super::Upstream::send_head`]: there is nobody to send it to.
    pub fn send_head(&mut self, _head: &RequestHead, _body: BodyLength) -> Result<(), StreamError> {
        Ok(())
    }

    /// See [`super::Upstream::poll_head`]: 200 at once.
    pub fn poll_head(&mut self, _cx: &mut Context<'_>) -> Poll<Result<ResponseHead, StreamError>> {
        Poll::Ready(Ok(ResponseHead {
            block: HeaderBlock::default(),
            status: 200,
            version: Version::Http11,
            body: BodyLength::None,
            upgrade: Some(Span::default()),
        }))
    }

    /// See [`super::Upstream::cancel`]. The connection closes when it is dropped.
    pub fn cancel(&mut self) {}

    /// See [`super::Upstream::measured`].
    pub fn measured(&self) -> Measured {
        Measured::raw(self.received_total, self.sent_total)
    }

    /// See [`super::Upstream::answered`]: the answer that was made up.
    pub fn answered(&self) -> Option<HeadSize> {
        Some(HeadSize::of_responses(1, 0, 0))
    }

    /// Bytes received and sent since the last call.
    pub fn take_wire_bytes(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.received_total), std::mem::take(&mut self.sent_total))
    }

    fn release(&mut self) {
        if let Some(buf) = self.input.take() {
            self.pool.give(buf);
        }
        self.consumed = 0;
    }
}

impl Drop for RawConn {
    fn drop(&mut self) {
        self.release();
    }
}

impl BodySource for RawConn {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<Fill, StreamError>> {
        if !self.chunk().is_empty() {
            return Poll::Ready(Ok(Fill::Data));
        }
        self.release();
        ready!(self.io.poll_read_ready(cx)).map_err(|error| failed(&error))?;
        let mut buf = self.pool.take();
        let read = self.io.poll_read(cx, buf.spare_mut());
        if let Poll::Ready(Ok(count @ 1..)) = read {
            buf.advance(count);
            self.received_total += count as u64;
            self.input = Some(buf);
            return Poll::Ready(Ok(Fill::Data));
        }
        self.pool.give(buf);
        read.map(|result| result.map(|_| Fill::End).map_err(|error| failed(&error)))
    }

    fn chunk(&self) -> &[u8] {
        self.input.as_ref().and_then(|buf| buf.filled().get(self.consumed..)).unwrap_or_default()
    }

    fn consume(&mut self, count: usize) {
        self.consumed += count;
    }

    fn take_trailers(&mut self) -> Option<HeaderBlock> {
        None
    }
}

impl BodySink for RawConn {
    fn poll_write(&mut self, cx: &mut Context<'_>, chunk: &[u8]) -> Poll<Result<usize, StreamError>> {
        if chunk.is_empty() {
            return self.poll_flush(cx).map_ok(|()| 0);
        }
        match ready!(self.io.poll_write(cx, chunk)) {
            Ok(0) => Poll::Ready(Err(StreamError::Io(io::ErrorKind::WriteZero))),
            Ok(count) => {
                self.sent_total += count as u64;
                Poll::Ready(Ok(count))
            }
            Err(error) => Poll::Ready(Err(failed(&error))),
        }
    }

    fn poll_finish(
        &mut self,
        cx: &mut Context<'_>,
        _trailers: Option<&HeaderBlock>,
    ) -> Poll<Result<(), StreamError>> {
        ready!(self.poll_flush(cx))?;
        self.io.poll_shutdown(cx).map_err(|error| failed(&error))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        self.io.poll_flush(cx).map_err(|error| failed(&error))
    }
}

fn failed(error: &io::Error) -> StreamError {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => {
            StreamError::Reset { refused: false }
        }
        io::ErrorKind::UnexpectedEof => StreamError::Closed,
        kind => StreamError::Io(kind),
    }
}
