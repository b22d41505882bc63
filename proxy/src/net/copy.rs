//! Copying bytes both ways between two streams until both directions have ended: half-close is passed on,
//! a side that stops reading stops the other, buffers exist only while bytes move.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use super::buffer::{BUF_SIZE, Buf, BufPool};
use super::deadline::Deadline;
use super::stream::Stream;

/// Largest buffer of one direction, bytes: reached only by streams that keep filling it.
const MAX_BUF: usize = 256 * 1024;

/// How a copy ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyEnd {
    /// Both sides sent FIN.
    Finished,
    /// Nothing moved for the idle timeout.
    Idle,
    /// The first stream failed.
    FirstFailed(io::ErrorKind),
    /// The second stream failed.
    SecondFailed(io::ErrorKind),
}

/// Bytes moved and how it ended.
#[derive(Debug, Clone, Copy)]
pub struct Copied {
    /// From the first stream to the second.
    pub forward: u64,
    /// From the second stream to the first.
    pub backward: u64,
    /// Outcome.
    pub end: CopyEnd,
    /// The first stream had ended before the second did.
    pub second_ended_last: bool,
}

/// What a turn of a copy changed. Counters of long tunnels stay current with it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes moved from the first stream to the second.
    pub forward: u64,
    /// Bytes moved from the second stream to the first.
    pub backward: u64,
    /// Whether the first stream is not read because the second takes nothing, when that has changed.
    pub first_paused: Option<bool>,
    /// The same the other way round.
    pub second_paused: Option<bool>,
}

/// Copies until both directions are done, with buffers of at most `largest` bytes. `idle` zero is off. `on_progress` is
/// told whatever changed.
pub async fn copy_both(
    first: &mut Stream,
    second: &mut Stream,
    pool: &BufPool,
    largest: usize,
    idle: Duration,
    mut on_progress: impl FnMut(Progress),
) -> Copied {
    let largest = largest.clamp(BUF_SIZE, MAX_BUF);
    let mut forward = Direction { largest, ..Direction::default() };
    let mut backward = Direction { largest, ..Direction::default() };
    let mut deadline = Deadline::default();
    let mut last = Instant::now();
    let mut second_ended_last = false;
    let end = poll_fn(|cx| {
        let before = (forward.moved, backward.moved);
        second_ended_last = forward.phase == Phase::Done;
        let ahead = forward.poll(cx, first, second, pool);
        let back = backward.poll(cx, second, first, pool);
        let progress = Progress {
            forward: forward.moved - before.0,
            backward: backward.moved - before.1,
            first_paused: forward.turned(),
            second_paused: backward.turned(),
        };
        if progress != Progress::default() {
            on_progress(progress);
        }
        if (progress.forward, progress.backward) != (0, 0) {
            last = Instant::now();
        }
        match (ahead, back) {
            (Poll::Ready(Err(failure)), _) => Poll::Ready(failure.into_end(true)),
            (_, Poll::Ready(Err(failure))) => Poll::Ready(failure.into_end(false)),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(CopyEnd::Finished),
            _ if idle.is_zero() => Poll::Pending,
            _ => deadline.poll_at(cx, last.checked_add(idle)).map(|()| CopyEnd::Idle),
        }
    })
    .await;
    Copied { forward: forward.moved, backward: backward.moved, end, second_ended_last }
}

/// Bytes that were read ahead of the copy go out first.
pub async fn write_all(stream: &mut Stream, bytes: &[u8]) -> io::Result<()> {
    let mut sent = 0;
    poll_fn(|cx| {
        while sent < bytes.len() {
            sent += ready!(stream.poll_write(cx, &bytes[sent..]))?;
        }
        stream.poll_flush(cx)
    })
    .await
}

/// Which end of one direction failed.
enum Failure {
    Source(io::ErrorKind),
    Sink(io::ErrorKind),
}

impl Failure {
    fn into_end(self, forward: bool) -> CopyEnd {
        match (self, forward) {
            (Failure::Source(kind), true) | (Failure::Sink(kind), false) => CopyEnd::FirstFailed(kind),
            (Failure::Source(kind), false) | (Failure::Sink(kind), true) => CopyEnd::SecondFailed(kind),
        }
    }
}

/// One direction of the copy.
#[derive(Default)]
struct Direction {
    /// Bytes that its buffer may grow to.
    largest: usize,
    buf: Option<Buf>,
    sent: usize,
    moved: u64,
    phase: Phase,
    unflushed: bool,
    /// The sink takes nothing of what is buffered.
    paused: bool,
    /// What [`Direction::turned`] has told.
    told: bool,
}

#[derive(Default, PartialEq, Eq, Clone, Copy)]
enum Phase {
    #[default]
    Moving,
    Closing,
    Done,
}

impl Direction {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut Stream,
        sink: &mut Stream,
        pool: &BufPool,
    ) -> Poll<Result<(), Failure>> {
        loop {
            match self.phase {
                Phase::Done => return Poll::Ready(Ok(())),
                Phase::Closing => {
                    // The peer may be gone already; its direction is over either way.
                    let _ = ready!(sink.poll_shutdown(cx));
                    self.phase = Phase::Done;
                }
                Phase::Moving => {
                    ready!(self.poll_drain(cx, sink, pool))?;
                    if ready!(self.poll_refill(cx, source, sink, pool))? == 0 {
                        self.phase = Phase::Closing;
                    }
                }
            }
        }
    }

    /// Whether the sink takes nothing, when that has changed since the last call.
    fn turned(&mut self) -> Option<bool> {
        let turned = self.paused != self.told;
        self.told = self.paused;
        turned.then_some(self.paused)
    }

    /// Writes what is buffered; gives the buffer back when all is out.
    fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut Stream,
        pool: &BufPool,
    ) -> Poll<Result<(), Failure>> {
        let Some(buf) = &self.buf else { return Poll::Ready(Ok(())) };
        while self.sent < buf.len() {
            let written = sink.poll_write(cx, &buf.filled()[self.sent..]);
            self.paused = written.is_pending();
            let count = ready!(written).map_err(|error| Failure::Sink(error.kind()))?;
            self.sent += count;
            self.moved += count as u64;
            self.unflushed = true;
        }
        self.recycle(pool);
        Poll::Ready(Ok(()))
    }

    /// Keeps a buffer that was filled to the brim, grown, for the next read; gives others back.
    fn recycle(&mut self, pool: &BufPool) {
        let Some(mut buf) = self.buf.take() else { return };
        self.sent = 0;
        let full = buf.len() == buf.capacity();
        let capacity = buf.capacity();
        buf.clear();
        if full && capacity < self.largest {
            buf = Buf::with_capacity((capacity * 4).min(self.largest));
        } else if !full {
            return pool.give(buf);
        }
        self.buf = Some(buf);
    }

    fn poll_refill(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut Stream,
        sink: &mut Stream,
        pool: &BufPool,
    ) -> Poll<Result<usize, Failure>> {
        if source.poll_read_ready(cx).map_err(|error| Failure::Source(error.kind()))?.is_pending() {
            if let Some(buf) = self.buf.take() {
                pool.give(buf);
            }
            return self.poll_flush(cx, sink);
        }
        let buf = self.buf.get_or_insert_with(|| pool.take());
        match source.poll_read(cx, buf.spare_mut()) {
            Poll::Ready(read) => {
                let count = read.map_err(|error| Failure::Source(error.kind()))?;
                buf.advance(count);
                Poll::Ready(Ok(count))
            }
            Poll::Pending => {
                if let Some(buf) = self.buf.take() {
                    pool.give(buf);
                }
                self.poll_flush(cx, sink)
            }
        }
    }

    /// The source is quiet: push out what a TLS sink holds back.
    fn poll_flush(&mut self, cx: &mut Context<'_>, sink: &mut Stream) -> Poll<Result<usize, Failure>> {
        if self.unflushed {
            ready!(sink.poll_flush(cx)).map_err(|error| Failure::Sink(error.kind()))?;
            self.unflushed = false;
        }
        Poll::Pending
    }
}
