//! Full-jitter exponential back-off: a fleet that lost its control plane must not come back in step.

use std::time::Duration;

/// Waiting times between attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    attempts: u32,
}

impl Backoff {
    /// Envoy's for gRPC streams to a control plane.
    pub const DEFAULT: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

    /// The first wait is below `base`, no wait is above `cap`.
    pub fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap: cap.max(base), attempts: 0 }
    }

    /// The next wait: uniform between nothing and a window that doubles up to the cap. `random` is in `0.0..1.0`.
    pub fn next(&mut self, random: f64) -> Duration {
        let window =
            self.base.saturating_mul(1u32.checked_shl(self.attempts).unwrap_or(u32::MAX)).min(self.cap);
        self.attempts = self.attempts.saturating_add(1);
        window.mul_f64(random.clamp(0.0, 1.0))
    }

    /// The other side spoke: start over.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff() -> Backoff {
        Backoff::new(Duration::from_millis(500), Duration::from_secs(30))
    }

    #[test]
    fn windows_double_up_to_the_cap() {
        let mut backoff = backoff();
        let windows: Vec<u128> = (0..8).map(|_| backoff.next(1.0).as_millis()).collect();
        assert_eq!(windows, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
    }

    #[test]
    fn the_wait_is_anywhere_in_the_window() {
        assert_eq!(backoff().next(0.0), Duration::ZERO);
        assert_eq!(backoff().next(0.5), Duration::from_millis(250));
    }

    #[test]
    fn a_message_starts_it_over() {
        let mut backoff = backoff();
        for _ in 0..100 {
            backoff.next(1.0);
        }
        assert_eq!(backoff.next(1.0), Duration::from_secs(30));
        backoff.reset();
        assert_eq!(backoff.next(1.0), Duration::from_millis(500));
    }
}
