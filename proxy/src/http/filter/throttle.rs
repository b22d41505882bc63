//! A body at a bounded rate.

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::config::live::{BucketSize, TokenBucket};
use crate::http::codec::{BodySource, Fill, StreamError};
use crate::http::head::HeaderBlock;
use crate::net::deadline::Deadline;

/// Bytes go out this often.
const SLICE: Duration = Duration::from_micros(62_500);
/// Slices in a second.
const SLICES: u64 = 16;

/// The rate, and how much of it is unused.
#[derive(Debug)]
pub struct Throttle {
    bytes: TokenBucket,
    /// Bytes that may go out now.
    allowed: u64,
    /// When to look again, once the bytes are used up.
    next: Option<Instant>,
    timer: Deadline,
}

impl Throttle {
    /// A rate in KiB per second.
    pub fn new(kib_per_second: u64, now: Instant) -> Self {
        let bytes = kib_per_second.saturating_mul(1024);
        let whole = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX);
        let size = BucketSize {
            max_tokens: whole(bytes / SLICES),
            tokens_per_fill: whole(bytes),
            fill_interval: Duration::from_secs(1),
        };
        Self { bytes: TokenBucket::new(size, now), allowed: 0, next: None, timer: Deadline::default() }
    }

    /// Ready when at least one byte may go out.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.allowed == 0 {
            if self.timer.poll_at(cx, self.next).is_pending() && self.next.is_some() {
                return Poll::Pending;
            }
            let now = Instant::now();
            self.allowed = self.bytes.take_up_to(u64::MAX, now);
            self.next = Some(now + SLICE);
        }
        Poll::Ready(())
    }
}

/// A body source behind a [`Throttle`].
#[derive(Debug)]
pub struct Throttled<'a, S> {
    /// The body.
    pub source: &'a mut S,
    /// Its rate.
    pub throttle: &'a mut Throttle,
}

impl<S: BodySource> BodySource for Throttled<'_, S> {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<Fill, StreamError>> {
        match self.source.poll_fill(cx) {
            Poll::Ready(Ok(Fill::Data)) => self.throttle.poll(cx).map(|()| Ok(Fill::Data)),
            other => other,
        }
    }

    fn chunk(&self) -> &[u8] {
        let chunk = self.source.chunk();
        let allowed = usize::try_from(self.throttle.allowed).unwrap_or(usize::MAX);
        chunk.get(..allowed).unwrap_or(chunk)
    }

    fn consume(&mut self, count: usize) {
        self.throttle.allowed = self.throttle.allowed.saturating_sub(count as u64);
        self.source.consume(count);
    }

    fn take_trailers(&mut self) -> Option<HeaderBlock> {
        self.source.take_trailers()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A body of zeros.
    struct Zeros(usize);

    impl BodySource for Zeros {
        fn poll_fill(&mut self, _cx: &mut Context<'_>) -> Poll<Result<Fill, StreamError>> {
            Poll::Ready(Ok(if self.0 == 0 { Fill::End } else { Fill::Data }))
        }

        fn chunk(&self) -> &[u8] {
            const CHUNK: &[u8] = &[0; 4096];
            &CHUNK[..self.0.min(CHUNK.len())]
        }

        fn consume(&mut self, count: usize) {
            self.0 -= count;
        }

        fn take_trailers(&mut self) -> Option<HeaderBlock> {
            None
        }
    }

    #[tokio::test]
    async fn what_is_over_the_rate_waits_for_the_next_slice() {
        let mut throttle = Throttle::new(16, Instant::now());
        let mut zeros = Zeros(3000);
        let mut body = Throttled { source: &mut zeros, throttle: &mut throttle };
        std::future::poll_fn(|cx| {
            assert_eq!(body.poll_fill(cx), Poll::Ready(Ok(Fill::Data)));
            assert_eq!(body.chunk().len(), 1024, "a sixteenth of 16 KiB at once");
            body.consume(1024);
            assert_eq!(body.poll_fill(cx), Poll::Pending);
            Poll::Ready(())
        })
        .await;
        let began = Instant::now();
        std::future::poll_fn(|cx| body.poll_fill(cx)).await.unwrap();
        assert!(began.elapsed() >= SLICE / 2 && !body.chunk().is_empty());
    }
}
