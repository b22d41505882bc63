//! TLS termination: the handshake of an accepted connection under its chain's configuration. And what handshakes, on
//! either side, count in.

use std::io;
use std::time::Duration;

use rustls::{CertificateError, HandshakeKind};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::config::secret::ServerTls;
use crate::net::stream::Stream;
use crate::stats::registry::Shard;
use crate::stats::scope::TlsStats;

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

/// Counts a completed handshake.
pub fn count_handshake(stats: &TlsStats, shard: &Shard, io: &Stream) {
    let (resumed, anonymous) = match io {
        Stream::TlsServer(tls) => facts(tls.get_ref().1),
        Stream::TlsClient(tls) => facts(tls.get_ref().1),
        Stream::Tcp(_) | Stream::Unix(_) => return,
    };
    shard.inc(stats.handshake);
    if resumed {
        shard.inc(stats.session_reused);
    }
    if anonymous {
        shard.inc(stats.no_certificate);
    }
}

/// Whether the session was resumed, and whether the peer showed no certificate.
fn facts(session: &rustls::CommonState) -> (bool, bool) {
    let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
    (resumed, session.peer_certificates().is_none())
}

/// Counts a failed handshake. A peer that went away without a word counts nowhere, as in Envoy.
pub fn count_failure(stats: &TlsStats, shard: &Shard, error: &io::Error) {
    let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else { return };
    shard.inc(match error {
        rustls::Error::NoCertificatesPresented => stats.fail_verify_no_cert,
        rustls::Error::InvalidCertificate(CertificateError::NotValidForName) => stats.fail_verify_san,
        rustls::Error::InvalidCertificate(_) => stats.fail_verify_error,
        _ => stats.connection_error,
    });
}
