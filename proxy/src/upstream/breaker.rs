//! Circuit-breaker permits: taken before work starts, given back on every way out.

use std::rc::Rc;
use std::sync::atomic::Ordering;

use super::local::Local;
use super::pool::HostPool;
use super::view::ClusterState;

/// One request in flight on a host: its permit, gauges and host counters, released on drop.
#[derive(Debug)]
pub struct ActiveRequest {
    local: Rc<Local>,
    cluster: Rc<ClusterState>,
    pool: Rc<HostPool>,
}

impl ActiveRequest {
    /// Counts a request on `host`. `None`: the cluster's `max_requests` breaker is open.
    pub fn begin(local: &Rc<Local>, cluster: &Rc<ClusterState>, pool: &Rc<HostPool>) -> Option<Self> {
        let settings = cluster.config();
        if !settings.breakers[0].requests.try_acquire() {
            return None;
        }
        let stats = &settings.stats;
        local.stats.inc(stats.upstream_rq_total);
        local.stats.gauge_add(stats.upstream_rq_active, 1);
        pool.host.live.rq_active.fetch_add(1, Ordering::Relaxed);
        pool.host.live.rq_total.fetch_add(1, Ordering::Relaxed);
        Some(Self { local: local.clone(), cluster: cluster.clone(), pool: pool.clone() })
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        let settings = self.cluster.config();
        settings.breakers[0].requests.release();
        self.local.stats.gauge_add(settings.stats.upstream_rq_active, -1);
        self.pool.host.live.rq_active.fetch_sub(1, Ordering::Relaxed);
    }
}
