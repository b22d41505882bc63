//! HTTP/1.1, our own codec. RFC 9112, stricter where a proxy must be: whatever two parsers could read
//! differently is refused, so a message means the same to us and to whoever gets it from us.
//!
//! From the socket up: [`buffers`] and [`wire`] hold and move bytes; [`parse`], [`target`], [`framing`] and
//! [`chunked`] read them; [`incoming`], [`request`] and [`response`] make heads of them; [`source`] and
//! [`sink`] are the bodies in either direction; [`encode`] writes; [`server`] and [`client`] are the halves.

mod buffers;
mod chunked;
mod client;
mod encode;
mod framing;
mod incoming;
mod parse;
mod request;
mod response;
mod server;
mod sink;
mod source;
mod target;
mod trailers;
mod wire;

#[cfg(any(test, fuzzing))]
pub(crate) mod tests;

pub use client::ClientConn;
pub use server::ServerConn;

use crate::config::listener::HeaderCase;

/// Limits and habits of the server half, from the connection manager.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Request head limit, bytes: 431 beyond.
    pub max_head_bytes: usize,
    /// Field count limit: 431 beyond. Trailers count against the same limits.
    pub max_fields: usize,
    /// Accept HTTP/1.0; 426 otherwise.
    pub accept_http_10: bool,
    /// Host to assume for HTTP/1.0 requests without one.
    pub default_host_for_http_10: Option<Box<str>>,
    /// Accept absolute-form targets.
    pub allow_absolute_url: bool,
    /// Pass trailers on; otherwise they are parsed, checked and dropped.
    pub trailers: bool,
    /// Name case on the wire.
    pub header_case: HeaderCase,
    /// Long bodies may be read in large pieces.
    pub large_reads: bool,
}

/// Limits and habits of the client half, from the cluster.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Response head limit, bytes.
    pub max_head_bytes: usize,
    /// Field count limit.
    pub max_fields: usize,
    /// Pass trailers on.
    pub trailers: bool,
    /// Name case on the wire.
    pub header_case: HeaderCase,
    /// Long bodies may be read in large pieces.
    pub large_reads: bool,
}
