//! The gradient controller of adaptive concurrency: a limit on requests in flight that follows their latency.
//!
//! From time to time few requests are let through, and their latency counts as that of an idle upstream. In between,
//! the limit is multiplied in every window by how far the latency now is above that. Nothing runs beside the requests:
//! the first one after a window has ended closes it. So an idle controller costs nothing, and tests say what time it
//! is. Source: Envoy's gradient controller.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::config::filter::concurrency::{GradientSettings, MinRtt};
use crate::stats::registry::{Gauge, Registry, Shard};
use crate::stats::scope::GradientStats;

/// Windows in a row at the smallest limit after which the least latency is measured again: it was too low.
const WINDOWS_AT_MINIMUM: u32 = 5;
/// Never: no window ends by time.
const NEVER: u64 = u64::MAX;

/// See the module. Shared by all workers.
#[derive(Debug)]
pub struct Gradient {
    settings: GradientSettings,
    stats: GradientStats,
    registry: Registry,
    born: Instant,
    outstanding: AtomicU32,
    limit: AtomicU32,
    /// When the next window ends, in nanoseconds since birth.
    due: AtomicU64,
    /// The least latency is being measured.
    measuring: AtomicBool,
    /// Requests from before this moment do not count.
    epoch: AtomicU64,
    latencies: Latencies,
    windows: Mutex<Windows>,
}

/// What only the closer of a window looks at.
#[derive(Debug, Default)]
struct Windows {
    /// Microseconds.
    min_rtt: u64,
    /// The limit to return to after measuring.
    deferred: u32,
    at_minimum: u32,
    next_sample: u64,
    next_measurement: Option<u64>,
}

impl Gradient {
    /// A controller that begins by measuring, unless it is told the least latency. `stats` are of `registry`.
    pub fn new(settings: GradientSettings, stats: GradientStats, registry: Registry, now: Instant) -> Self {
        let update = nanos(settings.update_interval);
        let (measuring, min_rtt) = match settings.min_rtt {
            MinRtt::Measured { .. } => (true, 0),
            MinRtt::Fixed(value) => (false, micros(value)),
        };
        let windows = Windows {
            min_rtt,
            deferred: settings.measuring_limit,
            next_sample: update,
            ..Windows::default()
        };
        let controller = Self {
            settings,
            stats,
            registry,
            born: now,
            outstanding: AtomicU32::new(0),
            limit: AtomicU32::new(settings.measuring_limit),
            due: AtomicU64::new(if measuring { NEVER } else { update }),
            measuring: AtomicBool::new(measuring),
            epoch: AtomicU64::new(0),
            latencies: Latencies::new(),
            windows: Mutex::new(windows),
        };
        controller.show(controller.stats.concurrency_limit, settings.measuring_limit.into());
        controller.show(controller.stats.min_rtt_calculation_active, measuring.into());
        controller.show(controller.stats.min_rtt_msecs, min_rtt / 1000);
        controller
    }

    /// Gauges are set by whoever closes a window, which is one at a time.
    fn show(&self, gauge: Gauge, value: u64) {
        self.registry.shared().gauge_set(gauge, i64::try_from(value).unwrap_or(i64::MAX));
    }

    /// Lets a request through, to be ended by [`Gradient::end`], or says no.
    pub fn begin(&self, now: Instant, shard: &Shard) -> bool {
        let now = self.elapsed(now);
        if now >= self.due.load(Ordering::Relaxed) {
            self.close_window(now);
        }
        let limit = self.limit.load(Ordering::Relaxed);
        let taken = self.outstanding.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |outstanding| {
            (outstanding < limit).then_some(outstanding + 1)
        });
        if taken.is_err() {
            shard.inc(self.stats.rq_blocked);
        }
        taken.is_ok()
    }

    /// A request that was let through at `began` is over. `complete`: its latency counts.
    pub fn end(&self, began: Instant, now: Instant, complete: bool, rng: &mut Rng) {
        self.outstanding.fetch_sub(1, Ordering::Relaxed);
        if !complete || self.elapsed(began) < self.epoch.load(Ordering::Relaxed) {
            return;
        }
        let samples = self.latencies.record(micros(now.saturating_duration_since(began)));
        if let MinRtt::Measured { requests, .. } = self.settings.min_rtt
            && self.measuring.load(Ordering::Relaxed)
            && samples >= requests
        {
            self.end_measurement(self.elapsed(now), rng);
        }
    }

    /// Requests that may be in flight now.
    pub fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    fn elapsed(&self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.born))
    }

    /// A window is over: measure the least latency if that is due, else compute a new limit.
    fn close_window(&self, now: u64) {
        // Whoever comes second leaves it to the first.
        let Ok(mut windows) = self.windows.try_lock() else { return };
        if self.measuring.load(Ordering::Relaxed) || now < self.due.load(Ordering::Relaxed) {
            return;
        }
        if windows.next_measurement.is_some_and(|at| at <= now) {
            self.begin_measurement(&mut windows, now);
            return;
        }
        if let Some(sample) = self.latencies.take(self.settings.percentile) {
            self.show(self.stats.sample_rtt_msecs, sample / 1000);
            let limit = self.next_limit(&windows, sample);
            self.set_limit(&mut windows, limit, now);
        }
        windows.next_sample = now.saturating_add(nanos(self.settings.update_interval));
        self.set_due(&windows);
    }

    fn begin_measurement(&self, windows: &mut Windows, now: u64) {
        windows.deferred = self.limit();
        windows.at_minimum = 0;
        self.measuring.store(true, Ordering::Relaxed);
        self.store_limit(self.settings.measuring_limit);
        self.show(self.stats.min_rtt_calculation_active, 1);
        self.latencies.clear();
        self.epoch.store(now, Ordering::Relaxed);
        self.due.store(NEVER, Ordering::Relaxed);
    }

    fn end_measurement(&self, now: u64, rng: &mut Rng) {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.measuring.load(Ordering::Relaxed) {
            return;
        }
        if let Some(latency) = self.latencies.take(self.settings.percentile) {
            windows.min_rtt = latency;
            self.show(self.stats.min_rtt_msecs, latency / 1000);
        }
        self.store_limit(windows.deferred);
        windows.at_minimum = 0;
        self.measuring.store(false, Ordering::Relaxed);
        self.show(self.stats.min_rtt_calculation_active, 0);
        if let MinRtt::Measured { interval, jitter, .. } = self.settings.min_rtt {
            let longer = interval.as_secs_f64() * jitter * rng.f64();
            windows.next_measurement =
                Some(now.saturating_add(nanos(interval + Duration::from_secs_f64(longer))));
        }
        windows.next_sample = now.saturating_add(nanos(self.settings.update_interval));
        self.set_due(&windows);
    }

    /// The limit times how the least latency compares with `sample` (microseconds), and room for a burst.
    fn next_limit(&self, windows: &Windows, sample: u64) -> u32 {
        let least = windows.min_rtt as f64 * (1.0 + self.settings.buffer);
        let gradient = (least / sample.max(1) as f64).clamp(0.5, 2.0);
        let limit = f64::from(self.limit()) * gradient;
        let burst = limit.sqrt();
        self.show(self.stats.gradient, (gradient * 1000.0) as u64);
        self.show(self.stats.burst_queue_size, burst as u64);
        ((limit + burst) as u32).min(self.settings.max_limit).max(self.settings.min_limit)
    }

    fn set_limit(&self, windows: &mut Windows, limit: u32, now: u64) {
        let minimum = self.settings.min_limit;
        let stays = self.limit() == minimum && limit == minimum;
        windows.at_minimum = if stays { windows.at_minimum + 1 } else { 0 };
        self.store_limit(limit);
        if windows.at_minimum >= WINDOWS_AT_MINIMUM && windows.next_measurement.is_some() {
            windows.next_measurement = Some(now);
        }
    }

    fn store_limit(&self, limit: u32) {
        self.limit.store(limit, Ordering::Relaxed);
        self.show(self.stats.concurrency_limit, limit.into());
    }

    fn set_due(&self, windows: &Windows) {
        let next = windows.next_measurement.map_or(windows.next_sample, |at| at.min(windows.next_sample));
        self.due.store(next, Ordering::Relaxed);
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(NEVER - 1)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Significant bits of a latency: buckets are at most 1/32 wide.
const PRECISION: u32 = 5;
/// Buckets for latencies up to 2^36 microseconds, 19 hours.
const BUCKETS: usize = (36 - PRECISION as usize + 1) << PRECISION;

/// A histogram of microseconds that any worker adds to.
#[derive(Debug)]
struct Latencies {
    count: AtomicU32,
    buckets: Box<[AtomicU32]>,
}

impl Latencies {
    fn new() -> Self {
        Self { count: AtomicU32::new(0), buckets: (0..BUCKETS).map(|_| AtomicU32::new(0)).collect() }
    }

    /// Adds one: how many there are.
    fn record(&self, micros: u64) -> u32 {
        if let Some(bucket) = self.buckets.get(bucket_of(micros)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn clear(&self) {
        self.buckets.iter().for_each(|bucket| bucket.store(0, Ordering::Relaxed));
        self.count.store(0, Ordering::Relaxed);
    }

    /// The latency that the share `percentile` is not above, if there is any; the histogram is empty afterwards.
    fn take(&self, percentile: f64) -> Option<u64> {
        let counts: Vec<u32> = self.buckets.iter().map(|bucket| bucket.swap(0, Ordering::Relaxed)).collect();
        self.count.store(0, Ordering::Relaxed);
        let total: u64 = counts.iter().map(|count| u64::from(*count)).sum();
        if total == 0 {
            return None;
        }
        let mut left = ((total as f64 * percentile).ceil() as u64).clamp(1, total);
        let found = counts.iter().position(|count| {
            let count = u64::from(*count);
            let inside = left <= count;
            left = left.saturating_sub(count);
            inside
        });
        found.map(|bucket| middle_of(bucket).max(1))
    }
}

/// Exact below 2^(PRECISION + 1), then PRECISION bits after the highest.
fn bucket_of(micros: u64) -> usize {
    let bits = u64::BITS - micros.leading_zeros();
    if bits <= PRECISION + 1 {
        return micros as usize;
    }
    let shift = bits - PRECISION - 1;
    let index = ((u64::from(shift) << PRECISION) + (micros >> shift)) as usize;
    index.min(BUCKETS - 1)
}

fn middle_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let shift = (bucket >> PRECISION).saturating_sub(1);
    let start = (bucket - (shift << PRECISION)) << shift;
    start + ((1 << shift) >> 1)
}

#[cfg(test)]
mod tests;
