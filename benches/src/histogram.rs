//! Latencies in buckets of about 3 % width, from a nanosecond to minutes.

use std::time::Duration;

/// Buckets per power of two.
const STEPS: u32 = 32;
const STEP_BITS: u32 = STEPS.ilog2();

/// A log-linear histogram of durations.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; (64 * STEPS) as usize], total: 0, max: Duration::ZERO }
    }
}

impl Histogram {
    /// Adds one.
    pub fn record(&mut self, latency: Duration) {
        self.counts[bucket(latency.as_nanos() as u64)] += 1;
        self.total += 1;
        self.max = self.max.max(latency);
    }

    /// How many were added.
    pub fn count(&self) -> u64 {
        self.total
    }

    /// The largest one.
    pub fn max(&self) -> Duration {
        self.max
    }

    /// The duration that `quantile` (0 to 1) of all do not exceed, by the upper end of its bucket.
    pub fn quantile(&self, quantile: f64) -> Duration {
        let rank = (quantile * self.total as f64).ceil() as u64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank.max(1) {
                return Duration::from_nanos(upper_end(index)).min(self.max);
            }
        }
        self.max
    }
}

fn bucket(nanos: u64) -> usize {
    let magnitude = nanos.max(1).ilog2();
    if magnitude < STEP_BITS {
        return nanos as usize;
    }
    let shift = magnitude - STEP_BITS;
    ((shift * STEPS) as u64 + (nanos >> shift)) as usize
}

fn upper_end(index: usize) -> u64 {
    let (index, steps) = (index as u64, u64::from(STEPS));
    if index < 2 * steps {
        return index;
    }
    let shift = index / steps - 1;
    ((index % steps + steps + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::{Histogram, bucket, upper_end};
    use std::time::Duration;

    #[test]
    fn buckets_are_contiguous_and_narrow() {
        for nanos in (0..5_000).chain((13..50).map(|bits| (1 << bits) + 12_345)) {
            let end = upper_end(bucket(nanos));
            assert!(end >= nanos && end - nanos <= nanos / 16, "{nanos} in a bucket up to {end}");
            assert_eq!(bucket(end), bucket(nanos));
            assert_eq!(bucket(end + 1), bucket(nanos) + 1);
        }
    }

    #[test]
    fn quantiles_of_a_uniform_range() {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|micros| histogram.record(Duration::from_micros(micros)));
        let (p50, p99) = (histogram.quantile(0.5).as_micros(), histogram.quantile(0.99).as_micros());
        assert!((500..=520).contains(&p50) && (990..=1000).contains(&p99), "{p50} {p99}");
    }
}
