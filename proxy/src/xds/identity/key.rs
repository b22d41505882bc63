//! A private key of our own: made here, used here, wiped when the last configuration that has it goes.
//!
//! Only its public half and proofs made with it leave this process. Source: RFC 2986, RFC 5480.

use std::net::IpAddr;
use std::sync::Arc;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, EcdsaPublicKey, KeyPair};
use rustls::crypto::aws_lc_rs::sign::any_ecdsa_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// Version 0 and the subject `CN=outrigger`, which some authorities demand and nobody believes.
const VERSION_AND_SUBJECT: [u8; 25] = [
    2, 1, 0, 0x30, 0x14, 0x31, 0x12, 0x30, 0x10, 6, 3, 0x55, 4, 3, 0x0c, 9, b'o', b'u', b't', b'r', b'i',
    b'g', b'g', b'e', b'r',
];
/// `extensionRequest` (RFC 2985).
const EXTENSION_REQUEST: [u8; 11] = [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 0x0e];
/// `subjectAltName` (RFC 5280).
const ALTERNATIVE_NAMES: [u8; 5] = [6, 3, 0x55, 0x1d, 0x11];
/// ecdsa-with-SHA256.
const ALGORITHM: [u8; 12] = [0x30, 0x0a, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const BIT_STRING: u8 = 3;
const OCTET_STRING: u8 = 4;
/// Attributes of a request.
const ATTRIBUTES: u8 = 0xa0;

/// A fresh P-256 key. It has no debug form.
pub(super) struct OwnKey(EcdsaKeyPair);

impl OwnKey {
    /// Makes one.
    pub(super) fn generate() -> Result<Self, String> {
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map(Self).map_err(|_| failed())
    }

    /// A request for a certificate, PKCS#10 in DER. The names are for authorities that take them from there.
    pub(super) fn request<'n>(&self, names: impl Iterator<Item = &'n str>) -> Result<Vec<u8>, String> {
        let public: &EcdsaPublicKey = self.0.public_key();
        let public = public.as_der().map_err(|_| failed())?;
        let info = element(SEQUENCE, &[&VERSION_AND_SUBJECT, public.as_ref(), &attributes(names)]);
        let signature = self.0.sign(&SystemRandom::new(), &info).map_err(|_| failed())?;
        let signature = element(BIT_STRING, &[&[0], signature.as_ref()]);
        Ok(element(SEQUENCE, &[&info, &ALGORITHM, &signature]))
    }

    /// The key with the certificates that came back, leaf first in PEM; refused when they are not for it.
    pub(super) fn certified(self, chain: &str) -> Result<Arc<CertifiedKey>, String> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain.as_bytes()).collect();
        let chain = chain.map_err(|_| "the answer is not PEM".to_owned())?;
        // Wiped when it goes; what signs is made from it.
        let document = self.0.to_pkcs8v1().map_err(|_| failed())?;
        let key = any_ecdsa_type(&PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(document.as_ref())));
        let certified = CertifiedKey::new(chain, key.map_err(|_| failed())?);
        certified.keys_match().map_err(|_| "the answer is no certificate for our key".to_owned())?;
        Ok(Arc::new(certified))
    }
}

/// The names as `subjectAltName`: URIs, addresses, and DNS names.
fn attributes<'n>(names: impl Iterator<Item = &'n str>) -> Vec<u8> {
    let name = |name: &str| match name.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => element(0x87, &[&address.octets()]),
        Ok(IpAddr::V6(address)) => element(0x87, &[&address.octets()]),
        Err(_) if name.contains("://") => element(0x86, &[name.as_bytes()]),
        Err(_) => element(0x82, &[name.as_bytes()]),
    };
    let names: Vec<u8> = names.flat_map(name).collect();
    if names.is_empty() {
        return element(ATTRIBUTES, &[]);
    }
    let names = element(OCTET_STRING, &[&element(SEQUENCE, &[&names])]);
    let extension = element(SEQUENCE, &[&ALTERNATIVE_NAMES, &names]);
    let values = element(SET, &[&element(SEQUENCE, &[&extension])]);
    element(ATTRIBUTES, &[&element(SEQUENCE, &[&EXTENSION_REQUEST, &values])])
}

fn failed() -> String {
    "the cryptographic library failed".to_owned()
}

/// Tag, length and content.
fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut element = vec![tag];
    match length {
        0..=0x7f => element.push(length as u8),
        // Two bytes: nothing here is longer.
        _ => element.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    parts.iter().for_each(|part| element.extend_from_slice(part));
    if let [_, 0x82, 0, length, ..] = element[..] {
        // DER wants the shortest form.
        element.splice(1..4, [0x81, length]);
    }
    element
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, CertificateSigningRequestParams, PublicKeyData};

    use super::*;

    #[test]
    fn requests_prove_that_we_hold_the_key() {
        for _ in 0..20 {
            let key = OwnKey::generate().unwrap();
            let names = ["spiffe://shop/virtualNode/a", "10.0.0.1", "a.shop", "::1"];
            let request = key.request(names.into_iter()).unwrap();
            let parsed = CertificateSigningRequestParams::from_der(&request.as_slice().into()).unwrap();
            let asked = format!("{:?}", parsed.params.subject_alt_names);
            assert!(["URI", "IpAddress", "DnsName"].iter().all(|kind| asked.contains(kind)), "{asked}");
            assert_eq!(parsed.public_key.der_bytes(), key.0.public_key().as_ref());
            assert_eq!(parsed.params.subject_alt_names.len(), 4);
        }
    }

    #[test]
    fn only_a_certificate_for_the_key_is_taken() {
        let root = rcgen::KeyPair::generate().unwrap();
        let issuer = rcgen::Issuer::new(CertificateParams::default(), root);
        let issue = |key: &OwnKey| {
            let request = key.request(std::iter::empty()).unwrap();
            let parsed = CertificateSigningRequestParams::from_der(&request.as_slice().into()).unwrap();
            CertificateParams::default().signed_by(&parsed.public_key, &issuer).unwrap().pem()
        };
        let key = OwnKey::generate().unwrap();
        let chain = issue(&key);
        assert_eq!(key.certified(&chain).unwrap().cert.len(), 1);
        for wrong in [issue(&OwnKey::generate().unwrap()), String::new(), "-----BEGIN".to_owned()] {
            assert!(OwnKey::generate().unwrap().certified(&wrong).is_err());
        }
    }
}
