//! Gauges that are computed from live state instead of counted: server, circuit breakers, health of hosts.
//! Refreshed before statistics are read and at every flush.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::config::cluster::{Cluster, CoarseHealth, HostSet};
use crate::config::live::Breakers;
use crate::config::publish::Subscriber;
use crate::stats::registry::{Gauge, Registry, SharedShard};
use crate::stats::scope::{RemainingStats, ServerStats};

/// Resident and anonymous memory of the process, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Anonymous pages in use: the closest to what the allocator handed out.
    pub allocated: u64,
    /// Data segment: what the allocator took from the kernel.
    pub heap: u64,
    /// Resident set.
    pub resident: u64,
}

impl Memory {
    /// As the kernel tells it now; zeros where it does not.
    pub fn read() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self::parse(&status)
    }

    fn parse(status: &str) -> Self {
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("");
            let kib = line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok());
            kib.unwrap_or(0) * 1024
        };
        Self { allocated: field("RssAnon:"), heap: field("VmData:"), resident: field("VmRSS:") }
    }
}

/// What the server tells about itself at the moment of reading.
#[derive(Clone, Copy, Debug, Default)]
pub struct Vitals {
    /// Number of the server state (`server.state`); 0 is live.
    pub state: u8,
    /// Downstream connections open now.
    pub connections: u64,
    /// Time until the first certificate in use expires; `None` without any.
    pub until_expiry: Option<Duration>,
}

/// What holds for the life of the process.
#[derive(Clone, Copy, Debug)]
pub struct Constants {
    /// Worker threads.
    pub concurrency: u64,
    /// A number for this version that grows with it.
    pub version: u64,
}

impl Constants {
    /// Of this build, with so many workers.
    pub fn of(workers: usize) -> Self {
        let part = |text: &str| text.parse::<u64>().unwrap_or(0);
        let version = part(env!("CARGO_PKG_VERSION_MAJOR")) << 16
            | part(env!("CARGO_PKG_VERSION_MINOR")) << 8
            | part(env!("CARGO_PKG_VERSION_PATCH"));
        Self { concurrency: workers as u64, version }
    }
}

/// Refreshes computed gauges.
pub struct Collector {
    registry: Registry,
    snapshots: Subscriber,
    started: Instant,
    vitals: Box<dyn Fn() -> Vitals + Send + Sync>,
    server: ServerStats,
    /// One refresh at a time.
    running: Mutex<()>,
}

impl std::fmt::Debug for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Collector").field("started", &self.started).finish_non_exhaustive()
    }
}

impl Collector {
    /// A collector over everything published to `snapshots`; `vitals` is asked at every refresh.
    pub fn new(
        registry: &Registry,
        snapshots: Subscriber,
        started: Instant,
        constants: Constants,
        vitals: Box<dyn Fn() -> Vitals + Send + Sync>,
    ) -> Self {
        let server = ServerStats::register(registry);
        let shard = registry.shared();
        shard.gauge_set(server.concurrency, constants.concurrency as i64);
        shard.gauge_set(server.version, constants.version as i64);
        Self { registry: registry.clone(), snapshots, started, vitals, server, running: Mutex::new(()) }
    }

    /// The process is LIVE: how long its start took.
    pub fn initialized(&self) {
        let took = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.registry.shared().record(self.server.initialization_time_ms, took);
    }

    /// Brings the computed gauges up to date.
    pub fn refresh(&self) {
        let _one = self.running.lock();
        let shard = self.registry.shared();
        self.server_gauges(shard);
        for cluster in self.snapshots.current().clusters.iter().flatten() {
            cluster_gauges(shard, &cluster.config);
            health_gauges(shard, &cluster.config, &cluster.hosts);
            table_gauges(shard, &cluster.config, &cluster.hosts);
        }
    }

    /// Ends a flush interval (`stats_flush_interval`): gauges are refreshed, histograms start anew.
    pub fn flush(&self) {
        self.refresh();
        self.registry.flush();
    }

    fn server_gauges(&self, shard: &SharedShard) {
        let vitals = (self.vitals)();
        let memory = Memory::read();
        // Envoy's value when there is no certificate.
        let until_expiry = vitals.until_expiry.map_or(u32::MAX.into(), |left| left.as_secs());
        let days = vitals.until_expiry.map_or(until_expiry, |left| left.as_secs() / 86_400);
        let stats = &self.server;
        for (gauge, value) in [
            (stats.uptime, self.started.elapsed().as_secs()),
            (stats.state, vitals.state.into()),
            (stats.live, (vitals.state == 0).into()),
            (stats.total_connections, vitals.connections),
            (stats.days_until_first_cert_expiring, days),
            (stats.seconds_until_first_cert_expiring, until_expiry),
            (stats.memory_allocated, memory.allocated),
            (stats.memory_heap_size, memory.heap),
            (stats.memory_physical_size, memory.resident),
        ] {
            shard.gauge_set(gauge, value as i64);
        }
    }
}

fn cluster_gauges(shard: &SharedShard, cluster: &Cluster) {
    let stats = &cluster.stats;
    let of_default = [
        stats.default_cx_open,
        stats.default_cx_pool_open,
        stats.default_rq_pending_open,
        stats.default_rq_open,
        stats.default_rq_retry_open,
    ];
    let of_high = [
        stats.high_cx_open,
        stats.high_cx_pool_open,
        stats.high_rq_pending_open,
        stats.high_rq_open,
        stats.high_rq_retry_open,
    ];
    for ((breakers, gauges), remaining) in
        cluster.breakers.iter().zip([of_default, of_high]).zip(&cluster.remaining)
    {
        breaker_gauges(shard, breakers, gauges);
        if let Some(gauges) = remaining {
            remaining_gauges(shard, breakers, gauges);
        }
    }
}

fn remaining_gauges(shard: &SharedShard, breakers: &Breakers, gauges: &RemainingStats) {
    for (gauge, remaining) in [
        (gauges.remaining_cx, breakers.connections.limit().remaining()),
        (gauges.remaining_cx_pools, breakers.pools.remaining()),
        (gauges.remaining_pending, breakers.pending.remaining()),
        (gauges.remaining_rq, breakers.requests.remaining()),
        (gauges.remaining_retries, breakers.retries.max_and_remaining(&breakers.requests, Instant::now()).1),
    ] {
        shard.gauge_set(gauge, remaining as i64);
    }
}

fn health_gauges(shard: &SharedShard, cluster: &Cluster, hosts: &HostSet) {
    let stats = &cluster.stats;
    for (gauge, count) in [
        (stats.membership_healthy, hosts.count(CoarseHealth::Healthy)),
        (stats.membership_degraded, hosts.count(CoarseHealth::Degraded)),
        (stats.membership_excluded, hosts.excluded()),
    ] {
        shard.gauge_set(gauge, count as i64);
    }
}

fn table_gauges(shard: &SharedShard, cluster: &Cluster, hosts: &HostSet) {
    let Some(stats) = &cluster.balancing.hashing.stats else { return };
    let (entries, spread) = hosts.tables.latest().unwrap_or_default();
    stats.set(shard, entries, spread);
}

fn breaker_gauges(shard: &SharedShard, breakers: &Breakers, gauges: [Gauge; 5]) {
    let open = [
        breakers.connections.limit().is_open(),
        breakers.pools.is_open(),
        breakers.pending.is_open(),
        breakers.requests.is_open(),
        breakers.retries.is_open(&breakers.requests, Instant::now()),
    ];
    for (gauge, open) in gauges.into_iter().zip(open) {
        shard.gauge_set(gauge, open.into());
    }
}

#[cfg(test)]
mod tests;
