//! The only cells a snapshot reaches that change after it was published: host counters and health
//! bits, circuit-breaker counts and bound sockets. Each is shared by all workers for a stated reason,
//! and is carried from one snapshot to the next as long as its owner stays the same.

mod bucket;
mod connections;
mod descriptors;
mod gradient;
mod health;
mod latency;
mod limit;
mod outlier;
mod overload;
mod recent;
mod retries;
mod shed;
mod table;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};

pub use bucket::{BucketSize, TokenBucket};
pub use connections::{Connections, Waiting};
pub use descriptors::{Descriptor, DescriptorBucket, DescriptorBuckets, DescriptorLimit, DescriptorLimits};
pub use gradient::Gradient;
pub use health::{Health, HealthEpoch};
pub use latency::Latency;
pub use limit::Limit;
pub use outlier::{OutlierCells, Requests};
pub use overload::{ActionState, Overload};
pub use retries::{RetryBudget, RetryLimit};
pub use shed::{LoadShed, ScaledTimers};
pub use table::{HashTable, Shelf, TableInput};

/// Counters and health bits of one host. Shared because least-request, outlier detection and
/// `/clusters` must see the host as the whole process uses it.
#[derive(Debug, Default)]
pub struct HostLive {
    /// Streams in flight.
    pub rq_active: AtomicI64,
    /// Connections open.
    pub cx_active: AtomicI64,
    /// Connections ever opened.
    pub cx_total: AtomicU64,
    /// Failed connection attempts.
    pub cx_connect_fail: AtomicU64,
    /// Requests ever sent.
    pub rq_total: AtomicU64,
    /// Requests answered below 500.
    pub rq_success: AtomicU64,
    /// Requests answered 5xx, reset or failed.
    pub rq_error: AtomicU64,
    /// Requests that timed out.
    pub rq_timeout: AtomicU64,
    /// How fast it answers; measured where balancing reads it.
    pub latency: Latency,
    /// What outlier detection counts.
    pub outlier: OutlierCells,
    /// What checks and outlier detection say.
    pub health: Health,
}

impl HostLive {
    /// Of a new host of the cluster whose health changes are counted by `epoch`.
    pub fn new(epoch: &Arc<HealthEpoch>) -> Self {
        Self { health: Health::new(epoch.clone()), ..Self::default() }
    }
}

/// Circuit breaker of one cluster and priority. Shared because Envoy's limits hold per process.
#[derive(Debug)]
pub struct Breakers {
    /// `max_connections`, of the cluster and of each host.
    pub connections: Arc<Connections>,
    /// `max_connection_pools`.
    pub pools: Limit,
    /// `max_pending_requests`.
    pub pending: Limit,
    /// `max_requests`.
    pub requests: Limit,
    /// `max_retries` or `retry_budget`.
    pub retries: RetryLimit,
}

/// Which set of circuit breakers a request counts against (`RoutingPriority`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Priority {
    /// DEFAULT.
    #[default]
    Default,
    /// HIGH.
    High,
}

/// Bound sockets of one listener, one per worker, in the same SO_REUSEPORT group. Bound on the main
/// runtime so that a failure rejects the resource; each worker clones its own. The group keeps its
/// size for life: closing one member would reset connections queued on it.
#[derive(Debug)]
pub struct ListenerSockets {
    /// The address as bound, with the real port.
    pub address: SocketAddr,
    /// By worker index.
    pub sockets: Vec<TcpListener>,
}
