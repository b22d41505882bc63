//! Counting guards: what was counted up is counted down on every way out.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::config::live::Priority;
use crate::config::{Cluster, Host};
use crate::net::stream::Stream;
use crate::upstream::connect::millis;
use crate::upstream::local::Local;
use crate::upstream::view::ClusterState;

/// One open upstream connection: gauges, host counters and the `max_connections` permit.
#[derive(Debug)]
pub struct ConnectionGuard {
    local: Rc<Local>,
    cluster: Arc<Cluster>,
    host: Arc<Host>,
    priority: Priority,
    opened: Instant,
    local_address: Cell<Option<SocketAddr>>,
}

impl ConnectionGuard {
    /// Takes a connection permit. At the limit a pool that has no connection yet (`first`) may still open one,
    /// as in Envoy; otherwise `None`.
    pub fn begin(
        local: &Rc<Local>,
        cluster: &Arc<Cluster>,
        host: &Arc<Host>,
        priority: Priority,
        first: bool,
    ) -> Option<Self> {
        let limit = &cluster.breakers(priority).connections;
        if !limit.try_acquire(local.index) {
            if !first {
                return None;
            }
            local.stats.inc(cluster.stats.upstream_cx_overflow);
            limit.acquire_over();
        }
        local.stats.inc(cluster.stats.upstream_cx_total);
        local.stats.gauge_add(cluster.stats.upstream_cx_active, 1);
        host.live.cx_total.fetch_add(1, Ordering::Relaxed);
        host.live.cx_active.fetch_add(1, Ordering::Relaxed);
        Some(Self {
            local: local.clone(),
            cluster: cluster.clone(),
            host: host.clone(),
            priority,
            opened: Instant::now(),
            local_address: Cell::new(None),
        })
    }

    /// The connection stands: remembers our end of it for logs.
    pub fn connected(&self, io: &Stream) {
        self.local_address.set(io.local_addr());
    }

    /// Our address, once connected over TCP.
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.local_address.get()
    }

    /// When the connection was opened.
    pub fn opened(&self) -> Instant {
        self.opened
    }

    /// Adds wire bytes to the cluster's counters.
    pub fn count_bytes(&self, (received, sent): (u64, u64)) {
        self.local.stats.add(self.cluster.stats.upstream_cx_rx_bytes_total, received);
        self.local.stats.add(self.cluster.stats.upstream_cx_tx_bytes_total, sent);
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let stats = &self.cluster.stats;
        self.cluster.breakers(self.priority).connections.release(self.local.index);
        self.local.stats.gauge_add(stats.upstream_cx_active, -1);
        self.local.stats.inc(stats.upstream_cx_destroy);
        self.local.stats.record(stats.upstream_cx_length_ms, millis(self.opened.elapsed()));
        self.host.live.cx_active.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One request that waits for a connection: the `max_pending_requests` permit and its gauges.
#[derive(Debug)]
pub struct Pending {
    local: Rc<Local>,
    cluster: Rc<ClusterState>,
    priority: Priority,
}

impl Pending {
    /// Takes the permit; `None` when the breaker is open.
    pub fn begin(local: &Rc<Local>, cluster: &Rc<ClusterState>, priority: Priority) -> Option<Self> {
        let settings = cluster.config();
        if !settings.breakers(priority).pending.try_acquire(local.index) {
            local.stats.inc(settings.stats.upstream_rq_pending_overflow);
            return None;
        }
        local.stats.inc(settings.stats.upstream_rq_pending_total);
        local.stats.gauge_add(settings.stats.upstream_rq_pending_active, 1);
        Some(Self { local: local.clone(), cluster: cluster.clone(), priority })
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let settings = self.cluster.config();
        settings.breakers(self.priority).pending.release(self.local.index);
        self.local.stats.gauge_add(settings.stats.upstream_rq_pending_active, -1);
    }
}
