//! Listeners. Source: `envoy.config.listener.v3.Listener`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use outrigger_xds_protos::any;
use outrigger_xds_protos::v3::core::TrafficDirection;
use outrigger_xds_protos::v3::http_inspector::HttpInspector;
use outrigger_xds_protos::v3::listener::listener::{DeprecatedV1, DrainType};
use outrigger_xds_protos::v3::listener::listener_filter::ConfigType;
use outrigger_xds_protos::v3::listener::{Listener as ListenerMessage, ListenerFilter};
use outrigger_xds_protos::v3::original_dst::OriginalDst;
use outrigger_xds_protos::v3::tls_inspector::TlsInspector;

use super::fields;
use super::fields::{refuse, refuse_true, warn_set};
use super::path::{Path, Rejection};
use super::scope::Scope;
use super::{TranslatedListener, access_log, filter_chain, metadata};
use crate::config::listener::{Direction, FilterChain, Inspect, Listener, TransportProtocol};
use crate::stats::scope::{ListenerStats, sanitize};

/// Envoy's default `listener_filters_timeout`.
const FILTERS_TIMEOUT: Duration = Duration::from_secs(15);
/// Envoy takes `net.core.somaxconn`, which this is on current kernels; the kernel caps it anyway.
const BACKLOG: u32 = 4096;

/// Compiles a listener.
#[allow(deprecated, reason = "deprecated fields are decided on like the others")]
pub(super) fn compile(
    message: &ListenerMessage,
    mut scope: Scope<'_>,
    path: &Path<'_>,
) -> Result<TranslatedListener, Rejection> {
    let ListenerMessage {
        name,
        address,
        additional_addresses,
        stat_prefix,
        stats_matcher,
        filter_chains,
        fcds_config,
        filter_chain_matcher,
        use_original_dst,
        default_filter_chain,
        per_connection_buffer_limit_bytes,
        per_connection_buffer_high_watermark_timeout,
        metadata,
        deprecated_v1,
        drain_type,
        listener_filters,
        listener_filters_timeout,
        continue_on_listener_filters_timeout,
        transparent,
        freebind,
        socket_options,
        tcp_fast_open_queue_length,
        traffic_direction,
        udp_listener_config,
        api_listener,
        connection_balance_config,
        reuse_port: _, // Sockets always share their port among workers.
        enable_reuse_port,
        access_log,
        tcp_backlog_size,
        max_connections_to_accept_per_socket_event,
        bind_to_port,
        enable_mptcp,
        ignore_global_conn_limit,
        bypass_overload_manager,
        tcp_keepalive,
        listener_specifier,
    } = message;
    refuse!(path; additional_addresses, fcds_config, filter_chain_matcher,
        per_connection_buffer_high_watermark_timeout, socket_options, udp_listener_config, api_listener,
        enable_mptcp, tcp_keepalive);
    refuse_true!(path; transparent, freebind);
    if listener_specifier.is_some() {
        return Err(path.field("internal_listener").unsupported());
    }
    warn_set!(scope, path, "is not in effect: these statistics are kept in full"; stats_matcher);
    warn_set!(scope, path, "is not in effect: connections are accepted as the kernel hands them out";
        tcp_fast_open_queue_length, connection_balance_config, max_connections_to_accept_per_socket_event);
    if !fields::flag(enable_reuse_port, true) {
        scope.warn(&path.field("enable_reuse_port"), "is not in effect: workers always share the port");
    }
    let use_original_dst = fields::flag(use_original_dst, false);
    let filters = listener_filters_of(listener_filters, &path.field("listener_filters"), &mut scope)?;
    let address_path = path.field("address");
    let socket = fields::socket_address(address, &address_path)?;
    let address = fields::ip_port(socket, &address_path.field("socket_address"))?;
    scope.listener_stats = stats_prefix(stat_prefix, address);
    scope.bypasses_overload = *bypass_overload_manager;
    scope.drains_when_failing = *drain_type != DrainType::ModifyOnly as i32;
    let buffer_path = path.field("per_connection_buffer_limit_bytes");
    scope.buffer_limit = fields::buffer_limit(per_connection_buffer_limit_bytes, &buffer_path, &mut scope);
    scope.direction = direction(*traffic_direction, &path.field("traffic_direction"))?;
    let (chains, default_chain) = chains(filter_chains, default_filter_chain, path, &mut scope)?;
    warn_unmatchable(&chains, filters.inspect, &path.field("filter_chains"), &mut scope);
    let access_logs = access_log::compile(access_log, &path.field("access_log"), &mut scope)?;
    let bound = deprecated_v1.as_ref().and_then(|DeprecatedV1 { bind_to_port }| *bind_to_port);
    let timeout_path = path.field("listener_filters_timeout");
    let config = Listener {
        name: fields::required(name, &path.field("name"))?.into(),
        address,
        bind_to_port: fields::flag(bind_to_port, true) && fields::flag(&bound, true),
        ipv4_compat: socket.ipv4_compat,
        use_original_dst,
        original_dst: filters.original_dst || use_original_dst,
        inspect: filters.inspect,
        listener_filters_timeout: fields::duration(listener_filters_timeout, &timeout_path)?
            .unwrap_or(FILTERS_TIMEOUT),
        continue_on_timeout: *continue_on_listener_filters_timeout,
        direction: scope.direction,
        backlog: fields::count(tcp_backlog_size).unwrap_or(BACKLOG),
        ignores_connection_limit: *ignore_global_conn_limit,
        bypasses_overload: *bypass_overload_manager,
        chains,
        default_chain,
        metadata: metadata::all(metadata),
        access_logs,
        stats: ListenerStats::new(&scope.context.stats, &scope.listener_stats),
        stats_prefix: scope.listener_stats.as_str().into(),
    };
    Ok(TranslatedListener {
        config: Arc::new(config),
        route_refs: scope.route_refs,
        secret_refs: scope.secret_refs,
        required_clusters: scope.required_clusters,
    })
}

/// `listener.<stat_prefix or address>.`, colons replaced as Envoy does: `listener.0.0.0.0_15001.`.
fn stats_prefix(stat_prefix: &str, address: SocketAddr) -> String {
    let name = if stat_prefix.is_empty() { address.to_string() } else { stat_prefix.to_owned() };
    format!("listener.{}.", sanitize(&name))
}

fn direction(number: i32, path: &Path<'_>) -> Result<Direction, Rejection> {
    Ok(match TrafficDirection::try_from(number) {
        Ok(TrafficDirection::Unspecified) => Direction::Unspecified,
        Ok(TrafficDirection::Inbound) => Direction::Inbound,
        Ok(TrafficDirection::Outbound) => Direction::Outbound,
        Err(_) => return Err(path.reject(fields::unknown_enum(number))),
    })
}

/// What the listener filters do.
#[derive(Default)]
struct Filters {
    original_dst: bool,
    inspect: Inspect,
}

fn listener_filters_of(
    messages: &[ListenerFilter],
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Filters, Rejection> {
    let mut filters = Filters::default();
    for (i, message) in messages.iter().enumerate() {
        let path = path.index(i);
        let ListenerFilter { name, filter_disabled, config_type } = message;
        refuse!(path; filter_disabled);
        let config = match config_type {
            Some(ConfigType::TypedConfig(config)) => config,
            Some(ConfigType::ConfigDiscovery(_)) => return Err(path.field("config_discovery").unsupported()),
            None => return Err(path.field("typed_config").missing()),
        };
        let config_path = path.field("typed_config");
        if any::is::<OriginalDst>(config) {
            filters.original_dst = true;
        } else if any::is::<HttpInspector>(config) {
            filters.inspect.http = true;
        } else if any::is::<TlsInspector>(config) {
            let inspector = any::unpack(config).map_err(|error| config_path.reject(error))?;
            check_tls_inspector(&inspector, &config_path, scope)?;
            filters.inspect.tls = true;
        } else {
            return Err(path.reject(format_args!("{name:?} ({}) is not supported", config.type_url)));
        }
    }
    Ok(filters)
}

fn check_tls_inspector(
    message: &TlsInspector,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<(), Rejection> {
    let TlsInspector {
        enable_ja3_fingerprinting,
        enable_ja4_fingerprinting,
        initial_read_buffer_size: _, // Tunes Envoy's buffer; ours grows as needed.
        close_connection_on_client_hello_parsing_errors,
        max_client_hello_size,
    } = message;
    refuse!(path; close_connection_on_client_hello_parsing_errors);
    refuse_true!(path; enable_ja3_fingerprinting, enable_ja4_fingerprinting);
    warn_set!(scope, path, "is not in effect: the built-in limit holds"; max_client_hello_size);
    Ok(())
}

type Chains = (Vec<Arc<FilterChain>>, Option<Arc<FilterChain>>);

fn chains(
    messages: &[outrigger_xds_protos::v3::listener::FilterChain],
    default: &Option<outrigger_xds_protos::v3::listener::FilterChain>,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Chains, Rejection> {
    let list_path = path.field("filter_chains");
    let compile = |(i, chain)| filter_chain::compile(chain, &list_path.index(i), scope).map(Arc::new);
    let chains: Vec<_> = messages.iter().enumerate().map(compile).collect::<Result<_, _>>()?;
    let default_path = path.field("default_filter_chain");
    let default =
        default.as_ref().map(|chain| filter_chain::compile(chain, &default_path, scope)).transpose()?;
    if chains.is_empty() && default.is_none() {
        return Err(list_path.reject("a listener needs at least one filter chain"));
    }
    filter_chain::check_distinct(&chains, &list_path)?;
    Ok((chains, default.map(Arc::new)))
}

/// Chains that ask for facts which no listener filter finds out are accepted by Envoy and never taken.
fn warn_unmatchable(chains: &[Arc<FilterChain>], inspect: Inspect, path: &Path<'_>, scope: &mut Scope<'_>) {
    for (i, chain) in chains.iter().enumerate() {
        let matches = &chain.matches;
        let needs_tls =
            !matches.server_names.is_empty() || matches.transport_protocol == Some(TransportProtocol::Tls);
        if needs_tls && !inspect.tls {
            scope.warn(&path.index(i), "never matches: the listener has no tls_inspector");
        } else if !matches.application_protocols.is_empty() && !inspect.tls && !inspect.http {
            scope.warn(
                &path.index(i),
                "never matches: the listener has no tls_inspector and no http_inspector",
            );
        }
    }
}
