//! A fixed rate: requests fall due whether or not earlier ones have been answered.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// When requests are due, and which connections wait for one.
pub(super) struct Pace {
    interval: Duration,
    next: Instant,
    waiting: VecDeque<usize>,
}

impl Pace {
    /// `rate` requests per second, the first one at `start`.
    pub(super) fn new(rate: u32, start: Instant) -> Self {
        Self { interval: Duration::from_secs(1) / rate, next: start, waiting: VecDeque::new() }
    }

    /// The connection is free for another request.
    pub(super) fn park(&mut self, token: usize) {
        self.waiting.push_back(token);
    }

    /// The next request that is due, with when it was, if a connection is free for it.
    pub(super) fn next(&mut self, now: Instant) -> Option<(usize, Instant)> {
        if now < self.next {
            return None;
        }
        let token = self.waiting.pop_front()?;
        let due = self.next;
        self.next += self.interval;
        Some((token, due))
    }

    /// How long nothing is due.
    pub(super) fn until_next(&self, now: Instant) -> Duration {
        // Without a free connection there is nothing to wake up for but a response.
        if self.waiting.is_empty() { Duration::MAX } else { self.next.saturating_duration_since(now) }
    }
}
