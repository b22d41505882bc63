//! Adaptive concurrency. Source: `envoy.extensions.filters.http.adaptive_concurrency.v3.AdaptiveConcurrency`.

use std::time::Duration;

use crate::config::live::Gradient;

/// The filter.
#[derive(Debug)]
pub struct Concurrency {
    /// `enabled`: there is no runtime that could change it.
    pub enabled: bool,
    /// Finds the limit. All workers share it, as the upstream they protect is one.
    pub controller: Gradient,
    /// Status of what is over the limit.
    pub status: u16,
}

/// How the limit is found (`GradientControllerConfig`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GradientSettings {
    /// Which latency stands for a window of them, 0.0 to 1.0.
    pub percentile: f64,
    /// Largest limit.
    pub max_limit: u32,
    /// Smallest limit.
    pub min_limit: u32,
    /// The limit while the least latency is measured, and at first.
    pub measuring_limit: u32,
    /// A new limit is computed this often.
    pub update_interval: Duration,
    /// How the least latency is known.
    pub min_rtt: MinRtt,
    /// Share of the least latency that a latency may exceed it by without lowering the limit.
    pub buffer: f64,
}

/// The latency of an upstream without queues.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MinRtt {
    /// Measured anew this often, by this many requests; each pause is longer by up to the share `jitter`.
    Measured {
        /// Pause between two measurements.
        interval: Duration,
        /// Requests of one measurement.
        requests: u32,
        /// Share of the interval.
        jitter: f64,
    },
    /// As configured.
    Fixed(Duration),
}
