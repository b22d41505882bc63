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
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, RevocationCheckDepth,
    RevocationOptionsBuilder, UnknownStatusPolicy, VerifiedPath, anchor_from_trusted_cert,
};

use super::ClientTrust;
use super::names::{Pins, SanMatch};
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

/// A bundle of trusted certificates. Never empty.
#[derive(Debug)]
pub struct Roots {
    certificates: Vec<CertificateDer<'static>>,
    /// The same as webpki wants them: whoever is listed may sign others, as in Envoy.
    anchors: Vec<TrustAnchor<'static>>,
    validity: Vec<(SystemTime, SystemTime)>,
}

impl Roots {
    /// Takes a bundle; the error says what is wrong with it.
    pub fn new(certificates: Vec<CertificateDer<'static>>) -> Result<Self, String> {
        if certificates.is_empty() {
            return Err("holds no PEM certificate".to_owned());
        }
        let (mut anchors, mut validity) = (Vec::new(), Vec::new());
        for (position, certificate) in certificates.iter().enumerate() {
            let anchor = anchor_from_trusted_cert(certificate).map_err(|error| {
                format!("certificate {} of the bundle is not a usable certificate: {error}", position + 1)
            })?;
            anchors.push(anchor.to_owned());
            let parsed = Certificate::parse(certificate);
            validity.push(
                parsed.map_or((UNIX_EPOCH, UNIX_EPOCH), |parsed| (parsed.not_before, parsed.not_after)),
            );
        }
        Ok(Self { certificates, anchors, validity })
    }

    /// What a server tells its clients about the certificates it takes.
    pub fn subjects(&self) -> Vec<DistinguishedName> {
        self.anchors.iter().map(|anchor| DistinguishedName::in_sequence(anchor.subject.as_ref())).collect()
    }

    fn lists(&self, certificate: &CertificateDer<'_>) -> bool {
        self.certificates.iter().any(|listed| listed.as_ref() == certificate.as_ref())
    }

    fn validity_of(&self, anchor: &TrustAnchor<'_>) -> Option<(SystemTime, SystemTime)> {
        let same = |one: &TrustAnchor<'_>| {
            one.subject == anchor.subject && one.subject_public_key_info == anchor.subject_public_key_info
        };
        // An authority may be listed twice, renewed under the same key: the longest one counts.
        let listed = self.anchors.iter().zip(&self.validity).filter(|(one, _)| same(one));
        listed.map(|(_, times)| *times).max_by_key(|(_, until)| *until)
    }
}

/// Revocation lists of the authorities.
#[derive(Debug)]
pub struct Revocation {
    /// The lists.
    pub lists: Vec<CertRevocationList<'static>>,
    /// Whether intermediate authorities may be revoked as well.
    pub whole_chain: bool,
}

/// What a peer certificate must satisfy.
#[derive(Clone, Debug)]
pub struct PeerTrust {
    /// Trusted authorities; `None` does not verify the chain.
    pub roots: Option<Arc<Roots>>,
    /// Any of these; empty accepts every name.
    pub names: Vec<SanMatch>,
    /// Any of these; empty accepts every key.
    pub pins: Pins,
    /// Revocation lists: an authority of the chain without a valid one fails the check.
    pub revocation: Option<Arc<Revocation>>,
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
            roots: None,
            names: Vec::new(),
            pins: Pins::default(),
            revocation: None,
            allow_expired: false,
            accept_untrusted: false,
            max_depth: None,
            send_subjects: true,
            rules: [0; 32],
            provider,
        }
    }

    /// What is known of clients that came in under these rules.
    pub fn of_clients(&self) -> ClientTrust {
        match self.roots.is_some() || !self.names.is_empty() || !self.pins.is_empty() {
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
        if let Some(roots) = &self.roots {
            self.check_chain(roots, leaf, &parsed, intermediates, now, peer)?;
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
        roots: &Roots,
        leaf: &CertificateDer<'_>,
        parsed: &Certificate<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        peer: Peer,
    ) -> Result<(), Error> {
        if parsed.key_usage.is_some_and(|usage| usage & DIGITAL_SIGNATURE == 0) {
            return Err(CertificateError::InvalidPurpose.into());
        }
        if self.revocation.is_none() && roots.lists(leaf) {
            return self.check_listed(parsed, now, peer);
        }
        let verdict = self.build_chain(roots, leaf, intermediates, now, peer);
        match verdict {
            Err(error) if self.allow_expired && is_about_time(&error) => {
                // A moment at which the leaf is valid: its authorities then are as a rule, too.
                let moments = [parsed.not_before, parsed.not_after];
                let mut verdicts = moments
                    .map(|at| self.build_chain(roots, leaf, intermediates, unix_time(at), peer))
                    .into_iter();
                verdicts.find(Result::is_ok).unwrap_or(Err(error)).map_err(translated)
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
        roots: &Roots,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        peer: Peer,
    ) -> Result<(), webpki::Error> {
        let certificate = EndEntityCert::try_from(leaf)?;
        let lists: Vec<&CertRevocationList<'_>> =
            self.revocation.iter().flat_map(|revocation| &revocation.lists).collect();
        let depth = match self.revocation.as_ref().is_some_and(|revocation| revocation.whole_chain) {
            true => RevocationCheckDepth::Chain,
            false => RevocationCheckDepth::EndEntity,
        };
        let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|options| {
            let options = options.with_depth(depth).with_status_policy(UnknownStatusPolicy::Deny);
            options.with_expiration_policy(ExpirationPolicy::Enforce).build()
        });
        let usage = if peer == Peer::Server { KeyUsage::server_auth() } else { KeyUsage::client_auth() };
        let at = moment(now);
        let authority = |path: &VerifiedPath<'_>| self.check_path(roots, path, at);
        let algorithms = self.provider.signature_verification_algorithms.all;
        certificate
            .verify_for_usage(
                algorithms,
                &roots.anchors,
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
        E::CrlExpired { .. } => CertificateError::ExpiredRevocationList,
        E::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        E::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    };
    Error::InvalidCertificate(certificate)
}
