//! What sidecars report about their traffic, and the times it took. The newest report of each stream is kept, no more.
//!
//! Bounded: one report per open stream, of it the clusters through which the definitions let its node call, of each the
//! first [`MAX_BUCKETS`] response times; all go with the stream.

mod service;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use outrigger_xds_protos::load::TIME_METRIC;
use outrigger_xds_protos::v3::endpoint::ClusterStats;
use outrigger_xds_protos::v3::wkt;

pub use service::LoadReports;

/// Buckets of response times kept of one cluster.
const MAX_BUCKETS: usize = 512;
/// Reports older than this tell nothing about now.
const STALE: Duration = Duration::from_secs(120);

/// The traffic of one caller through one cluster, per second and now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Traffic {
    /// Requests sent, per second.
    pub requests: f64,
    /// Requests failed (5xx, reset or timed out), per second.
    pub errors: f64,
    /// Requests in flight.
    pub active: u64,
    /// Response times: how many, by upper bound in milliseconds.
    pub times: BTreeMap<Millis, u64>,
}

/// A bound of response times: milliseconds in thousandths, so that bounds have an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(u64);

impl Millis {
    fn parse(text: &str) -> Option<Self> {
        let millis: f64 = text.parse().ok()?;
        (millis.is_finite() && (0.0..1e12).contains(&millis)).then_some(Self((millis * 1e3) as u64))
    }

    /// In milliseconds.
    pub fn get(self) -> f64 {
        self.0 as f64 / 1e3
    }
}

impl Traffic {
    fn of(stats: &ClusterStats) -> Self {
        let seconds = stats.load_report_interval.as_ref().map_or(0.0, seconds);
        let rate = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        let mut traffic = Self::default();
        for locality in &stats.upstream_locality_stats {
            traffic.requests += rate(locality.total_issued_requests);
            traffic.errors += rate(locality.total_error_requests);
            traffic.active = traffic.active.saturating_add(locality.total_requests_in_progress);
            for metric in &locality.load_metric_stats {
                let bound = metric.metric_name.strip_prefix(TIME_METRIC).and_then(Millis::parse);
                if let Some(bound) = bound {
                    traffic.took(bound, metric.num_requests_finished_with_metric);
                }
            }
        }
        traffic
    }

    /// Adds what another caller, or another sidecar of the same node, reported.
    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.active = self.active.saturating_add(other.active);
        for (bound, count) in &other.times {
            self.took(*bound, *count);
        }
    }

    fn took(&mut self, bound: Millis, responses: u64) {
        if self.times.len() < MAX_BUCKETS || self.times.contains_key(&bound) {
            let sum = self.times.entry(bound).or_default();
            *sum = sum.saturating_add(responses);
        }
    }

    /// The bound below which this share (0 to 1) of the responses came, in milliseconds; `None` when nobody told.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let total: u64 = self.times.values().fold(0, |sum, count| sum.saturating_add(*count));
        let target = (total as f64 * share).max(1.0);
        let mut seen = 0.0;
        self.times.iter().find_map(|(bound, count)| {
            seen += *count as f64;
            (*count > 0 && seen >= target).then(|| bound.get())
        })
    }
}

fn seconds(interval: &wkt::Duration) -> f64 {
    interval.seconds as f64 + f64::from(interval.nanos) / 1e9
}

/// The newest report of every stream.
#[derive(Debug, Default)]
pub struct Loads {
    streams: DashMap<u64, Report>,
    next: AtomicU64,
}

#[derive(Debug)]
struct Report {
    node_id: String,
    clusters: BTreeMap<String, Traffic>,
    at: Instant,
}

impl Loads {
    /// Traffic by caller (node id as its sidecar presents it) and cluster, summed over the caller's sidecars.
    pub fn traffic(&self, now: Instant) -> BTreeMap<(String, String), Traffic> {
        let mut sum: BTreeMap<(String, String), Traffic> = BTreeMap::new();
        for report in self.streams.iter().filter(|report| now.duration_since(report.at) < STALE) {
            for (cluster, traffic) in &report.clusters {
                sum.entry((report.node_id.clone(), cluster.clone())).or_default().add(traffic);
            }
        }
        sum
    }

    /// Node ids, as presented, of the sidecars that report; some have no traffic.
    pub fn callers(&self) -> Vec<String> {
        self.streams.iter().map(|report| report.node_id.clone()).collect()
    }

    /// How many sidecars report.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    fn open(self: &Arc<Self>, node_id: String) -> OpenReport {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.streams.insert(id, Report { node_id, clusters: BTreeMap::new(), at: Instant::now() });
        OpenReport { loads: Arc::clone(self), id }
    }
}

/// A stream's place among the reports; gone with it.
#[derive(Debug)]
struct OpenReport {
    loads: Arc<Loads>,
    id: u64,
}

impl OpenReport {
    /// Replaces the report; `known` are the clusters through which the node may call. What it says of others is nobody's
    /// business, and could be anything.
    fn put(&self, stats: &[ClusterStats], known: &BTreeSet<&str>) {
        let told = stats.iter().filter(|stats| known.contains(stats.cluster_name.as_str()));
        let told = told.filter(|stats| !stats.upstream_locality_stats.is_empty());
        let clusters = told.map(|stats| (stats.cluster_name.clone(), Traffic::of(stats))).collect();
        if let Some(mut report) = self.loads.streams.get_mut(&self.id) {
            report.clusters = clusters;
            report.at = Instant::now();
        }
    }
}

impl Drop for OpenReport {
    fn drop(&mut self) {
        self.loads.streams.remove(&self.id);
    }
}
