//! Bundles of the process as a whole: managers, server, control-plane stream, subscriptions, logs.

use super::super::registry::{Counter, Gauge, Histogram, Registry, TextReadout};
use super::{bundle, sanitize};

bundle! {
    /// `cluster_manager.*`
    ClusterManagerStats(prefix) {
        manager: main(prefix) {
            cluster_added: Counter,
            cluster_modified: Counter,
            cluster_removed: Counter,
            cluster_updated: Counter,
            cluster_updated_via_merge: Counter,
            active_clusters: Gauge,
            warming_clusters: Gauge,
        }
    }
}

impl ClusterManagerStats {
    /// The one of the process.
    pub fn register(registry: &Registry) -> Self {
        Self::new(registry, "cluster_manager.")
    }
}

bundle! {
    /// `listener_manager.*`
    ListenerManagerStats(prefix) {
        manager: main(prefix) {
            listener_added: Counter,
            listener_modified: Counter,
            listener_removed: Counter,
            listener_stopped: Counter,
            listener_create_success: Counter,
            listener_create_failure: Counter,
            listener_in_place_updated: Counter,
            total_listeners_warming: Gauge,
            total_listeners_active: Gauge,
            total_listeners_draining: Gauge,
            total_filter_chains_draining: Gauge,
            workers_started: Gauge,
        }
    }
}

impl ListenerManagerStats {
    /// The one of the process.
    pub fn register(registry: &Registry) -> Self {
        Self::new(registry, "listener_manager.")
    }
}

bundle! {
    /// `control_plane.*`
    ControlPlaneStats(prefix) {
        stream: main(prefix) {
            connected_state: Gauge,
            pending_requests: Gauge,
            rate_limit_enforced: Counter,
            identifier: TextReadout,
        }
    }
}

impl ControlPlaneStats {
    /// The one of the process.
    pub fn register(registry: &Registry) -> Self {
        Self::new(registry, "control_plane.")
    }
}

bundle! {
    /// One xDS subscription: `cluster_manager.cds.*`, `listener_manager.lds.*`,
    /// `http.<prefix>.rds.<name>.*`, `sds.<secret>.*`.
    SubscriptionStats(prefix) {
        subscription: main(prefix) {
            config_reload: Counter,
            update_attempt: Counter,
            update_success: Counter,
            update_failure: Counter,
            update_rejected: Counter,
            update_empty: Counter,
            init_fetch_timeout: Counter,
            update_time: Gauge,
            version: Gauge,
            version_text: TextReadout,
            update_duration: Histogram,
        }
    }
}

impl SubscriptionStats {
    /// Of the cluster subscription.
    pub fn cds(registry: &Registry) -> Self {
        Self::new(registry, "cluster_manager.cds.")
    }

    /// Of the listener subscription.
    pub fn lds(registry: &Registry) -> Self {
        Self::new(registry, "listener_manager.lds.")
    }

    /// Of the route table `route_config` as used by the connection managers with `stat_prefix`.
    pub fn rds(registry: &Registry, stat_prefix: &str, route_config: &str) -> Self {
        Self::new(registry, &format!("http.{}.rds.{}.", sanitize(stat_prefix), sanitize(route_config)))
    }

    /// Of the secret `name`.
    pub fn sds(registry: &Registry, name: &str) -> Self {
        Self::new(registry, &format!("sds.{}.", sanitize(name)))
    }
}

bundle! {
    /// `server.*`
    ServerStats(prefix) {
        server: main(prefix) {
            uptime: Gauge,
            live: Gauge,
            state: Gauge,
            concurrency: Gauge,
            memory_allocated: Gauge,
            memory_heap_size: Gauge,
            memory_physical_size: Gauge,
            total_connections: Gauge,
            parent_connections: Gauge,
            version: Gauge,
            hot_restart_epoch: Gauge,
            days_until_first_cert_expiring: Gauge,
            // Ours: certificates may live for less than a day.
            seconds_until_first_cert_expiring: Gauge,
            static_unknown_fields: Counter,
            dynamic_unknown_fields: Counter,
            initialization_time_ms: Histogram,
        }
    }
}

impl ServerStats {
    /// The one of the process.
    pub fn register(registry: &Registry) -> Self {
        Self::new(registry, "server.")
    }
}

bundle! {
    /// Our own log, beside the server's other statistics.
    OwnLogStats(prefix) {
        lines: main(prefix) {
            // Lines thrown away because whoever reads stderr is too slow.
            log_lines_dropped: Counter,
        }
    }
}

impl OwnLogStats {
    /// The one of the process.
    pub fn register(registry: &Registry) -> Self {
        Self::new(registry, "server.")
    }
}

bundle! {
    /// Access logs: `access_log.*` counts lines (ours), `filesystem.*` counts writes (Envoy's names).
    AccessLogStats(lines, files) {
        queue: main(lines) {
            // Lines handed to a writer.
            written: Counter,
            // Lines thrown away because the sink was too slow or gone.
            dropped: Counter,
        }
        writes: main(files) {
            write_buffered: Counter,
            write_completed: Counter,
            write_failed: Counter,
            write_total_buffered: Gauge,
            flushed_by_timer: Counter,
            reopen_failed: Counter,
        }
    }
}

impl AccessLogStats {
    /// The one of the process.
    pub fn register(registry: &Registry) -> Self {
        Self::new(registry, "access_log.", "filesystem.")
    }
}

bundle! {
    /// Loggers to services: `access_logs.grpc_access_log.*`
    GrpcLogStats(prefix) {
        entries: main(prefix) {
            // Handed to the stream.
            logs_written: Counter,
            // Thrown away because the service was too slow or gone.
            logs_dropped: Counter,
        }
    }
}

impl GrpcLogStats {
    /// The one of the process.
    pub fn register(registry: &Registry) -> Self {
        Self::new(registry, "access_logs.grpc_access_log.")
    }
}

bundle! {
    /// `emf.*`: CloudWatch documents (ours).
    EmfStats(prefix) {
        exporter: main(prefix) {
            // Documents made.
            documents: Counter,
            // Documents thrown away because the target was too slow or gone.
            dropped: Counter,
            // Flushes that the target did not take; they are tried again with the next.
            send_failed: Counter,
            // Distinct dimension values that are published as `other`.
            series_folded: Gauge,
        }
    }
}

impl EmfStats {
    /// The one of the process.
    pub fn register(registry: &Registry) -> Self {
        Self::new(registry, "emf.")
    }
}
