//! Everything known about one finished (or failed) exchange or TCP connection, borrowed from its
//! owner for the moment of logging. Formatters read it; nothing here allocates.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Instant, SystemTime};

use super::connection::{DownstreamConnection, UpstreamConnection};
use super::trace::span::Span;
use crate::base::error::ResponseFlags;
use crate::base::metadata::DynamicMetadata;
use crate::config::cluster::Host;
use crate::config::metadata::Namespaces;
pub use crate::http::codec::Measured;
use crate::http::head::{HeaderBlock, RequestHead, ResponseHead, Version};
use crate::tls::{Agreed, PeerIdentity};

/// Metadata of what an exchange went through.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecordMetadata<'a> {
    /// Of the route.
    pub route: Option<&'a Namespaces>,
    /// Of the virtual host.
    pub virtual_host: Option<&'a Namespaces>,
    /// Of the cluster.
    pub cluster: Option<&'a Namespaces>,
}

/// A request's span, and how its provider prints identifiers.
#[derive(Clone, Copy, Debug)]
pub struct Trace<'a> {
    /// The span.
    pub span: &'a Span,
    /// Trace identifiers are printed in X-Ray's form.
    pub xray: bool,
}

/// How a connection was seen to end while it was logged. Of requests Envoy tells no end of their connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Closes {
    /// The client has reset it.
    pub downstream_reset: bool,
    /// The host has reset it.
    pub upstream_reset: bool,
    /// Why we have closed them; empty when we have not.
    pub reason: &'static str,
}

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A request.
    Request,
    /// A connection under a TCP proxy.
    TcpSession,
    /// Any other connection: under a connection manager, or before its filter chain was known.
    Connection,
}

/// Points in time of one exchange; `None` is "did not happen".
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Wall clock at the first byte of the request.
    pub started_at: SystemTime,
    /// Monotonic clock at that moment; all durations count from here.
    pub started: Instant,
    /// Last byte of the request received.
    pub request_complete: Option<Instant>,
    /// A stream to the host was there, or could not be had.
    pub pool_ready: Option<Instant>,
    /// The request's head went to the host.
    pub upstream_begun: Option<Instant>,
    /// Last byte of the request sent upstream.
    pub upstream_sent: Option<Instant>,
    /// First byte of the response received from upstream.
    pub upstream_first_byte: Option<Instant>,
    /// First byte of its body.
    pub upstream_body: Option<Instant>,
    /// Last byte of the response received from upstream.
    pub upstream_complete: Option<Instant>,
    /// The response's head went downstream.
    pub response_begun: Option<Instant>,
    /// Last byte sent downstream, or the end of the connection.
    pub finished: Option<Instant>,
}

impl Timing {
    /// Nothing but the beginning has happened.
    pub fn begun(started_at: SystemTime, started: Instant) -> Self {
        Self {
            started_at,
            started,
            request_complete: None,
            pool_ready: None,
            upstream_begun: None,
            upstream_sent: None,
            upstream_first_byte: None,
            upstream_body: None,
            upstream_complete: None,
            response_begun: None,
            finished: None,
        }
    }
}

/// One exchange or connection, as loggers see it.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// What it is about.
    pub subject: Subject,
    /// The listener's own loggers read it, not those of a filter.
    pub at_listener: bool,
    /// Request as received, after edits; `None` for TCP and for heads that never parsed.
    pub request: Option<&'a RequestHead>,
    /// Path and query before rewriting, when it was rewritten.
    pub original_path: Option<&'a [u8]>,
    /// Response head as sent downstream.
    pub response: Option<&'a ResponseHead>,
    /// Response trailers.
    pub trailers: Option<&'a HeaderBlock>,
    /// Status sent; 0 when none was.
    pub status: u16,
    /// Response flags.
    pub flags: ResponseFlags,
    /// Response-code details; empty when there are none.
    pub details: &'a str,
    /// Why the connection to the upstream failed; empty when it did not.
    pub upstream_failure: &'a str,
    /// What went wrong in the TLS handshake with the client; empty when nothing did.
    pub downstream_failure: &'a str,
    /// Protocol spoken downstream; `None` for TCP.
    pub protocol: Option<Version>,
    /// Protocol spoken upstream.
    pub upstream_protocol: Option<Version>,
    /// Body bytes from the client (TCP: connection bytes).
    pub bytes_received: u64,
    /// Body bytes to the client.
    pub bytes_sent: u64,
    /// What the client's stream or connection took on the wire.
    pub downstream_wire: Measured,
    /// What the attempts took on theirs, all together.
    pub upstream_wire: Measured,
    /// How connections ended.
    pub closes: Closes,
    /// Why a filter has ended the connection; empty when none has.
    pub termination: &'a str,
    /// Points in time.
    pub timing: Timing,
    /// Host that was tried last.
    pub upstream_host: Option<&'a Host>,
    /// The connection that the last attempt had.
    pub upstream: Option<&'a UpstreamConnection>,
    /// Those of the attempts before.
    pub earlier: &'a [Rc<UpstreamConnection>],
    /// The client's connection.
    pub downstream: Option<&'a DownstreamConnection>,
    /// Metadata.
    pub metadata: RecordMetadata<'a>,
    /// Cluster chosen.
    pub cluster: &'a str,
    /// What it is called instead in logs, when it has another name there.
    pub cluster_alias: Option<&'a str>,
    /// Route name.
    pub route_name: &'a str,
    /// Virtual host name.
    pub virtual_host: &'a str,
    /// Filter chain name.
    pub filter_chain: &'a str,
    /// Attempts made upstream; 0 when none.
    pub attempts: u32,
    /// Peer of the TCP connection.
    pub downstream_direct_remote: SocketAddr,
    /// Client as trusted (`x-forwarded-for` aware); the peer when nothing says otherwise.
    pub downstream_remote: SocketAddr,
    /// Address the client meant: the restored original destination.
    pub downstream_local: SocketAddr,
    /// SNI.
    pub server_name: &'a str,
    /// What TLS with the client agreed on; `None` without TLS.
    pub tls: Option<Agreed>,
    /// Who the client is, when it has shown a certificate.
    pub peer: Option<&'a PeerIdentity>,
    /// Its trace, when there is one.
    pub trace: Option<Trace<'a>>,
    /// Number of the downstream connection.
    pub connection_id: u64,
    /// Body of a local reply.
    pub local_reply_body: &'a [u8],
    /// A health check, as the filter for them recognised it.
    pub health_check: bool,
    /// What filters left of the request.
    pub dynamic: Option<&'a DynamicMetadata>,
}

/// The moments at which Envoy's loggers write that exist here. Source: `envoy.data.accesslog.v3.AccessLogType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogType {
    /// A TCP session is over.
    TcpConnectionEnd,
    /// A request is.
    DownstreamEnd,
}

impl<'a> Record<'a> {
    /// The moment of the logger that reads this; `None`: it has no name, as with those of listeners.
    pub fn log_type(&self) -> Option<LogType> {
        match self.subject {
            _ if self.at_listener => None,
            Subject::Request => Some(LogType::DownstreamEnd),
            Subject::TcpSession | Subject::Connection => Some(LogType::TcpConnectionEnd),
        }
    }

    /// Of a connection, with nothing on it yet.
    pub fn of_connection(connection: &'a DownstreamConnection, timing: Timing) -> Self {
        Self {
            subject: Subject::Connection,
            at_listener: false,
            request: None,
            original_path: None,
            response: None,
            trailers: None,
            status: 0,
            flags: ResponseFlags::NONE,
            details: "",
            upstream_failure: "",
            downstream_failure: "",
            protocol: None,
            upstream_protocol: None,
            bytes_received: 0,
            bytes_sent: 0,
            downstream_wire: Measured::default(),
            upstream_wire: Measured::default(),
            closes: Closes::default(),
            termination: "",
            timing,
            upstream_host: None,
            upstream: None,
            earlier: &[],
            downstream: Some(connection),
            metadata: RecordMetadata::default(),
            cluster: "",
            cluster_alias: None,
            route_name: "",
            virtual_host: "",
            filter_chain: connection.chain.as_ref().map_or("", |chain| &chain.name),
            attempts: 0,
            downstream_direct_remote: connection.peer,
            downstream_remote: connection.peer,
            downstream_local: connection.destination,
            server_name: &connection.server_name,
            tls: connection.agreed,
            peer: connection.identity.as_deref(),
            trace: None,
            connection_id: connection.id,
            local_reply_body: b"",
            health_check: false,
            dynamic: connection.metadata.as_deref(),
        }
    }
}
