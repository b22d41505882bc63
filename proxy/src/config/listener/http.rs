//! Settings of one HTTP connection manager.
//! Source: `envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::base::ids::RouteTableId;
use crate::config::filter::HttpFilter;
use crate::observe::access_log::AccessLog;
use crate::observe::trace::tracer::HttpTracing;
use crate::stats::scope::HttpStats;

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
    /// The listener's `drain_type` is DEFAULT: failing health checks asks connections to end, as a drain does.
    pub drains_when_failing: bool,
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
    Inline(Arc<crate::config::RouteTable>),
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
