//! What is known of the two connections of an exchange, for as long as they live. Rules, routes and loggers read it.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::base::details::Details;
use crate::base::error::ResponseFlags;
use crate::base::metadata::DynamicMetadata;
use crate::config::cluster::Host;
use crate::config::listener::{FilterChain, Listener};
use crate::config::secret::described::Described;
use crate::tls::{Agreed, PeerIdentity, UpstreamTls};

/// An accepted connection.
#[derive(Debug)]
pub struct DownstreamConnection {
    /// Number; 0 while no filter chain serves it.
    pub id: u64,
    /// It was accepted then.
    pub opened: Instant,
    /// The same by the wall clock.
    pub opened_at: SystemTime,
    /// Peer of the socket.
    pub peer: SocketAddr,
    /// The address that the client meant: the restored original destination, else ours.
    pub destination: SocketAddr,
    /// Our address of the socket, whatever address the client meant.
    pub own_address: SocketAddr,
    /// SNI; empty without.
    pub server_name: Box<str>,
    /// The listener that serves it.
    pub listener: Arc<Listener>,
    /// The filter chain that serves it.
    pub chain: Option<Arc<FilterChain>>,
    /// The TLS handshake: begun, done. `None` without TLS.
    pub handshake: Option<(Instant, Instant)>,
    /// What TLS agreed on.
    pub agreed: Option<Agreed>,
    /// Who the client is, when it has shown a certificate. Verified as the filter chain demands.
    pub identity: Option<Rc<PeerIdentity>>,
    /// Names of the certificate that the client was shown; `None` without TLS.
    pub own: Option<Arc<Described>>,
    /// What network filters left for logs.
    pub metadata: Option<Box<DynamicMetadata>>,
}

/// Why a connection is not served, as its logs tell of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// Response flags.
    pub flags: ResponseFlags,
    /// Response-code details; empty when there are none.
    pub details: Details,
    /// Why it ends, where a filter or a limit has ended it.
    pub termination: String,
    /// What went wrong in the TLS handshake.
    pub handshake_failure: String,
    /// Why we have closed it; empty when the client has, or where Envoy has no word for it.
    pub closed: &'static str,
}

/// A connection to a host.
#[derive(Clone, Debug)]
pub struct UpstreamConnection {
    /// Number, of the same row as those of downstream connections.
    pub id: u64,
    /// The host.
    pub host: Arc<Host>,
    /// Our address; `None` on a Unix socket.
    pub local_address: Option<SocketAddr>,
    /// connect(2) was called then.
    pub begun: Instant,
    /// It was connected then.
    pub connected: Instant,
    /// TLS was ready then; `None` without.
    pub secured: Option<Instant>,
    /// What TLS told.
    pub tls: Option<UpstreamTls>,
}
