//! One certificate: an X.509 SVID, with a key made here or for the key of a request.

use std::time::{Duration, SystemTime};

use outrigger_xds_protos::v3;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyUsagePurpose, PublicKeyData,
    SanType,
};
use time::OffsetDateTime;
use zeroize::{Zeroize, Zeroizing};

use super::key::PrivateKey;
use super::root::{CaError, Root};

/// Longest common name (RFC 5280, appendix A).
const COMMON_NAME: usize = 64;

/// Who a certificate is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The SPIFFE id, `spiffe://<mesh>/virtualNode/<name>` or that of a gateway.
    pub uri: String,
    /// Names and addresses that callers know it by.
    pub hosts: Vec<String>,
}

impl Subject {
    /// Tells certificates apart: with other names it is another certificate.
    pub(super) fn key(&self) -> String {
        format!("{} {}", self.uri, self.hosts.join(" "))
    }
}

/// A certificate with its key. Its debug form shows neither.
pub struct Issued {
    chain: String,
    key: Zeroizing<String>,
    /// The root that signed it, as PEM.
    pub(super) root: String,
    /// When it is to be replaced.
    pub due: SystemTime,
    /// When it ends.
    pub until: SystemTime,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued").field("due", &self.due).field("until", &self.until).finish_non_exhaustive()
    }
}

impl Issued {
    /// Of a chain (PEM) and its key, signed by this root.
    pub(super) fn new(
        chain: String,
        key: &PrivateKey,
        root: String,
        life: Duration,
        until: SystemTime,
        now: SystemTime,
    ) -> Self {
        let due = now + life.mul_f64(2.0 / 3.0 * (0.9 + 0.2 * fastrand::f64()));
        Self { chain, key: key.pem(), root, due, until }
    }

    /// The certificate as PEM.
    pub fn chain(&self) -> &str {
        &self.chain
    }

    /// Its key as PEM, PKCS#8.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// As a secret of this name.
    pub(super) fn secret(&self, name: &str) -> v3::tls::Secret {
        use v3::core::data_source::Specifier;
        let inline = |text: &str| {
            let specifier = Some(Specifier::InlineString(text.to_owned()));
            Some(v3::core::DataSource { specifier, ..Default::default() })
        };
        let certificate = v3::tls::TlsCertificate {
            certificate_chain: inline(&self.chain),
            private_key: inline(&self.key),
            ..Default::default()
        };
        v3::tls::Secret {
            name: name.to_owned(),
            r#type: Some(v3::tls::secret::Type::TlsCertificate(certificate)),
        }
    }
}

/// Wipes the key of a secret that was written where it is needed.
pub(super) fn wipe(secret: &mut v3::tls::Secret) {
    use v3::core::data_source::Specifier;
    if let Some(v3::tls::secret::Type::TlsCertificate(certificate)) = &mut secret.r#type
        && let Some(Specifier::InlineString(key)) =
            certificate.private_key.as_mut().and_then(|source| source.specifier.as_mut())
    {
        key.zeroize();
    }
}

/// Issues a certificate that lives for `life` from now on and is due after two thirds of it, give or take a tenth:
/// nodes that started together do not come back together.
pub(super) fn issue(
    root: &Root,
    subject: &Subject,
    life: Duration,
    backdated: Duration,
    now: SystemTime,
) -> Result<Issued, CaError> {
    let key = PrivateKey::generate().map_err(failed)?;
    let (chain, until) = sign(root, subject, &key, life, backdated, now)?;
    Ok(Issued::new(chain, &key, root.certificate().to_owned(), life, until, now))
}

/// A certificate for this key, as PEM, and when it ends.
pub(super) fn sign(
    root: &Root,
    subject: &Subject,
    key: &impl PublicKeyData,
    life: Duration,
    backdated: Duration,
    now: SystemTime,
) -> Result<(String, SystemTime), CaError> {
    let mut params = params(subject)?;
    params.use_authority_key_identifier_extension = true;
    let until = (now + life).min(root.until());
    params.not_before = OffsetDateTime::from(now - backdated);
    params.not_after = OffsetDateTime::from(until);
    let certificate = params.signed_by(key, root.issuer()).map_err(failed)?;
    Ok((certificate.pem(), until))
}

/// What a certificate says of its subject.
pub(super) fn params(subject: &Subject) -> Result<CertificateParams, CaError> {
    let mut params = CertificateParams::new(subject.hosts.clone()).map_err(failed)?;
    if !subject.uri.is_empty() {
        let uri = subject.uri.as_str().try_into().map_err(failed)?;
        params.subject_alt_names.push(SanType::URI(uri));
    }
    let name = subject.uri.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("outrigger");
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name.get(..COMMON_NAME).unwrap_or(name));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

pub(super) fn failed(error: rcgen::Error) -> CaError {
    CaError::Signing(error.to_string())
}
