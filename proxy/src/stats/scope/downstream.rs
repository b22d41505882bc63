//! Bundles of what clients come through: listeners, connection managers, TCP proxies, and TLS on either side.

use std::net::SocketAddr;

use super::super::registry::{Counter, Gauge, Histogram, Registry, Shard};
use super::{bundle, listener_prefix, sanitize};

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
            downstream_flow_control_paused_reading_total: Counter,
            downstream_flow_control_resumed_reading_total: Counter,
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
            rq_overload_local_reply: Counter,
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
            downstream_flow_control_paused_reading_total: Counter,
            downstream_flow_control_resumed_reading_total: Counter,
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
