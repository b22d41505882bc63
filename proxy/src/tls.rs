//! TLS termination: the handshake of an accepted connection under its chain's configuration.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::config::secret::ServerTls;
use crate::net::stream::Stream;

/// Completes the handshake within `timeout` (zero: no limit).
pub async fn accept(tls: &ServerTls, tcp: TcpStream, timeout: Duration) -> io::Result<Stream> {
    let handshake = TlsAcceptor::from(tls.config.clone()).accept(tcp);
    let accepted = if timeout.is_zero() {
        handshake.await?
    } else {
        tokio::time::timeout(timeout, handshake).await.map_err(|_| io::ErrorKind::TimedOut)??
    };
    Ok(Stream::TlsServer(Box::new(accepted)))
}
