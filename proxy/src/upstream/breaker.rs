//! Circuit-breaker permits: taken before work starts, given back on every way out.

use std::rc::Rc;
use std::sync::atomic::Ordering;

use super::local::Local;
use super::pool::HostPool;
use super::view::ClusterState;
use crate::config::Cluster;
use crate::config::live::Priority;

/// One request on its way to a host: the permit, and once it has a stream gauges and counters; released on drop.
#[derive(Debug)]
pub struct ActiveRequest {
    local: Rc<Local>,
    cluster: Rc<ClusterState>,
    pool: Rc<HostPool>,
    priority: Priority,
    sent: bool,
}

impl ActiveRequest {
    /// Takes the permit. `None`: the cluster's `max_requests` breaker is open.
    pub fn begin(
        local: &Rc<Local>,
        cluster: &Rc<ClusterState>,
        pool: &Rc<HostPool>,
        priority: Priority,
    ) -> Option<Self> {
        let settings = cluster.config();
        if !settings.breakers(priority).requests.try_acquire(local.index) {
            return None;
        }
        settings.breakers(priority).retries.request_begins(local.index, || local.clock.now());
        // Least request must see those that wait for a connection, too.
        pool.host.live.rq_active.fetch_add(1, Ordering::Relaxed);
        Some(Self {
            local: local.clone(),
            cluster: cluster.clone(),
            pool: pool.clone(),
            priority,
            sent: false,
        })
    }

    /// Where it goes.
    pub fn cluster(&self) -> &Cluster {
        self.cluster.config()
    }

    /// The request has a stream: from here on it counts.
    pub fn sent(&mut self) {
        let stats = &self.cluster.config().stats;
        self.local.stats.inc(stats.upstream_rq_total);
        self.local.stats.gauge_add(stats.upstream_rq_active, 1);
        self.pool.host.live.rq_total.fetch_add(1, Ordering::Relaxed);
        self.sent = true;
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        let settings = self.cluster.config();
        settings.breakers(self.priority).requests.release(self.local.index);
        if self.sent {
            self.local.stats.gauge_add(settings.stats.upstream_rq_active, -1);
        }
        self.pool.host.live.rq_active.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One retry, from its scheduling to its outcome: the permit of `max_retries` or the retry budget.
#[derive(Debug)]
pub struct RetryPermit {
    local: Rc<Local>,
    cluster: Rc<ClusterState>,
    priority: Priority,
}

impl RetryPermit {
    /// Takes the permit; `None`: the breaker is open and there must be no retry.
    pub fn take(local: &Rc<Local>, cluster: &Rc<ClusterState>, priority: Priority) -> Option<Self> {
        let breakers = cluster.config().breakers(priority);
        let taken = breakers.retries.try_acquire(local.index, &breakers.requests, local.clock.now());
        taken.then(|| Self { local: local.clone(), cluster: cluster.clone(), priority })
    }
}

impl Drop for RetryPermit {
    fn drop(&mut self) {
        self.cluster.config().breakers(self.priority).retries.release(self.local.index);
    }
}
