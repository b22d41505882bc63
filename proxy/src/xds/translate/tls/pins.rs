//! Pins of certificates and keys, from text.
//! Source: `CertificateValidationContext.verify_certificate_spki`, `verify_certificate_hash`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::super::path::{Path, Rejection};

/// SHA-256 of public keys, in base64.
pub(super) fn keys(texts: &[String], path: &Path<'_>) -> Result<Vec<[u8; 32]>, Rejection> {
    let decoded = |text: &String| STANDARD.decode(text).ok()?.try_into().ok();
    all(texts, path, "must be the base64 of a SHA-256", decoded)
}

/// SHA-256 of certificates, in hexadecimal, with or without colons between the octets.
pub(super) fn certificates(texts: &[String], path: &Path<'_>) -> Result<Vec<[u8; 32]>, Rejection> {
    all(texts, path, "must be a SHA-256 in hexadecimal", |text| hexadecimal(text))
}

fn all(
    texts: &[String],
    path: &Path<'_>,
    wanted: &str,
    decoded: impl Fn(&String) -> Option<[u8; 32]>,
) -> Result<Vec<[u8; 32]>, Rejection> {
    let one = |(index, text)| decoded(text).ok_or_else(|| path.index(index).reject(wanted));
    texts.iter().enumerate().map(one).collect()
}

fn hexadecimal(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> = match text.len() {
        95 if text.split(':').all(|octet| octet.len() == 2) => {
            text.bytes().filter(|byte| *byte != b':').collect()
        }
        64 => text.bytes().collect(),
        _ => return None,
    };
    let mut hash = [0; 32];
    for (octet, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        let value = |digit: u8| char::from(digit).to_digit(16);
        *octet = (value(*high)? << 4 | value(*low)?) as u8;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_read_with_and_without_colons() {
        let plain = "0123456789abcdef".repeat(4);
        let octets: Vec<String> =
            plain.as_bytes().chunks(2).map(|c| String::from_utf8(c.to_vec()).unwrap()).collect();
        let hash = hexadecimal(&plain).unwrap();
        assert_eq!(hash[..4], [0x01, 0x23, 0x45, 0x67]);
        assert_eq!(hexadecimal(&octets.join(":").to_uppercase()), Some(hash));
        for wrong in ["", "00", &plain[1..], &plain.replace('0', "g"), &"::".repeat(47)] {
            assert_eq!(hexadecimal(wrong), None, "{wrong}");
        }
        assert_eq!(hexadecimal(&"é".repeat(32)), None);
    }
}
