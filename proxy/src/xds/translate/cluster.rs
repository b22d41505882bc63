//! Clusters. Source: `envoy.config.cluster.v3.Cluster`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use outrigger_xds_protos::v3::cluster::circuit_breakers::{Thresholds, thresholds};
use outrigger_xds_protos::v3::cluster::cluster::CommonLbConfig;
use outrigger_xds_protos::v3::cluster::{
    CircuitBreakers, Cluster as ClusterMessage, TrackClusterStats, UpstreamConnectionOptions,
};
use outrigger_xds_protos::v3::core::TcpKeepalive;

use super::discovery::{self, Found};
use super::fields;
use super::fields::{refuse, warn_set};
use super::health::Checked;
use super::path::{Path, Rejection};
use super::protocol::{self, ProtocolFields};
use super::scope::Scope;
use super::{TranslatedCluster, health, lb, metadata, outlier, route_action, service, tls};
use crate::config::balance::LbPolicy;
use crate::config::cluster::{Cluster, Keepalive};
use crate::config::live::{Breakers, Connections, Limit, Priority, RetryBudget, RetryLimit};
use crate::stats::registry::Registry;
use crate::stats::scope::{ClusterStats, RemainingStats, TableStats, TrackedStats};

/// Envoy's default `connect_timeout`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Compiles a cluster.
#[allow(deprecated, reason = "deprecated fields are decided on like the others")]
pub(super) fn compile(
    message: &ClusterMessage,
    mut scope: Scope<'_>,
    path: &Path<'_>,
) -> Result<TranslatedCluster, Rejection> {
    let ClusterMessage {
        transport_socket_matches,
        transport_socket_matcher,
        name,
        alt_stat_name,
        stats_matcher,
        eds_cluster_config: _, // `discovery` reads it, like every field that says where hosts come from.
        connect_timeout,
        per_connection_buffer_limit_bytes,
        per_connection_buffer_high_watermark_timeout,
        lb_policy: _, // `lb`
        load_assignment: _,
        health_checks,
        max_requests_per_connection,
        circuit_breakers,
        upstream_http_protocol_options,
        common_http_protocol_options,
        http_protocol_options,
        http2_protocol_options,
        typed_extension_protocol_options,
        dns_refresh_rate: _,
        dns_jitter: _,
        dns_failure_refresh_rate: _,
        respect_dns_ttl: _,
        dns_lookup_family: _,
        dns_resolvers: _,
        use_tcp_for_dns_lookups: _,
        dns_resolution_config: _,
        typed_dns_resolver_config: _,
        wait_for_warm_on_init: _, // A cluster that is not warm is never used; waiting at start is all there is.
        outlier_detection,
        cleanup_interval: _,
        upstream_bind_config,
        lb_subset_config: _, // `lb`
        common_lb_config,
        transport_socket,
        metadata,
        protocol_selection,
        upstream_connection_options,
        close_connections_on_host_health_failure,
        ignore_health_on_host_removal: _, // Removed hosts always leave at once.
        filters,
        load_balancing_policy: _, // `lb`
        lrs_server,
        lrs_report_endpoint_metrics,
        track_timeout_budgets,
        upstream_config,
        track_cluster_stats,
        preconnect_policy,
        connection_pool_per_downstream_connection,
        queuing_policies,
        cluster_discovery_type: _,
        lb_config: _, // `lb`
    } = message;
    refuse!(path; transport_socket_matches, transport_socket_matcher,
        per_connection_buffer_high_watermark_timeout, upstream_bind_config, filters, upstream_config,
        connection_pool_per_downstream_connection, queuing_policies);
    warn_set!(scope, path, "is not in effect: requests that are under way finish";
        close_connections_on_host_health_failure);
    warn_set!(scope, path, "has no effect: load reports go where cluster_manager.load_stats_config says"; lrs_server, lrs_report_endpoint_metrics);
    warn_set!(scope, path, "is not in effect: all statistics of a cluster exist"; stats_matcher);
    warn_set!(scope, path, "is not in effect: connections are opened when needed"; preconnect_policy);
    let buffer_path = path.field("per_connection_buffer_limit_bytes");
    scope.buffer_limit = fields::buffer_limit(per_connection_buffer_limit_bytes, &buffer_path, &mut scope);
    let protocol = protocol::compile(
        ProtocolFields {
            extensions: typed_extension_protocol_options,
            common: common_http_protocol_options,
            upstream: upstream_http_protocol_options,
            http1: http_protocol_options,
            http2: http2_protocol_options,
            selection: *protocol_selection,
            max_requests_per_connection,
        },
        path,
        &mut scope,
    )?;
    let Found { discovery, static_hosts, eds } = discovery::compile(message, path, &mut scope)?;
    let common_lb = common_lb(common_lb_config);
    let name = fields::required(name, &path.field("name"))?;
    let stat_name = if alt_stat_name.is_empty() { name } else { alt_stat_name };
    let tls = tls::upstream(transport_socket, stat_name, protocol.protocol, path, &mut scope)?;
    let outlier_path = path.field("outlier_detection");
    let outlier = outlier::compile(outlier_detection, stat_name, &discovery, &outlier_path, &mut scope)?;
    let connect_path = path.field("connect_timeout");
    let checked = Checked { name, stat_name, tls: &tls };
    let breaking = breakers(circuit_breakers, &path.field("circuit_breakers"))?;
    let health_check = health::check(health_checks, &checked, &path.field("health_checks"), &mut scope)?;
    let mut balancing = lb::compile(message, &discovery, path, &mut scope)?;
    balancing.hashing.policies = balancing.hashing.policies.or(protocol.hash_policy);
    balancing.hashing.stats = match balancing.policy {
        LbPolicy::RingHash { .. } => Some(TableStats::of_ring(&scope.context.stats, stat_name)),
        LbPolicy::Maglev(_) => Some(TableStats::of_maglev(&scope.context.stats, stat_name)),
        _ => None,
    };
    let tracked_path = path.field("track_cluster_stats");
    let tracked = tracked(track_cluster_stats, *track_timeout_budgets, stat_name, &tracked_path, &mut scope);
    let config = Cluster {
        name: name.into(),
        balancing: Arc::new(balancing),
        discovery,
        connect_timeout: fields::positive_duration(connect_timeout, &connect_path)?
            .unwrap_or(CONNECT_TIMEOUT),
        protocol: protocol.protocol,
        header_case: protocol.header_case,
        http1_trailers: protocol.http1_trailers,
        http2: protocol.http2,
        idle_timeout: protocol.idle_timeout,
        max_connection_duration: protocol.max_connection_duration,
        max_stream_duration: protocol.max_stream_duration,
        retry: protocol.retry,
        max_requests_per_connection: protocol.max_requests_per_connection,
        max_head_bytes: protocol.max_head_bytes,
        max_fields: protocol.max_fields,
        buffer_limit: scope.buffer_limit,
        tls,
        keepalive: keepalive(
            upstream_connection_options,
            &path.field("upstream_connection_options"),
            &mut scope,
        )?,
        health_check,
        ignore_new_hosts_until_first_hc: common_lb.ignore_unchecked,
        close_connections_on_host_set_change: common_lb.close_on_change,
        remaining: breaking.remaining(&scope.context.stats, stat_name),
        breakers: breaking.breakers,
        outlier,
        alias: (!alt_stat_name.is_empty()).then(|| alt_stat_name.as_str().into()),
        metadata: metadata::all(metadata),
        stats: ClusterStats::for_cluster(&scope.context.stats, stat_name),
        of_no_service: service::of_none(name, scope.context),
        tracked,
    };
    Ok(TranslatedCluster { config: Arc::new(config), static_hosts, eds, secret_refs: scope.secret_refs })
}

/// `track_timeout_budgets` is the older way to ask for `timeout_budgets`.
fn tracked(
    message: &Option<TrackClusterStats>,
    budgets: bool,
    stat_name: &str,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Option<Box<TrackedStats>> {
    let TrackClusterStats { timeout_budgets, request_response_sizes, per_endpoint_stats } =
        &message.unwrap_or_default();
    warn_set!(scope, path, "is not in effect: /clusters has these statistics"; per_endpoint_stats);
    let budgets = budgets || *timeout_budgets;
    TrackedStats::for_cluster(&scope.context.stats, stat_name, *request_response_sizes, budgets)
}

struct CommonLb {
    close_on_change: bool,
    ignore_unchecked: bool,
}

fn common_lb(message: &Option<CommonLbConfig>) -> CommonLb {
    let Some(message) = message else {
        return CommonLb { close_on_change: false, ignore_unchecked: false };
    };
    let CommonLbConfig {
        healthy_panic_threshold: _, // `lb`
        update_merge_window: _,     // Merges bursts of updates in Envoy; ours are merged before compiling.
        ignore_new_hosts_until_first_hc,
        close_connections_on_host_set_change,
        consistent_hashing_lb_config: _, // `lb`
        override_host_status: _,         // Read by stateful sessions only, which are refused.
        locality_config_specifier: _,    // `lb`
    } = message;
    CommonLb {
        close_on_change: *close_connections_on_host_set_change,
        ignore_unchecked: *ignore_new_hosts_until_first_hc,
    }
}

fn keepalive(
    options: &Option<UpstreamConnectionOptions>,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Option<Keepalive>, Rejection> {
    let Some(options) = options else { return Ok(None) };
    let UpstreamConnectionOptions {
        tcp_keepalive,
        set_local_interface_name_on_upstream_connections,
        happy_eyeballs_config,
    } = options;
    refuse!(path; set_local_interface_name_on_upstream_connections);
    warn_set!(scope, path, "is not in effect: addresses are tried in order"; happy_eyeballs_config);
    let Some(TcpKeepalive { keepalive_probes, keepalive_time, keepalive_interval }) = tcp_keepalive else {
        return Ok(None);
    };
    let seconds = |value| fields::count(value).map(|seconds| Duration::from_secs(seconds.into()));
    Ok(Some(Keepalive {
        probes: fields::count(keepalive_probes),
        time: seconds(keepalive_time),
        interval: seconds(keepalive_interval),
    }))
}

/// Default and high priority; the first entry of a priority wins.
fn breakers(message: &Option<CircuitBreakers>, path: &Path<'_>) -> Result<Breaking, Rejection> {
    let mut limits: [Option<Limits>; 2] = [None, None];
    let mut per_host: [Option<u32>; 2] = [None, None];
    if let Some(CircuitBreakers { thresholds, per_host_thresholds }) = message {
        let list_path = path.field("thresholds");
        for (i, message) in thresholds.iter().enumerate() {
            let (priority, found) = threshold(message, &list_path.index(i))?;
            limits[priority as usize].get_or_insert(found);
        }
        let list_path = path.field("per_host_thresholds");
        for (i, message) in per_host_thresholds.iter().enumerate() {
            let (priority, max) = host_threshold(message, &list_path.index(i))?;
            per_host[priority as usize] = per_host[priority as usize].or(max);
        }
    }
    let [default, high] = limits.map(Option::unwrap_or_default);
    Ok(Breaking {
        track_remaining: [default.track_remaining, high.track_remaining],
        breakers: [default.with_hosts(per_host[0]), high.with_hosts(per_host[1])],
    })
}

/// Circuit breakers of a cluster by priority, and whether gauges tell what they leave.
struct Breaking {
    breakers: [Arc<Breakers>; 2],
    track_remaining: [bool; 2],
}

impl Breaking {
    fn remaining(&self, registry: &Registry, stat_name: &str) -> [Option<RemainingStats>; 2] {
        let [default, high] = self.track_remaining;
        let stats = |tracked: bool, priority| {
            tracked.then(|| RemainingStats::for_cluster(registry, stat_name, priority))
        };
        [stats(default, "default"), stats(high, "high")]
    }
}

/// What one entry of `thresholds` says; Envoy's defaults for what is absent.
#[derive(Default)]
struct Limits {
    connections: Option<u32>,
    pending: Option<u32>,
    requests: Option<u32>,
    retries: Option<u32>,
    pools: Option<u32>,
    budget: Option<RetryBudget>,
    track_remaining: bool,
}

impl Limits {
    fn with_hosts(self, per_host: Option<u32>) -> Arc<Breakers> {
        let limit = |value: Option<u32>, default, counted: bool| {
            let max = value.unwrap_or(default);
            if counted { Limit::counted(max) } else { Limit::new(max) }
        };
        let counted = self.track_remaining;
        Arc::new(Breakers {
            connections: Arc::new(Connections::new(limit(self.connections, 1024, counted), per_host)),
            pools: limit(self.pools, u32::MAX, counted),
            pending: limit(self.pending, 1024, counted),
            requests: limit(self.requests, 1024, counted || self.budget.is_some()),
            retries: match self.budget {
                Some(budget) => RetryLimit::Budget(budget),
                None => RetryLimit::Fixed(limit(self.retries, 3, counted)),
            },
        })
    }
}

fn threshold(message: &Thresholds, path: &Path<'_>) -> Result<(Priority, Limits), Rejection> {
    let Thresholds {
        priority,
        max_connections,
        max_pending_requests,
        max_requests,
        max_retries,
        retry_budget,
        track_remaining,
        max_connection_pools,
    } = message;
    let limits = Limits {
        connections: fields::count(max_connections),
        pending: fields::count(max_pending_requests),
        requests: fields::count(max_requests),
        retries: fields::count(max_retries),
        pools: fields::count(max_connection_pools),
        budget: budget(retry_budget, &path.field("retry_budget"))?,
        track_remaining: *track_remaining,
    };
    Ok((route_action::priority_of(*priority, &path.field("priority"))?, limits))
}

/// Connections to each host. Envoy reads nothing else of these messages and refuses what else is set.
fn host_threshold(message: &Thresholds, path: &Path<'_>) -> Result<(Priority, Option<u32>), Rejection> {
    let Thresholds {
        priority,
        max_connections,
        max_pending_requests,
        max_requests,
        max_retries,
        retry_budget,
        track_remaining,
        max_connection_pools,
    } = message;
    refuse!(path; max_pending_requests, max_requests, max_retries, retry_budget, track_remaining,
        max_connection_pools);
    Ok((route_action::priority_of(*priority, &path.field("priority"))?, fields::count(max_connections)))
}

/// A share of the requests as limit on retries.
fn budget(
    message: &Option<thresholds::RetryBudget>,
    path: &Path<'_>,
) -> Result<Option<RetryBudget>, Rejection> {
    let Some(thresholds::RetryBudget { budget_percent, budget_interval, min_retry_concurrency }) = message
    else {
        return Ok(None);
    };
    let percent = budget_percent.map_or(20.0, |percent| percent.value);
    if !(0.0..=100.0).contains(&percent) {
        let path = path.field("budget_percent");
        return Err(path.reject(format_args!("{percent} is not a percentage from 0 to 100")));
    }
    let budget = RetryBudget::new(percent, fields::count(min_retry_concurrency).unwrap_or(3));
    let interval = fields::duration_or_off(budget_interval, &path.field("budget_interval"))?;
    Ok(Some(if interval.is_zero() { budget } else { budget.over(interval, Instant::now()) }))
}
