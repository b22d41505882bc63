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
    /// `overload.<action>.*`
    OverloadActionStats(prefix) {
        action: main(prefix) {
            active: Gauge,
            scale_percent: Gauge,
        }
    }
}
