//! How often something that any caller can bring about is logged.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Between two lines, over all workers. Counters have the whole truth.
const PAUSE: Duration = Duration::from_secs(1);

/// When a line was last written. Only what is to be logged touches it.
#[derive(Debug)]
pub struct Told {
    start: Instant,
    /// Milliseconds from the start to the next line.
    next: AtomicU64,
}

impl Default for Told {
    fn default() -> Self {
        Self { start: Instant::now(), next: AtomicU64::new(0) }
    }
}

impl Told {
    /// Whether there may be a line now; then not again for a second.
    pub fn is_due(&self, now: Instant) -> bool {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let now = now.saturating_duration_since(self.start);
        let next = self.next.load(Ordering::Relaxed);
        millis(now) >= next
            && self
                .next
                .compare_exchange(next, millis(now + PAUSE), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_line_a_second() {
        let told = Told::default();
        let at = |millis| told.start + Duration::from_millis(millis);
        let due: Vec<u64> =
            [0, 1, 999, 1000, 1001, 5000].into_iter().filter(|t| told.is_due(at(*t))).collect();
        assert_eq!(due, [0, 1000, 5000]);
    }
}
