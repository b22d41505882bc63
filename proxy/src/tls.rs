//! TLS termination: the handshake of an accepted connection under its chain's configuration, and who the client is. And
//! what handshakes, on either side, count in.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::{CertificateError, CipherSuite, CommonState, HandshakeKind, NamedGroup, ProtocolVersion};
use rustls_pki_types::{CertificateDer, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::base::matcher::StringMatch;
use crate::config::secret::trust::Peer;
use crate::config::secret::x509::{Certificate, hexadecimal, serial_text};
use crate::config::secret::{ClientTrust, ServerTls};
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
}

impl Agreed {
    /// On an accepted connection; `None` without TLS.
    pub fn of(io: &Stream) -> Option<Self> {
        let Stream::TlsServer(stream) = io else { return None };
        let session = stream.get_ref().1;
        let cipher = session.negotiated_cipher_suite()?.suite();
        Some(Self { version: session.protocol_version()?, cipher })
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

/// Who the client of a connection is, by the certificate it has shown.
#[derive(Debug)]
pub struct PeerIdentity {
    /// URIs among its subject alternative names: SPIFFE identities.
    pub uris: Vec<String>,
    /// DNS names among them.
    pub dns_names: Vec<String>,
    /// Its subject in RFC 2253 form; empty when it has none.
    pub subject: String,
    /// SHA-256 of the certificate, lower-case hexadecimal.
    pub hash: String,
    /// It was verified, be it in this handshake or, for a resumed session, in the one that it goes back to.
    pub validated: bool,
    /// Its serial number, lower-case hexadecimal.
    pub serial: String,
    /// Who has signed it, in the same form as the subject.
    pub issuer: String,
    /// It is valid from then.
    pub not_before: SystemTime,
    /// It is valid until then.
    pub not_after: SystemTime,
    /// URIs of the certificate that we have shown; of the first one, where there are several.
    pub local_uris: Arc<[String]>,
    chain: Vec<CertificateDer<'static>>,
}

impl PeerIdentity {
    /// Whether a URI or DNS name of the certificate or its subject matches, as RBAC reads names. Who has shown no
    /// certificate has an empty subject.
    pub fn is_named(identity: Option<&Self>, matcher: &StringMatch) -> bool {
        let Some(identity) = identity else { return matcher.matches(b"") };
        let mut names = identity.uris.iter().chain(&identity.dns_names);
        names.any(|name| matcher.matches(name.as_bytes())) || matcher.matches(identity.subject.as_bytes())
    }

    /// Its first URI, else its first DNS name.
    pub fn name(&self) -> Option<&str> {
        self.uris.first().or_else(|| self.dns_names.first()).map(String::as_str)
    }

    /// Of an accepted connection; `None` when the client has shown no certificate.
    pub fn of(io: &Stream, tls: &ServerTls) -> Option<Self> {
        let Stream::TlsServer(stream) = io else { return None };
        let chain = stream.get_ref().1.peer_certificates()?.to_vec();
        let leaf = chain.first()?;
        let parsed = Certificate::parse(leaf)?;
        let hash = hexadecimal(digest(&SHA256, leaf).as_ref());
        Some(Self {
            uris: parsed.uris().map(str::to_owned).collect(),
            dns_names: parsed.dns_names().map(str::to_owned).collect(),
            subject: parsed.subject_text(),
            hash,
            validated: is_verified(&tls.clients, leaf, &chain),
            serial: serial_text(parsed.serial),
            issuer: parsed.issuer_text(),
            not_before: parsed.not_before,
            not_after: parsed.not_after,
            local_uris: tls.own_uris.clone(),
            chain,
        })
    }

    /// Up to `most` certificates of its chain as PEM, with percent signs for what a header cannot hold.
    pub fn pem(&self, most: usize) -> String {
        let mut text = String::new();
        for certificate in self.chain.iter().take(most) {
            text.push_str("-----BEGIN%20CERTIFICATE-----%0A");
            let encoded = STANDARD.encode(certificate);
            for (at, symbol) in encoded.chars().enumerate() {
                if at > 0 && at % 64 == 0 {
                    text.push_str("%0A");
                }
                match symbol {
                    '+' => text.push_str("%2B"),
                    '/' => text.push_str("%2F"),
                    '=' => text.push_str("%3D"),
                    plain => text.push(plain),
                }
            }
            text.push_str("%0A-----END%20CERTIFICATE-----%0A");
        }
        text
    }
}

fn is_verified(clients: &ClientTrust, leaf: &CertificateDer<'_>, chain: &[CertificateDer<'_>]) -> bool {
    match clients {
        ClientTrust::Unverified => false,
        ClientTrust::Verified => true,
        ClientTrust::Judged(trust) => {
            trust.check(leaf, chain.get(1..).unwrap_or_default(), UnixTime::now(), Peer::Client).is_ok()
        }
    }
}

/// Counts a completed handshake and what it agreed on.
pub fn count_handshake(stats: &TlsStats, shard: &Shard, io: &Stream) {
    let session: &CommonState = match io {
        Stream::TlsServer(tls) => tls.get_ref().1,
        Stream::TlsClient(tls) => tls.get_ref().1,
        Stream::Tcp(_) | Stream::Unix(_) => return,
    };
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
