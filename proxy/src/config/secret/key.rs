//! A private key out of a PEM text, without a copy that stays behind: every buffer on the way is wiped.
//! Source: RFC 7468; labels of PKCS#8 (RFC 5958), PKCS#1 (RFC 8017) and SEC 1 (RFC 5915).

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::SigningKey;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};
use zeroize::Zeroizing;

const BEGIN: &[u8] = b"-----BEGIN ";
const DASHES: &[u8] = b"-----";

/// The first private key of a text, ready to sign. `None`: it has none that is unencrypted and of a known kind. What
/// signs is the cryptographic library's, which wipes its own.
pub fn signing_key(pem: &[u8]) -> Option<Arc<dyn SigningKey>> {
    any_supported_type(&*first(pem)?).ok()
}

fn first(pem: &[u8]) -> Option<Zeroizing<PrivateKeyDer<'static>>> {
    let mut rest = pem;
    loop {
        let (label, body, after) = section(rest)?;
        let wrap: fn(Vec<u8>) -> PrivateKeyDer<'static> = match label {
            b"PRIVATE KEY" => |der| PrivatePkcs8KeyDer::from(der).into(),
            b"RSA PRIVATE KEY" => |der| PrivatePkcs1KeyDer::from(der).into(),
            b"EC PRIVATE KEY" => |der| PrivateSec1KeyDer::from(der).into(),
            _ => {
                rest = after;
                continue;
            }
        };
        return Some(Zeroizing::new(wrap(std::mem::take(&mut *decoded(body)?))));
    }
}

/// Label and body of the next section, and what follows.
fn section(pem: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (_, rest) = split(pem, BEGIN)?;
    let (label, rest) = split(rest, DASHES)?;
    let (body, rest) = split(rest, &[b"-----END ", label, DASHES].concat())?;
    Some((label, body, rest))
}

/// What is before and after the first occurrence.
fn split<'t>(text: &'t [u8], at: &[u8]) -> Option<(&'t [u8], &'t [u8])> {
    let start = memchr::memmem::find(text, at)?;
    Some((text.get(..start)?, text.get(start + at.len()..)?))
}

fn decoded(body: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    // Neither grows, so neither leaves a copy.
    let mut text = Zeroizing::new(Vec::with_capacity(body.len()));
    text.extend(body.iter().copied().filter(|byte| !byte.is_ascii_whitespace()));
    let mut bytes = Zeroizing::new(vec![0; text.len()]);
    let length = STANDARD.decode_slice(&*text, &mut bytes).ok()?;
    bytes.truncate(length);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
    use rustls::SignatureAlgorithm;

    use super::*;

    #[test]
    fn keys_of_all_labels_are_found() {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let pem = key.serialize_pem();
        let algorithm = |text: &str| signing_key(text.as_bytes()).map(|key| key.algorithm());
        assert_eq!(algorithm(&pem), Some(SignatureAlgorithm::ECDSA));
        assert_eq!(algorithm(&pem.replace('\n', "\r\n")), Some(SignatureAlgorithm::ECDSA));
        let other = KeyPair::generate_for(&PKCS_ED25519).unwrap().serialize_pem();
        assert_eq!(algorithm(&other), Some(SignatureAlgorithm::ED25519));
        let chain = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(algorithm(&format!("text\n{chain}{pem}{other}")), Some(SignatureAlgorithm::ECDSA));
        // RFC 5915 within PKCS#8: from the inner sequence on it is SEC 1.
        let der = key.serialize_der();
        let inner =
            der.windows(4).position(|bytes| bytes == [0x30, 0x6b, 2, 1] || bytes == [0x30, 0x77, 2, 1]);
        let sec1 = &der[inner.unwrap()..];
        let sec1 = format!(
            "-----BEGIN EC PRIVATE KEY-----\n{}\n-----END EC PRIVATE KEY-----",
            STANDARD.encode(sec1)
        );
        assert_eq!(algorithm(&sec1), Some(SignatureAlgorithm::ECDSA));
    }

    #[test]
    fn what_is_no_key_is_none() {
        let pem = KeyPair::generate().unwrap().serialize_pem();
        for text in [
            String::new(),
            "-----BEGIN PRIVATE KEY-----".to_owned(),
            pem.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"),
            pem.replace("END PRIVATE", "END OTHER"),
            pem.replacen('M', "*", 1),
            "-----BEGIN PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nAAAA\n-----END PRIVATE KEY-----".to_owned(),
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----".to_owned(),
        ] {
            assert!(signing_key(text.as_bytes()).is_none());
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_answered(text in ".{0,300}") {
            let _ = signing_key(text.as_bytes());
            let _ = signing_key(format!("-----BEGIN PRIVATE KEY-----{text}-----END PRIVATE KEY-----").as_bytes());
        }
    }
}
