//! Which certificate a server shows: by server name, else the first one.
//! Source: Envoy's documentation of `DownstreamTlsContext` certificate selection.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::SignatureAlgorithm;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use webpki::EndEntityCert;

/// The certificates of one filter chain. Without any, every handshake fails.
#[derive(Debug, Default)]
pub struct ServerCertificates {
    certificates: Vec<Arc<CertifiedKey>>,
    /// Lower-case DNS names of the certificates, wildcards as `*.suffix`, to positions in the list.
    by_name: HashMap<Box<str>, Vec<usize>>,
    require_sni: bool,
}

impl ServerCertificates {
    /// Indexes `certificates` by the names they carry. With `require_sni`, a client that names no server fails.
    pub fn new(certificates: Vec<Arc<CertifiedKey>>, require_sni: bool) -> Self {
        let mut by_name: HashMap<Box<str>, Vec<usize>> = HashMap::new();
        for (position, certificate) in certificates.iter().enumerate() {
            for name in dns_names(certificate) {
                by_name.entry(name).or_default().push(position);
            }
        }
        Self { certificates, by_name, require_sni }
    }

    /// Positions of the certificates for a name: exact, else wildcard of the first label.
    fn named(&self, name: &str) -> Option<&Vec<usize>> {
        let exact = self.by_name.get(name);
        exact.or_else(|| self.by_name.get(format!("*.{}", name.split_once('.')?.1).as_str()))
    }

    fn choose(
        &self,
        name: Option<&str>,
        usable: impl Fn(&CertifiedKey) -> bool,
    ) -> Option<Arc<CertifiedKey>> {
        let name = name.map(str::to_ascii_lowercase);
        if self.require_sni && name.is_none() {
            return None;
        }
        let named = name.as_deref().and_then(|name| self.named(name));
        let candidates: Vec<&Arc<CertifiedKey>> = match named {
            Some(positions) => {
                positions.iter().filter_map(|position| self.certificates.get(*position)).collect()
            }
            None => self.certificates.iter().collect(),
        };
        let usable: Vec<&Arc<CertifiedKey>> = candidates.iter().copied().filter(|key| usable(key)).collect();
        let ecdsa = usable.iter().find(|key| key.key.algorithm() == SignatureAlgorithm::ECDSA);
        // A certificate that the client cannot use is still shown: the alert then names the true reason.
        ecdsa.or(usable.first()).or(candidates.first()).map(|key| Arc::clone(key))
    }
}

fn dns_names(certificate: &CertifiedKey) -> Vec<Box<str>> {
    let Ok(end_entity) = certificate.end_entity_cert() else { return Vec::new() };
    match EndEntityCert::try_from(end_entity) {
        Ok(parsed) => {
            parsed.valid_dns_names().map(|name| name.to_ascii_lowercase().into_boxed_str()).collect()
        }
        Err(_) => Vec::new(),
    }
}

impl ResolvesServerCert for ServerCertificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        self.choose(hello.server_name(), |key| key.key.choose_scheme(schemes).is_some())
    }
}
