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
    /// The sink takes nothing, and the source is not read.
    paused: bool,
    /// What [`Pump::turned`] has told.
    told: bool,
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

    /// Whether the source is read no further for the sink's sake, when that has changed since the last call.
    #[inline]
    pub fn turned(&mut self) -> Option<bool> {
        let turned = self.paused != self.told;
        self.told = self.paused;
        turned.then_some(self.paused)
    }

    /// Nothing moves any more: whether it ends paused.
    pub fn stop(&mut self) -> bool {
        self.paused = false;
        std::mem::take(&mut self.told)
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
                            (self.unflushed, self.paused) = (true, false);
                        }
                        Poll::Ready(Err(error)) => return Poll::Ready(Err(PumpError::Sink(error))),
                        Poll::Pending => {
                            self.paused = true;
                            return Poll::Pending;
                        }
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

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// Takes so many bytes.
    struct Narrow(usize);

    impl BodySink for Narrow {
        fn poll_write(&mut self, _: &mut Context<'_>, chunk: &[u8]) -> Poll<Result<usize, StreamError>> {
            let count = self.0.min(chunk.len());
            self.0 -= count;
            if count == 0 { Poll::Pending } else { Poll::Ready(Ok(count)) }
        }

        fn poll_finish(
            &mut self,
            _: &mut Context<'_>,
            _: Option<&HeaderBlock>,
        ) -> Poll<Result<(), StreamError>> {
            Poll::Ready(Ok(()))
        }

        fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn a_pause_is_told_once_and_so_is_its_end() {
        let mut cx = Context::from_waker(Waker::noop());
        let (mut pump, mut sink, mut body) = (Pump::new(), Narrow(4), Fixed { left: b"six by" });
        let mut turn = |sink: &mut Narrow| {
            let _ = pump.poll(&mut cx, &mut body, sink);
            pump.turned()
        };
        assert_eq!(turn(&mut sink), Some(true));
        assert_eq!(turn(&mut sink), None);
        assert_eq!(turn(&mut Narrow(9)), Some(false));
        assert_eq!(turn(&mut Narrow(9)), None);
        assert!(pump.is_done() && !pump.stop());
    }
}
