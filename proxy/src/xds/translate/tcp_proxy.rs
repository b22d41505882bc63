//! Raw TCP. Source: `envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy`.

use std::time::Duration;

use outrigger_xds_protos::v3::tcp_proxy::tcp_proxy::TcpAccessLogOptions;
use outrigger_xds_protos::v3::tcp_proxy::{TcpProxy, UpstreamConnectMode};

use super::fields;
use super::fields::{refuse, refuse_true};
use super::path::{Path, Rejection};
use super::scope::Scope;
use super::{access_log, cluster_choice, hash_policy, metadata};
use crate::config::listener::TcpSettings;
use crate::stats::scope::TcpStats;

/// Envoy's default `idle_timeout`.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);

/// Compiles one `tcp_proxy`.
#[allow(deprecated, reason = "deprecated fields are decided on like the others")]
pub(super) fn compile(
    message: &TcpProxy,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<TcpSettings, Rejection> {
    let TcpProxy {
        stat_prefix,
        on_demand,
        metadata_match,
        idle_timeout,
        downstream_idle_timeout,
        upstream_idle_timeout,
        access_log,
        max_connect_attempts,
        backoff_options,
        hash_policy,
        tunneling_config,
        max_downstream_connection_duration,
        max_downstream_connection_duration_jitter_percentage,
        access_log_flush_interval,
        flush_access_log_on_connected,
        access_log_options,
        proxy_protocol_tlvs,
        proxy_protocol_tlv_merge_policy,
        upstream_connect_mode,
        max_early_data_bytes,
        check_drain_close,
        cluster_specifier,
    } = message;
    refuse!(path; on_demand, downstream_idle_timeout, upstream_idle_timeout, backoff_options, tunneling_config,
        max_downstream_connection_duration, max_downstream_connection_duration_jitter_percentage,
        access_log_flush_interval, flush_access_log_on_connected, proxy_protocol_tlvs,
        proxy_protocol_tlv_merge_policy, max_early_data_bytes);
    refuse_true!(path; check_drain_close);
    if let Some(options) = access_log_options {
        let TcpAccessLogOptions {
            access_log_flush_interval,
            flush_access_log_on_connected,
            flush_access_log_on_start,
        } = options;
        let path = path.field("access_log_options");
        refuse!(path; access_log_flush_interval, flush_access_log_on_connected, flush_access_log_on_start);
    }
    if *upstream_connect_mode != UpstreamConnectMode::Immediate as i32 {
        return Err(path.field("upstream_connect_mode").reject("only IMMEDIATE is supported"));
    }
    let stat_prefix = fields::required(stat_prefix, &path.field("stat_prefix"))?;
    let attempts_path = path.field("max_connect_attempts");
    Ok(TcpSettings {
        buffer_limit: scope.buffer_limit,
        stat_prefix: stat_prefix.into(),
        clusters: cluster_choice::for_tcp(cluster_specifier, metadata_match, path, scope)?,
        idle_timeout: fields::duration(idle_timeout, &path.field("idle_timeout"))?.unwrap_or(IDLE_TIMEOUT),
        max_connect_attempts: fields::count_in(max_connect_attempts, 1..=u32::MAX, &attempts_path)?
            .unwrap_or(1),
        hash_source_ip: hash_policy::of_connections(hash_policy, &path.field("hash_policy"))?,
        metadata_match: metadata::of_balancing(metadata_match),
        access_logs: access_log::compile(access_log, &path.field("access_log"), scope)?,
        stats: TcpStats::for_proxy(&scope.context.stats, stat_prefix),
    })
}
