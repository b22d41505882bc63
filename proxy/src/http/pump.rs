//! Moves one message body from its source to its sink. The same code carries requests up and responses
//! down, over any mix of protocols; backpressure is the sink saying Pending.

use std::task::{Context, Poll};
use std::time::Instant;

use super::codec::{BodySink, BodySource, Fill, StreamError};
use super::head::HeaderBlock;

/// Which side ended the transfer early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PumpError {
    /// The source failed before the end of the body.
    Source(StreamError),
    /// The sink failed.
    Sink(StreamError),
}

/// Progress of one body.
#[derive(Debug, Default)]
pub struct Pump {
    phase: Phase,
    trailers: Option<HeaderBlock>,
    /// Body bytes moved.
    pub bytes: u64,
    /// When the first of them moved, as far as the owner notes it.
    pub begun: Option<Instant>,
    unflushed: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Moving,
    Finishing,
    Done,
}

impl Pump {
    /// A transfer that still has a head to push out.
    pub fn new() -> Self {
        Self { unflushed: true, ..Self::default() }
    }

    /// True when the whole message, trailers included, is with the sink's kernel or protocol layer.
    #[inline]
    pub fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    /// True when the source has been read to its end.
    #[inline]
    pub fn source_ended(&self) -> bool {
        self.phase != Phase::Moving
    }

    /// Trailers that were passed on, for the log.
    pub fn take_trailers(&mut self) -> Option<HeaderBlock> {
        self.trailers.take()
    }

    /// Moves what can be moved now.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut impl BodySource,
        sink: &mut impl BodySink,
    ) -> Poll<Result<(), PumpError>> {
        loop {
            match self.phase {
                Phase::Done => return Poll::Ready(Ok(())),
                Phase::Finishing => match sink.poll_finish(cx, self.trailers.as_ref()) {
                    Poll::Ready(Ok(())) => self.phase = Phase::Done,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(PumpError::Sink(error))),
                    Poll::Pending => return Poll::Pending,
                },
                Phase::Moving => match source.poll_fill(cx) {
                    Poll::Ready(Ok(Fill::Data)) => match sink.poll_write(cx, source.chunk()) {
                        Poll::Ready(Ok(count)) => {
                            source.consume(count);
                            self.bytes += count as u64;
                            self.unflushed = true;
                        }
                        Poll::Ready(Err(error)) => return Poll::Ready(Err(PumpError::Sink(error))),
                        Poll::Pending => return Poll::Pending,
                    },
                    Poll::Ready(Ok(Fill::End)) => {
                        self.trailers = source.take_trailers();
                        self.phase = Phase::Finishing;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(PumpError::Source(error))),
                    Poll::Pending => return self.poll_flush(cx, sink),
                },
            }
        }
    }

    /// The source is quiet: push out what the sink holds back. Pending either way.
    fn poll_flush(&mut self, cx: &mut Context<'_>, sink: &mut impl BodySink) -> Poll<Result<(), PumpError>> {
        if self.unflushed {
            match sink.poll_flush(cx) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(PumpError::Sink(error))),
                Poll::Pending => {}
            }
        }
        Poll::Pending
    }
}

/// A body that is already here.
#[derive(Debug)]
pub struct Fixed<'a> {
    /// What was not sent yet.
    pub left: &'a [u8],
}

impl BodySource for Fixed<'_> {
    fn poll_fill(&mut self, _cx: &mut Context<'_>) -> Poll<Result<Fill, StreamError>> {
        Poll::Ready(Ok(if self.left.is_empty() { Fill::End } else { Fill::Data }))
    }

    fn chunk(&self) -> &[u8] {
        self.left
    }

    fn consume(&mut self, count: usize) {
        self.left = self.left.get(count..).unwrap_or_default();
    }

    fn take_trailers(&mut self) -> Option<HeaderBlock> {
        None
    }
}
