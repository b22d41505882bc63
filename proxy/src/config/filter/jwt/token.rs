//! A token taken apart. Nothing of it is believed before its signature was checked. Source: RFC 7515, 7519.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::Fault;

/// Algorithms there are; which of them a token may use, its key says.
const ALGORITHMS: [&str; 13] = [
    "ES256", "ES384", "ES512", "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384",
    "PS512", "EdDSA",
];

/// See the module.
pub struct Token<'t> {
    /// Header and payload, as they are signed.
    pub signed: &'t str,
    /// The payload in base64.
    pub payload: &'t str,
    /// The signature.
    pub signature: Vec<u8>,
    /// `alg`, one of those there are.
    pub algorithm: String,
    /// `kid`
    pub key_id: Option<String>,
    /// `iss`, empty without.
    pub issuer: String,
    /// `aud`
    pub audiences: Vec<String>,
    /// `exp`, seconds since 1970.
    pub expires: Option<u64>,
    /// `nbf`, seconds since 1970.
    pub not_before: Option<u64>,
    /// The whole payload.
    pub claims: Map<String, Value>,
}

impl<'t> Token<'t> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// What it lacks.
    pub fn parse(text: &'t str) -> Result<Self, Fault> {
        let mut parts = text.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Fault::Format);
        };
        if header.is_empty() || payload.is_empty() || signature.is_empty() {
            return Err(Fault::Format);
        }
        let signed = text.get(..header.len() + 1 + payload.len()).ok_or(Fault::Format)?;
        let header = object(header, Fault::HeaderBase64, Fault::HeaderJson)?;
        let algorithm = header.get("alg").and_then(Value::as_str).ok_or(Fault::Algorithm)?;
        if !ALGORITHMS.contains(&algorithm) {
            return Err(Fault::UnknownAlgorithm);
        }
        let key_id = header.get("kid").map(|kid| kid.as_str().ok_or(Fault::KeyId)).transpose()?;
        let claims = object(payload, Fault::PayloadBase64, Fault::PayloadJson)?;
        let issuer = claims.get("iss").map(|iss| iss.as_str().ok_or(Fault::Issuer)).transpose()?;
        Ok(Self {
            signed,
            payload,
            signature: URL_SAFE_NO_PAD.decode(signature).map_err(|_| Fault::SignatureBase64)?,
            algorithm: algorithm.to_owned(),
            key_id: key_id.map(str::to_owned),
            issuer: issuer.unwrap_or_default().to_owned(),
            audiences: audiences(claims.get("aud"))?,
            expires: seconds(claims.get("exp"), Fault::ExpiryFormat)?,
            not_before: seconds(claims.get("nbf"), Fault::StartFormat)?,
            claims,
        })
    }

    /// A claim inside claims.
    pub fn claim(&self, path: &[Box<str>]) -> Option<&Value> {
        let (first, rest) = path.split_first()?;
        rest.iter().try_fold(self.claims.get(&**first)?, |value, name| value.get(&**name))
    }
}

fn object(part: &str, no_base64: Fault, no_json: Fault) -> Result<Map<String, Value>, Fault> {
    let text = URL_SAFE_NO_PAD.decode(part).map_err(|_| no_base64)?;
    serde_json::from_slice(&text).map_err(|_| no_json)
}

fn audiences(value: Option<&Value>) -> Result<Vec<String>, Fault> {
    let text = |value: &Value| value.as_str().map(str::to_owned).ok_or(Fault::AudienceFormat);
    match value {
        None => Ok(Vec::new()),
        Some(Value::Array(many)) => many.iter().map(text).collect(),
        Some(one) => Ok(vec![text(one)?]),
    }
}

/// Fractions of a second do not count.
fn seconds(value: Option<&Value>, wrong: Fault) -> Result<Option<u64>, Fault> {
    let Some(value) = value else { return Ok(None) };
    let number =
        value.as_u64().or_else(|| value.as_f64().filter(|number| *number >= 0.0).map(|number| number as u64));
    number.map(Some).ok_or(wrong)
}
