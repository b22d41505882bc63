//! Local rate limiting. Source: `envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit`.

use std::sync::Arc;
use std::time::Instant;

use super::descriptor::{DescriptorRule, HostRules};
use crate::config::live::{BucketSize, DescriptorBuckets, DescriptorLimits, TokenBucket};
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
    /// How requests are told apart; `None`: they are not.
    pub descriptors: Option<Box<Descriptors>>,
    /// The limit is for all members of our own cluster together (`local_cluster_rate_limit`).
    pub shared: bool,
    /// The limit; `None` limits nothing.
    pub limit: Option<Limit>,
}

/// How requests are told apart.
#[derive(Debug)]
pub struct Descriptors {
    /// What makes descriptors; empty: what the route says.
    pub rules: Vec<DescriptorRule>,
    /// Which rules of routes.
    pub stage: u32,
    /// And which of virtual hosts.
    pub host_rules: HostRules,
    /// Requests with a bucket of their own need a token of the default one, too.
    pub always_default: bool,
}

/// Whom a bucket is for.
#[derive(Debug)]
pub enum Limit {
    /// All callers together.
    Process(Buckets),
    /// Each downstream connection.
    Connection(BucketSizes),
}

impl Limit {
    /// The limit of these sizes, full as of `now`.
    pub fn new(sizes: BucketSizes, per_connection: bool, now: Instant) -> Self {
        if per_connection { Self::Connection(sizes) } else { Self::Process(sizes.of_process(now)) }
    }
}

/// Sizes of the buckets of one configuration.
#[derive(Debug)]
pub struct BucketSizes {
    /// Of the one for requests without a bucket of their own.
    pub default: Option<BucketSize>,
    /// Of those with a descriptor.
    pub descriptors: Arc<DescriptorLimits>,
}

impl BucketSizes {
    /// Buckets for the process, full as of `now`.
    fn of_process(&self, now: Instant) -> Buckets {
        self.buckets(DescriptorBuckets::of_process, now)
    }

    /// Buckets for a connection, full as of `now`. Those with a descriptor are made when they are needed.
    pub fn of_connection(&self, now: Instant) -> Buckets {
        self.buckets(|limits, _| DescriptorBuckets::of_connection(limits), now)
    }

    fn buckets(
        &self,
        by_descriptor: fn(&Arc<DescriptorLimits>, Instant) -> DescriptorBuckets,
        now: Instant,
    ) -> Buckets {
        let by_descriptor = || Box::new(by_descriptor(&self.descriptors, now));
        Buckets {
            default: self.default.map(|size| TokenBucket::new(size, now)),
            by_descriptor: (!self.descriptors.is_empty()).then(by_descriptor),
        }
    }
}

/// The buckets of one configuration, or of one connection.
#[derive(Debug)]
pub struct Buckets {
    /// For requests without a bucket of their own.
    pub default: Option<TokenBucket>,
    /// By descriptor.
    pub by_descriptor: Option<Box<DescriptorBuckets>>,
}
