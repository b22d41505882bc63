//! Keys that tokens are checked with. A key is for one kind of signature, whatever a token would like: a public key never
//! serves as secret. Source: RFC 7517, 7518, 8037.

use std::fmt;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use crate::{Fault, Token};

/// Most keys of one set. A token without `kid` is tried with each: that is what a stranger can make us do.
const MOST_KEYS: usize = 256;

/// The keys of one issuer.
#[derive(Debug)]
pub struct Keys(Vec<Key>);

struct Key {
    id: Option<String>,
    algorithm: Option<String>,
    material: Material,
}

/// Shows no secret.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}

enum Material {
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// A curve, and the uncompressed point.
    Ec(Curve, Vec<u8>),
    Ed25519(Vec<u8>),
    Secret(zeroize::Zeroizing<Vec<u8>>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Curve {
    P256,
    P384,
    P521,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Described>,
}

#[derive(Deserialize)]
struct Described {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    k: Option<String>,
}

impl Keys {
    /// Reads a JSON web key set. Keys of kinds that nobody knows are passed over, as the RFC wants.
    ///
    /// # Errors
    /// When it is no set, or has no key that can be used. The text shows no key.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let set: Set = serde_json::from_slice(text).map_err(|error| {
            // The message itself may quote what it did not expect.
            format!("is no JSON web key set: line {}, column {}", error.line(), error.column())
        })?;
        if set.keys.len() > MOST_KEYS {
            return Err(format!("has {} keys, more than {MOST_KEYS}", set.keys.len()));
        }
        let keys: Vec<Key> = set.keys.into_iter().filter_map(Key::of).collect();
        if keys.is_empty() { Err("has no key that can be used".to_owned()) } else { Ok(Self(keys)) }
    }

    /// Checks the signature of a token.
    ///
    /// # Errors
    /// When no key is for it, or none of those has signed it.
    pub fn verify(&self, token: &Token<'_>) -> Result<(), Fault> {
        let mut fault = Fault::NoKey;
        for key in self.0.iter().filter(|key| key.is_meant(token)) {
            fault = Fault::Signature;
            if key.material.verifies(token) {
                return Ok(());
            }
        }
        Err(fault)
    }
}

impl Key {
    fn of(described: Described) -> Option<Self> {
        let Described { kty, kid, alg, crv, n, e, x, y, k } = described;
        let bytes = |text: Option<String>| URL_SAFE_NO_PAD.decode(text?.trim_end_matches('=')).ok();
        let material = match (kty.as_str(), crv.as_deref()) {
            ("RSA", _) => Material::Rsa { modulus: bytes(n)?, exponent: bytes(e)? },
            ("OKP", Some("Ed25519")) => Material::Ed25519(bytes(x)?),
            // With an empty secret anybody could sign.
            ("oct", _) => Material::Secret(bytes(k).filter(|secret| !secret.is_empty())?.into()),
            ("EC", Some(curve)) => {
                let curve = match curve {
                    "P-256" => Curve::P256,
                    "P-384" => Curve::P384,
                    "P-521" => Curve::P521,
                    _ => return None,
                };
                Material::Ec(curve, [&[4], bytes(x)?.as_slice(), bytes(y)?.as_slice()].concat())
            }
            _ => return None,
        };
        Some(Self { id: kid, algorithm: alg, material })
    }

    fn is_meant(&self, token: &Token<'_>) -> bool {
        let id = |id: &Option<String>| id.clone().filter(|id| !id.is_empty());
        let by_id = match (id(&self.id), id(&token.key_id)) {
            (Some(own), Some(asked)) => own == asked,
            _ => true,
        };
        by_id && self.algorithm.as_ref().is_none_or(|own| own.is_empty() || *own == token.algorithm)
    }
}

impl Material {
    fn verifies(&self, token: &Token<'_>) -> bool {
        let (message, signed) = (token.signed.as_bytes(), token.signature.as_slice());
        match self {
            Self::Rsa { modulus, exponent } => rsa(&token.algorithm).is_some_and(|parameters| {
                RsaPublicKeyComponents { n: modulus, e: exponent }.verify(parameters, message, signed).is_ok()
            }),
            Self::Ec(curve, point) => {
                let algorithm = match (curve, token.algorithm.as_str()) {
                    (Curve::P256, "ES256") => &signature::ECDSA_P256_SHA256_FIXED,
                    (Curve::P384, "ES384") => &signature::ECDSA_P384_SHA384_FIXED,
                    (Curve::P521, "ES512") => &signature::ECDSA_P521_SHA512_FIXED,
                    _ => return false,
                };
                UnparsedPublicKey::new(algorithm, point).verify(message, signed).is_ok()
            }
            Self::Ed25519(point) => {
                token.algorithm == "EdDSA"
                    && UnparsedPublicKey::new(&signature::ED25519, point).verify(message, signed).is_ok()
            }
            Self::Secret(secret) => {
                let algorithm = match token.algorithm.as_str() {
                    "HS256" => hmac::HMAC_SHA256,
                    "HS384" => hmac::HMAC_SHA384,
                    "HS512" => hmac::HMAC_SHA512,
                    _ => return false,
                };
                hmac::verify(&hmac::Key::new(algorithm, secret), message, signed).is_ok()
            }
        }
    }
}

fn rsa(algorithm: &str) -> Option<&'static RsaParameters> {
    Some(match algorithm {
        "RS256" => &signature::RSA_PKCS1_2048_8192_SHA256,
        "RS384" => &signature::RSA_PKCS1_2048_8192_SHA384,
        "RS512" => &signature::RSA_PKCS1_2048_8192_SHA512,
        "PS256" => &signature::RSA_PSS_2048_8192_SHA256,
        "PS384" => &signature::RSA_PSS_2048_8192_SHA384,
        "PS512" => &signature::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}
