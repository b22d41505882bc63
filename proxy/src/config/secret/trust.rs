//! Whom a side trusts, and the check of a peer's certificate against it, as Envoy defines it: a chain to a trusted
//! authority, then any one of the configured names, then any one of the pins. The host name plays no part.
//!
//! Chains are webpki's business. It leaves out what Envoy's library checks as well, which is done here: that the
//! authority itself is valid now, that the key may sign (key usage), and that a leaf which is itself in the bundle
//! (the usual self-signed certificate) is trusted.
//! Source: `envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext`; RFC 5280, section 6.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::crypto::CryptoProvider;
use rustls::{CertificateError, DistinguishedName, Error, OtherError};
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{
    EndEntityCert, KeyUsage, RevocationCheckDepth, RevocationOptionsBuilder, UnknownStatusPolicy,
    VerifiedPath,
};

use super::ClientTrust;
use super::names::{Pins, SanMatch};
use super::revocation::InForce;
use super::roots::{Bundle, Roots};
use super::spiffe::Domains;
use super::x509::{CLIENT_AUTH, Certificate, SERVER_AUTH};

/// The key usage bit for signatures: without it a key may not take part in a handshake of today.
const DIGITAL_SIGNATURE: u8 = 0x80;

/// On which side the peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// It serves us.
    Server,
    /// It is our client.
    Client,
}

/// Who may have signed what a peer shows.
#[derive(Clone, Debug)]
pub enum Authorities {
    /// Anyone: the chain is not verified.
    Anyone,
    /// One of these.
    Bundle(Arc<Bundle>),
    /// One of those that speak for the trust domain of its SPIFFE identity.
    Domains(Arc<Domains>),
}

impl Authorities {
    fn bundles(&self) -> Vec<&Bundle> {
        match self {
            Authorities::Anyone => Vec::new(),
            Authorities::Bundle(bundle) => vec![bundle],
            Authorities::Domains(domains) => domains.bundles().collect(),
        }
    }
}

/// What a peer certificate must satisfy.
#[derive(Clone, Debug)]
pub struct PeerTrust {
    /// Trusted authorities.
    pub authorities: Authorities,
    /// Any of these; empty accepts every name.
    pub names: Vec<SanMatch>,
    /// Any of these; empty accepts every key.
    pub pins: Pins,
    /// Takes certificates before and after their time.
    pub allow_expired: bool,
    /// Checks nothing that could fail (`ACCEPT_UNTRUSTED`).
    pub accept_untrusted: bool,
    /// Most intermediate certificates between leaf and authority.
    pub max_depth: Option<u32>,
    /// Whether clients are told whom we trust.
    pub send_subjects: bool,
    /// Tells these rules from others; see [`super::tickets`].
    pub rules: [u8; 32],
    /// Algorithms.
    pub provider: Arc<CryptoProvider>,
}

impl PeerTrust {
    /// Trusts whoever holds the key it shows.
    pub fn anyone(provider: Arc<CryptoProvider>) -> Self {
        Self {
            authorities: Authorities::Anyone,
            names: Vec::new(),
            pins: Pins::default(),
            allow_expired: false,
            accept_untrusted: false,
            max_depth: None,
            send_subjects: true,
            rules: [0; 32],
            provider,
        }
    }

    /// Whether the chain is verified.
    pub fn verifies_chains(&self) -> bool {
        !matches!(self.authorities, Authorities::Anyone)
    }

    /// What a server tells its clients about the certificates it takes.
    pub fn subjects(&self) -> Vec<DistinguishedName> {
        let bundles = self.authorities.bundles();
        bundles.iter().filter(|_| self.send_subjects).flat_map(|bundle| bundle.roots.subjects()).collect()
    }

    /// What is known of clients that came in under these rules.
    pub fn of_clients(&self) -> ClientTrust {
        match self.verifies_chains() || !self.names.is_empty() || !self.pins.is_empty() {
            false => ClientTrust::Unverified,
            true if self.accept_untrusted => {
                ClientTrust::Judged(Box::new(Self { accept_untrusted: false, ..self.clone() }))
            }
            true => ClientTrust::Verified,
        }
    }

    /// Checks what a peer has shown.
    pub fn check(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        peer: Peer,
    ) -> Result<(), Error> {
        if self.accept_untrusted {
            return Ok(());
        }
        let parsed = Certificate::parse(leaf).ok_or(CertificateError::BadEncoding)?;
        match &self.authorities {
            Authorities::Anyone => {}
            Authorities::Bundle(bundle) => {
                self.check_chain(bundle, leaf, &parsed, intermediates, now, peer)?;
            }
            Authorities::Domains(domains) => {
                let bundle = domains.bundle_for(&parsed)?;
                self.check_chain(bundle, leaf, &parsed, intermediates, now, peer)?;
            }
        }
        if !self.names.is_empty() && !self.names.iter().any(|name| name.accepts(&parsed.names)) {
            return Err(CertificateError::NotValidForName.into());
        }
        match self.pins.is_empty() || self.pins.accept(leaf, &parsed) {
            true => Ok(()),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn check_chain(
        &self,
        bundle: &Bundle,
        leaf: &CertificateDer<'_>,
        parsed: &Certificate<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        peer: Peer,
    ) -> Result<(), Error> {
        if parsed.key_usage.is_some_and(|usage| usage & DIGITAL_SIGNATURE == 0) {
            return Err(CertificateError::InvalidPurpose.into());
        }
        if bundle.revocation.is_none() && bundle.roots.lists(leaf) {
            return self.check_listed(parsed, now, peer);
        }
        // Lists are held to the time even where certificates are not.
        let lists = bundle.revocation.as_ref().map(|revocation| revocation.in_force(moment(now)));
        let build = |at| self.build_chain(bundle, lists.as_ref(), leaf, intermediates, at, peer);
        match build(now) {
            Err(error) if self.allow_expired && is_about_time(&error) => {
                // A moment at which the leaf is valid: its authorities then are as a rule, too.
                let mut verdicts =
                    [parsed.not_before, parsed.not_after].map(|at| build(unix_time(at))).into_iter();
                verdicts.find(Result::is_ok).unwrap_or(Err(error)).map_err(translated)
            }
            Err(webpki::Error::UnknownRevocationStatus) if lists.is_some_and(|lists| lists.some_ended) => {
                Err(CertificateError::ExpiredRevocationList.into())
            }
            verdict => verdict.map_err(translated),
        }
    }

    /// A leaf that the bundle holds: trusted for itself, but not out of its time nor for what it is not meant for.
    fn check_listed(&self, leaf: &Certificate<'_>, now: UnixTime, peer: Peer) -> Result<(), Error> {
        let purpose = if peer == Peer::Server { SERVER_AUTH } else { CLIENT_AUTH };
        if leaf.purposes.as_ref().is_some_and(|purposes| !purposes.contains(&purpose)) {
            return Err(CertificateError::InvalidPurpose.into());
        }
        let now = moment(now);
        if self.allow_expired || (leaf.not_before..=leaf.not_after).contains(&now) {
            return Ok(());
        }
        let early = now < leaf.not_before;
        Err(if early { CertificateError::NotValidYet } else { CertificateError::Expired }.into())
    }

    fn build_chain(
        &self,
        bundle: &Bundle,
        lists: Option<&InForce<'_>>,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        peer: Peer,
    ) -> Result<(), webpki::Error> {
        let certificate = EndEntityCert::try_from(leaf)?;
        let depth = match bundle.revocation.as_ref().is_some_and(|revocation| revocation.whole_chain) {
            true => RevocationCheckDepth::Chain,
            false => RevocationCheckDepth::EndEntity,
        };
        let revocation = match lists {
            None => None,
            Some(lists) => {
                let options = RevocationOptionsBuilder::new(&lists.lists);
                let options = options.map_err(|_| webpki::Error::UnknownRevocationStatus)?.with_depth(depth);
                Some(options.with_status_policy(UnknownStatusPolicy::Deny).build())
            }
        };
        let usage = if peer == Peer::Server { KeyUsage::server_auth() } else { KeyUsage::client_auth() };
        let at = moment(now);
        let authority = |path: &VerifiedPath<'_>| self.check_path(&bundle.roots, path, at);
        let algorithms = self.provider.signature_verification_algorithms.all;
        certificate
            .verify_for_usage(
                algorithms,
                bundle.roots.anchors(),
                intermediates,
                now,
                usage,
                revocation,
                Some(&authority),
            )
            .map(drop)
    }

    fn check_path(
        &self,
        roots: &Roots,
        path: &VerifiedPath<'_>,
        now: SystemTime,
    ) -> Result<(), webpki::Error> {
        let depth = path.intermediate_certificates().count();
        if self.max_depth.is_some_and(|most| depth > most as usize) {
            return Err(webpki::Error::MaximumPathDepthExceeded);
        }
        let Some((from, until)) = roots.validity_of(path.anchor()) else { return Ok(()) };
        // Version 1 certificates were not read; an authority is not held to a time that is not known.
        if until == UNIX_EPOCH || self.allow_expired || (from..=until).contains(&now) {
            return Ok(());
        }
        let time = unix_time(now);
        Err(match now < from {
            true => webpki::Error::CertNotValidYet { time, not_before: unix_time(from) },
            false => webpki::Error::CertExpired { time, not_after: unix_time(until) },
        })
    }
}

fn moment(time: UnixTime) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(time.as_secs())
}

fn unix_time(time: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn is_about_time(error: &webpki::Error) -> bool {
    matches!(error, webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. })
}

/// The alert that the peer sees follows from this.
fn translated(error: webpki::Error) -> Error {
    use webpki::Error as E;
    let certificate = match error {
        E::BadDer | E::BadDerTime | E::TrailingData(_) => CertificateError::BadEncoding,
        E::CertExpired { .. } | E::InvalidCertValidity => CertificateError::Expired,
        E::CertNotValidYet { .. } => CertificateError::NotValidYet,
        E::UnknownIssuer => CertificateError::UnknownIssuer,
        E::CertRevoked => CertificateError::Revoked,
        E::UnknownRevocationStatus => CertificateError::UnknownRevocationStatus,
        E::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        E::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    };
    Error::InvalidCertificate(certificate)
}
