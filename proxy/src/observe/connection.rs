//! What is known of the two connections of an exchange, for as long as they live: loggers read it, nothing else does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::config::cluster::Host;
use crate::config::listener::Listener;
use crate::config::metadata::Namespaces;
use crate::config::secret::described::Described;
use crate::tls::UpstreamTls;

/// An accepted connection.
#[derive(Clone, Debug)]
pub struct DownstreamConnection {
    /// It was accepted then.
    pub opened: Instant,
    /// The TLS handshake: begun, done. `None` without TLS.
    pub handshake: Option<(Instant, Instant)>,
    /// Our address of the socket, whatever address the client meant.
    pub own_address: SocketAddr,
    /// Names of the certificate that the client was shown; `None` without TLS.
    pub own: Option<Arc<Described>>,
    /// The listener that serves it.
    pub listener: Arc<Listener>,
    /// Metadata of the filter chain.
    pub chain: Option<Arc<Namespaces>>,
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
