//! Distributions: decimal log-linear buckets, sparse copies of them, and what readers compute.
//!
//! Every decade has 32 buckets (tenths below 2, quarters below 5, halves above), so a value is known to
//! within some 6 % when its bucket's middle is taken, the integers up to 20 are exact, and the bounds that
//! Envoy exports to Prometheus fall between buckets. A bucket holds `lower < value <= upper`, which is
//! what `le` means there.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Buckets of one decade.
const PER_GROUP: usize = 32;
/// Decades; larger values count in the last bucket (10^13: 300 years in milliseconds, 10 TB in bytes).
const GROUPS: usize = 13;
/// Buckets in all.
const BUCKETS: usize = PER_GROUP * GROUPS;

/// Upper bounds Envoy exports when nothing else is configured, in the statistic's own unit.
pub const DEFAULT_BOUNDS: &[f64] = &[
    0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10000.0, 30000.0, 60000.0,
    300000.0, 600000.0, 1800000.0, 3600000.0,
];

/// Quantiles that Envoy's admin endpoint prints, in percent.
pub const QUANTILES: &[f64] = &[0.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 100.0];

/// One shard's buckets of one histogram. Decades are allocated when the first value falls into them.
#[derive(Debug, Default)]
pub(super) struct Buckets {
    sum: AtomicU64,
    groups: [OnceLock<Box<[AtomicU64; PER_GROUP]>>; GROUPS],
}

impl Buckets {
    /// Counts `value`; `bump` is how the owner of the shard adds to a cell.
    #[inline]
    pub(super) fn record(&self, value: u64, bump: impl Fn(&AtomicU64, u64)) {
        let (group, index) = place(value);
        let cells = match self.groups[group].get() {
            Some(cells) => cells,
            None => self.grow(group),
        };
        bump(&cells[index], 1);
        bump(&self.sum, value);
    }

    #[cold]
    fn grow(&self, group: usize) -> &[AtomicU64; PER_GROUP] {
        self.groups[group].get_or_init(|| Box::new([const { AtomicU64::new(0) }; PER_GROUP]))
    }

    /// Adds what was recorded to `dense`.
    fn collect(&self, dense: &mut Dense) {
        dense.sum = dense.sum.wrapping_add(self.sum.load(Ordering::Relaxed));
        for (group, cells) in self.groups.iter().enumerate().filter_map(|(at, g)| Some((at, g.get()?))) {
            let into = &mut dense.counts[group * PER_GROUP..][..PER_GROUP];
            into.iter_mut().zip(cells.iter()).for_each(|(sum, cell)| *sum += cell.load(Ordering::Relaxed));
        }
    }

    /// Forgets everything. Only for cells that no handle refers to any more.
    pub(super) fn clear(&self) {
        self.sum.store(0, Ordering::Relaxed);
        let cells = self.groups.iter().filter_map(|group| group.get()).flat_map(|group| group.iter());
        cells.for_each(|cell| cell.store(0, Ordering::Relaxed));
    }
}

struct Dense {
    sum: u64,
    counts: [u64; BUCKETS],
}

/// Decade and bucket of a value.
#[inline]
fn place(value: u64) -> (usize, usize) {
    let Some(below) = value.checked_sub(1) else { return (0, 0) };
    if below < 10 {
        return (0, 1 + below as usize);
    }
    let decade = below.ilog10();
    if decade as usize >= GROUPS {
        return (GROUPS - 1, PER_GROUP - 1);
    }
    let unit = 10u64.pow(decade);
    let index = if below < 2 * unit {
        (below - unit) * 10 / unit
    } else if below < 5 * unit {
        10 + (below - 2 * unit) * 4 / unit
    } else {
        22 + (below - 5 * unit) * 2 / unit
    };
    (decade as usize, index as usize)
}

/// `lower < value <= upper` of a bucket.
fn bounds(bucket: u16) -> (f64, f64) {
    let (group, index) = (usize::from(bucket) / PER_GROUP, usize::from(bucket) % PER_GROUP);
    if group == 0 {
        let upper = index as f64;
        return ((upper - 1.0).max(0.0), upper);
    }
    let unit = 10u64.pow(group as u32);
    let edge = |index: u64| match index {
        0..10 => unit + index * unit / 10,
        10..22 => 2 * unit + ((index - 10) * unit).div_ceil(4),
        _ => 5 * unit + (index - 22) * unit / 2,
    };
    (edge(index as u64) as f64, edge(index as u64 + 1) as f64)
}

/// A copy of a distribution, summed over shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    /// `(bucket, count)` of the buckets in use, ascending.
    buckets: Vec<(u16, u64)>,
    /// Sum of the recorded values.
    sum: u64,
}

impl Distribution {
    /// Sums what several shards recorded.
    pub(super) fn collect<'a>(parts: impl Iterator<Item = &'a Buckets>) -> Self {
        let mut parts = parts.peekable();
        if parts.peek().is_none() {
            return Self::default();
        }
        let mut dense = Dense { sum: 0, counts: [0; BUCKETS] };
        parts.for_each(|part| part.collect(&mut dense));
        let used = dense.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        Self { buckets: used.map(|(bucket, count)| (bucket as u16, *count)).collect(), sum: dense.sum }
    }

    /// What was recorded after `earlier` was copied from the same histogram.
    pub fn since(&self, earlier: &Distribution) -> Self {
        let mut before = earlier.buckets.iter().copied().peekable();
        let mut buckets = Vec::new();
        for &(bucket, count) in &self.buckets {
            let old = before.next_if(|(at, _)| *at == bucket).map_or(0, |(_, count)| count);
            if count > old {
                buckets.push((bucket, count - old));
            }
        }
        Self { buckets, sum: self.sum.wrapping_sub(earlier.sum) }
    }

    /// Adds what another histogram recorded.
    pub fn merge(&mut self, other: &Distribution) {
        let mut sum: std::collections::BTreeMap<u16, u64> = self.buckets.iter().copied().collect();
        other.buckets.iter().for_each(|(bucket, count)| *sum.entry(*bucket).or_default() += count);
        self.buckets = sum.into_iter().collect();
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// One value for each bucket in use, and how often: exact for integers up to 20, the middle of its
    /// bucket (within 6 %) above.
    pub fn values(&self) -> impl Iterator<Item = (f64, u64)> {
        self.buckets().map(|(lower, upper, count)| {
            let value = if upper - lower <= 1.0 { upper } else { (lower + upper) / 2.0 };
            (value, count)
        })
    }

    /// Values recorded.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }

    /// Sum of the values recorded, exact.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// True before the first value.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// `(lower, upper, count)` of the buckets in use, ascending.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, f64, u64)> {
        self.buckets.iter().map(|(bucket, count)| {
            let (lower, upper) = bounds(*bucket);
            (lower, upper, *count)
        })
    }

    /// The value below which `percent` of the values lie, interpolated inside its bucket; NaN when empty.
    pub fn quantile(&self, percent: f64) -> f64 {
        let target = self.count() as f64 * percent / 100.0;
        let mut seen = 0.0;
        let mut last = f64::NAN;
        for (lower, upper, count) in self.buckets() {
            let count = count as f64;
            last = interpolate(lower, upper, (target - seen).max(0.0) / count);
            seen += count;
            if seen >= target {
                break;
            }
        }
        last
    }

    /// How many values are at most `bound`; inside a bucket the values count as spread evenly.
    pub fn count_le(&self, bound: f64) -> u64 {
        let share = |(lower, upper, count): (f64, f64, u64)| {
            if upper <= bound {
                count
            } else if lower >= bound || upper - lower <= 1.0 {
                0
            } else {
                (count as f64 * (bound - lower) / (upper - lower)) as u64
            }
        };
        self.buckets().map(share).sum()
    }
}

/// Buckets one wide hold one integer; in wider ones the values count as spread evenly.
fn interpolate(lower: f64, upper: f64, share: f64) -> f64 {
    if upper - lower <= 1.0 { upper } else { lower + (upper - lower) * share.min(1.0) }
}

#[cfg(test)]
mod tests;
