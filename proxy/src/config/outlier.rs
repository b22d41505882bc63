//! Outlier detection of one cluster. Source: `envoy.config.cluster.v3.OutlierDetection`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::stats::scope::OutlierStats;

/// Settings, and the handles of `cluster.<name>.outlier_detection.*`.
#[derive(Debug)]
pub struct Outlier {
    /// Failures in a row that eject: by [`Consecutive`].
    pub consecutive: [u32; 3],
    /// Percent of detections that eject: by [`Cause`].
    pub enforcing: [u32; 7],
    /// Between sweeps.
    pub interval: Duration,
    /// Times the ejections in a row: how long an ejection lasts.
    pub base_ejection_time: Duration,
    /// How long it lasts at most, before jitter.
    pub max_ejection_time: Duration,
    /// Random time added to every ejection, at most.
    pub max_ejection_time_jitter: Duration,
    /// Share of hosts that may be ejected at a time.
    pub max_ejection_percent: u32,
    /// One host may be ejected whatever that share is.
    pub always_eject_one_host: bool,
    /// Ejection by deviation from the other hosts' success rate.
    pub success_rate: Volume,
    /// Standard deviations below the mean, in thousandths, that eject.
    pub success_rate_stdev_factor: u32,
    /// Ejection by failure percentage.
    pub failure_percentage: Volume,
    /// Percent of failures that ejects.
    pub failure_percentage_threshold: u32,
    /// Failures of our own (connect, reset, timeout) are judged apart from responses.
    pub split_errors: bool,
    /// Hosts that answer with `x-envoy-degraded` are taken at their word.
    pub detect_degraded: bool,
    /// A passed active health check ends an ejection.
    pub check_takes_back: bool,
    /// What the last sweep found: responses, failures of our own.
    pub found: [Found; 2],
    /// Handles.
    pub stats: OutlierStats,
}

/// The hosts' success rates as the last sweep found them. Shared because `/clusters` shows them.
#[derive(Debug, Default)]
pub struct Found {
    /// Bits of the number plus one.
    mean: AtomicU64,
    threshold: AtomicU64,
}

impl Found {
    /// Mean success rate and the rate below which hosts are ejected, percent; -1 stands for none.
    pub fn rates(&self) -> [f64; 2] {
        [&self.mean, &self.threshold].map(|cell| f64::from_bits(cell.load(Ordering::Relaxed)) - 1.0)
    }

    /// Sets what [`Found::rates`] returns.
    pub fn set(&self, mean: f64, threshold: f64) {
        self.mean.store((mean + 1.0).to_bits(), Ordering::Relaxed);
        self.threshold.store((threshold + 1.0).to_bits(), Ordering::Relaxed);
    }
}

/// How much there must be to judge by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Hosts with enough requests.
    pub minimum_hosts: u32,
    /// Requests of a host within one interval.
    pub requests: u32,
}

/// Detectors that count failures in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consecutive {
    /// Responses 5xx, and failures of our own unless split.
    ServerErrors,
    /// 502, 503 and 504 among them.
    GatewayFailures,
    /// Failures of our own, when split.
    LocalOrigin,
}

impl Consecutive {
    /// All of them, in the order in which they decide: a 503 is a gateway failure first, as in Envoy.
    pub const ALL: [Self; 3] = [Self::GatewayFailures, Self::ServerErrors, Self::LocalOrigin];

    /// The cause of an ejection by this detector.
    pub fn cause(self) -> Cause {
        match self {
            Self::ServerErrors => Cause::Consecutive5xx,
            Self::GatewayFailures => Cause::ConsecutiveGatewayFailure,
            Self::LocalOrigin => Cause::ConsecutiveLocalOriginFailure,
        }
    }
}

/// Why a host is ejected. Source: `OutlierEjectionType`, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// 5xx in a row.
    Consecutive5xx,
    /// 502, 503, 504 in a row.
    ConsecutiveGatewayFailure,
    /// Success rate of responses.
    SuccessRate,
    /// Failures of our own in a row.
    ConsecutiveLocalOriginFailure,
    /// Success rate of connecting.
    SuccessRateLocalOrigin,
    /// Failure percentage of responses.
    FailurePercentage,
    /// Failure percentage of connecting.
    FailurePercentageLocalOrigin,
}

impl Cause {
    /// The name in logs, as Envoy writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Consecutive5xx => "CONSECUTIVE_5XX",
            Self::ConsecutiveGatewayFailure => "CONSECUTIVE_GATEWAY_FAILURE",
            Self::SuccessRate => "SUCCESS_RATE",
            Self::ConsecutiveLocalOriginFailure => "CONSECUTIVE_LOCAL_ORIGIN_FAILURE",
            Self::SuccessRateLocalOrigin => "SUCCESS_RATE_LOCAL_ORIGIN",
            Self::FailurePercentage => "FAILURE_PERCENTAGE",
            Self::FailurePercentageLocalOrigin => "FAILURE_PERCENTAGE_LOCAL_ORIGIN",
        }
    }
}
