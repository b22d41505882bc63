//! Fault injection. Source: `envoy.extensions.filters.http.fault.v3.HTTPFault`,
//! `envoy.extensions.filters.common.fault.v3`.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use crate::base::ids::ClusterId;
use crate::base::matcher::HeaderMatch;
use crate::stats::scope::FaultStats;

/// The filter: its own settings, and what all its settings share.
#[derive(Debug)]
pub struct FaultFilter {
    /// `http.<stat_prefix>.fault.*`
    pub stats: FaultStats,
    /// Requests with a fault now; over all workers, as `max_active_faults` holds for the process.
    pub active: Arc<AtomicU64>,
    /// Settings without an override.
    pub settings: Fault,
}

/// One set of settings.
#[derive(Debug, Default)]
pub struct Fault {
    /// Pause before the request goes on.
    pub delay: Option<Delay>,
    /// Answer instead of the upstream.
    pub abort: Option<Abort>,
    /// Slow response bodies.
    pub response_rate: Option<ResponseRate>,
    /// Only requests to this cluster.
    pub upstream_cluster: Option<ClusterId>,
    /// Only requests with these headers, ANDed.
    pub headers: Vec<HeaderMatch>,
    /// Only requests of these `x-envoy-downstream-service-node`s; empty is all.
    pub downstream_nodes: Vec<Box<str>>,
    /// No further fault while this many are active.
    pub max_active: Option<u32>,
}

/// A share of requests; a header may lower it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Parts.
    pub numerator: u32,
    /// Requests per million that one part stands for.
    pub unit: u32,
}

impl Share {
    /// Requests per million, at most `cap` parts when a header asks for fewer.
    pub fn per_million(self, cap: Option<u32>) -> u32 {
        self.numerator.min(cap.unwrap_or(u32::MAX)).saturating_mul(self.unit)
    }
}

/// `FaultDelay`
#[derive(Debug)]
pub struct Delay {
    /// How long; `None` takes it from `x-envoy-fault-delay-request`, in milliseconds.
    pub fixed: Option<Duration>,
    /// Of how many requests.
    pub share: Share,
}

/// `FaultAbort`
#[derive(Debug)]
pub struct Abort {
    /// The answer.
    pub status: AbortStatus,
    /// Of how many requests.
    pub share: Share,
    /// Body of the answer; empty takes Envoy's.
    pub body: Box<str>,
}

/// What an abort answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbortStatus {
    /// This HTTP status.
    Http(u16),
    /// 200 with this gRPC status.
    Grpc(u32),
    /// What `x-envoy-fault-abort-request` or `x-envoy-fault-abort-grpc-request` says.
    Header,
}

/// `FaultRateLimit`
#[derive(Debug)]
pub struct ResponseRate {
    /// KiB per second; `None` takes it from `x-envoy-fault-throughput-response`.
    pub fixed: Option<u64>,
    /// Of how many responses.
    pub share: Share,
}
