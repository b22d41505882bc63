//! What our sidecars tell our control plane in load reports beside Envoy's fields, and how long reports may be.

use prost::Message;

use crate::v3::endpoint::ClusterStats;

/// Prefix of the metrics that carry response times: one per bucket in use, `<prefix><upper bound in ms>`, with the
/// number of responses in it. Counts of several sidecars add up, which quantiles would not.
pub const TIME_METRIC: &str = "outrigger.upstream_rq_time_ms.le.";

/// Longest report: our sidecars keep within it, our control plane takes no longer one. Decoded, an empty message of two
/// bytes takes more than a hundred times its length, so a longer report could cost gigabytes. With a few response times
/// each it holds thousands of clusters.
pub const MAX_REPORT_BYTES: usize = 2 << 20;

/// Length of a report of these clusters, bytes.
pub fn encoded_len(reports: &[ClusterStats]) -> usize {
    // Each with the number of its field and its length.
    let each = |stats: &ClusterStats| {
        let len = stats.encoded_len();
        1 + prost::length_delimiter_len(len) + len
    };
    reports.iter().map(each).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v3::load_service::LoadStatsRequest;

    #[test]
    fn the_length_is_that_of_the_message() {
        for len in [0, 1, 100, 127, 128, 200, 20_000] {
            let stats = ClusterStats { cluster_name: "c".repeat(len), ..ClusterStats::default() };
            let request = LoadStatsRequest { node: None, cluster_stats: vec![stats; 3] };
            assert_eq!(encoded_len(&request.cluster_stats), request.encoded_len(), "{len}");
        }
    }
}
