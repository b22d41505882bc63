//! Handle bundles: every statistic of one listener, connection manager, cluster or TCP proxy,
//! resolved once when configuration is compiled. Names are Envoy's (stat tree of the admin endpoint).
//!
//! A bundle also owns its names: the statistics disappear with its last clone. Bundles of one scope
//! share their cells, so a cluster that is updated in place goes on counting.

mod filter;
mod process;
mod tracing;

use std::net::SocketAddr;

use super::registry::{Counter, Gauge, Histogram, Registry, Shard, SharedShard, StatusCodes};

pub use filter::{
    ConnectionLimitStats, CorsStats, FaultStats, GradientStats, LocalRateLimitStats, NetworkRateLimitStats,
    OverloadActionStats, PolicyStats, RbacStats, ResourceMonitorStats,
};
pub use process::{
    AccessLogStats, ClusterManagerStats, ControlPlaneStats, EmfStats, ListenerManagerStats, ServerStats,
    SubscriptionStats,
};
pub use tracing::{SamplingStats, SpanStats, TracingStats};

/// Declares a bundle. Groups are `name: home(prefix argument) { fields }`, where `home` says who writes:
/// `workers`, `each_worker` (also shown per worker), `on_demand` (workers, shown once written) or `main`. A field's name is the last part of the
/// statistic's name unless `as` gives another.
macro_rules! bundle {
    ($(#[$doc:meta])* $name:ident($($prefix:ident),+) {
        $($group:ident: $home:ident($below:ident) {
            $($field:ident $(as $path:literal)?: $kind:ident,)*
        })+
    }) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        #[allow(missing_docs, reason = "the field name is the statistic's documented Envoy name")]
        pub struct $name {
            $($(pub $field: $kind,)*)+
            /// Keeps the names and cells for as long as a clone of the bundle lives.
            _sets: std::sync::Arc<[std::sync::Arc<$crate::stats::registry::Owned>]>,
        }

        impl $name {
            /// Resolves every handle below the prefixes (which end in a dot).
            pub fn new(registry: &Registry, $($prefix: &str),+) -> Self {
                use $crate::stats::registry::{Cursor, Field, Handle, Layout};
                $(
                    let mut cursor = {
                        static LAYOUT: Layout = Layout {
                            name: concat!(stringify!($name), ".", stringify!($group)),
                            fields: &[$(Field {
                                name: bundle!(@name $field $($path)?),
                                kind: <$kind as Handle>::KIND,
                            },)*],
                            home: bundle!(@home $home),
                            per_worker: bundle!(@each $home),
                            on_demand: bundle!(@demand $home),
                        };
                        Cursor::new(registry.set($below, &LAYOUT))
                    };
                    $(let $field = <$kind as Handle>::take(&mut cursor);)*
                    let $group = cursor.into_set();
                )+
                Self { $($($field,)*)+ _sets: [$($group),+].into() }
            }
        }
    };
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $path:literal) => { $path };
    (@home main) => { $crate::stats::registry::Home::Main };
    (@home $other:ident) => { $crate::stats::registry::Home::Workers };
    (@each each_worker) => { true };
    (@each $other:ident) => { false };
    (@demand on_demand) => { true };
    (@demand $other:ident) => { false };
}
pub(crate) use bundle;

bundle! {
    /// `listener.<address>.*`
    ListenerStats(prefix) {
        accepted: each_worker(prefix) {
            downstream_cx_total: Counter,
            downstream_cx_active: Gauge,
        }
        rest: workers(prefix) {
            downstream_cx_destroy: Counter,
            downstream_cx_length_ms: Histogram,
            downstream_cx_overflow: Counter,
            downstream_cx_overload_reject: Counter,
            downstream_global_cx_overflow: Counter,
            downstream_pre_cx_active: Gauge,
            downstream_pre_cx_timeout: Counter,
            downstream_cx_transport_socket_connect_timeout: Counter,
            downstream_listener_filter_error: Counter,
            downstream_listener_filter_remote_close: Counter,
            no_filter_chain_match: Counter,
        }
    }
}

impl ListenerStats {
    /// Of the listener at this address.
    pub fn for_address(registry: &Registry, address: SocketAddr) -> Self {
        Self::new(registry, &listener_prefix(address))
    }
}

bundle! {
    /// `http.<stat_prefix>.*` and `listener.<address>.http.<stat_prefix>.*`
    HttpStats(prefix, per_listener) {
        manager: workers(prefix) {
            downstream_cx_total: Counter,
            downstream_cx_active: Gauge,
            downstream_cx_http1_total: Counter,
            downstream_cx_http1_active: Gauge,
            downstream_cx_http2_total: Counter,
            downstream_cx_http2_active: Gauge,
            downstream_cx_ssl_total: Counter,
            downstream_cx_ssl_active: Gauge,
            downstream_cx_upgrades_total: Counter,
            downstream_cx_upgrades_active: Gauge,
            downstream_cx_destroy: Counter,
            downstream_cx_destroy_local: Counter,
            downstream_cx_destroy_remote: Counter,
            downstream_cx_destroy_active_rq: Counter,
            downstream_cx_destroy_local_active_rq: Counter,
            downstream_cx_destroy_remote_active_rq: Counter,
            downstream_cx_length_ms: Histogram,
            downstream_cx_rx_bytes_total: Counter,
            downstream_cx_tx_bytes_total: Counter,
            downstream_cx_drain_close: Counter,
            downstream_cx_idle_timeout: Counter,
            downstream_cx_max_duration_reached: Counter,
            downstream_cx_max_requests_reached: Counter,
            downstream_cx_overload_disable_keepalive: Counter,
            downstream_cx_protocol_error: Counter,
            downstream_cx_delayed_close_timeout: Counter,
            downstream_rq_total: Counter,
            downstream_rq_active: Gauge,
            downstream_rq_completed: Counter,
            downstream_rq_http1_total: Counter,
            downstream_rq_http2_total: Counter,
            downstream_rq_1xx: Counter,
            downstream_rq_2xx: Counter,
            downstream_rq_3xx: Counter,
            downstream_rq_4xx: Counter,
            downstream_rq_5xx: Counter,
            downstream_rq_time: Histogram,
            downstream_rq_rx_reset: Counter,
            downstream_rq_tx_reset: Counter,
            downstream_rq_timeout: Counter,
            downstream_rq_idle_timeout: Counter,
            downstream_rq_header_timeout: Counter,
            downstream_rq_max_duration_reached: Counter,
            downstream_rq_too_large: Counter,
            downstream_rq_overload_close: Counter,
            downstream_rq_too_many_premature_resets: Counter,
            downstream_rq_non_relative_path: Counter,
            downstream_rq_ws_on_non_ws_route: Counter,
            downstream_rq_response_before_rq_complete: Counter,
            downstream_rq_failed_path_normalization: Counter,
            downstream_rq_redirected_with_normalized_path: Counter,
            no_route: Counter,
            no_cluster: Counter,
            rq_redirect: Counter,
            rq_direct_response: Counter,
            passthrough_internal_redirect_bad_location: Counter,
            passthrough_internal_redirect_unsafe_scheme: Counter,
            passthrough_internal_redirect_too_many_redirects: Counter,
            passthrough_internal_redirect_no_route: Counter,
            passthrough_internal_redirect_predicate: Counter,
            rq_total: Counter,
            rq_reset_after_downstream_response_started: Counter,
        }
        listener: workers(per_listener) {
            listener_rq_1xx as "downstream_rq_1xx": Counter,
            listener_rq_2xx as "downstream_rq_2xx": Counter,
            listener_rq_3xx as "downstream_rq_3xx": Counter,
            listener_rq_4xx as "downstream_rq_4xx": Counter,
            listener_rq_5xx as "downstream_rq_5xx": Counter,
            listener_rq_completed as "downstream_rq_completed": Counter,
        }
    }
}

impl HttpStats {
    /// Of the connection manager with this `stat_prefix` on the listener at `address`. Managers of one
    /// prefix share their statistics, as in Envoy.
    pub fn for_manager(registry: &Registry, stat_prefix: &str, address: SocketAddr) -> Self {
        let manager = format!("http.{}.", sanitize(stat_prefix));
        let listener = format!("{}{manager}", listener_prefix(address));
        Self::new(registry, &manager, &listener)
    }

    /// What one response sent downstream counts in: total and class, of the manager and its listener.
    #[inline]
    pub fn response_counters(&self, status: u16) -> [Counter; 4] {
        let (manager, listener) = match status / 100 {
            1 => (self.downstream_rq_1xx, self.listener_rq_1xx),
            2 => (self.downstream_rq_2xx, self.listener_rq_2xx),
            3 => (self.downstream_rq_3xx, self.listener_rq_3xx),
            4 => (self.downstream_rq_4xx, self.listener_rq_4xx),
            _ => (self.downstream_rq_5xx, self.listener_rq_5xx),
        };
        [self.downstream_rq_completed, self.listener_rq_completed, manager, listener]
    }

    /// Counts one response sent downstream.
    #[inline]
    pub fn count_response(&self, shard: &Shard, status: u16) {
        self.response_counters(status).iter().for_each(|counter| shard.inc(*counter));
    }
}

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
            upstream_rq_total: Counter,
            upstream_rq_active: Gauge,
            upstream_rq_pending_total: Counter,
            upstream_rq_pending_active: Gauge,
            upstream_rq_pending_overflow: Counter,
            upstream_rq_active_overflow: Counter,
            upstream_rq_pending_failure_eject: Counter,
            upstream_rq_cancelled: Counter,
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

bundle! {
    /// `listener.<address>.ssl.*` and `cluster.<name>.ssl.*`
    TlsStats(prefix) {
        handshakes: workers(prefix) {
            handshake: Counter,
            connection_error: Counter,
            session_reused: Counter,
            no_certificate: Counter,
            fail_verify_no_cert: Counter,
            fail_verify_error: Counter,
            fail_verify_san: Counter,
            fail_verify_cert_hash: Counter,
        }
        // Under the names of BoringSSL, as Envoy has them.
        negotiated: on_demand(prefix) {
            tls12 as "versions.TLSv1.2": Counter,
            tls13 as "versions.TLSv1.3": Counter,
            aes_128_gcm as "ciphers.TLS_AES_128_GCM_SHA256": Counter,
            aes_256_gcm as "ciphers.TLS_AES_256_GCM_SHA384": Counter,
            chacha20 as "ciphers.TLS_CHACHA20_POLY1305_SHA256": Counter,
            ecdsa_aes_128_gcm as "ciphers.ECDHE-ECDSA-AES128-GCM-SHA256": Counter,
            ecdsa_aes_256_gcm as "ciphers.ECDHE-ECDSA-AES256-GCM-SHA384": Counter,
            ecdsa_chacha20 as "ciphers.ECDHE-ECDSA-CHACHA20-POLY1305": Counter,
            rsa_aes_128_gcm as "ciphers.ECDHE-RSA-AES128-GCM-SHA256": Counter,
            rsa_aes_256_gcm as "ciphers.ECDHE-RSA-AES256-GCM-SHA384": Counter,
            rsa_chacha20 as "ciphers.ECDHE-RSA-CHACHA20-POLY1305": Counter,
            x25519 as "curves.X25519": Counter,
            p256 as "curves.P-256": Counter,
            p384 as "curves.P-384": Counter,
            x25519_mlkem768 as "curves.X25519MLKEM768": Counter,
        }
    }
}

impl TlsStats {
    /// Of the listener whose statistics have this prefix, which ends in a dot.
    pub fn for_listener(registry: &Registry, prefix: &str) -> Self {
        Self::new(registry, &format!("{prefix}ssl."))
    }

    /// Of the cluster called `name` (its `alt_stat_name` when it has one).
    pub fn for_cluster(registry: &Registry, name: &str) -> Self {
        Self::new(registry, &format!("cluster.{}.ssl.", sanitize(name)))
    }
}

bundle! {
    /// `tcp.<stat_prefix>.*`
    TcpStats(prefix) {
        proxy: workers(prefix) {
            downstream_cx_total: Counter,
            downstream_cx_no_route: Counter,
            downstream_cx_rx_bytes_total: Counter,
            downstream_cx_tx_bytes_total: Counter,
            idle_timeout: Counter,
            max_downstream_connection_duration: Counter,
        }
    }
}

impl TcpStats {
    /// Of the TCP proxy with this `stat_prefix`.
    pub fn for_proxy(registry: &Registry, stat_prefix: &str) -> Self {
        Self::new(registry, &format!("tcp.{}.", sanitize(stat_prefix)))
    }
}

/// `listener.0.0.0.0_15000.`, `listener.[__]_15000.`
pub fn listener_prefix(address: SocketAddr) -> String {
    format!("listener.{}.", sanitize(&address.to_string()))
}

/// A name as part of a statistic's name: `:` becomes `_` as in Envoy, and so does what would break a
/// line of the text output.
pub fn sanitize(name: &str) -> String {
    name.replace(|c: char| c == ':' || c.is_control(), "_")
}

#[cfg(test)]
mod tests;
