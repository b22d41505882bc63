//! Differences of what hosts and clusters count, as `ClusterStats`.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use outrigger_xds_protos::load::TIME_METRIC;
use outrigger_xds_protos::v3::core;
use outrigger_xds_protos::v3::endpoint::{
    ClusterStats, EndpointLoadMetricStats, UpstreamEndpointStats, UpstreamLocalityStats,
};
use outrigger_xds_protos::v3::wkt;

use super::Wanted;
use crate::config::cluster::{Cluster, Discovery, Host, HostAddress, HostSet, Locality};
use crate::config::{ClusterSlot, Snapshot};
use crate::stats::histogram::Distribution;
use crate::stats::registry::Registry;

/// What a host had counted when it was last reported.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    issued: u64,
    succeeded: u64,
    failed: u64,
    connected: u64,
    not_connected: u64,
}

/// What was reported so far, to report only what came after it. Grows and shrinks with the hosts of the snapshot.
#[derive(Debug, Default)]
pub struct Tally {
    /// By [`Host::uid`].
    hosts: HashMap<u64, Seen>,
    /// By cluster name.
    times: HashMap<Box<str>, Distribution>,
}

impl Tally {
    /// Takes everything counted so far as reported.
    pub fn begin(&mut self, snapshot: &Snapshot, registry: &Registry) {
        let all = Wanted { all: true, ..Wanted::default() };
        self.report(snapshot, registry, &all, Duration::ZERO);
    }

    /// What was counted since the last report, of the clusters wanted.
    pub fn report(
        &mut self,
        snapshot: &Snapshot,
        registry: &Registry,
        wanted: &Wanted,
        interval: Duration,
    ) -> Vec<ClusterStats> {
        let before = std::mem::take(self);
        let mut reports = Vec::new();
        for slot in snapshot.clusters.iter().flatten() {
            let is_wanted = wanted.all || wanted.clusters.iter().any(|name| **name == *slot.config.name);
            let localities = self.localities(slot, &before, wanted.endpoints);
            let times = self.times(&slot.config, &before, registry);
            if is_wanted {
                reports.push(cluster_stats(&slot.config, localities, times, interval));
            }
        }
        reports
    }

    /// Traffic by locality and priority; hosts without any leave no trace.
    fn localities(
        &mut self,
        slot: &ClusterSlot,
        before: &Self,
        endpoints: bool,
    ) -> BTreeMap<(u32, u32), UpstreamLocalityStats> {
        let mut found: BTreeMap<(u32, u32), UpstreamLocalityStats> = BTreeMap::new();
        for host in &slot.hosts.hosts {
            let now = Seen::of(host);
            let old = before.hosts.get(&host.uid).copied().unwrap_or_default();
            self.hosts.insert(host.uid, now);
            let active = u64::try_from(host.live.rq_active.load(Relaxed)).unwrap_or(0);
            let new = now.since(old);
            if new.issued == 0 && active == 0 && new.not_connected == 0 {
                continue;
            }
            let entry =
                found.entry((host.priority, host.locality)).or_insert_with(|| empty(&slot.hosts, host));
            new.add_to(entry, active, host);
            if endpoints {
                entry.upstream_endpoint_stats.push(new.of_endpoint(host, active));
            }
        }
        found
    }

    /// Response times since the last report.
    fn times(&mut self, cluster: &Cluster, before: &Self, registry: &Registry) -> Distribution {
        let now = registry.distribution(cluster.stats.upstream_rq_time);
        let new = before.times.get(&cluster.name).map_or_else(|| now.clone(), |old| now.since(old));
        self.times.insert(cluster.name.clone(), now);
        new
    }
}

impl Seen {
    fn of(host: &Host) -> Self {
        let live = &host.live;
        Self {
            issued: live.rq_total.load(Relaxed),
            succeeded: live.rq_success.load(Relaxed),
            failed: live.rq_error.load(Relaxed),
            connected: live.cx_total.load(Relaxed),
            not_connected: live.cx_connect_fail.load(Relaxed),
        }
    }

    fn since(self, old: Self) -> Self {
        Self {
            issued: self.issued.saturating_sub(old.issued),
            succeeded: self.succeeded.saturating_sub(old.succeeded),
            failed: self.failed.saturating_sub(old.failed),
            connected: self.connected.saturating_sub(old.connected),
            not_connected: self.not_connected.saturating_sub(old.not_connected),
        }
    }

    fn add_to(self, stats: &mut UpstreamLocalityStats, active: u64, host: &Host) {
        stats.total_issued_requests += self.issued;
        stats.total_successful_requests += self.succeeded;
        stats.total_error_requests += self.failed;
        stats.total_requests_in_progress += active;
        stats.total_new_connections += self.connected;
        stats.total_fail_connections += self.not_connected;
        stats.total_active_connections += u64::try_from(host.live.cx_active.load(Relaxed)).unwrap_or(0);
    }

    fn of_endpoint(self, host: &Host, active: u64) -> UpstreamEndpointStats {
        UpstreamEndpointStats {
            address: Some(address(&host.address)),
            total_issued_requests: self.issued,
            total_successful_requests: self.succeeded,
            total_error_requests: self.failed,
            total_requests_in_progress: active,
            ..UpstreamEndpointStats::default()
        }
    }
}

fn empty(hosts: &HostSet, host: &Host) -> UpstreamLocalityStats {
    let locality = hosts.localities.get(host.locality as usize).cloned().unwrap_or_default();
    let Locality { region, zone, sub_zone } = locality;
    UpstreamLocalityStats {
        locality: Some(core::Locality {
            region: region.into(),
            zone: zone.into(),
            sub_zone: sub_zone.into(),
        }),
        priority: host.priority,
        ..UpstreamLocalityStats::default()
    }
}

/// The message has no place for times of a whole cluster: they stand in its first locality.
fn cluster_stats(
    cluster: &Cluster,
    localities: BTreeMap<(u32, u32), UpstreamLocalityStats>,
    times: Distribution,
    interval: Duration,
) -> ClusterStats {
    let mut localities: Vec<_> = localities.into_values().collect();
    if !times.is_empty() {
        if localities.is_empty() {
            localities.push(UpstreamLocalityStats::default());
        }
        localities[0].load_metric_stats = time_metrics(&times);
    }
    let service = match &cluster.discovery {
        Discovery::Eds { service_name } => service_name.to_string(),
        _ => String::new(),
    };
    ClusterStats {
        cluster_name: cluster.name.to_string(),
        cluster_service_name: service,
        upstream_locality_stats: localities,
        load_report_interval: Some(message(interval)),
        ..ClusterStats::default()
    }
}

fn message(interval: Duration) -> wkt::Duration {
    // Below a billion.
    let nanos = interval.subsec_nanos() as i32;
    wkt::Duration { seconds: i64::try_from(interval.as_secs()).unwrap_or(i64::MAX), nanos }
}

fn time_metrics(times: &Distribution) -> Vec<EndpointLoadMetricStats> {
    let metric = |(lower, upper, count): (f64, f64, u64)| EndpointLoadMetricStats {
        metric_name: format!("{TIME_METRIC}{upper}"),
        num_requests_finished_with_metric: count,
        total_metric_value: count as f64 * (lower + upper) / 2.0,
    };
    times.buckets().map(metric).collect()
}

fn address(address: &HostAddress) -> core::Address {
    use core::address::Address as Kind;
    use core::socket_address::PortSpecifier;
    let kind = match address {
        HostAddress::Ip(ip) => Kind::SocketAddress(core::SocketAddress {
            address: ip.ip().to_string(),
            port_specifier: Some(PortSpecifier::PortValue(ip.port().into())),
            ..core::SocketAddress::default()
        }),
        HostAddress::Pipe(path) => {
            Kind::Pipe(core::Pipe { path: path.to_string_lossy().into_owned(), mode: 0 })
        }
    };
    core::Address { address: Some(kind) }
}
