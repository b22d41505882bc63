//! Bundles of clusters: traffic, remaining resources, hash tables, health checks, ejections.

use super::super::registry::{Counter, Gauge, Histogram, Registry, Shard, SharedShard, StatusCodes};
use super::{bundle, sanitize};

bundle! {
    /// `cluster.<name>.*`
    ClusterStats(prefix) {
        traffic: workers(prefix) {
            upstream_cx_total: Counter,
            upstream_cx_active: Gauge,
            upstream_cx_http1_total: Counter,
            upstream_cx_http2_total: Counter,
            upstream_cx_connect_fail: Counter,
            upstream_cx_connect_timeout: Counter,
            upstream_cx_connect_attempts_exceeded: Counter,
            upstream_cx_idle_timeout: Counter,
            upstream_cx_max_duration_reached: Counter,
            upstream_cx_max_requests: Counter,
            upstream_cx_overflow: Counter,
            upstream_cx_pool_overflow: Counter,
            upstream_cx_none_healthy: Counter,
            upstream_cx_destroy: Counter,
            upstream_cx_destroy_local: Counter,
            upstream_cx_destroy_remote: Counter,
            upstream_cx_destroy_with_active_rq: Counter,
            upstream_cx_destroy_local_with_active_rq: Counter,
            upstream_cx_destroy_remote_with_active_rq: Counter,
            upstream_cx_close_notify: Counter,
            upstream_cx_protocol_error: Counter,
            upstream_cx_connect_ms: Histogram,
            upstream_cx_length_ms: Histogram,
            upstream_cx_rx_bytes_total: Counter,
            upstream_cx_tx_bytes_total: Counter,
            upstream_flow_control_paused_reading_total: Counter,
            upstream_flow_control_resumed_reading_total: Counter,
            upstream_flow_control_backed_up_total: Counter,
            upstream_flow_control_drained_total: Counter,
            upstream_rq_total: Counter,
            upstream_rq_active: Gauge,
            upstream_rq_pending_total: Counter,
            upstream_rq_pending_active: Gauge,
            upstream_rq_pending_overflow: Counter,
            upstream_rq_active_overflow: Counter,
            upstream_rq_pending_failure_eject: Counter,
            upstream_rq_cancelled: Counter,
            // Envoy's runtime would switch it on; there is none here, and it stays 0.
            upstream_rq_maintenance_mode: Counter,
            upstream_rq_timeout: Counter,
            upstream_rq_per_try_timeout: Counter,
            upstream_rq_per_try_idle_timeout: Counter,
            upstream_rq_max_duration_reached: Counter,
            upstream_rq_rx_reset: Counter,
            upstream_rq_tx_reset: Counter,
            upstream_rq_retry: Counter,
            upstream_rq_retry_backoff_exponential: Counter,
            upstream_rq_retry_backoff_ratelimited: Counter,
            upstream_rq_retry_keepalive_race: Counter,
            upstream_rq_retry_limit_exceeded: Counter,
            upstream_rq_retry_success: Counter,
            upstream_rq_retry_overflow: Counter,
            retry_or_shadow_abandoned: Counter,
            upstream_internal_redirect_succeeded_total: Counter,
            upstream_internal_redirect_failed_total: Counter,
            upstream_rq_time: Histogram,
            upstream_rq_per_cx: Histogram,
            upstream_rq: StatusCodes,
            internal_upstream_rq as "internal.upstream_rq": StatusCodes,
            external_upstream_rq as "external.upstream_rq": StatusCodes,
            retry_upstream_rq as "retry.upstream_rq": StatusCodes,
            lb_healthy_panic: Counter,
            lb_local_cluster_not_ok: Counter,
            lb_recalculate_zone_structures: Counter,
            lb_zone_cluster_too_small: Counter,
            lb_zone_no_capacity_left: Counter,
            lb_zone_routing_all_directly: Counter,
            lb_zone_routing_sampled: Counter,
            lb_zone_routing_cross_zone: Counter,
            lb_subsets_active: Gauge,
            lb_subsets_created: Counter,
            lb_subsets_removed: Counter,
            lb_subsets_selected: Counter,
            lb_subsets_fallback: Counter,
            lb_subsets_fallback_panic: Counter,
            lb_subsets_single_host_duplicate: Gauge,
            bind_errors: Counter,
            original_dst_host_invalid: Counter,
        }
        times: on_demand(prefix) {
            internal_upstream_rq_time as "internal.upstream_rq_time": Histogram,
            external_upstream_rq_time as "external.upstream_rq_time": Histogram,
        }
        membership: main(prefix) {
            membership_change: Counter,
            membership_total: Gauge,
            membership_healthy: Gauge,
            membership_degraded: Gauge,
            membership_excluded: Gauge,
            max_host_weight: Gauge,
            update_attempt: Counter,
            update_success: Counter,
            update_failure: Counter,
            update_rejected: Counter,
            update_empty: Counter,
            update_no_rebuild: Counter,
            init_fetch_timeout: Counter,
            assignment_stale: Counter,
            warming_state: Gauge,
            default_cx_open as "circuit_breakers.default.cx_open": Gauge,
            default_cx_pool_open as "circuit_breakers.default.cx_pool_open": Gauge,
            default_rq_open as "circuit_breakers.default.rq_open": Gauge,
            default_rq_pending_open as "circuit_breakers.default.rq_pending_open": Gauge,
            default_rq_retry_open as "circuit_breakers.default.rq_retry_open": Gauge,
            high_cx_open as "circuit_breakers.high.cx_open": Gauge,
            high_cx_pool_open as "circuit_breakers.high.cx_pool_open": Gauge,
            high_rq_open as "circuit_breakers.high.rq_open": Gauge,
            high_rq_pending_open as "circuit_breakers.high.rq_pending_open": Gauge,
            high_rq_retry_open as "circuit_breakers.high.rq_retry_open": Gauge,
        }
    }
}

impl ClusterStats {
    /// Of the cluster called `name` (its `alt_stat_name` when it has one).
    pub fn for_cluster(registry: &Registry, name: &str) -> Self {
        Self::new(registry, &format!("cluster.{}.", sanitize(name)))
    }

    /// Counts one response of this cluster (or a local reply in its stead): its code, its class and the
    /// total, and the same for requests from inside (`x-envoy-internal`) or outside the mesh.
    #[inline]
    pub fn count_response(&self, shard: &Shard, status: u16, internal: bool) {
        shard.status(self.upstream_rq, status);
        shard.status(if internal { self.internal_upstream_rq } else { self.external_upstream_rq }, status);
    }

    /// Records the time of one complete response, in ms.
    #[inline]
    pub fn record_time(&self, shard: &Shard, took: u64, internal: bool) {
        shard.record(self.upstream_rq_time, took);
        shard.record(
            if internal { self.internal_upstream_rq_time } else { self.external_upstream_rq_time },
            took,
        );
    }

    /// Counts the response of an attempt that is going to be retried.
    #[inline]
    pub fn count_retried_response(&self, shard: &Shard, status: u16) {
        shard.status(self.retry_upstream_rq, status);
    }
}

bundle! {
    /// `cluster.<name>.circuit_breakers.<priority>.remaining_*`, for clusters that ask for them.
    RemainingStats(prefix) {
        permits: main(prefix) {
            remaining_cx: Gauge,
            remaining_cx_pools: Gauge,
            remaining_pending: Gauge,
            remaining_rq: Gauge,
            remaining_retries: Gauge,
        }
    }
}

impl RemainingStats {
    /// Of the cluster called `name` (its `alt_stat_name` when it has one); `priority` is `default` or `high`.
    pub fn for_cluster(registry: &Registry, name: &str, priority: &str) -> Self {
        Self::new(registry, &format!("cluster.{}.circuit_breakers.{priority}.", sanitize(name)))
    }
}

bundle! {
    /// `cluster.<name>.ring_hash_lb.*`
    RingHashStats(prefix) {
        table: main(prefix) {
            size: Gauge,
            min_hashes_per_host: Gauge,
            max_hashes_per_host: Gauge,
        }
    }
}

bundle! {
    /// `cluster.<name>.maglev_lb.*`
    MaglevStats(prefix) {
        table: main(prefix) {
            min_entries_per_host: Gauge,
            max_entries_per_host: Gauge,
        }
    }
}

/// The gauges about a cluster's table of consistent hashing.
#[derive(Clone, Debug)]
pub enum TableStats {
    /// A ring's.
    Ring(RingHashStats),
    /// A Maglev table's.
    Maglev(MaglevStats),
}

impl TableStats {
    /// Of the ring of the cluster called `name` (its `alt_stat_name` when it has one).
    pub fn of_ring(registry: &Registry, name: &str) -> Self {
        Self::Ring(RingHashStats::new(registry, &format!("cluster.{}.ring_hash_lb.", sanitize(name))))
    }

    /// Of its Maglev table.
    pub fn of_maglev(registry: &Registry, name: &str) -> Self {
        Self::Maglev(MaglevStats::new(registry, &format!("cluster.{}.maglev_lb.", sanitize(name))))
    }

    /// Sets them: number of entries, fewest and most of one host.
    pub fn set(&self, shard: &SharedShard, entries: u64, (fewest, most): (u64, u64)) {
        match self {
            Self::Ring(stats) => {
                shard.gauge_set(stats.size, entries as i64);
                shard.gauge_set(stats.min_hashes_per_host, fewest as i64);
                shard.gauge_set(stats.max_hashes_per_host, most as i64);
            }
            Self::Maglev(stats) => {
                shard.gauge_set(stats.min_entries_per_host, fewest as i64);
                shard.gauge_set(stats.max_entries_per_host, most as i64);
            }
        }
    }
}

bundle! {
    /// `cluster.<name>.health_check.*`
    HealthCheckStats(prefix) {
        checks: main(prefix) {
            attempt: Counter,
            success: Counter,
            failure: Counter,
            passive_failure: Counter,
            network_failure: Counter,
            verify_cluster: Counter,
            healthy: Gauge,
            degraded: Gauge,
        }
    }
}

impl HealthCheckStats {
    /// Of the cluster called `name` (its `alt_stat_name` when it has one).
    pub fn for_cluster(registry: &Registry, name: &str) -> Self {
        Self::new(registry, &format!("cluster.{}.health_check.", sanitize(name)))
    }
}

bundle! {
    /// `cluster.<name>.outlier_detection.*`
    OutlierStats(prefix) {
        ejections: main(prefix) {
            ejections_active: Gauge,
            ejections_enforced_total: Counter,
            ejections_overflow: Counter,
            ejections_detected_consecutive_5xx: Counter,
            ejections_detected_consecutive_gateway_failure: Counter,
            ejections_detected_consecutive_local_origin_failure: Counter,
            ejections_detected_degradation: Counter,
            ejections_detected_success_rate: Counter,
            ejections_detected_local_origin_success_rate: Counter,
            ejections_detected_failure_percentage: Counter,
            ejections_detected_local_origin_failure_percentage: Counter,
            ejections_enforced_consecutive_5xx: Counter,
            ejections_enforced_consecutive_gateway_failure: Counter,
            ejections_enforced_consecutive_local_origin_failure: Counter,
            ejections_enforced_success_rate: Counter,
            ejections_enforced_local_origin_success_rate: Counter,
            ejections_enforced_failure_percentage: Counter,
            ejections_enforced_local_origin_failure_percentage: Counter,
            ejections_total: Counter,
            ejections_consecutive_5xx: Counter,
            ejections_success_rate: Counter,
        }
    }
}

impl OutlierStats {
    /// Of the cluster called `name` (its `alt_stat_name` when it has one).
    pub fn for_cluster(registry: &Registry, name: &str) -> Self {
        Self::new(registry, &format!("cluster.{}.outlier_detection.", sanitize(name)))
    }
}
