//! What `/certs` says of a certificate: serial number, names, validity.
//!
//! Reads certificates that rustls has already accepted. What cannot be read here is left out, never a failure.

use crate::admin::{CertificateDetails, CertificatePair};
use crate::config::secret::x509::{Certificate, Name, serial_text};
use crate::config::secret::{Shown, ShownCertificate};

/// The entry of one TLS context.
pub(super) fn pair(shown: &Shown) -> CertificatePair {
    let list = |certificates: &[ShownCertificate]| certificates.iter().filter_map(details).collect();
    CertificatePair { ca_cert: list(&shown.authorities), cert_chain: list(&shown.own) }
}

fn details(shown: &ShownCertificate) -> Option<CertificateDetails> {
    let certificate = Certificate::parse(&shown.der)?;
    Some(CertificateDetails {
        path: shown.path.to_string(),
        serial_number: serial_text(certificate.serial),
        subject_alt_names: certificate.names.iter().filter_map(alt_name).collect(),
        valid_from: certificate.not_before,
        expiration_time: certificate.not_after,
    })
}

/// Envoy shows no mail addresses.
fn alt_name(name: &Name<'_>) -> Option<(&'static str, String)> {
    let kind = match name {
        Name::Dns(_) => "dns",
        Name::Uri(_) => "uri",
        Name::Ip(_) => "ip_address",
        Name::Email(_) => return None,
    };
    Some((kind, name.text().into_owned()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn what_cannot_be_read_is_left_out() {
        let shown = ShownCertificate::chain("x", &[Arc::new(vec![0x30, 2, 0].into())]);
        assert!(shown.len() == 1 && details(&shown[0]).is_none());
    }
}
