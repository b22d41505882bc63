//! Answers to health checks. Source: `envoy.extensions.filters.http.health_check.v3.HealthCheck`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::base::ids::ClusterId;
use crate::base::matcher::HeaderMatch;

/// The filter.
#[derive(Debug)]
pub struct HealthFilter {
    /// What makes a request a health check, ANDed; nothing makes every request one.
    pub headers: Vec<HeaderMatch>,
    /// Who answers.
    pub mode: HealthMode,
    /// Name of the service (`node.cluster`), told in answers.
    pub service: Box<str>,
}

/// Who answers health checks while the process does not fail them all.
#[derive(Debug)]
pub enum HealthMode {
    /// The upstream, or its last answer while that is fresh.
    PassThrough(Option<CachedAnswer>),
    /// The filter: well, when each of these clusters has at least this share of usable hosts, percent.
    Answer(Vec<(ClusterId, f64)>),
}

/// The last answer of the upstream. One for the process, so that checks of several load balancers cost one.
#[derive(Debug)]
pub struct CachedAnswer {
    time: Duration,
    born: Instant,
    /// Milliseconds since `born` in the upper 47 bits, whether it was degraded in the next one, status in the lower 16;
    /// zero without any.
    cell: AtomicU64,
}

impl CachedAnswer {
    /// Answers are fresh for `time`.
    pub fn new(time: Duration, now: Instant) -> Self {
        Self { time, born: now, cell: AtomicU64::new(0) }
    }

    /// Keeps an answer.
    pub fn keep(&self, status: u16, degraded: bool, now: Instant) {
        let value = self.millis(now) << 17 | u64::from(degraded) << 16 | u64::from(status);
        self.cell.store(value, Ordering::Relaxed);
    }

    /// Status of the last answer, and whether it was degraded, when it is fresh.
    pub fn fresh(&self, now: Instant) -> Option<(u16, bool)> {
        let value = self.cell.load(Ordering::Relaxed);
        let age = Duration::from_millis(self.millis(now).saturating_sub(value >> 17));
        (value > 0 && age < self.time).then_some((value as u16, value >> 16 & 1 == 1))
    }

    fn millis(&self, now: Instant) -> u64 {
        // Decades fit into 47 bits.
        now.saturating_duration_since(self.born).as_millis() as u64 & (u64::MAX >> 17)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_kept_for_its_time() {
        let born = Instant::now();
        let after = |millis| born + Duration::from_millis(millis);
        let answer = CachedAnswer::new(Duration::from_millis(100), born);
        assert_eq!(answer.fresh(born), None);
        answer.keep(503, true, after(10));
        assert_eq!(answer.fresh(after(10)), Some((503, true)));
        assert_eq!(answer.fresh(after(109)), Some((503, true)));
        assert_eq!(answer.fresh(after(110)), None);
        answer.keep(200, false, after(200));
        assert_eq!(answer.fresh(after(250)), Some((200, false)));
    }
}
