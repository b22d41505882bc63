//! Response times as coarse as it takes for a report to be accepted.
//!
//! A cluster with much traffic fills dozens of buckets, and they are nearly all of a report; thousands of such clusters
//! would make one that the control plane refuses, at every interval. Counts stay exact, bounds grow wider.

use outrigger_xds_protos::load::encoded_len;
use outrigger_xds_protos::v3::endpoint::{ClusterStats, EndpointLoadMetricStats};

/// Merges neighbouring buckets of response times, twice as many each time, until the report has at most `limit` bytes; in
/// the end each cluster has one.
pub fn shorten(reports: &mut [ClusterStats], limit: usize) {
    while encoded_len(reports) > limit {
        let all = reports.iter_mut().flat_map(|report| &mut report.upstream_locality_stats);
        let longer = all.map(|stats| &mut stats.load_metric_stats).filter(|metrics| metrics.len() > 1);
        if longer.map(|metrics| *metrics = halved(std::mem::take(metrics))).count() == 0 {
            return;
        }
    }
}

/// Every two neighbours as one, of the upper bound of the second.
fn halved(metrics: Vec<EndpointLoadMetricStats>) -> Vec<EndpointLoadMetricStats> {
    let mut metrics = metrics.into_iter();
    let mut halved = Vec::with_capacity(metrics.len().div_ceil(2));
    while let Some(first) = metrics.next() {
        halved.push(match metrics.next() {
            Some(mut second) => {
                second.num_requests_finished_with_metric += first.num_requests_finished_with_metric;
                second.total_metric_value += first.total_metric_value;
                second
            }
            None => first,
        });
    }
    halved
}
