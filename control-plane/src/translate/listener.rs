//! Listeners and filter chains.

use std::time::Duration;

use outrigger_xds_protos::any::Typed;
use outrigger_xds_protos::v3::core::{TrafficDirection, TransportSocket};
use outrigger_xds_protos::v3::listener::listener_filter::ConfigType;
use outrigger_xds_protos::v3::listener::{Filter, FilterChain, FilterChainMatch, Listener, ListenerFilter};
use outrigger_xds_protos::v3::original_dst::OriginalDst;
use outrigger_xds_protos::v3::tls_inspector::TlsInspector;

use super::message::{address, duration, number, packed, stats_metadata};
use super::options::TranslateOptions;
use super::tls;
use crate::diagnostics::Report;
use crate::model::{IpPreference, ListenerTls, Protocol, TlsMode};

/// How long a connection may say nothing before the chain is chosen without knowing whether it speaks TLS, where a server
/// may be the one to speak first: it must not wait long for a client that waits for it. Elsewhere the client has the
/// sidecar's own limit of 15 s: a hello that comes late is still one.
const INSPECTION: Duration = Duration::from_millis(500);

/// Which facts about a connection choose its chain.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inspect {
    /// Where it was going before it was redirected.
    pub original_destination: bool,
    /// Whether it begins with a TLS handshake, and for which name.
    pub tls: bool,
    /// Some connections are of protocols in which the server speaks first.
    pub server_first: bool,
}

/// A listener on all addresses or on the one that the options name.
pub fn listener(
    name: String,
    port: u16,
    direction: TrafficDirection,
    inspect: Inspect,
    preference: Option<IpPreference>,
    options: &TranslateOptions,
) -> Listener {
    let (host, both) = match (options.bind_address, preference) {
        (Some(address), _) => (address.to_string(), false),
        (None, None) => ("0.0.0.0".to_owned(), false),
        (None, Some(_)) => ("::".to_owned(), true),
    };
    Listener {
        name,
        address: Some(address(host, port, both)),
        metadata: Some(stats_metadata(&[])),
        listener_filters: listener_filters(inspect),
        listener_filters_timeout: (inspect.tls && inspect.server_first).then(|| duration(INSPECTION)),
        continue_on_listener_filters_timeout: inspect.tls,
        traffic_direction: direction as i32,
        ..Default::default()
    }
}

fn listener_filters(inspect: Inspect) -> Vec<ListenerFilter> {
    let mut filters = Vec::new();
    if inspect.original_destination {
        filters.push(listener_filter("envoy.filters.listener.original_dst", &OriginalDst::default()));
    }
    if inspect.tls {
        filters.push(listener_filter("envoy.filters.listener.tls_inspector", &TlsInspector::default()));
    }
    filters
}

fn listener_filter<M: Typed>(name: &str, config: &M) -> ListenerFilter {
    ListenerFilter {
        name: name.to_owned(),
        config_type: Some(ConfigType::TypedConfig(packed(config))),
        ..Default::default()
    }
}

/// A chain for connections to a port, or for all.
pub fn chain(port: Option<u16>, filter: Filter, socket: Option<TransportSocket>) -> FilterChain {
    FilterChain {
        filter_chain_match: port
            .map(|p| FilterChainMatch { destination_port: Some(number(p.into())), ..Default::default() }),
        filters: vec![filter],
        transport_socket: socket,
        ..Default::default()
    }
}

/// A chain as a TLS mode wants it: for TLS, for plain text, or one of each. None when TLS cannot be provided.
pub fn terminate(
    plain: FilterChain,
    tls: Option<&ListenerTls>,
    protocol: Protocol,
    scene: tls::Scene<'_>,
    report: &mut Report,
) -> Vec<FilterChain> {
    let Some(tls) = tls.filter(|tls| tls.mode != TlsMode::Disabled) else { return vec![plain] };
    let Some(socket) = tls::downstream(tls, protocol, scene, report) else { return Vec::new() };
    let encrypted = FilterChain { transport_socket: Some(socket), ..plain.clone() };
    if tls.mode == TlsMode::Permissive {
        vec![for_transport(encrypted, "tls"), for_transport(plain, "raw_buffer")]
    } else {
        vec![encrypted]
    }
}

/// Whether a listener must tell TLS from plain text.
pub fn is_permissive(tls: Option<&ListenerTls>) -> bool {
    tls.is_some_and(|tls| tls.mode == TlsMode::Permissive)
}

/// Narrows a chain to connections that begin a TLS handshake, or that do not.
pub fn for_transport(mut chain: FilterChain, protocol: &str) -> FilterChain {
    chain.filter_chain_match.get_or_insert_default().transport_protocol = protocol.to_owned();
    chain
}

/// Narrows a chain to TLS connections for a name.
pub fn for_server_name(chain: FilterChain, name: &str) -> FilterChain {
    let mut chain = for_transport(chain, "tls");
    chain.filter_chain_match.get_or_insert_default().server_names = vec![name.to_owned()];
    chain
}
