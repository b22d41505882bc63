//! What our sidecars tell our control plane in load reports beside Envoy's fields.

/// Prefix of the metrics that carry response times: one per bucket in use, `<prefix><upper bound in ms>`, with the
/// number of responses in it. Counts of several sidecars add up, which quantiles would not.
pub const TIME_METRIC: &str = "outrigger.upstream_rq_time_ms.le.";
