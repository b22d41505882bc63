//! Who a peer is, by the certificates that it has shown.

use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::digest::{Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::base::matcher::StringMatch;
use crate::config::secret::described::Described;
use crate::config::secret::trust::Peer;
use crate::config::secret::x509::{Certificate, hexadecimal, serial_text};
use crate::config::secret::{ClientTrust, ServerTls};
use crate::net::stream::Stream;

/// Who the peer of a connection is, by the certificate it has shown.
#[derive(Debug)]
pub struct PeerIdentity {
    /// Names of the certificate.
    pub names: Described,
    /// SHA-256 of the certificate, lower-case hexadecimal.
    pub hash: String,
    /// It was verified, be it in this handshake or, for a resumed session, in the one that it goes back to.
    pub validated: bool,
    /// Its serial number, lower-case hexadecimal.
    pub serial: String,
    /// Who has signed it, in RFC 2253 form.
    pub issuer: String,
    /// It is valid from then.
    pub not_before: SystemTime,
    /// It is valid until then.
    pub not_after: SystemTime,
    chain: Vec<CertificateDer<'static>>,
}

/// Digests that certificates are known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fingerprint {
    /// SHA-1: a name in logs, never trusted.
    Sha1,
    /// SHA-256.
    Sha256,
}

impl Fingerprint {
    fn of(self, certificate: &[u8]) -> String {
        let algorithm: &'static Algorithm = match self {
            Fingerprint::Sha1 => &SHA1_FOR_LEGACY_USE_ONLY,
            Fingerprint::Sha256 => &SHA256,
        };
        hexadecimal(digest(algorithm, certificate).as_ref())
    }
}

impl PeerIdentity {
    /// Whether a URI or DNS name of the certificate or its subject matches, as RBAC reads names. Who has shown no
    /// certificate has an empty subject.
    pub fn is_named(identity: Option<&Self>, matcher: &StringMatch) -> bool {
        let Some(Self { names, .. }) = identity else { return matcher.matches(b"") };
        let mut all = names.uris.iter().chain(&names.dns_names);
        all.any(|name| matcher.matches(name.as_bytes())) || matcher.matches(names.subject.as_bytes())
    }

    /// Its first URI, else its first DNS name.
    pub fn name(&self) -> Option<&str> {
        self.names.uris.first().or_else(|| self.names.dns_names.first()).map(String::as_str)
    }

    /// Of an accepted connection; `None` when the client has shown no certificate.
    pub fn of(io: &Stream, tls: &ServerTls) -> Option<Self> {
        let Stream::TlsServer(stream) = io else { return None };
        let mut identity = Self::of_chain(stream.get_ref().1.peer_certificates()?)?;
        identity.validated = is_verified(&tls.clients, &identity.chain);
        Some(identity)
    }

    /// By a chain, leaf first, that the handshake has verified; `None` when the leaf cannot be read.
    pub fn of_chain(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let leaf = chain.first()?;
        let parsed = Certificate::parse(leaf)?;
        Some(Self {
            names: Described::of(&parsed),
            hash: Fingerprint::Sha256.of(leaf),
            validated: true,
            serial: serial_text(parsed.serial),
            issuer: parsed.issuer_text(),
            not_before: parsed.not_before,
            not_after: parsed.not_after,
            chain: chain.iter().map(|certificate| certificate.clone().into_owned()).collect(),
        })
    }

    /// Whether its chain is this one.
    pub fn has_shown(&self, chain: &[CertificateDer<'_>]) -> bool {
        self.chain == chain
    }

    /// Fingerprints of the chain as it was shown, leaf first.
    pub fn fingerprints(&self, kind: Fingerprint) -> impl Iterator<Item = String> {
        self.chain.iter().map(move |certificate| kind.of(certificate))
    }

    /// Serial numbers of the chain, likewise; empty for what cannot be read.
    pub fn serials(&self) -> impl Iterator<Item = String> {
        let serial = |certificate| Some(serial_text(Certificate::parse(certificate)?.serial));
        self.chain.iter().map(move |certificate| serial(certificate).unwrap_or_default())
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

fn is_verified(clients: &ClientTrust, chain: &[CertificateDer<'_>]) -> bool {
    match (clients, chain) {
        (ClientTrust::Unverified, _) | (_, []) => false,
        (ClientTrust::Verified, _) => true,
        (ClientTrust::Judged(trust), [leaf, rest @ ..]) => {
            trust.check(leaf, rest, UnixTime::now(), Peer::Client).is_ok()
        }
    }
}

/// What handshakes and certificates have told of one TLS connection to a host.
#[derive(Clone, Debug)]
pub struct UpstreamTls {
    /// What was agreed on.
    pub agreed: super::Agreed,
    /// Who the host is; `None` where its certificate cannot be read.
    pub peer: Option<Arc<PeerIdentity>>,
    /// The settings it was made with: the name asked for, our own certificate.
    pub settings: Arc<crate::config::secret::ClientTls>,
}
