//! Fault injection. Source: `envoy.extensions.filters.http.fault.v3.HTTPFault`,
//! `envoy.extensions.filters.common.fault.v3`.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use foldhash::HashMap;

use crate::base::ids::ClusterId;
use crate::base::matcher::HeaderMatch;
use crate::stats::registry::Registry;
use crate::stats::scope::{FaultCallerStats, FaultStats};

/// Most callers that have statistics of their own: their names come with requests.
const MOST_CALLERS: usize = 64;

/// The filter: its own settings, and what all its settings share.
#[derive(Debug)]
pub struct FaultFilter {
    /// `http.<stat_prefix>.fault.*`
    pub stats: FaultStats,
    /// Requests with a fault now; over all workers, as `max_active_faults` holds for the process.
    pub active: Arc<AtomicU64>,
    /// Faults by caller.
    pub callers: FaultCallers,
    /// Settings without an override.
    pub settings: Fault,
}

/// Statistics of the first callers (`x-envoy-downstream-service-cluster`) that faults were made for. Touched by
/// requests with a fault only.
#[derive(Debug)]
pub struct FaultCallers {
    registry: Registry,
    stat_prefix: Box<str>,
    known: Mutex<HashMap<Box<str>, FaultCallerStats>>,
}

impl FaultCallers {
    /// Of the filter in the connection manager with this `stat_prefix`.
    pub fn new(registry: &Registry, stat_prefix: &str) -> Self {
        Self { registry: registry.clone(), stat_prefix: stat_prefix.into(), known: Mutex::default() }
    }

    /// The statistics of one caller; `None` when there are too many others.
    pub fn of(&self, caller: &str) -> Option<FaultCallerStats> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stats) = known.get(caller) {
            return Some(stats.clone());
        }
        if known.len() >= MOST_CALLERS {
            return None;
        }
        let stats = FaultCallerStats::for_caller(&self.registry, &self.stat_prefix, caller);
        known.insert(caller.into(), stats.clone());
        Some(stats)
    }
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
    /// Callers have no statistics of their own (`disable_downstream_cluster_stats`).
    pub no_caller_stats: bool,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_callers_have_statistics_and_later_ones_have_none() {
        let registry = Registry::new();
        let callers = FaultCallers::new(&registry, "ingress");
        assert!((0..MOST_CALLERS).all(|number| callers.of(&format!("caller-{number}")).is_some()));
        assert!(callers.of("one more").is_none() && callers.of("caller-0").is_some());
        assert!(registry.view().find("http.ingress.fault.caller-7.aborts_injected").is_some());
    }
}
