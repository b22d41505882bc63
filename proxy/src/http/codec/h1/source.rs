//! The body of the message being received: where it ends and what of it is available.
//!
//! Both halves of a connection use it. Data is decoded in the connection's buffer and handed out from
//! there; the end of a body never depends on anything but its own framing.

use std::task::{Context, Poll, ready};

use super::super::{Fill, StreamError};
use super::chunked::Chunks;
use super::parse::{Limits, Progress, field_lines};
use super::trailers;
use super::wire::{Wire, stream_error};
use crate::base::error::DownstreamError;
use crate::http::head::{Field, HeaderBlock};

/// How the body being received ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Receiving {
    /// It has ended, or there is none.
    Done,
    /// After this many more bytes.
    Length(u64),
    /// With the last chunk and the trailer section.
    Chunked(Chunks),
    /// In the trailer section.
    Trailers(Progress),
    /// When the peer closes.
    UntilClose,
    /// It cannot be read to its end.
    Failed(StreamError),
}

/// Body being received.
#[derive(Debug)]
pub(super) struct Source {
    state: Receiving,
    /// Unread bytes at the front of the buffer that are body.
    data: usize,
    /// Bytes of coding behind them.
    gap: usize,
    trailers: Option<HeaderBlock>,
    limits: Limits,
    keep_trailers: bool,
}

impl Source {
    pub(super) fn new(limits: Limits, keep_trailers: bool) -> Self {
        Self { state: Receiving::Done, data: 0, gap: 0, trailers: None, limits, keep_trailers }
    }

    /// Starts on the body of a new message.
    pub(super) fn begin(&mut self, state: Receiving) {
        self.state = match state {
            Receiving::Length(0) => Receiving::Done,
            state => state,
        };
        self.trailers = None;
    }

    /// The whole body was received and consumed.
    #[inline]
    pub(super) fn is_complete(&self) -> bool {
        matches!(self.state, Receiving::Done) && self.data == 0
    }

    #[inline]
    pub(super) fn chunk<'a>(&self, wire: &'a Wire) -> &'a [u8] {
        &wire.buffers.unread()[..self.data]
    }

    #[inline]
    pub(super) fn consume(&mut self, wire: &mut Wire, count: usize) {
        let count = count.min(self.data);
        self.data -= count;
        let gap = if self.data == 0 { std::mem::take(&mut self.gap) } else { 0 };
        wire.buffers.consume(count + gap);
    }

    pub(super) fn take_trailers(&mut self) -> Option<HeaderBlock> {
        self.trailers.take()
    }

    /// See [`super::super::BodySource::poll_fill`].
    pub(super) fn poll_fill(
        &mut self,
        wire: &mut Wire,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Fill, StreamError>> {
        if let Receiving::Failed(error) = self.state {
            return Poll::Ready(Err(error));
        }
        loop {
            match self.advance(wire) {
                Ok(Some(fill)) => return Poll::Ready(Ok(fill)),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Err(self.fail(StreamError::Protocol(error.detail)))),
            }
            let outcome = match ready!(wire.poll_receive(cx, self.expected())) {
                Ok(0) => self.end_of_stream(),
                Ok(_) => Ok(()),
                Err(error) => Err(stream_error(&error)),
            };
            if let Err(error) = outcome {
                return Poll::Ready(Err(self.fail(error)));
            }
        }
    }

    fn fail(&mut self, error: StreamError) -> StreamError {
        self.state = Receiving::Failed(error);
        error
    }

    /// Bytes still to come, as far as is known.
    fn expected(&self) -> u64 {
        if let Receiving::Length(left) = self.state { left } else { u64::MAX }
    }

    /// The peer closed: the end of a body that ends so, else a body cut short.
    fn end_of_stream(&mut self) -> Result<(), StreamError> {
        if !matches!(self.state, Receiving::UntilClose) {
            return Err(StreamError::Closed);
        }
        self.state = Receiving::Done;
        Ok(())
    }

    /// Finds data or the end in what was received. `None`: more is needed.
    fn advance(&mut self, wire: &mut Wire) -> Result<Option<Fill>, DownstreamError> {
        if self.data > 0 {
            return Ok(Some(Fill::Data));
        }
        match self.state {
            Receiving::Done => return Ok(Some(Fill::End)),
            Receiving::Length(left) => self.take_length(left, wire.buffers.unread_len()),
            Receiving::UntilClose => self.data = wire.buffers.unread_len(),
            Receiving::Chunked(chunks) => self.take_chunks(chunks, wire)?,
            Receiving::Trailers(_) | Receiving::Failed(_) => {}
        }
        if let (0, Receiving::Trailers(progress)) = (self.data, self.state) {
            return self.take_section(progress, wire);
        }
        Ok((self.data > 0).then_some(Fill::Data))
    }

    fn take_length(&mut self, left: u64, available: usize) {
        self.data = usize::try_from(left).map_or(available, |left| left.min(available));
        let left = left - self.data as u64;
        self.state = if left == 0 { Receiving::Done } else { Receiving::Length(left) };
    }

    fn take_chunks(&mut self, mut chunks: Chunks, wire: &mut Wire) -> Result<(), DownstreamError> {
        let decoded = chunks.decode(wire.buffers.unread_mut())?;
        wire.buffers.consume(decoded.start);
        self.data = decoded.data;
        self.gap = decoded.gap;
        if self.data == 0 {
            wire.buffers.consume(std::mem::take(&mut self.gap));
        }
        self.state =
            if decoded.last { Receiving::Trailers(Progress::default()) } else { Receiving::Chunked(chunks) };
        Ok(())
    }

    /// Takes the trailer section when it is complete.
    fn take_section(
        &mut self,
        mut progress: Progress,
        wire: &mut Wire,
    ) -> Result<Option<Fill>, DownstreamError> {
        let text = wire.buffers.unread_mut();
        if text.starts_with(b"\r\n") {
            wire.buffers.consume(2);
            self.state = Receiving::Done;
            return Ok(Some(Fill::End));
        }
        // Fields are collected in one pass over the complete section: only its end is looked for before.
        let limits = self.limits;
        let mut complete = None;
        if progress.resume(text, limits)? {
            complete = field_lines(text, &mut progress, limits, |_, _| Ok(()))?;
        }
        let Some(length) = complete else {
            self.state = Receiving::Trailers(progress);
            return Ok(None);
        };
        self.trailers = self.collect(length, wire)?;
        self.state = Receiving::Done;
        Ok(Some(Fill::End))
    }

    /// Takes the complete section out and keeps what may be kept of it.
    fn collect(&self, length: usize, wire: &mut Wire) -> Result<Option<HeaderBlock>, DownstreamError> {
        let pool = wire.buffers.pool().clone();
        let mut text = wire.buffers.split_head(length);
        let mut fields = pool.take_table();
        let keep = self.keep_trailers;
        let (mut progress, mut told) = (Progress::default(), 0);
        field_lines(text.filled_mut(), &mut progress, self.limits, |text, line: Field| {
            told += line.told();
            if keep && !trailers::is_refused(line.id, line.name.of(text)) {
                fields.push(line);
            }
            Ok(())
        })?;
        wire.heads.0 += told;
        text.truncate(length);
        let block = pool.block(text, fields);
        Ok((!block.is_empty()).then_some(block))
    }
}
