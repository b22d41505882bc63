//! Bundles of trusted certificates.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::DistinguishedName;
use rustls_pki_types::{CertificateDer, TrustAnchor};
use webpki::anchor_from_trusted_cert;

use super::revocation::Revocation;
use super::x509::Certificate;

/// A bundle of trusted certificates. Never empty.
#[derive(Debug)]
pub struct Roots {
    certificates: Vec<Arc<CertificateDer<'static>>>,
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
        Ok(Self { certificates: certificates.into_iter().map(Arc::new).collect(), anchors, validity })
    }

    /// The certificates, in the order of the bundle.
    pub fn certificates(&self) -> &[Arc<CertificateDer<'static>>] {
        &self.certificates
    }

    /// Where chains end.
    pub(super) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }

    /// What a server tells its clients about the certificates it takes.
    pub fn subjects(&self) -> impl Iterator<Item = DistinguishedName> {
        self.anchors.iter().map(|anchor| DistinguishedName::in_sequence(anchor.subject.as_ref()))
    }

    pub(super) fn lists(&self, certificate: &CertificateDer<'_>) -> bool {
        self.certificates.iter().any(|listed| listed.as_ref().as_ref() == certificate.as_ref())
    }

    pub(super) fn validity_of(&self, anchor: &TrustAnchor<'_>) -> Option<(SystemTime, SystemTime)> {
        let same = |one: &TrustAnchor<'_>| {
            one.subject == anchor.subject && one.subject_public_key_info == anchor.subject_public_key_info
        };
        // An authority may be listed twice, renewed under the same key: the longest one counts.
        let listed = self.anchors.iter().zip(&self.validity).filter(|(one, _)| same(one));
        listed.map(|(_, times)| *times).max_by_key(|(_, until)| *until)
    }
}

/// Authorities, and whom they have revoked.
#[derive(Debug)]
pub struct Bundle {
    /// The authorities.
    pub roots: Roots,
    /// Their lists: an authority of a chain without a valid one fails the check.
    pub revocation: Option<Revocation>,
}
