//! Message bodies of either half: DATA frames in, DATA frames out, trailers, flow control.

use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use h2::{Reason, RecvStream, SendStream};

use super::convert;
use super::stream_error;
use crate::http::codec::{Fill, StreamError};
use crate::http::head::HeaderBlock;

/// The receiving half of a body.
#[derive(Debug)]
pub struct Incoming {
    stream: Option<RecvStream>,
    chunk: Bytes,
    trailers: Option<HeaderBlock>,
    data_ended: bool,
    ended: bool,
}

impl Incoming {
    /// A body over `stream`.
    pub fn new(stream: RecvStream) -> Self {
        let ended = stream.is_end_stream();
        Self { stream: Some(stream), chunk: Bytes::new(), trailers: None, data_ended: ended, ended }
    }

    /// A body that will be set when the response head arrives.
    pub fn pending() -> Self {
        Self { stream: None, chunk: Bytes::new(), trailers: None, data_ended: false, ended: false }
    }

    /// See [`crate::http::codec::BodySource::poll_fill`].
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<Fill, StreamError>> {
        loop {
            if !self.chunk.is_empty() {
                return Poll::Ready(Ok(Fill::Data));
            }
            if self.ended {
                return Poll::Ready(Ok(Fill::End));
            }
            let Some(stream) = &mut self.stream else { return Poll::Ready(Err(StreamError::Closed)) };
            if self.data_ended {
                let trailers = ready!(stream.poll_trailers(cx)).map_err(|error| stream_error(&error))?;
                self.trailers = trailers.map(|map| convert::trailers(&map));
                self.ended = true;
                continue;
            }
            match ready!(stream.poll_data(cx)) {
                Some(Ok(chunk)) => self.chunk = chunk,
                Some(Err(error)) => return Poll::Ready(Err(stream_error(&error))),
                None => self.data_ended = true,
            }
        }
    }

    /// The unconsumed bytes.
    pub fn chunk(&self) -> &[u8] {
        &self.chunk
    }

    /// Releases bytes and reopens the peer's window by as much.
    pub fn consume(&mut self, count: usize) {
        let count = count.min(self.chunk.len());
        self.chunk.advance(count);
        if let Some(stream) = &mut self.stream {
            // Fails only when the stream is already over: then there is no window to reopen.
            let _ = stream.flow_control().release_capacity(count);
        }
    }

    /// Trailers, once.
    pub fn take_trailers(&mut self) -> Option<HeaderBlock> {
        self.trailers.take()
    }
}

/// The sending half of a body. One chunk is held back so that the last one can carry END_STREAM.
#[derive(Debug, Default)]
pub struct Outgoing {
    stream: Option<SendStream<Bytes>>,
    held: Bytes,
    ended: bool,
}

impl Outgoing {
    /// Starts a body on `stream`; `ended`: the head carried END_STREAM.
    pub fn start(&mut self, stream: SendStream<Bytes>, ended: bool) {
        self.stream = Some(stream);
        self.ended = ended;
    }

    /// True once the head went out.
    pub fn is_started(&self) -> bool {
        self.stream.is_some()
    }

    /// See [`crate::http::codec::BodySink::poll_write`].
    pub fn poll_write(&mut self, cx: &mut Context<'_>, chunk: &[u8]) -> Poll<Result<usize, StreamError>> {
        ready!(self.poll_flush(cx))?;
        if self.ended {
            return Poll::Ready(if chunk.is_empty() { Ok(0) } else { Err(StreamError::Closed) });
        }
        if chunk.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let stream = self.stream.as_mut().ok_or(StreamError::Closed)?;
        stream.reserve_capacity(chunk.len());
        let mut capacity = stream.capacity();
        while capacity == 0 {
            match ready!(stream.poll_capacity(cx)) {
                Some(Ok(granted)) => capacity = granted,
                Some(Err(error)) => return Poll::Ready(Err(stream_error(&error))),
                None => return Poll::Ready(Err(StreamError::Closed)),
            }
        }
        let count = capacity.min(chunk.len());
        self.held = Bytes::copy_from_slice(&chunk[..count]);
        Poll::Ready(Ok(count))
    }

    /// Hands the held chunk to the connection, whose task writes it.
    pub fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        if !self.held.is_empty() {
            let held = std::mem::take(&mut self.held);
            let stream = self.stream.as_mut().ok_or(StreamError::Closed)?;
            stream.send_data(held, false).map_err(|error| stream_error(&error))?;
        }
        Poll::Ready(Ok(()))
    }

    /// See [`crate::http::codec::BodySink::poll_finish`].
    pub fn poll_finish(
        &mut self,
        cx: &mut Context<'_>,
        trailers: Option<&HeaderBlock>,
    ) -> Poll<Result<(), StreamError>> {
        if self.ended {
            return Poll::Ready(Ok(()));
        }
        if let Some(trailers) = trailers {
            ready!(self.poll_flush(cx))?;
            let map = convert::header_map(trailers)?;
            let stream = self.stream.as_mut().ok_or(StreamError::Closed)?;
            stream.send_trailers(map).map_err(|error| stream_error(&error))?;
        } else {
            let held = std::mem::take(&mut self.held);
            let stream = self.stream.as_mut().ok_or(StreamError::Closed)?;
            stream.send_data(held, true).map_err(|error| stream_error(&error))?;
        }
        self.ended = true;
        Poll::Ready(Ok(()))
    }

    /// RST_STREAM, unless the message is complete.
    pub fn reset(&mut self, reason: Reason) {
        if let Some(stream) = &mut self.stream {
            stream.send_reset(reason);
        }
        self.ended = true;
    }

    /// Ready when the peer reset the stream or the connection is gone.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<StreamError> {
        match &mut self.stream {
            Some(stream) => stream.poll_reset(cx).map(|reset| reset_error(&reset)),
            None => Poll::Pending,
        }
    }
}

/// A reset as an error.
pub fn reset_error(reset: &Result<Reason, h2::Error>) -> StreamError {
    match reset {
        Ok(reason) => StreamError::Reset { refused: *reason == Reason::REFUSED_STREAM },
        Err(error) => stream_error(error),
    }
}
