//! Health of a host as this process finds it, and how balancers learn that it changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Grows whenever the flags of any host of one cluster change. Balancers compare it on every pick.
#[derive(Debug)]
pub struct HealthEpoch {
    changes: AtomicU64,
    /// Where times of the cluster's hosts are counted from.
    origin: Instant,
}

impl Default for HealthEpoch {
    fn default() -> Self {
        Self { changes: AtomicU64::new(0), origin: Instant::now() }
    }
}

impl HealthEpoch {
    /// The number now, without ordering: enough to see that something changed.
    #[inline]
    pub fn peek(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// The number now; every change it counts is visible to what the caller reads next.
    pub fn read(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Where times of the cluster's hosts are counted from.
    pub fn origin(&self) -> Instant {
        self.origin
    }

    fn advance(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }
}

/// Health flags of one host. Written on the main runtime, read by everybody. Source: `Host::HealthFlag`.
#[derive(Debug, Default)]
pub struct Health {
    flags: AtomicU32,
    /// When the host came, or passed checks after it had failed them: milliseconds of the epoch. Slow start
    /// reads it.
    since: AtomicU64,
    epoch: Arc<HealthEpoch>,
    /// The host asked in an answer to be left out at once. Rung by workers, heard by its health check.
    leaving: Notify,
}

impl Health {
    /// Active health checks failed.
    pub const FAILED_ACTIVE_HC: u32 = 1;
    /// Ejected by outlier detection.
    pub const FAILED_OUTLIER: u32 = 1 << 1;
    /// Active health checks found it degraded.
    pub const DEGRADED_ACTIVE_HC: u32 = 1 << 2;
    /// Not checked yet.
    pub const PENDING_ACTIVE_HC: u32 = 1 << 3;
    /// The host asked to be left out at once (`x-envoy-immediate-health-check-fail`).
    pub const EXCLUDED_VIA_IMMEDIATE_HC_FAIL: u32 = 1 << 4;
    /// The last failed check was a timeout.
    pub const ACTIVE_HC_TIMEOUT: u32 = 1 << 5;
    /// Not checked yet, in a cluster that ignores such hosts (`ignore_new_hosts_until_first_hc`).
    pub const IGNORED_UNTIL_FIRST_HC: u32 = 1 << 6;

    /// It says of itself that it is degraded (`detect_degraded_hosts`).
    pub const DEGRADED_OUTLIER: u32 = 1 << 7;

    /// Any of these makes a host one of second choice.
    pub const DEGRADED: u32 = Self::DEGRADED_ACTIVE_HC | Self::DEGRADED_OUTLIER;
    /// Any of these keeps a host from being used outside panic.
    pub const FAILED: u32 = Self::FAILED_ACTIVE_HC | Self::FAILED_OUTLIER;
    /// Any of these leaves a host out of the number that availability is a share of.
    pub const EXCLUDED: u32 = Self::EXCLUDED_VIA_IMMEDIATE_HC_FAIL | Self::IGNORED_UNTIL_FIRST_HC;

    /// No flags; changes advance `epoch`.
    pub fn new(epoch: Arc<HealthEpoch>) -> Self {
        let health =
            Self { flags: AtomicU32::new(0), since: AtomicU64::new(0), epoch, leaving: Notify::new() };
        health.set_healthy_since(Instant::now());
        health
    }

    /// The host asks in an answer to be left out at once (`x-envoy-immediate-health-check-fail`).
    pub fn asks_to_leave(&self) {
        if !self.has(Self::EXCLUDED_VIA_IMMEDIATE_HC_FAIL) {
            self.leaving.notify_one();
        }
    }

    /// Waits until the host asks for that.
    pub async fn asked_to_leave(&self) {
        self.leaving.notified().await;
    }

    /// Time since the cluster came.
    pub fn time(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.epoch.origin)
    }

    /// Since when checks do not object.
    pub fn healthy_since(&self) -> Instant {
        self.epoch.origin + Duration::from_millis(self.since.load(Ordering::Relaxed))
    }

    /// Sets what [`Health::healthy_since`] returns, to the millisecond.
    pub fn set_healthy_since(&self, now: Instant) {
        let millis = now.saturating_duration_since(self.epoch.origin).as_millis();
        self.since.store(u64::try_from(millis).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// All flags.
    #[inline]
    pub fn flags(&self) -> u32 {
        self.flags.load(Ordering::Relaxed)
    }

    /// Whether any of `flags` is set.
    #[inline]
    pub fn has(&self, flags: u32) -> bool {
        self.flags() & flags != 0
    }

    /// Sets `flags`; whether that changed anything.
    pub fn set(&self, flags: u32) -> bool {
        self.change(flags, 0)
    }

    /// Clears `flags`; whether that changed anything.
    pub fn clear(&self, flags: u32) -> bool {
        self.change(0, flags)
    }

    /// Sets and clears in one step, so that no reader sees half of it; whether that changed anything.
    pub fn change(&self, set: u32, clear: u32) -> bool {
        let next = |flags: u32| Some((flags & !clear) | set);
        let before = self.flags.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        let before = before.unwrap_or_default();
        let after = (before & !clear) | set;
        let changed = before != after;
        if changed {
            if before & !after & Self::FAILED_ACTIVE_HC != 0 {
                self.set_healthy_since(Instant::now());
            }
            self.epoch.advance();
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_advance_the_epoch() {
        let epoch = Arc::new(HealthEpoch::default());
        let (one, other) = (Health::new(epoch.clone()), Health::new(epoch.clone()));
        assert!(one.set(Health::FAILED_OUTLIER));
        assert!(!one.set(Health::FAILED_OUTLIER));
        assert_eq!(epoch.read(), 1);
        assert!(other.change(Health::FAILED_ACTIVE_HC, Health::PENDING_ACTIVE_HC));
        assert_eq!((one.flags(), other.flags()), (Health::FAILED_OUTLIER, Health::FAILED_ACTIVE_HC));
        assert!(one.clear(Health::FAILED) && !one.has(Health::FAILED));
        assert!(!one.clear(Health::FAILED));
        assert_eq!(epoch.peek(), 3);
    }
}
