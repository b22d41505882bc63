//! Retry policies. Source: `envoy.config.route.v3.RetryPolicy`.

use std::time::Duration;

use super::subset::{Metadata, MetadataValue};
use crate::base::matcher::HeaderMatch;

/// Most body bytes kept for another attempt of one request: Envoy's default. A longer request is sent once.
pub const LARGEST_REPLAY: usize = 1 << 20;

/// When and how requests are tried again.
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    /// Conditions.
    pub on: RetryOn,
    /// Retries after the first attempt.
    pub num_retries: u32,
    /// Statuses for `retriable-status-codes`, sorted.
    pub status_codes: Vec<u16>,
    /// Responses for `retriable-headers`; one that matches is enough.
    pub response_headers: Vec<HeaderMatch>,
    /// When there are any, only requests of which one matches are retried.
    pub request_headers: Vec<HeaderMatch>,
    /// Zero is off.
    pub per_try_timeout: Duration,
    /// Longest silence within one try; zero is off.
    pub per_try_idle_timeout: Duration,
    /// Back-off window of the first retry.
    pub base_interval: Duration,
    /// Longest window.
    pub max_interval: Duration,
    /// `rate_limited_retry_back_off`: response headers that say when to come back, in the order they are asked.
    pub reset_headers: Vec<ResetHeader>,
    /// A longer wait than this is not believed.
    pub max_reset_interval: Duration,
    /// Which hosts a retry avoids.
    pub avoid: Avoid,
    /// After every so many attempts, retries keep away from the priorities of those until then (`previous_priorities`);
    /// 0 never.
    pub avoid_priorities_every: u32,
    /// Re-picks while the choice is a host to avoid.
    pub host_selection_attempts: u32,
}

/// Hosts that retries avoid (`retry_host_predicate`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Avoid {
    /// Those that were tried.
    pub previous: bool,
    /// Canaries (`canary: true` in their `envoy.lb` metadata).
    pub canaries: bool,
    /// Those with all of this in their `envoy.lb` metadata: one entry per predicate.
    pub metadata: Vec<Metadata>,
}

impl Avoid {
    /// Whether a host with this `envoy.lb` metadata is one to avoid, tried or not.
    pub fn omits(&self, metadata: Option<&Metadata>) -> bool {
        let Some(metadata) = metadata else { return false };
        let has = |wanted: &Metadata| {
            !wanted.0.is_empty()
                && wanted.0.iter().all(|criterion| metadata.get(&criterion.key) == Some(&criterion.value))
        };
        (self.canaries && metadata.get("canary") == Some(&MetadataValue::Bool(true)))
            || self.metadata.iter().any(has)
    }
}

/// One of `rate_limited_retry_back_off.reset_headers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResetHeader {
    /// Lower-case name.
    pub name: Box<str>,
    /// What its number means.
    pub format: ResetFormat,
}

/// What the number in a reset header means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetFormat {
    /// Seconds from now.
    Seconds,
    /// Seconds since the epoch.
    UnixTimestamp,
}

/// Retry conditions as a bit set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryOn(pub u32);

impl RetryOn {
    /// `5xx`.
    pub const SERVER_ERROR: RetryOn = RetryOn(1);
    /// `gateway-error`.
    pub const GATEWAY_ERROR: RetryOn = RetryOn(1 << 1);
    /// `reset`.
    pub const RESET: RetryOn = RetryOn(1 << 2);
    /// `reset-before-request`.
    pub const RESET_BEFORE_REQUEST: RetryOn = RetryOn(1 << 3);
    /// `connect-failure`.
    pub const CONNECT_FAILURE: RetryOn = RetryOn(1 << 4);
    /// `retriable-4xx`.
    pub const RETRIABLE_4XX: RetryOn = RetryOn(1 << 5);
    /// `refused-stream`.
    pub const REFUSED_STREAM: RetryOn = RetryOn(1 << 6);
    /// `retriable-status-codes`.
    pub const STATUS_CODES: RetryOn = RetryOn(1 << 7);
    /// `retriable-headers`.
    pub const HEADERS: RetryOn = RetryOn(1 << 8);
    /// `envoy-ratelimited`.
    pub const RATE_LIMITED: RetryOn = RetryOn(1 << 9);
    /// `cancelled`.
    pub const GRPC_CANCELLED: RetryOn = RetryOn(1 << 10);
    /// `deadline-exceeded`.
    pub const GRPC_DEADLINE_EXCEEDED: RetryOn = RetryOn(1 << 11);
    /// `internal`.
    pub const GRPC_INTERNAL: RetryOn = RetryOn(1 << 12);
    /// `resource-exhausted`.
    pub const GRPC_RESOURCE_EXHAUSTED: RetryOn = RetryOn(1 << 13);
    /// `unavailable`.
    pub const GRPC_UNAVAILABLE: RetryOn = RetryOn(1 << 14);

    /// `(token, bit)` of the conditions on HTTP, which `x-envoy-retry-on` may name.
    pub const HTTP_TOKENS: &[(&str, RetryOn)] = &[
        ("5xx", RetryOn::SERVER_ERROR),
        ("gateway-error", RetryOn::GATEWAY_ERROR),
        ("reset", RetryOn::RESET),
        ("reset-before-request", RetryOn::RESET_BEFORE_REQUEST),
        ("connect-failure", RetryOn::CONNECT_FAILURE),
        ("retriable-4xx", RetryOn::RETRIABLE_4XX),
        ("refused-stream", RetryOn::REFUSED_STREAM),
        ("retriable-status-codes", RetryOn::STATUS_CODES),
        ("retriable-headers", RetryOn::HEADERS),
        ("envoy-ratelimited", RetryOn::RATE_LIMITED),
    ];

    /// `(token, bit)` of the conditions on a gRPC status, which `x-envoy-retry-grpc-on` may name.
    pub const GRPC_TOKENS: &[(&str, RetryOn)] = &[
        ("cancelled", RetryOn::GRPC_CANCELLED),
        ("deadline-exceeded", RetryOn::GRPC_DEADLINE_EXCEEDED),
        ("internal", RetryOn::GRPC_INTERNAL),
        ("resource-exhausted", RetryOn::GRPC_RESOURCE_EXHAUSTED),
        ("unavailable", RetryOn::GRPC_UNAVAILABLE),
    ];

    /// Adds `other`.
    pub fn insert(&mut self, other: RetryOn) {
        self.0 |= other.0;
    }

    /// True when any condition of `other` is set.
    #[inline]
    pub fn intersects(self, other: RetryOn) -> bool {
        self.0 & other.0 != 0
    }

    /// True without any condition: nothing is retried.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}
