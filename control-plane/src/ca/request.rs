//! Certificate requests: the key, once it is proven that the sender holds it. Nothing else of a request counts.
//! Source: RFC 2986.

use rcgen::{
    CertificateSigningRequestParams, DistinguishedName, DnType, IsCa, PKCS_ECDSA_P256_SHA256, PublicKey,
    PublicKeyData, SanType,
};

/// Largest request looked at; one for a P-256 key with nothing else has some 200 bytes.
pub const MAX_REQUEST: usize = 8 << 10;
/// The subject of every certificate; who its holder is, its names say.
pub const COMMON_NAME: &str = "outrigger";
/// An uncompressed point of P-256.
const POINT: usize = 65;

/// The P-256 key of a request whose signature was made with it.
pub(super) fn key_of(request: &[u8]) -> Result<PublicKey, &'static str> {
    Ok(parsed(request)?.public_key)
}

/// The same of a request that is passed on to somebody who takes the names from it: it must ask for these and nothing else.
pub(super) fn key_for(request: &[u8], wanted: &[SanType]) -> Result<PublicKey, &'static str> {
    let CertificateSigningRequestParams { params, public_key } = parsed(request)?;
    let sorted = |names: &[SanType]| {
        let mut names: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
        names.sort();
        names
    };
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, COMMON_NAME);
    let modest = params.is_ca == IsCa::NoCa
        && params.key_usages.is_empty()
        && params.extended_key_usages.is_empty()
        && params.distinguished_name == subject;
    if !modest || sorted(&params.subject_alt_names) != sorted(wanted) {
        return Err("asks for something else than this node's identity");
    }
    Ok(public_key)
}

fn parsed(request: &[u8]) -> Result<CertificateSigningRequestParams, &'static str> {
    if request.len() > MAX_REQUEST {
        return Err("is too long");
    }
    // Checks the signature, which is made over everything else in the request.
    let parsed = CertificateSigningRequestParams::from_der(&request.into());
    let parsed = parsed.map_err(|_| "is no PKCS#10 request signed with its own key")?;
    let key = &parsed.public_key;
    if *key.algorithm() != PKCS_ECDSA_P256_SHA256 || key.der_bytes().len() != POINT {
        return Err("is not for a P-256 key signed with SHA-256");
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, KeyPair, PKCS_ECDSA_P384_SHA384};

    use super::*;

    fn request(key: &KeyPair, change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, COMMON_NAME);
        change(&mut params);
        params.serialize_request(key).unwrap().der().to_vec()
    }

    #[test]
    fn the_key_is_taken_when_its_holder_asks() {
        let key = KeyPair::generate().unwrap();
        assert_eq!(key_of(&request(&key, |_| {})).unwrap().der_bytes(), key.der_bytes());
        let other = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        assert!(key_of(&request(&other, |_| {})).is_err());
        assert!(key_of(&[0; MAX_REQUEST + 1]).is_err());
    }

    #[test]
    fn what_else_is_asked_for_makes_no_difference() {
        let key = KeyPair::generate().unwrap();
        let asking = request(&key, |params| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let uri = "spiffe://shop/virtualNode/other".try_into().unwrap();
            params.subject_alt_names.push(SanType::URI(uri));
        });
        assert_eq!(key_of(&asking).unwrap().der_bytes(), key.der_bytes());
    }

    #[test]
    fn what_is_passed_on_asks_for_nothing_else() {
        let key = KeyPair::generate().unwrap();
        let name = |uri: &str| SanType::URI(uri.try_into().unwrap());
        let (own, other) = (name("spiffe://shop/virtualNode/a"), name("spiffe://shop/virtualNode/b"));
        let of = |names: &[SanType]| request(&key, |params| params.subject_alt_names = names.to_vec());
        let wanted = [own.clone()];
        assert!(key_for(&of(&wanted), &wanted).is_ok());
        for names in [&[][..], std::slice::from_ref(&other), &[own.clone(), other.clone()]] {
            assert!(key_for(&of(names), &wanted).is_err(), "{names:?}");
        }
        let greedy = request(&key, |params| {
            params.subject_alt_names = wanted.to_vec();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        });
        assert!(key_for(&greedy, &wanted).is_err());
    }

    /// No key but the one that signed comes out, whatever happens to a request on its way, and nothing panics.
    #[test]
    fn changed_and_cut_requests_are_refused_or_change_nothing() {
        let key = KeyPair::generate().unwrap();
        let whole = request(&key, |_| {});
        let mut refused = 0;
        for position in 0..whole.len() {
            for bit in 0..8 {
                let mut changed = whole.clone();
                changed[position] ^= 1 << bit;
                match key_of(&changed) {
                    // In the frame around what is signed.
                    Ok(taken) => assert_eq!(taken.der_bytes(), key.der_bytes(), "byte {position}, bit {bit}"),
                    Err(_) => refused += 1,
                }
            }
            assert!(key_of(&whole[..position]).is_err());
        }
        assert!(refused > whole.len() * 7, "{refused} of {}", whole.len() * 8);
        // A signature with another key is no proof of holding this one.
        let other = request(&KeyPair::generate().unwrap(), |_| {});
        let point = |request: &[u8]| request.windows(2).position(|pair| pair == [0x00, 0x04]).unwrap() + 1;
        let (from, to) = (point(&other), point(&whole));
        let mut forged = whole.clone();
        forged[to..to + POINT].copy_from_slice(&other[from..from + POINT]);
        assert!(key_of(&forged).is_err());
    }

    #[test]
    fn random_bytes_are_no_request() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..20_000 {
            let length = random.usize(..300);
            let mut bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(length).collect();
            // Something that a parser goes into.
            if let Some(start) = bytes.get_mut(..4) {
                start.copy_from_slice(&[0x30, 0x82, (length >> 8) as u8, length as u8]);
            }
            assert!(key_of(&bytes).is_err());
        }
    }
}
