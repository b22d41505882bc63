//! TLS termination: the handshake of an accepted connection under its chain's configuration, and who the client is. And
//! what handshakes, on either side, count in.

use std::io;
mod identity;

use std::time::Duration;

use rustls::{CertificateError, CipherSuite, CommonState, HandshakeKind, NamedGroup, ProtocolVersion};
use rustls_pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

pub use identity::{Fingerprint, PeerIdentity, UpstreamTls};

use crate::config::secret::ServerTls;
use crate::net::stream::Stream;
use crate::stats::registry::{Counter, Shard};
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

/// What a handshake agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    version: ProtocolVersion,
    cipher: CipherSuite,
    group: Option<NamedGroup>,
}

impl Agreed {
    /// On a connection of either side; `None` without TLS.
    pub fn of(io: &Stream) -> Option<Self> {
        let session = session(io)?;
        let cipher = session.negotiated_cipher_suite()?.suite();
        let group = session.negotiated_key_exchange_group().map(|group| group.name());
        Some(Self { version: session.protocol_version()?, cipher, group })
    }

    /// Number of the cipher suite (IANA).
    pub fn suite(self) -> u16 {
        self.cipher.into()
    }

    /// BoringSSL's name of the key exchange group, as Envoy prints it; empty for a resumed session without one.
    pub fn group(self) -> &'static str {
        match self.group {
            Some(NamedGroup::X25519) => "X25519",
            Some(NamedGroup::secp256r1) => "P-256",
            Some(NamedGroup::secp384r1) => "P-384",
            Some(NamedGroup::X25519MLKEM768) => "X25519MLKEM768",
            _ => "",
        }
    }

    /// `TLSv1.3`, as Envoy prints it.
    pub fn version(self) -> &'static str {
        match self.version {
            ProtocolVersion::TLSv1_2 => "TLSv1.2",
            _ => "TLSv1.3",
        }
    }

    /// OpenSSL's name of the cipher suite, as Envoy prints it; empty for one that is not offered here.
    pub fn cipher(self) -> &'static str {
        match self.cipher {
            CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
            CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => "ECDHE-ECDSA-AES128-GCM-SHA256",
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => "ECDHE-ECDSA-AES256-GCM-SHA384",
            CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-ECDSA-CHACHA20-POLY1305",
            CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => "ECDHE-RSA-AES128-GCM-SHA256",
            CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => "ECDHE-RSA-AES256-GCM-SHA384",
            CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-RSA-CHACHA20-POLY1305",
            _ => "",
        }
    }
}

/// The TLS session of a connection of either side.
fn session(io: &Stream) -> Option<&CommonState> {
    match io {
        Stream::TlsServer(tls) => Some(tls.get_ref().1),
        Stream::TlsClient(tls) => Some(tls.get_ref().1),
        Stream::TlsUnix(tls) => Some(tls.get_ref().1),
        Stream::Tcp(_) | Stream::Unix(_) => None,
    }
}

/// The chain that the peer has shown, leaf first; empty where it has shown none.
pub fn peer_chain(io: &Stream) -> &[CertificateDer<'static>] {
    session(io).and_then(|session| session.peer_certificates()).unwrap_or_default()
}

/// Counts a completed handshake and what it agreed on.
pub fn count_handshake(stats: &TlsStats, shard: &Shard, io: &Stream) {
    let Some(session) = session(io) else { return };
    shard.inc(stats.handshake);
    if session.handshake_kind() == Some(HandshakeKind::Resumed) {
        shard.inc(stats.session_reused);
    }
    if session.peer_certificates().is_none() {
        shard.inc(stats.no_certificate);
    }
    let agreed = [version(stats, session), cipher(stats, session), curve(stats, session)];
    agreed.into_iter().flatten().for_each(|counter| shard.inc(counter));
}

fn version(stats: &TlsStats, session: &CommonState) -> Option<Counter> {
    match session.protocol_version()? {
        ProtocolVersion::TLSv1_2 => Some(stats.tls12),
        ProtocolVersion::TLSv1_3 => Some(stats.tls13),
        _ => None,
    }
}

fn cipher(stats: &TlsStats, session: &CommonState) -> Option<Counter> {
    match session.negotiated_cipher_suite()?.suite() {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => Some(stats.aes_128_gcm),
        CipherSuite::TLS13_AES_256_GCM_SHA384 => Some(stats.aes_256_gcm),
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => Some(stats.chacha20),
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => Some(stats.ecdsa_aes_128_gcm),
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => Some(stats.ecdsa_aes_256_gcm),
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => Some(stats.ecdsa_chacha20),
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => Some(stats.rsa_aes_128_gcm),
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => Some(stats.rsa_aes_256_gcm),
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => Some(stats.rsa_chacha20),
        _ => None,
    }
}

/// A resumed session has none, as it exchanged no keys.
fn curve(stats: &TlsStats, session: &CommonState) -> Option<Counter> {
    match session.negotiated_key_exchange_group()?.name() {
        NamedGroup::X25519 => Some(stats.x25519),
        NamedGroup::secp256r1 => Some(stats.p256),
        NamedGroup::secp384r1 => Some(stats.p384),
        NamedGroup::X25519MLKEM768 => Some(stats.x25519_mlkem768),
        _ => None,
    }
}

/// What went wrong in a handshake, as logs tell of it; empty when the peer went away without a word.
pub fn failure(error: &io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(error) => format!("TLS_error:{error}"),
        None => String::new(),
    }
}

/// Counts a failed handshake. A peer that went away without a word counts nowhere, as in Envoy.
pub fn count_failure(stats: &TlsStats, shard: &Shard, error: &io::Error) {
    let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else { return };
    shard.inc(match error {
        rustls::Error::NoCertificatesPresented => stats.fail_verify_no_cert,
        rustls::Error::InvalidCertificate(CertificateError::NotValidForName) => stats.fail_verify_san,
        rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure) => {
            stats.fail_verify_cert_hash
        }
        rustls::Error::InvalidCertificate(_) => stats.fail_verify_error,
        _ => stats.connection_error,
    });
}
