//! Compiled listeners: address, filter chains and their match tables, HTTP and TCP settings.
//! Source: `envoy.config.listener.v3.Listener`, `HttpConnectionManager`, `TcpProxy`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::filter::HttpFilter;
use super::guard::Guard;
use super::live::ListenerSockets;
use super::metadata::Namespaces;
use super::route::ClusterChoice;
use super::secret::ServerTls;
use super::subset::Criteria;
use crate::base::ids::RouteTableId;
use crate::observe::access_log::AccessLog;
use crate::observe::trace::tracer::HttpTracing;
use crate::stats::scope::{HttpStats, ListenerStats, TcpStats};

/// A listener in a snapshot: its settings and, when it binds, its sockets.
#[derive(Debug)]
pub struct ListenerSlot {
    /// Settings; replaced as a whole by an in-place update.
    pub config: Arc<Listener>,
    /// Bound sockets, one per worker, carried over unchanged while the address stays.
    /// `None` for `bind_to_port: false`.
    pub sockets: Option<Arc<ListenerSockets>>,
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
    /// Handles of `listener.<address>.*`.
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
    /// Any of these among the detected application protocols.
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
    /// Bounds the TLS handshake; zero means no limit.
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

/// `codec_type` of the connection manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodecType {
    /// ALPN, else the HTTP/2 preface decides.
    Auto,
    /// HTTP/1 only.
    Http1,
    /// HTTP/2 only.
    Http2,
}

/// What is done with `x-forwarded-client-cert`. Source: `forward_client_cert_details`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ForwardClientCert {
    /// What is done.
    pub mode: ClientCertMode,
    /// What is told of the client beside its certificate's hash.
    pub parts: ClientCertParts,
}

/// Envoy `ForwardClientCertDetails`. All but the last believe only clients that have shown a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertMode {
    /// Remove what the client sent.
    #[default]
    Sanitize,
    /// Pass it on.
    ForwardOnly,
    /// Pass it on and add the client.
    AppendForward,
    /// Replace it by the client.
    SanitizeSet,
    /// Pass it on, whoever sent it.
    AlwaysForwardOnly,
}

/// Envoy `SetCurrentClientCertDetails`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientCertParts {
    /// `Subject`.
    pub subject: bool,
    /// `Cert`: the certificate as PEM.
    pub cert: bool,
    /// `Chain`: all certificates that the client has shown.
    pub chain: bool,
    /// `DNS`.
    pub dns: bool,
    /// `URI`.
    pub uri: bool,
}

/// Settings of one HTTP connection manager.
#[derive(Debug)]
pub struct HttpSettings {
    /// `stat_prefix`.
    pub stat_prefix: Box<str>,
    /// Codec choice.
    pub codec: CodecType,
    /// Where routes come from; the id resolves in the request's own snapshot.
    pub routes: RouteSource,
    /// HTTP/1 settings.
    pub http1: Http1Settings,
    /// HTTP/2 settings.
    pub http2: Http2Settings,
    /// Request head limit in bytes (`max_request_headers_kb`).
    pub max_head_bytes: usize,
    /// Field count limit.
    pub max_fields: usize,
    /// Connection idle timeout; zero is off.
    pub idle_timeout: Duration,
    /// Stream idle timeout; zero is off.
    pub stream_idle_timeout: Duration,
    /// Whole request must arrive within; zero is off.
    pub request_timeout: Duration,
    /// Request head must arrive within; zero is off.
    pub request_headers_timeout: Duration,
    /// Longest life of a stream; zero is off.
    pub max_stream_duration: Duration,
    /// Longest life of a connection; zero is off.
    pub max_connection_duration: Duration,
    /// Requests per connection; zero is no limit.
    pub max_requests_per_connection: u32,
    /// Grace between the last byte and close(2), so that the peer can read the reply.
    pub delayed_close_timeout: Duration,
    /// Value of `server`; `None` passes the upstream's through.
    pub server_header: ServerHeader,
    /// Trust and append the peer address (edge).
    pub use_remote_address: bool,
    /// Trusted proxies in front.
    pub xff_num_trusted_hops: u32,
    /// Do not append to `x-forwarded-for`.
    pub skip_xff_append: bool,
    /// Tell the upstream the port that the client came to (`x-forwarded-port`).
    pub append_x_forwarded_port: bool,
    /// Networks whose peers count as internal.
    pub internal_ranges: Vec<IpNet>,
    /// Generate `x-request-id` when missing.
    pub generate_request_id: bool,
    /// Keep the caller's `x-request-id` at the edge.
    pub preserve_external_request_id: bool,
    /// Return `x-request-id` in responses.
    pub always_set_request_id_in_response: bool,
    /// Lower-case upgrade types that are allowed here, for example `websocket`, `connect`.
    pub upgrades: Vec<Box<str>>,
    /// RFC 3986 path normalisation before matching.
    pub normalize_path: bool,
    /// Collapse `//`.
    pub merge_slashes: bool,
    /// What to do with `%2F` and `%5C`.
    pub escaped_slashes: EscapedSlashes,
    /// Header names with `_`.
    pub underscores: Underscores,
    /// Take the final dot off Host before matching.
    pub strip_trailing_dot: bool,
    /// Strip the port of Host before matching: never, when it equals the listener's, always.
    pub strip_host_port: StripHostPort,
    /// Forward `Expect: 100-continue` instead of answering it.
    pub proxy_100_continue: bool,
    /// `x-forwarded-client-cert`.
    pub client_cert: ForwardClientCert,
    /// Suppress `x-envoy-*` response headers (router filter).
    pub suppress_envoy_headers: bool,
    /// Take the route timeout from `x-envoy-expected-rq-timeout-ms`, which the hop before set.
    pub respect_expected_rq_timeout: bool,
    /// `Via` entry to append.
    pub via: Option<Box<str>>,
    /// Access loggers; empty is off.
    pub access_logs: Vec<Arc<AccessLog>>,
    /// The listener's `bypass_overload_manager`.
    pub bypasses_overload: bool,
    /// Most bytes that wait in a connection (`per_connection_buffer_limit_bytes`), and of a body that may be sent again
    /// unless the route says otherwise.
    pub buffer_limit: usize,
    /// Mark answers that overload gives with `x-envoy-local-overloaded`.
    pub append_local_overload: bool,
    /// HTTP filters before the router, in order.
    pub filters: Vec<HttpFilter>,
    /// What is traced; `None` is off.
    pub tracing: Option<HttpTracing>,
    /// Handles of `http.<stat_prefix>.*`.
    pub stats: HttpStats,
}

/// Where a connection manager takes its route table from.
#[derive(Clone, Debug)]
pub enum RouteSource {
    /// Table of the snapshot (RDS).
    Rds(RouteTableId),
    /// Table written inside the listener.
    Inline(Arc<super::RouteTable>),
}

/// HTTP/1 options of the connection manager.
#[derive(Clone, Debug)]
pub struct Http1Settings {
    /// Accept HTTP/1.0; otherwise 426.
    pub accept_http_10: bool,
    /// Host to assume for an HTTP/1.0 request without one.
    pub default_host_for_http_10: Option<Box<str>>,
    /// Accept absolute-form targets.
    pub allow_absolute_url: bool,
    /// Forward trailers.
    pub enable_trailers: bool,
    /// How header names are written.
    pub header_case: HeaderCase,
}

/// `header_key_format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HeaderCase {
    /// `content-type`: Envoy's default.
    #[default]
    Lower,
    /// `Content-Type`.
    Proper,
}

/// HTTP/2 options and flood limits.
#[derive(Clone, Debug)]
pub struct Http2Settings {
    /// Our SETTINGS_MAX_CONCURRENT_STREAMS.
    pub max_concurrent_streams: u32,
    /// Initial stream window, bytes.
    pub stream_window: u32,
    /// Initial connection window, bytes.
    pub connection_window: u32,
    /// HPACK table size, bytes.
    pub hpack_table_size: u32,
    /// Accept extended CONNECT.
    pub allow_connect: bool,
    /// PING interval; zero is off.
    pub keepalive_interval: Duration,
    /// PING answer must come within.
    pub keepalive_timeout: Duration,
}

/// `server_header_transformation` with the name to write.
#[derive(Clone, Debug)]
pub enum ServerHeader {
    /// Replace.
    Overwrite(Box<str>),
    /// Only when the upstream sent none.
    AppendIfAbsent(Box<str>),
    /// Leave alone.
    PassThrough,
}

/// `path_with_escaped_slashes_action`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EscapedSlashes {
    /// As they are.
    KeepUnchanged,
    /// 400.
    Reject,
    /// 307 to the unescaped path.
    UnescapeAndRedirect,
    /// Go on with the unescaped path.
    UnescapeAndForward,
}

/// `headers_with_underscores_action`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Underscores {
    /// Forward.
    Allow,
    /// 400.
    Reject,
    /// Remove the field.
    Drop,
}

/// `strip_matching_host_port` / `strip_any_host_port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StripHostPort {
    /// The port is part of the host.
    Never,
    /// When it is the port the request came in on.
    Matching,
    /// Always.
    Any,
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
    want.iter().any(|name| found.contains(name)).then_some(1)
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
