//! How fast a host answers. Shared because every worker asks every host, and what one found out serves all.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// An exponentially weighted moving mean that follows peaks at once and forgets them slowly.
///
/// Two cells that are not written together: a reader may see the mean of one measurement with the time of another,
/// which are alike.
#[derive(Debug, Default)]
pub struct Latency {
    /// Bits of the mean in milliseconds; 0 before the first measurement.
    mean: AtomicU64,
    /// Of the last measurement: microseconds since the cluster came.
    at: AtomicU64,
}

impl Latency {
    /// Takes a measurement at time `now`, counted from any fixed point.
    pub fn observe(&self, latency: Duration, now: Duration, decay: Duration) {
        let sample = (latency.as_secs_f64() * 1000.0).max(f64::MIN_POSITIVE);
        let mean = match self.mean(now, decay) {
            // What became slower is believed at once, what became faster little by little.
            Some(mean) if sample < mean => {
                let before = f64::from_bits(self.mean.load(Ordering::Relaxed));
                sample + (before - sample).max(0.0) * self.weight(now, decay)
            }
            _ => sample,
        };
        self.mean.store(mean.to_bits(), Ordering::Relaxed);
        self.at.store(now.as_micros() as u64, Ordering::Relaxed);
    }

    /// The mean in milliseconds; `None` before the first measurement. It falls while nobody asks the host, so that
    /// one that was slow once is asked again.
    pub fn mean(&self, now: Duration, decay: Duration) -> Option<f64> {
        let mean = f64::from_bits(self.mean.load(Ordering::Relaxed));
        (mean > 0.0).then(|| mean * self.weight(now, decay))
    }

    /// What is left of the last measurement.
    fn weight(&self, now: Duration, decay: Duration) -> f64 {
        let age = now.saturating_sub(Duration::from_micros(self.at.load(Ordering::Relaxed)));
        (-age.as_secs_f64() / decay.as_secs_f64().max(1e-6)).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECAY: Duration = Duration::from_secs(10);

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn peaks_count_at_once_and_fade() {
        let latency = Latency::default();
        assert_eq!(latency.mean(millis(0), DECAY), None);
        latency.observe(millis(10), millis(0), DECAY);
        assert_eq!(latency.mean(millis(0), DECAY), Some(10.0));
        latency.observe(millis(200), millis(1), DECAY);
        assert_eq!(latency.mean(millis(1), DECAY), Some(200.0));
        latency.observe(millis(10), millis(2), DECAY);
        let soon = latency.mean(millis(2), DECAY).unwrap();
        assert!((199.0..200.0).contains(&soon), "{soon}");
        for at in 0..30 {
            latency.observe(millis(10), millis(1000 * at), DECAY);
        }
        let later = latency.mean(millis(29_000), DECAY).unwrap();
        assert!((10.0..25.0).contains(&later), "{later}");
        let unasked = latency.mean(millis(39_000), DECAY).unwrap();
        assert!(unasked < later / 2.0);
    }
}
