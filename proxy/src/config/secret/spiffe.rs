//! Trust by SPIFFE trust domain: the identity of a peer says which bundle its chain must lead to, so that the
//! authorities of one domain cannot speak for another.
//! Source: SPIFFE, X.509-SVID, section 5; `envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig`.

use std::collections::BTreeMap;

use rustls::CertificateError;

use super::roots::Bundle;
use super::x509::{Certificate, Name};

/// Key usage bits of those who sign certificates or revocation lists: a workload does neither.
const SIGNS: u8 = 0x04 | 0x02;

/// Bundles by trust domain.
#[derive(Debug, Default)]
pub struct Domains(BTreeMap<Box<str>, Bundle>);

impl Domains {
    /// Adds a domain; false if it is there already.
    pub fn add(&mut self, name: &str, bundle: Bundle) -> bool {
        self.0.insert(name.into(), bundle).is_none()
    }

    /// Every bundle, in the order of the domains' names.
    pub fn bundles(&self) -> impl Iterator<Item = &Bundle> {
        self.0.values()
    }

    /// The bundle that the chain of this leaf must lead to.
    pub(super) fn bundle_for(&self, leaf: &Certificate<'_>) -> Result<&Bundle, CertificateError> {
        // A key whose purposes nobody has limited may sign as well.
        if leaf.is_ca || leaf.key_usage.is_none_or(|usage| usage & SIGNS != 0) {
            return Err(CertificateError::InvalidPurpose);
        }
        trust_domain(leaf).and_then(|domain| self.0.get(domain)).ok_or(CertificateError::UnknownIssuer)
    }
}

/// The trust domain of the one identity that a leaf has; `None` where it has none, or several.
fn trust_domain<'c>(leaf: &'c Certificate<'_>) -> Option<&'c str> {
    let mut uris = leaf.names.iter().filter_map(|name| match name {
        Name::Uri(uri) => Some(uri),
        _ => None,
    });
    let (identity, None) = (uris.next()?, uris.next()) else { return None };
    let (domain, _path) = identity.strip_prefix("spiffe://")?.split_once('/')?;
    Some(domain).filter(|domain| !domain.is_empty())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, KeyUsagePurpose, SanType};

    use super::*;

    fn domain_of(names: &[&str]) -> Option<String> {
        let mut params = CertificateParams::new(vec!["a.mesh".to_owned()]).unwrap();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let uris = names.iter().map(|name| SanType::URI((*name).try_into().unwrap()));
        params.subject_alt_names.extend(uris);
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        trust_domain(&Certificate::parse(certificate.der()).unwrap()).map(str::to_owned)
    }

    #[test]
    fn a_leaf_has_one_identity_and_it_names_the_domain() {
        assert_eq!(domain_of(&["spiffe://mesh/a"]).as_deref(), Some("mesh"));
        assert_eq!(domain_of(&["spiffe://mesh/a/b"]).as_deref(), Some("mesh"));
        for none in [
            &[][..],
            &["spiffe://mesh"],
            &["spiffe:///a"],
            &["https://mesh/a"],
            &["spiffe://mesh/a", "spiffe://other/b"],
            &["https://mesh/a", "spiffe://other/b"],
        ] {
            assert_eq!(domain_of(none), None, "{none:?}");
        }
    }
}
