//! A token bucket that holds for the process: one atomic word, exact whoever takes tokens at once.
//!
//! The word is the moment at which the bucket was, or would have been, empty; time adds tokens by passing. Taking
//! one moves that moment on by the price of a token. So nothing ever needs to fill the bucket.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Largest span of a full bucket, in ticks: leaves room for decades of process time beside it.
const LARGEST_SPAN: f64 = (1_u64 << 61) as f64;

/// Size and rate of a bucket. Source: `envoy.type.v3.TokenBucket`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketSize {
    /// Tokens in a full bucket.
    pub max_tokens: u32,
    /// Tokens added per interval, at least 1.
    pub tokens_per_fill: u32,
    /// The interval, above zero.
    pub fill_interval: Duration,
}

impl BucketSize {
    /// Tokens per second.
    pub fn rate(&self) -> f64 {
        f64::from(self.tokens_per_fill) / self.fill_interval.as_secs_f64()
    }
}

/// A token bucket, full at first. Tokens come evenly, not by the interval, as in Envoy.
#[derive(Debug)]
pub struct TokenBucket {
    size: BucketSize,
    born: Instant,
    /// Ticks per nanosecond as a power of two: fine for quick buckets, coarse for large and slow ones.
    scale: i32,
    /// Ticks that bring one token.
    price: u64,
    /// Ticks from empty to full.
    span: u64,
    /// When the bucket was empty, in ticks since `span` before its birth.
    empty_at: AtomicU64,
}

impl TokenBucket {
    /// A full bucket.
    pub fn new(size: BucketSize, now: Instant) -> Self {
        let nanos = 1e9 / size.rate();
        let fits = |scale: i32| nanos * f64::from(size.max_tokens) * 2_f64.powi(scale) < LARGEST_SPAN;
        let scale = (-40..=4).rev().find(|scale| fits(*scale)).unwrap_or(-40);
        let price = ((nanos * 2_f64.powi(scale)) as u64).max(1);
        let span = price.saturating_mul(u64::from(size.max_tokens));
        Self { size, born: now, scale, price, span, empty_at: AtomicU64::new(0) }
    }

    /// Takes one token, or says no.
    pub fn take(&self, now: Instant) -> bool {
        self.take_all(1, now)
    }

    /// Takes `count` tokens, or none and says no.
    pub fn take_all(&self, count: u64, now: Instant) -> bool {
        let now = self.ticks(now);
        let price = self.price.saturating_mul(count);
        let taken = self.empty_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |empty_at| {
            let next = self.start(empty_at, now).saturating_add(price);
            (next <= now).then_some(next)
        });
        taken.is_ok()
    }

    /// Takes up to `count` tokens: how many there were. For streams of bytes.
    pub fn take_up_to(&self, count: u64, now: Instant) -> u64 {
        let now = self.ticks(now);
        let mut taken = 0;
        let _ = self.empty_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |empty_at| {
            let start = self.start(empty_at, now);
            taken = (now.saturating_sub(start) / self.price).min(count);
            Some(start.saturating_add(self.price.saturating_mul(taken)))
        });
        taken
    }

    /// Whole tokens in the bucket.
    pub fn remaining(&self, now: Instant) -> u64 {
        let now = self.ticks(now);
        now.saturating_sub(self.start(self.empty_at.load(Ordering::Relaxed), now)) / self.price
    }

    /// How long until there is a token; zero when there is one.
    pub fn next_token(&self, now: Instant) -> Duration {
        let now = self.ticks(now);
        let ready = self.start(self.empty_at.load(Ordering::Relaxed), now).saturating_add(self.price);
        let nanos = ready.saturating_sub(now) as f64 / 2_f64.powi(self.scale);
        Duration::from_nanos(nanos.ceil() as u64)
    }

    /// Size and rate.
    pub fn size(&self) -> BucketSize {
        self.size
    }

    /// The moment of emptiness that a bucket which cannot be more than full has.
    fn start(&self, empty_at: u64, now: u64) -> u64 {
        empty_at.max(now.saturating_sub(self.span))
    }

    fn ticks(&self, now: Instant) -> u64 {
        let nanos = u64::try_from(now.saturating_duration_since(self.born).as_nanos()).unwrap_or(u64::MAX);
        let passed = match u32::try_from(self.scale) {
            Ok(shift) => nanos.saturating_mul(1 << shift),
            Err(_) => nanos >> self.scale.unsigned_abs(),
        };
        self.span.saturating_add(passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(max_tokens: u32, tokens_per_fill: u32, fill_interval: Duration) -> BucketSize {
        BucketSize { max_tokens, tokens_per_fill, fill_interval }
    }

    #[test]
    fn a_full_bucket_gives_what_it_holds_and_then_what_time_brings() {
        let start = Instant::now();
        let bucket = TokenBucket::new(size(3, 1, Duration::from_secs(60)), start);
        assert_eq!(bucket.remaining(start), 3);
        assert!((0..3).all(|_| bucket.take(start)));
        assert!(!bucket.take(start));
        assert_eq!(bucket.next_token(start), Duration::from_secs(60));
        assert!(!bucket.take(start + Duration::from_millis(59_999)));
        assert!(bucket.take(start + Duration::from_secs(60)));
        assert!(!bucket.take(start + Duration::from_secs(60)));
        let later = start + Duration::from_secs(100_000);
        assert_eq!(bucket.remaining(later), 3, "never more than full");
    }

    #[test]
    fn sizes_at_both_ends_are_exact_in_their_burst() {
        let start = Instant::now();
        for size in [
            size(1, u32::MAX, Duration::from_millis(50)),
            size(1000, 7, Duration::from_millis(50)),
            size(u32::MAX, 1, Duration::from_secs(86_400 * 365)),
        ] {
            let bucket = TokenBucket::new(size, start);
            assert_eq!(bucket.remaining(start), u64::from(size.max_tokens), "{size:?}");
            assert_eq!(bucket.take_up_to(u64::MAX, start), u64::from(size.max_tokens), "{size:?}");
            assert!(!bucket.take(start), "{size:?}");
        }
        assert!(!TokenBucket::new(size(0, 1, Duration::from_secs(1)), start).take(start));
    }

    #[test]
    fn threads_together_take_exactly_what_there_is() {
        let start = Instant::now();
        let bucket = TokenBucket::new(size(1000, 1, Duration::from_secs(3600)), start);
        let taken: usize = std::thread::scope(|scope| {
            let take = || (0..500).filter(|_| bucket.take(start)).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap_or(0)).sum()
        });
        assert_eq!(taken, 1000);
    }

    #[test]
    fn several_tokens_are_taken_together_or_not_at_all() {
        let start = Instant::now();
        let bucket = TokenBucket::new(size(5, 1, Duration::from_secs(60)), start);
        assert!(bucket.take_all(3, start) && !bucket.take_all(3, start));
        assert_eq!(bucket.remaining(start), 2);
        assert!(bucket.take_all(2, start) && !bucket.take_all(u64::MAX, start));
    }

    #[test]
    fn a_clock_that_steps_back_gives_nothing_away() {
        let start = Instant::now() + Duration::from_secs(10);
        let bucket = TokenBucket::new(size(1, 1, Duration::from_secs(1)), start);
        assert!(bucket.take(start));
        assert!(!bucket.take(start - Duration::from_secs(5)));
    }
}
