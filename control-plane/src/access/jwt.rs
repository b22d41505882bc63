//! JSON web tokens that a Kubernetes API server has signed, checked offline against its keys.
//! Source: RFC 7515, 7517, 7518, 7519; RS256 and ES256 only, which are what API servers use.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// How far clocks may be apart.
const SKEW: Duration = Duration::from_secs(5);

/// What a verified token says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Claims {
    /// `sub`.
    pub(super) subject: String,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
}

#[derive(Deserialize)]
struct Body {
    iss: String,
    sub: Option<String>,
    aud: Option<Audience>,
    exp: Option<f64>,
    nbf: Option<f64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
struct Keys {
    keys: Vec<Key>,
}

#[derive(Deserialize)]
struct Key {
    kty: String,
    kid: Option<String>,
    n: Option<String>,
    e: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// Who says to have issued a token. Nothing of it is believed yet.
pub(super) fn issuer(token: &str) -> Option<String> {
    let body = token.split('.').nth(1)?;
    Some(part::<Body>(body)?.iss)
}

/// Checks signature, audience and time. The error is for the audit.
pub(super) fn verify(token: &str, keys: &[u8], audience: &str, now: SystemTime) -> Result<Claims, String> {
    let (signed, signature) = token.rsplit_once('.').ok_or("not a signed token")?;
    let (header, body) = signed.split_once('.').ok_or("not a signed token")?;
    let header: Header = part(header).ok_or("an unreadable header")?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| "an unreadable signature")?;
    let Keys { keys } = serde_json::from_slice(keys).map_err(|_| "the issuer's keys are no JWKS")?;
    let candidates = keys.iter().filter(|key| header.kid.is_none() || key.kid == header.kid);
    let mut candidates = candidates.filter(|key| key.fits(&header.alg));
    if !candidates.any(|key| key.verifies(signed.as_bytes(), &signature)) {
        return Err(format!("no key of the issuer has signed it (alg {:?})", header.alg));
    }
    let body: Body = part(body).ok_or("an unreadable body")?;
    body.is_meant_for(audience, now)?;
    Ok(Claims { subject: body.sub.ok_or("a token without subject")? })
}

/// Checks audience and time, and no signature: what would be refused anyway need not be shown to anybody.
pub(super) fn could_be(token: &str, audience: &str, now: SystemTime) -> Result<(), &'static str> {
    let body = token.split('.').nth(1).and_then(part::<Body>);
    body.ok_or("an unreadable body")?.is_meant_for(audience, now)
}

impl Body {
    fn is_meant_for(&self, audience: &str, now: SystemTime) -> Result<(), &'static str> {
        let wanted = match &self.aud {
            Some(Audience::One(one)) => one == audience,
            Some(Audience::Many(many)) => many.iter().any(|one| one == audience),
            None => false,
        };
        if !wanted {
            return Err("a token for another audience");
        }
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        if self.exp.is_none_or(|end| now > end + SKEW.as_secs_f64()) {
            return Err("an expired token");
        }
        if self.nbf.is_some_and(|start| now + SKEW.as_secs_f64() < start) {
            return Err("a token of the future");
        }
        Ok(())
    }
}

fn part<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

impl Key {
    /// A key is for one kind of signature, whatever the token would like.
    fn fits(&self, algorithm: &str) -> bool {
        match algorithm {
            "RS256" => self.kty == "RSA",
            "ES256" => self.kty == "EC" && self.crv.as_deref() == Some("P-256"),
            _ => false,
        }
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let number =
            |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_deref().unwrap_or("")).unwrap_or_default();
        if self.kty == "RSA" {
            let key = RsaPublicKeyComponents { n: number(&self.n), e: number(&self.e) };
            return key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok();
        }
        let point = [&[4], number(&self.x).as_slice(), number(&self.y).as_slice()].concat();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok()
    }
}
