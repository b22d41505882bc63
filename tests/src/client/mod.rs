//! Clients that put exactly the wanted bytes, frames or messages on the wire and show exactly what came back.

pub mod frames;
pub mod grpc;
pub mod h1;
pub mod h2;

use std::time::Duration;

/// The bound on every single wait of a client.
pub const LIMIT: Duration = Duration::from_secs(10);

/// What a client speaks over: plain TCP, or TLS on it.
pub trait Io: tokio::io::AsyncRead + tokio::io::AsyncWrite + std::fmt::Debug + Send + Unpin {}

impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + std::fmt::Debug + Send + Unpin> Io for T {}
