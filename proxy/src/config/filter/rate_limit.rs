//! Local rate limiting. Source: `envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit`.

use std::time::Instant;

use crate::config::live::{BucketSize, TokenBucket};
use crate::config::route::HeaderAdd;
use crate::stats::scope::LocalRateLimitStats;

/// One configuration of the filter with its bucket.
#[derive(Debug)]
pub struct RateLimit {
    /// `<stat_prefix>.http_local_rate_limit.*`
    pub stats: LocalRateLimitStats,
    /// Share of requests that are looked at, per million.
    pub enabled_ppm: u32,
    /// Share of the limited ones that are refused, per million.
    pub enforced_ppm: u32,
    /// Status of a refusal.
    pub status: u16,
    /// gRPC callers are told RESOURCE_EXHAUSTED instead of UNAVAILABLE.
    pub resource_exhausted: bool,
    /// Added to refusals.
    pub response_add: Vec<HeaderAdd>,
    /// Added to requests that pass only because the limit is not enforced.
    pub request_add: Vec<HeaderAdd>,
    /// Tell `x-ratelimit-*` in every response.
    pub tell: bool,
    /// Tell `retry-after` in refusals.
    pub retry_after: bool,
    /// The limit; `None` limits nothing.
    pub limit: Option<Limit>,
}

/// Whom a bucket is for.
#[derive(Debug)]
pub enum Limit {
    /// All callers together.
    Process(TokenBucket),
    /// Each downstream connection.
    Connection(BucketSize),
}

impl Limit {
    /// The limit of this size, full as of `now`.
    pub fn new(size: BucketSize, per_connection: bool, now: Instant) -> Self {
        if per_connection { Self::Connection(size) } else { Self::Process(TokenBucket::new(size, now)) }
    }
}
