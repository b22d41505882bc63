//! What the workers count about one host for outlier detection, and what the sweep found.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::config::outlier::Consecutive;

/// Counters of one host. Workers add to them, the sweep on the main runtime takes from them.
#[derive(Debug, Default)]
pub struct OutlierCells {
    consecutive: [AtomicU32; 3],
    /// Bits by [`Consecutive`]: thresholds reached since the main runtime looked.
    reached: AtomicU32,
    /// It called itself degraded since the main runtime looked.
    degraded: AtomicBool,
    /// Responses.
    pub external: Requests,
    /// Connections and timeouts, when judged apart.
    pub local: Requests,
}

impl OutlierCells {
    /// One more failure in a row. True when that makes `threshold`: the main runtime has to know.
    pub fn fail(&self, kind: Consecutive, threshold: u32) -> bool {
        let count = self.consecutive[kind as usize].fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let reached = count == threshold;
        if reached {
            self.reached.fetch_or(1 << kind as u32, Ordering::Release);
        }
        reached
    }

    /// The row ends. Writes only when there is one, so that healthy hosts share their cache line in peace.
    #[inline]
    pub fn reset(&self, kind: Consecutive) {
        let counter = &self.consecutive[kind as usize];
        if counter.load(Ordering::Relaxed) != 0 {
            counter.store(0, Ordering::Relaxed);
        }
    }

    /// It calls itself degraded. True when that is news for the main runtime.
    pub fn degrade(&self) -> bool {
        !self.degraded.load(Ordering::Relaxed) && !self.degraded.swap(true, Ordering::Relaxed)
    }

    /// Whether it called itself degraded since the last call.
    pub fn take_degraded(&self) -> bool {
        self.degraded.load(Ordering::Relaxed) && self.degraded.swap(false, Ordering::Relaxed)
    }

    /// The thresholds reached since the last call.
    pub fn take_reached(&self) -> impl Iterator<Item = Consecutive> + use<> {
        let none = self.reached.load(Ordering::Relaxed) == 0;
        let bits = if none { 0 } else { self.reached.swap(0, Ordering::Acquire) };
        Consecutive::ALL.into_iter().filter(move |kind| bits & (1 << *kind as u32) != 0)
    }
}

/// Requests within one interval, and the success rate of the last one that had enough.
#[derive(Debug, Default)]
pub struct Requests {
    total: AtomicU64,
    success: AtomicU64,
    /// Bits of the rate plus one; 0 is none.
    rate: AtomicU64,
}

impl Requests {
    /// Counts one.
    #[inline]
    pub fn count(&self, success: bool) {
        self.total.fetch_add(1, Ordering::Relaxed);
        if success {
            self.success.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Ends an interval: its number of requests and the percentage of successes; `None` without requests.
    pub fn take(&self) -> Option<(u64, f64)> {
        let success = self.success.swap(0, Ordering::Relaxed);
        let total = self.total.swap(0, Ordering::Relaxed);
        let rate = success.min(total) as f64 * 100.0 / total as f64;
        (total > 0).then_some((total, rate))
    }

    /// Percentage of successes in the last interval, when it had enough requests to judge by.
    pub fn rate(&self) -> Option<f64> {
        let bits = self.rate.load(Ordering::Relaxed);
        (bits != 0).then(|| f64::from_bits(bits) - 1.0)
    }

    /// Sets [`Requests::rate`].
    pub fn set_rate(&self, rate: Option<f64>) {
        self.rate.store(rate.map_or(0, |rate| (rate + 1.0).to_bits()), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_told_once_and_ends_with_a_success() {
        let cells = OutlierCells::default();
        let kind = Consecutive::GatewayFailures;
        assert!(!cells.fail(kind, 2));
        assert!(cells.fail(kind, 2) && !cells.fail(kind, 2));
        assert_eq!(cells.take_reached().collect::<Vec<_>>(), [kind]);
        assert_eq!(cells.take_reached().count(), 0);
        cells.reset(kind);
        assert!(!cells.fail(kind, 2) && cells.fail(kind, 2));
    }

    #[test]
    fn an_interval_starts_with_nothing() {
        let requests = Requests::default();
        assert_eq!(requests.take(), None);
        (0..4).for_each(|n| requests.count(n != 0));
        assert_eq!(requests.take(), Some((4, 75.0)));
        assert_eq!((requests.take(), requests.rate()), (None, None));
        requests.set_rate(Some(0.0));
        assert_eq!(requests.rate(), Some(0.0));
    }
}
