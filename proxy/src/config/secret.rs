//! TLS settings as ready rustls configurations. Built by the translator; a new secret makes a new one,
//! and connections keep the one they started with.
//!
//! Envoy decides trust by certificate authority and subject alternative names, not by host name, so both
//! sides have verifiers of their own ([`verify`]). Where nothing may pass yet, a configuration that fails
//! every handshake stands in its place: plaintext is never the fallback.

pub mod certificates;
pub mod verify;

use std::sync::Arc;

use crate::stats::scope::TlsStats;

/// Server side of a filter chain.
#[derive(Debug)]
pub struct ServerTls {
    /// Ready to accept with.
    pub config: Arc<rustls::ServerConfig>,
    /// Handles of `listener.<address>.ssl.*`.
    pub stats: TlsStats,
}

/// Client side of a cluster.
#[derive(Debug)]
pub struct ClientTls {
    /// Ready to connect with.
    pub config: Arc<rustls::ClientConfig>,
    /// Handles of `cluster.<name>.ssl.*`.
    pub stats: TlsStats,
    /// Name sent as SNI; `None` sends none.
    pub sni: Option<rustls_pki_types::ServerName<'static>>,
    /// Grows with every rebuild: pools do not reuse connections across generations.
    pub generation: u64,
}
