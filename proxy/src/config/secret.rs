//! TLS settings as ready rustls configurations. Built by the translator; a new secret makes a new one,
//! and connections keep the one they started with.
//!
//! Envoy decides trust by certificate authority and subject alternative names, not by host name, so both
//! sides have verifiers of their own ([`verify`]). Where nothing may pass yet, a configuration that fails
//! every handshake stands in its place: plaintext is never the fallback.

pub mod certificates;
mod der;
pub mod described;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub mod key;
pub mod names;
pub mod revocation;
pub mod roots;
pub mod spiffe;
pub mod tickets;
pub mod trust;
pub mod verify;
pub mod x509;

use std::sync::Arc;
use std::time::SystemTime;

use rustls_pki_types::CertificateDer;

use self::described::Described;
use self::trust::PeerTrust;
use crate::stats::scope::TlsStats;

/// The certificates of one TLS context, as `/certs` shows them. No keys.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// Who is trusted: every certificate of each bundle.
    pub authorities: Vec<ShownCertificate>,
    /// What we show: each chain, leaf first.
    pub own: Vec<ShownCertificate>,
}

/// A certificate and where it was read.
#[derive(Clone, Debug)]
pub struct ShownCertificate {
    /// A file, or `<inline>`.
    pub path: Arc<str>,
    /// The certificate.
    pub der: Arc<CertificateDer<'static>>,
    /// From when until when it is valid, if that could be read.
    pub validity: Option<(SystemTime, SystemTime)>,
    /// Envoy's gauge looks at it: leaves and authorities, but no intermediate of a chain.
    pub is_counted: bool,
}

impl ShownCertificate {
    /// A bundle of authorities from this place.
    pub fn bundle(path: &str, certificates: &[Arc<CertificateDer<'static>>]) -> Vec<Self> {
        Self::list(path, certificates, |_| true)
    }

    /// A chain from this place, leaf first.
    pub fn chain(path: &str, certificates: &[Arc<CertificateDer<'static>>]) -> Vec<Self> {
        Self::list(path, certificates, |at| at == 0)
    }

    fn list(
        path: &str,
        certificates: &[Arc<CertificateDer<'static>>],
        is_counted: impl Fn(usize) -> bool,
    ) -> Vec<Self> {
        let path: Arc<str> = path.into();
        let shown = |(at, der): (usize, &Arc<CertificateDer<'static>>)| {
            let validity = x509::Certificate::parse(der).map(|parsed| (parsed.not_before, parsed.not_after));
            Self { path: path.clone(), der: der.clone(), validity, is_counted: is_counted(at) }
        };
        certificates.iter().enumerate().map(shown).collect()
    }

    /// Its names; none where it cannot be read.
    pub fn described(&self) -> Described {
        x509::Certificate::parse(&self.der).as_ref().map(Described::of).unwrap_or_default()
    }
}

/// Whether the certificates of clients that came in were verified.
#[derive(Debug)]
pub enum ClientTrust {
    /// None was: the chain only asks for one.
    Unverified,
    /// All were: who fails does not come in.
    Verified,
    /// Anyone comes in (`ACCEPT_UNTRUSTED`); who would have passed is to be found out by these rules.
    Judged(Box<PeerTrust>),
}

/// Server side of a filter chain.
#[derive(Debug)]
pub struct ServerTls {
    /// Ready to accept with.
    pub config: Arc<rustls::ServerConfig>,
    /// Its certificates.
    pub shown: Shown,
    /// What is known of a client that got through its handshake with a certificate.
    pub clients: ClientTrust,
    /// Names of the first certificate it shows.
    pub own: Arc<Described>,
    /// Handles of `listener.<address>.ssl.*`.
    pub stats: TlsStats,
}

/// Client side of a cluster.
#[derive(Debug)]
pub struct ClientTls {
    /// Ready to connect with.
    pub config: Arc<rustls::ClientConfig>,
    /// Its certificates.
    pub shown: Shown,
    /// Names of the certificate it shows, when it has one.
    pub own: Described,
    /// Handles of `cluster.<name>.ssl.*`.
    pub stats: TlsStats,
    /// Name sent as SNI; `None` sends none.
    pub sni: Option<rustls_pki_types::ServerName<'static>>,
    /// Grows with every rebuild: pools do not reuse connections across generations.
    pub generation: u64,
}
