//! Filter chains: match criteria, transport, and the one terminal filter.
//! Source: `envoy.config.listener.v3.FilterChain`, `FilterChainMatch`.

use std::sync::Arc;
use std::time::Duration;

use outrigger_xds_protos::any;
use outrigger_xds_protos::pb::google::protobuf::Any;
use outrigger_xds_protos::v3::hcm::HttpConnectionManager;
use outrigger_xds_protos::v3::listener::filter::ConfigType;
use outrigger_xds_protos::v3::listener::filter_chain_match::ConnectionSourceType;
use outrigger_xds_protos::v3::listener::{
    Filter, FilterChain as ChainMessage, FilterChainMatch as MatchMessage,
};
use outrigger_xds_protos::v3::tcp_proxy::TcpProxy;

use super::fields;
use super::fields::{refuse, refuse_true};
use super::path::{Path, Rejection};
use super::scope::Scope;
use super::{guard, hcm, metadata, tcp_proxy, tls};
use crate::config::guard::Guard;
use crate::config::listener::{ChainMatch, FilterChain, NetworkFilter, SourceType, TransportProtocol};

/// How long a TLS handshake may take where nothing is said; where 0s is said, as long as it likes. Envoy has no limit of
/// its own, but a client that stops in the middle would hold a connection for ever.
const HANDSHAKE: Duration = Duration::from_secs(15);

/// Compiles one chain.
#[allow(deprecated, reason = "deprecated fields are decided on like the others")]
pub(super) fn compile(
    message: &ChainMessage,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<FilterChain, Rejection> {
    let ChainMessage {
        filter_chain_match,
        filters,
        use_proxy_proto,
        metadata,
        transport_socket,
        transport_socket_connect_timeout,
        name,
    } = message;
    refuse_true!(path; use_proxy_proto);
    let (guards, filter) = network_filters(filters, &path.field("filters"), scope)?;
    let timeout_path = path.field("transport_socket_connect_timeout");
    let matches = filter_chain_match.as_ref().map(|m| chain_match(m, &path.field("filter_chain_match")));
    Ok(FilterChain {
        name: name.as_str().into(),
        matches: matches.transpose()?.unwrap_or_default(),
        tls: tls::downstream(transport_socket, path, scope)?,
        transport_socket_timeout: fields::duration(transport_socket_connect_timeout, &timeout_path)?
            .unwrap_or(HANDSHAKE),
        guards,
        filter,
        metadata: metadata::all(metadata),
    })
}

/// The guards, and the terminal filter after them.
fn network_filters(
    filters: &[Filter],
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<(Vec<Guard>, NetworkFilter), Rejection> {
    let (mut guards, mut compiled) = (Vec::new(), None);
    for (i, Filter { name, config_type }) in filters.iter().enumerate() {
        let path = path.index(i);
        let config = match config_type {
            Some(ConfigType::TypedConfig(config)) => config,
            Some(ConfigType::ConfigDiscovery(_)) => return Err(path.field("config_discovery").unsupported()),
            None => return Err(path.field("typed_config").missing()),
        };
        if compiled.is_some() {
            return Err(path.reject(format_args!("{name:?} comes after a filter that ends the chain")));
        }
        match guard::compile(config, &path.field("typed_config"), scope)? {
            Some(guard) => guards.push(guard),
            None => compiled = Some(terminal(name, config, &path, scope)?),
        }
    }
    let terminal =
        compiled.ok_or_else(|| path.reject("a chain needs http_connection_manager or tcp_proxy"))?;
    Ok((guards, terminal))
}

fn terminal(
    name: &str,
    config: &Any,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<NetworkFilter, Rejection> {
    let config_path = path.field("typed_config");
    if any::is::<HttpConnectionManager>(config) {
        let message = any::unpack(config).map_err(|error| config_path.reject(error))?;
        return hcm::compile(&message, &config_path, scope).map(|http| NetworkFilter::Http(Arc::new(http)));
    }
    if any::is::<TcpProxy>(config) {
        let message = any::unpack(config).map_err(|error| config_path.reject(error))?;
        return tcp_proxy::compile(&message, &config_path, scope)
            .map(|tcp| NetworkFilter::Tcp(Arc::new(tcp)));
    }
    Err(path.reject(format_args!(
        "{name:?} ({}) is not supported; http_connection_manager and tcp_proxy are",
        config.type_url
    )))
}

fn chain_match(message: &MatchMessage, path: &Path<'_>) -> Result<ChainMatch, Rejection> {
    let MatchMessage {
        destination_port,
        prefix_ranges,
        address_suffix,
        suffix_len,
        direct_source_prefix_ranges,
        source_type,
        source_prefix_ranges,
        source_ports,
        server_names,
        transport_protocol,
        application_protocols,
    } = message;
    refuse!(path; address_suffix, suffix_len);
    let port_path = path.field("destination_port");
    let names_path = path.field("server_names");
    let ports_path = path.field("source_ports");
    let name = |(i, name): (usize, &String)| server_name(name, &names_path.index(i));
    let port = |(i, port): (usize, &u32)| fields::port(*port, &ports_path.index(i));
    Ok(ChainMatch {
        destination_port: fields::count_in(destination_port, 1..=65_535, &port_path)?.map(|port| port as u16),
        prefix_ranges: fields::cidrs(prefix_ranges, &path.field("prefix_ranges"))?,
        server_names: server_names.iter().enumerate().map(name).collect::<Result<_, _>>()?,
        transport_protocol: transport(transport_protocol, &path.field("transport_protocol"))?,
        application_protocols: application_protocols.iter().map(|name| name.as_str().into()).collect(),
        direct_source_ranges: fields::cidrs(
            direct_source_prefix_ranges,
            &path.field("direct_source_prefix_ranges"),
        )?,
        source_ranges: fields::cidrs(source_prefix_ranges, &path.field("source_prefix_ranges"))?,
        source_type: source(*source_type, &path.field("source_type"))?,
        source_ports: source_ports.iter().enumerate().map(port).collect::<Result<_, _>>()?,
    })
}

/// A lower-case name, or `*.` and a name.
fn server_name(name: &str, path: &Path<'_>) -> Result<Box<str>, Rejection> {
    let lower = name.to_ascii_lowercase();
    let plain = lower.strip_prefix("*.").unwrap_or(&lower);
    if plain.is_empty() || plain.contains('*') {
        return Err(path.reject(format_args!(
            "{name:?} is not a server name; a star may only stand for whole labels in front"
        )));
    }
    Ok(lower.into_boxed_str())
}

fn transport(text: &str, path: &Path<'_>) -> Result<Option<TransportProtocol>, Rejection> {
    match text {
        "" => Ok(None),
        "tls" => Ok(Some(TransportProtocol::Tls)),
        "raw_buffer" => Ok(Some(TransportProtocol::RawBuffer)),
        other => Err(path.reject(format_args!("{other:?} is not supported; use tls or raw_buffer"))),
    }
}

fn source(number: i32, path: &Path<'_>) -> Result<SourceType, Rejection> {
    Ok(match ConnectionSourceType::try_from(number) {
        Ok(ConnectionSourceType::Any) => SourceType::Any,
        Ok(ConnectionSourceType::SameIpOrLoopback) => SourceType::SameIpOrLoopback,
        Ok(ConnectionSourceType::External) => SourceType::External,
        Err(_) => return Err(path.reject(fields::unknown_enum(number))),
    })
}

/// Refuses two chains that some connection would match equally well, as Envoy does.
pub(super) fn check_distinct(chains: &[Arc<FilterChain>], path: &Path<'_>) -> Result<(), Rejection> {
    for (i, later) in chains.iter().enumerate() {
        let earlier = chains.iter().take(i).position(|earlier| overlap(&earlier.matches, &later.matches));
        if let Some(earlier) = earlier {
            let message =
                format_args!("has the same filter_chain_match as filter_chains[{earlier}]").to_string();
            return Err(path.index(i).reject(message));
        }
    }
    Ok(())
}

/// Whether both criteria contain one combination of values in common.
fn overlap(a: &ChainMatch, b: &ChainMatch) -> bool {
    a.destination_port == b.destination_port
        && a.transport_protocol == b.transport_protocol
        && a.source_type == b.source_type
        && share(&a.prefix_ranges, &b.prefix_ranges)
        && share(&a.server_names, &b.server_names)
        && share(&a.application_protocols, &b.application_protocols)
        && share(&a.direct_source_ranges, &b.direct_source_ranges)
        && share(&a.source_ranges, &b.source_ranges)
        && share(&a.source_ports, &b.source_ports)
}

/// Both empty, or a value in both.
fn share<T: PartialEq>(a: &[T], b: &[T]) -> bool {
    (a.is_empty() && b.is_empty()) || a.iter().any(|value| b.contains(value))
}
