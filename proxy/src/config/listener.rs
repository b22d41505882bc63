//! Compiled listeners: address, filter chains and their match tables, TCP settings.
//! Source: `envoy.config.listener.v3.Listener`, `TcpProxy`.

mod http;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

pub use http::{
    ClientCertMode, ClientCertParts, CodecType, EscapedSlashes, ForwardClientCert, HeaderCase, Http1Settings,
    Http2Settings, HttpSettings, RouteSource, ServerHeader, StripHostPort, Underscores,
};

use super::guard::Guard;
use super::live::ListenerSockets;
use super::metadata::Namespaces;
use super::route::ClusterChoice;
use super::secret::ServerTls;
use super::subset::Criteria;
use crate::observe::access_log::AccessLog;
use crate::stats::scope::{ListenerStats, TcpStats};

/// A listener in a snapshot: its settings and, when it binds, its sockets.
#[derive(Debug)]
pub struct ListenerSlot {
    /// Settings; replaced as a whole by an in-place update.
    pub config: Arc<Listener>,
    /// Bound sockets, one per worker, carried over unchanged while the address stays.
    /// `None` for `bind_to_port: false`.
    pub sockets: Option<Arc<ListenerSockets>>,
}

impl ListenerSlot {
    /// The address as bound, else as configured.
    pub fn address(&self) -> SocketAddr {
        self.sockets.as_ref().map_or(self.config.address, |sockets| sockets.address)
    }
}

/// Envoy `traffic_direction`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Not said.
    Unspecified,
    /// Towards the local application.
    Inbound,
    /// From the local application.
    Outbound,
}

/// Settings of one listener.
#[derive(Debug)]
pub struct Listener {
    /// xDS resource name.
    pub name: Box<str>,
    /// Address to bind, or to be matched by when `bind_to_port` is false. Port 0 lets the kernel choose.
    pub address: SocketAddr,
    /// False: reachable only through a listener with `use_original_dst`.
    pub bind_to_port: bool,
    /// `ipv4_compat` of a v6 wildcard address: also accept IPv4.
    pub ipv4_compat: bool,
    /// Hand connections to the listener that owns their original destination.
    pub use_original_dst: bool,
    /// An `original_dst` listener filter is present: restore the destination before chain matching.
    pub original_dst: bool,
    /// A `tls_inspector` or `http_inspector` listener filter is present: peek before chain matching.
    pub inspect: Inspect,
    /// How long peeking may take; zero means no limit.
    pub listener_filters_timeout: Duration,
    /// After that time: go on as opaque (true) or close (false).
    pub continue_on_timeout: bool,
    /// Direction, for drain scope and logs.
    pub direction: Direction,
    /// listen(2) backlog.
    pub backlog: u32,
    /// `ignore_global_conn_limit`: its connections do not count for the limit of the process.
    pub ignores_connection_limit: bool,
    /// `bypass_overload_manager`: serves as ever when the process has too much to do.
    pub bypasses_overload: bool,
    /// Chains in configuration order.
    pub chains: Vec<Arc<FilterChain>>,
    /// Taken when no chain matches.
    pub default_chain: Option<Arc<FilterChain>>,
    /// Metadata, for logs.
    pub metadata: Option<Arc<Namespaces>>,
    /// Access loggers of its connections.
    pub access_logs: Vec<Arc<AccessLog>>,
    /// `listener.<stat prefix or address>.`, what its statistics are called by.
    pub stats_prefix: Box<str>,
    /// Handles of them.
    pub stats: ListenerStats,
}

/// Which protocol facts the listener filters find out before the chain is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inspect {
    /// Detect TLS, SNI and ALPN.
    pub tls: bool,
    /// Detect HTTP/1.x and HTTP/2 prior knowledge on plaintext.
    pub http: bool,
}

/// Criteria of one chain; empty means any. All present criteria must hold.
/// Selection follows Envoy's fixed order without back-tracking (see `Listener::find_chain`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChainMatch {
    /// Port of the restored destination.
    pub destination_port: Option<u16>,
    /// Destination networks.
    pub prefix_ranges: Vec<IpNet>,
    /// Lower-case names, `*.suffix` allowed.
    pub server_names: Vec<Box<str>>,
    /// `tls` or `raw_buffer`.
    pub transport_protocol: Option<TransportProtocol>,
    /// Any of these among the detected application protocols; of several chains the one with what the client wants most.
    pub application_protocols: Vec<Box<str>>,
    /// Peer networks before any address restoration.
    pub direct_source_ranges: Vec<IpNet>,
    /// Peer networks.
    pub source_ranges: Vec<IpNet>,
    /// Same host, other host, or any.
    pub source_type: SourceType,
    /// Peer ports.
    pub source_ports: Vec<u16>,
}

/// Detected transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportProtocol {
    /// A TLS ClientHello came first.
    Tls,
    /// Anything else.
    RawBuffer,
}

/// Envoy `ConnectionSourceType`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SourceType {
    /// No condition.
    #[default]
    Any,
    /// From this host.
    SameIpOrLoopback,
    /// From elsewhere.
    External,
}

/// What is known of a new connection when its chain is chosen.
#[derive(Debug)]
pub struct ConnectionFacts<'a> {
    /// Restored destination, else the local address.
    pub destination: SocketAddr,
    /// Peer address.
    pub source: SocketAddr,
    /// SNI in lower case, when TLS was seen.
    pub server_name: Option<&'a str>,
    /// Transport; `RawBuffer` when nothing was inspected.
    pub transport: TransportProtocol,
    /// ALPN list of the ClientHello, or what the HTTP inspector found.
    pub application_protocols: &'a [Box<str>],
}

/// One filter chain.
#[derive(Debug)]
pub struct FilterChain {
    /// `name`, for `%FILTER_CHAIN_NAME%`.
    pub name: Box<str>,
    /// Criteria.
    pub matches: ChainMatch,
    /// TLS termination; `None` is plaintext.
    pub tls: Option<Arc<ServerTls>>,
    /// Bounds the TLS handshake; zero means no limit, which somebody asked for.
    pub transport_socket_timeout: Duration,
    /// Network filters before the terminal one, which decide whether a connection is served.
    pub guards: Vec<Guard>,
    /// The terminal network filter.
    pub filter: NetworkFilter,
    /// Metadata, for logs.
    pub metadata: Option<Arc<Namespaces>>,
}

/// Terminal network filters.
#[derive(Clone, Debug)]
pub enum NetworkFilter {
    /// HTTP connection manager.
    Http(Arc<HttpSettings>),
    /// Raw TCP.
    Tcp(Arc<TcpSettings>),
}

/// Settings of one `tcp_proxy`.
#[derive(Debug)]
pub struct TcpSettings {
    /// Most bytes that wait in a connection (`per_connection_buffer_limit_bytes`).
    pub buffer_limit: usize,
    /// `stat_prefix`.
    pub stat_prefix: Box<str>,
    /// Cluster or weighted clusters.
    pub clusters: ClusterChoice,
    /// No byte in either direction for this long closes both; zero is off.
    pub idle_timeout: Duration,
    /// Connection attempts before giving up, at least 1.
    pub max_connect_attempts: u32,
    /// Connections are hashed by the client's address, in clusters that hash.
    pub hash_source_ip: bool,
    /// Metadata that hosts must have, in clusters with subsets.
    pub metadata_match: Option<Criteria>,
    /// Access loggers.
    pub access_logs: Vec<Arc<AccessLog>>,
    /// Handles of `tcp.<stat_prefix>.*`.
    pub stats: TcpStats,
}

impl Listener {
    /// Chooses the chain as Envoy does: the criteria are tried in a fixed order, at each step only
    /// the chains with the most specific matching value stay, and there is no back-tracking.
    pub fn find_chain(&self, facts: &ConnectionFacts<'_>) -> Option<&Arc<FilterChain>> {
        let mut left: Vec<&Arc<FilterChain>> = self.chains.iter().collect();
        let ip = facts.destination.ip();
        narrow(&mut left, |m| port_rank(m.destination_port, facts.destination.port()));
        narrow(&mut left, |m| net_rank(&m.prefix_ranges, ip));
        narrow(&mut left, |m| name_rank(&m.server_names, facts.server_name));
        narrow(&mut left, |m| transport_rank(m.transport_protocol, facts.transport));
        narrow(&mut left, |m| alpn_rank(&m.application_protocols, facts.application_protocols));
        narrow(&mut left, |m| net_rank(&m.direct_source_ranges, facts.source.ip()));
        narrow(&mut left, |m| source_type_rank(m.source_type, facts));
        narrow(&mut left, |m| net_rank(&m.source_ranges, facts.source.ip()));
        narrow(&mut left, |m| source_port_rank(&m.source_ports, facts.source.port()));
        left.first().copied().or(self.default_chain.as_ref())
    }
}

/// Keeps the chains with the highest rank. Rank `None` excludes, `Some(0)` is an absent criterion.
fn narrow(left: &mut Vec<&Arc<FilterChain>>, rank: impl Fn(&ChainMatch) -> Option<u32>) {
    let best = left.iter().filter_map(|chain| rank(&chain.matches)).max();
    left.retain(|chain| best.is_some() && rank(&chain.matches) == best);
}

fn port_rank(want: Option<u16>, port: u16) -> Option<u32> {
    match want {
        None => Some(0),
        Some(want) if want == port => Some(1),
        Some(_) => None,
    }
}

fn net_rank(nets: &[IpNet], ip: IpAddr) -> Option<u32> {
    if nets.is_empty() {
        return Some(0);
    }
    nets.iter().filter(|net| net.contains(&ip)).map(|net| 1 + u32::from(net.prefix_len())).max()
}

fn name_rank(names: &[Box<str>], sni: Option<&str>) -> Option<u32> {
    if names.is_empty() {
        return Some(0);
    }
    let sni = sni?;
    names.iter().filter_map(|name| server_name_rank(name, sni)).max()
}

/// An exact name beats every wildcard, a longer wildcard beats a shorter one.
fn server_name_rank(name: &str, sni: &str) -> Option<u32> {
    match name.strip_prefix('*') {
        None => (name == sni).then_some(u32::MAX),
        Some(suffix) => (sni.len() > suffix.len() && sni.ends_with(suffix)).then_some(suffix.len() as u32),
    }
}

fn transport_rank(want: Option<TransportProtocol>, found: TransportProtocol) -> Option<u32> {
    match want {
        None => Some(0),
        Some(want) if want == found => Some(1),
        Some(_) => None,
    }
}

fn alpn_rank(want: &[Box<str>], found: &[Box<str>]) -> Option<u32> {
    if want.is_empty() {
        return Some(0);
    }
    let place = found.iter().position(|name| want.contains(name))?;
    Some(u32::MAX - u32::try_from(place).unwrap_or(u32::MAX - 1))
}

fn source_type_rank(want: SourceType, facts: &ConnectionFacts<'_>) -> Option<u32> {
    let local = facts.source.ip().is_loopback() || facts.source.ip() == facts.destination.ip();
    match want {
        SourceType::Any => Some(0),
        SourceType::SameIpOrLoopback => local.then_some(1),
        SourceType::External => (!local).then_some(1),
    }
}

fn source_port_rank(ports: &[u16], port: u16) -> Option<u32> {
    if ports.is_empty() {
        return Some(0);
    }
    ports.contains(&port).then_some(1)
}
