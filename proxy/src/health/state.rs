//! What results make of a host: thresholds, flags, events and the time until the next check. No I/O and no clock.
//! Source: `HealthCheckerImplBase::ActiveHealthCheckSession`.

use std::time::Duration;

use crate::config::health::Intervals;
use crate::config::live::Health;

/// Flags that checks own.
pub(super) const OWN: u32 = Health::FAILED_ACTIVE_HC
    | Health::DEGRADED_ACTIVE_HC
    | Health::PENDING_ACTIVE_HC
    | Health::ACTIVE_HC_TIMEOUT
    | Health::EXCLUDED_VIA_IMMEDIATE_HC_FAIL
    | Health::IGNORED_UNTIL_FIRST_HC;

/// Result of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The host is well.
    Passed {
        /// It asked for less traffic (`x-envoy-degraded`).
        degraded: bool,
    },
    /// It is not.
    Failed {
        /// How that showed.
        failure: Failure,
        /// Counts towards the threshold although the host answered.
        retriable: bool,
        /// It asked to be left out of percentages (`x-envoy-immediate-health-check-fail`).
        excluded: bool,
        /// HTTP status of the answer; 0 when there was none.
        status: u16,
    },
}

impl Outcome {
    /// An answer that says the host is not well.
    pub(super) const UNHEALTHY: Self = Self::failed(Failure::Active);
    /// No answer.
    pub(super) const NETWORK: Self = Self::failed(Failure::Network);
    /// No answer in time.
    pub(super) const TIMEOUT: Self = Self::failed(Failure::NetworkTimeout);
    /// The answer to a request asked to leave the host out.
    pub(super) const LEAVING: Self =
        Self::Failed { failure: Failure::Passive, retriable: false, excluded: true, status: 0 };
    /// Well, and no more to say.
    pub(super) const PASSED: Self = Self::Passed { degraded: false };

    const fn failed(failure: Failure) -> Self {
        Self::Failed { failure, retriable: false, excluded: false, status: 0 }
    }
}

/// `HealthCheckFailureType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// ACTIVE.
    Active,
    /// PASSIVE: the answer to a request said so.
    Passive,
    /// NETWORK.
    Network,
    /// NETWORK_TIMEOUT.
    NetworkTimeout,
}

impl Failure {
    /// As events name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Passive => "PASSIVE",
            Self::Network => "NETWORK",
            Self::NetworkTimeout => "NETWORK_TIMEOUT",
        }
    }
}

/// What is told in the event log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The host is unhealthy from now on.
    Eject { failure: Failure, status: u16 },
    /// The host is healthy from now on.
    Add { first: bool },
    /// A check failed.
    Failure { failure: Failure, status: u16, first: bool },
    /// A check passed.
    Success,
    /// The host is degraded from now on.
    Degraded,
    /// The host is not degraded any more.
    NoLongerDegraded,
}

/// Whether a result changed the host's health, or would with more like it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transition {
    Unchanged,
    Pending,
    Changed,
}

/// What one result led to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// The host's flags from now on; bits that checks do not own are as they were.
    pub(super) flags: u32,
    pub(super) transition: Transition,
    pub(super) events: Vec<Event>,
}

/// No check objects.
pub(super) fn is_healthy(flags: u32) -> bool {
    flags & Health::FAILED_ACTIVE_HC == 0
}

/// The last check was answered with `x-envoy-degraded`.
pub(super) fn is_degraded(flags: u32) -> bool {
    flags & Health::DEGRADED_ACTIVE_HC != 0
}

/// Counts of one host.
#[derive(Debug)]
pub(super) struct State {
    first: bool,
    successes: u32,
    failures: u32,
    thresholds: Thresholds,
}

/// Consecutive results that change a host's health.
#[derive(Clone, Copy, Debug)]
pub(super) struct Thresholds {
    pub(super) healthy: u32,
    pub(super) unhealthy: u32,
}

impl State {
    pub(super) fn new(thresholds: Thresholds) -> Self {
        Self { first: true, successes: 0, failures: 0, thresholds }
    }

    /// Takes a result for a host with these flags.
    pub(super) fn judge(&mut self, outcome: Outcome, flags: u32) -> Verdict {
        let mut verdict = Verdict { flags, transition: Transition::Unchanged, events: Vec::new() };
        match outcome {
            Outcome::Passed { degraded } => self.passed(degraded, &mut verdict),
            Outcome::Failed { failure, retriable, excluded, status } => {
                if excluded {
                    verdict.flags |= Health::EXCLUDED_VIA_IMMEDIATE_HC_FAIL;
                }
                self.failed(failure, status, retriable, &mut verdict);
            }
        }
        self.first = false;
        verdict
    }

    fn passed(&mut self, degraded: bool, verdict: &mut Verdict) {
        self.failures = 0;
        if !is_healthy(verdict.flags) {
            self.successes += 1;
            // The very first result decides at once, which makes starting fast.
            if self.first || self.successes >= self.thresholds.healthy {
                verdict.flags &= !(Health::FAILED_ACTIVE_HC
                    | Health::ACTIVE_HC_TIMEOUT
                    | Health::EXCLUDED_VIA_IMMEDIATE_HC_FAIL);
                verdict.transition = Transition::Changed;
                verdict.events.push(Event::Add { first: self.first });
            } else {
                verdict.transition = Transition::Pending;
            }
        }
        verdict.events.push(Event::Success);
        decided(verdict);
        if degraded != is_degraded(verdict.flags) {
            verdict.flags ^= Health::DEGRADED_ACTIVE_HC;
            verdict.events.push(if degraded { Event::Degraded } else { Event::NoLongerDegraded });
            if verdict.transition == Transition::Unchanged {
                verdict.transition = Transition::Changed;
            }
        }
    }

    fn failed(&mut self, failure: Failure, status: u16, retriable: bool, verdict: &mut Verdict) {
        self.successes = 0;
        if is_healthy(verdict.flags) {
            let at_once = matches!(failure, Failure::Active | Failure::Passive) && !retriable;
            self.failures += u32::from(!at_once);
            if at_once || self.failures >= self.thresholds.unhealthy {
                self.failures = 0;
                verdict.flags |= Health::FAILED_ACTIVE_HC;
                verdict.transition = Transition::Changed;
                verdict.events.push(Event::Eject { failure, status });
            } else {
                verdict.transition = Transition::Pending;
            }
        }
        if !is_healthy(verdict.flags) && failure == Failure::NetworkTimeout {
            verdict.flags |= Health::ACTIVE_HC_TIMEOUT;
        } else {
            verdict.flags &= !Health::ACTIVE_HC_TIMEOUT;
        }
        decided(verdict);
        verdict.events.push(Event::Failure { failure, status, first: self.first });
    }
}

/// Any result ends the wait for the first one, which changes who counts in percentages.
fn decided(verdict: &mut Verdict) {
    if verdict.flags & Health::PENDING_ACTIVE_HC != 0 {
        verdict.flags &= !(Health::PENDING_ACTIVE_HC | Health::IGNORED_UNTIL_FIRST_HC);
        verdict.transition = Transition::Changed;
    }
}

/// Time until the next check, without jitter.
pub(super) fn pause(intervals: &Intervals, passed: bool, transition: Transition, traffic: bool) -> Duration {
    let edge = transition == Transition::Pending;
    match (traffic, passed, edge) {
        (false, true, false) => intervals.no_traffic_healthy,
        (false, _, _) => intervals.no_traffic,
        (true, true, false) => intervals.healthy,
        (true, true, true) => intervals.healthy_edge,
        (true, false, false) => intervals.unhealthy,
        (true, false, true) => intervals.unhealthy_edge,
    }
}

/// `pause` with `percent` of itself and `jitter` added at most; `random` gives a number below its argument. At least a
/// millisecond, as in Envoy.
pub(super) fn jittered(
    percent: u32,
    jitter: Duration,
    pause: Duration,
    mut random: impl FnMut(u64) -> u64,
) -> Duration {
    let share = pause.saturating_mul(percent) / 100;
    let added = up_to(share, &mut random).saturating_add(up_to(jitter, &mut random));
    pause.saturating_add(added).max(Duration::from_millis(1))
}

/// Some whole milliseconds below `most`.
pub(super) fn up_to(most: Duration, mut random: impl FnMut(u64) -> u64) -> Duration {
    match u64::try_from(most.as_millis()) {
        Ok(most @ 1..) => Duration::from_millis(random(most)),
        _ => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests;
