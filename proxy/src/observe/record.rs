//! Everything known about one finished (or failed) exchange or TCP connection, borrowed from its
//! owner for the moment of logging. Formatters read it; nothing here allocates.

use std::net::SocketAddr;
use std::time::{Instant, SystemTime};

use crate::base::error::ResponseFlags;
use crate::config::cluster::Host;
use crate::http::head::{HeaderBlock, RequestHead, ResponseHead, Version};
use crate::tls::{Agreed, PeerIdentity};

/// Points in time of one exchange; `None` is "did not happen".
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Wall clock at the first byte of the request.
    pub started_at: SystemTime,
    /// Monotonic clock at that moment; all durations count from here.
    pub started: Instant,
    /// Last byte of the request received.
    pub request_complete: Option<Instant>,
    /// Last byte of the request sent upstream.
    pub upstream_sent: Option<Instant>,
    /// First byte of the response received from upstream.
    pub upstream_first_byte: Option<Instant>,
    /// Last byte sent downstream, or the end of the connection.
    pub finished: Option<Instant>,
}

/// One exchange or connection, as loggers see it.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
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
    /// Protocol spoken downstream; `None` for TCP.
    pub protocol: Option<Version>,
    /// Protocol spoken upstream.
    pub upstream_protocol: Option<Version>,
    /// Body bytes from the client (TCP: connection bytes).
    pub bytes_received: u64,
    /// Body bytes to the client.
    pub bytes_sent: u64,
    /// Points in time.
    pub timing: Timing,
    /// Host that was tried last.
    pub upstream_host: Option<&'a Host>,
    /// Our address on the upstream connection.
    pub upstream_local_address: Option<SocketAddr>,
    /// Cluster chosen.
    pub cluster: &'a str,
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
    /// A caller inside forced a trace of the request.
    pub trace_forced: bool,
    /// Number of the downstream connection.
    pub connection_id: u64,
    /// Body of a local reply.
    pub local_reply_body: &'a [u8],
    /// A health check, as the filter for them recognised it.
    pub health_check: bool,
}
