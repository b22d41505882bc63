//! Statistics of HTTP and network filters, and of the overload manager.

use super::{Counter, Gauge, Registry, bundle, sanitize};

bundle! {
    /// `<stat_prefix>.http_local_rate_limit.*`
    LocalRateLimitStats(prefix) {
        requests: workers(prefix) {
            enabled: Counter,
            enforced: Counter,
            rate_limited: Counter,
            ok: Counter,
            shadow_mode: Counter,
        }
    }
}

impl LocalRateLimitStats {
    /// Of the configuration with this `stat_prefix`.
    pub fn for_prefix(registry: &Registry, stat_prefix: &str) -> Self {
        Self::new(registry, &format!("{}.http_local_rate_limit.", sanitize(stat_prefix)))
    }
}

bundle! {
    /// `http.<stat_prefix>.fault.*`
    FaultStats(prefix) {
        faults: workers(prefix) {
            aborts_injected: Counter,
            delays_injected: Counter,
            faults_overflow: Counter,
            response_rl_injected: Counter,
            active_faults: Gauge,
        }
    }
}

impl FaultStats {
    /// Of the filter in the connection manager with this `stat_prefix`.
    pub fn for_manager(registry: &Registry, stat_prefix: &str) -> Self {
        Self::new(registry, &format!("http.{}.fault.", sanitize(stat_prefix)))
    }
}

bundle! {
    /// `http.<stat_prefix>.fault.<downstream cluster>.*`
    FaultCallerStats(prefix) {
        faults: workers(prefix) {
            aborts_injected: Counter,
            delays_injected: Counter,
        }
    }
}

impl FaultCallerStats {
    /// Of the callers with this name, in the connection manager with this `stat_prefix`.
    pub fn for_caller(registry: &Registry, stat_prefix: &str, caller: &str) -> Self {
        Self::new(registry, &format!("http.{}.fault.{}.", sanitize(stat_prefix), sanitize(caller)))
    }
}

bundle! {
    /// `http.<stat_prefix>.cors.*`
    CorsStats(prefix) {
        origins: workers(prefix) {
            origin_valid: Counter,
            origin_invalid: Counter,
        }
    }
}

impl CorsStats {
    /// Of the filter in the connection manager with this `stat_prefix`.
    pub fn for_manager(registry: &Registry, stat_prefix: &str) -> Self {
        Self::new(registry, &format!("http.{}.cors.", sanitize(stat_prefix)))
    }
}

bundle! {
    /// `http.<stat_prefix>.jwt_authn.*`
    JwtStats(prefix) {
        requests: workers(prefix) {
            allowed: Counter,
            cors_preflight_bypassed: Counter,
            denied: Counter,
            jwks_fetch_failed: Counter,
            jwks_fetch_success: Counter,
        }
    }
}

impl JwtStats {
    /// Of the filter in the connection manager with this `stat_prefix`; `below` is the filter's own, often empty.
    pub fn for_manager(registry: &Registry, stat_prefix: &str, below: &str) -> Self {
        let dot = if below.is_empty() || below.ends_with('.') { "" } else { "." };
        let (manager, below) = (sanitize(stat_prefix), sanitize(below));
        Self::new(registry, &format!("http.{manager}.jwt_authn.{below}{dot}"))
    }
}

bundle! {
    /// `http.<stat_prefix>.ext_authz.*`. Those that never move are there because dashboards name them.
    AuthzStats(prefix) {
        requests: workers(prefix) {
            denied: Counter,
            disabled: Counter,
            error: Counter,
            failure_mode_allowed: Counter,
            filter_state_name_collision: Counter,
            ignored_dynamic_metadata: Counter,
            invalid: Counter,
            ok: Counter,
            omitted_response_headers: Counter,
            request_header_limits_reached: Counter,
            response_header_limits_reached: Counter,
            shadow_denied: Counter,
            shadow_error: Counter,
        }
    }
}

impl AuthzStats {
    /// Of the filter in the connection manager with this `stat_prefix`; `below` is `ext_authz.` with what the filter adds.
    pub fn for_manager(registry: &Registry, stat_prefix: &str, below: &str) -> Self {
        Self::new(registry, &format!("http.{}.{}", sanitize(stat_prefix), sanitize(below)))
    }
}

bundle! {
    /// `cluster.<name>.ext_authz.*`: requests for the cluster.
    ClusterAuthzStats(prefix) {
        requests: on_demand(prefix) {
            denied: Counter,
            error: Counter,
            failure_mode_allowed: Counter,
            invalid: Counter,
            ok: Counter,
        }
    }
}

impl ClusterAuthzStats {
    /// Of a cluster; `below` as for the filter.
    pub fn for_cluster(registry: &Registry, cluster: &str, below: &str) -> Self {
        Self::new(registry, &format!("cluster.{}.{}", sanitize(cluster), sanitize(below)))
    }
}

bundle! {
    /// `http.<stat_prefix>.adaptive_concurrency.gradient_controller.*`
    GradientStats(prefix) {
        requests: workers(prefix) {
            rq_blocked: Counter,
        }
        controller: main(prefix) {
            burst_queue_size: Gauge,
            concurrency_limit: Gauge,
            // Thousandths.
            gradient: Gauge,
            min_rtt_calculation_active: Gauge,
            min_rtt_msecs: Gauge,
            sample_rtt_msecs: Gauge,
        }
    }
}

impl GradientStats {
    /// Of the filter in the connection manager with this `stat_prefix`.
    pub fn for_manager(registry: &Registry, stat_prefix: &str) -> Self {
        let manager = sanitize(stat_prefix);
        Self::new(registry, &format!("http.{manager}.adaptive_concurrency.gradient_controller."))
    }
}

bundle! {
    /// `http.<stat_prefix>.rbac.*` or `<stat_prefix>rbac.*`: rules and shadow rules each with a prefix of their own.
    RbacStats(rules, shadow) {
        in_force: workers(rules) {
            allowed: Counter,
            denied: Counter,
        }
        shadowed: workers(shadow) {
            shadow_allowed: Counter,
            shadow_denied: Counter,
        }
    }
}

bundle! {
    /// `....policy.<name>.*`: one policy of RBAC rules.
    PolicyStats(rules, shadow) {
        in_force: workers(rules) {
            allowed: Counter,
            denied: Counter,
        }
        shadowed: workers(shadow) {
            shadow_allowed: Counter,
            shadow_denied: Counter,
        }
    }
}

bundle! {
    /// `local_rate_limit.<stat_prefix>.*`
    NetworkRateLimitStats(prefix) {
        connections: workers(prefix) {
            rate_limited: Counter,
        }
    }
}

bundle! {
    /// `ext_authz.<stat_prefix>.*`: connections. One that never moves is there because dashboards name it.
    NetworkAuthzStats(prefix) {
        connections: workers(prefix) {
            active: Gauge,
            cx_closed: Counter,
            denied: Counter,
            disabled: Counter,
            error: Counter,
            failure_mode_allowed: Counter,
            ok: Counter,
            total: Counter,
        }
    }
}

bundle! {
    /// `connection_limit.<stat_prefix>.*`
    ConnectionLimitStats(prefix) {
        connections: workers(prefix) {
            limited_connections: Counter,
            active_connections: Gauge,
        }
    }
}

bundle! {
    /// `overload.<resource monitor>.*`
    ResourceMonitorStats(prefix) {
        monitor: main(prefix) {
            // Hundredths.
            pressure: Gauge,
            failed_updates: Counter,
            skipped_updates: Counter,
        }
    }
}

bundle! {
    /// `overload.<load shed point>.*`
    LoadShedStats(prefix) {
        state: main(prefix) {
            scale_percent: Gauge,
        }
        sheds: workers(prefix) {
            shed_load_count: Counter,
        }
    }
}

bundle! {
    /// `overload.<action>.*`
    OverloadActionStats(prefix) {
        action: main(prefix) {
            active: Gauge,
            scale_percent: Gauge,
        }
    }
}
