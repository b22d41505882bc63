//! A token taken apart. Nothing of it is believed before its signature was checked. Source: RFC 7515, 7519.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::Fault;

/// Algorithms there are; which of them a token may use, its key says.
const ALGORITHMS: [&str; 13] = [
    "ES256", "ES384", "ES512", "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384",
    "PS512", "EdDSA",
];

/// See the module.
#[derive(Debug)]
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
    /// The whole header.
    pub header: Map<String, Value>,
    /// `iss`, empty without.
    pub issuer: String,
    /// `sub`
    pub subject: Option<String>,
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
    pub fn parse(token: &'t str) -> Result<Self, Fault> {
        let mut parts = token.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Fault::Format);
        };
        if header.is_empty() || payload.is_empty() || signature.is_empty() {
            return Err(Fault::Format);
        }
        let signed = token.get(..header.len() + 1 + payload.len()).ok_or(Fault::Format)?;
        let header = object(header, Fault::HeaderBase64, Fault::HeaderJson)?;
        let algorithm = header.get("alg").and_then(Value::as_str).ok_or(Fault::Algorithm)?.to_owned();
        if !ALGORITHMS.contains(&algorithm.as_str()) {
            return Err(Fault::UnknownAlgorithm);
        }
        let key_id = text(header.get("kid"), Fault::KeyId)?;
        let claims = object(payload, Fault::PayloadBase64, Fault::PayloadJson)?;
        let issuer = text(claims.get("iss"), Fault::Issuer)?.unwrap_or_default();
        let subject = text(claims.get("sub"), Fault::Subject)?;
        // Nothing looks at these two later, but a token that has them wrong is none.
        seconds(claims.get("iat"), (Fault::IssuedFormat, Fault::IssuedRange))?;
        let not_before = seconds(claims.get("nbf"), (Fault::StartFormat, Fault::StartRange))?;
        let expires = seconds(claims.get("exp"), (Fault::ExpiryFormat, Fault::ExpiryRange))?;
        text(claims.get("jti"), Fault::TokenId)?;
        let audiences = audiences(claims.get("aud"))?;
        Ok(Self {
            signed,
            payload,
            signature: URL_SAFE_NO_PAD.decode(signature).map_err(|_| Fault::SignatureBase64)?,
            algorithm,
            key_id,
            issuer,
            subject,
            audiences,
            expires,
            not_before,
            claims,
            header,
        })
    }

    /// Checks that it is valid at `now`, seconds since 1970, by clocks that may be `skew` seconds apart.
    ///
    /// # Errors
    /// When it is not yet, or no more.
    pub fn check_time(&self, now: u64, skew: u64) -> Result<(), Fault> {
        if self.not_before.is_some_and(|start| now.saturating_add(skew) < start) {
            return Err(Fault::NotYetValid);
        }
        if self.expires.is_some_and(|end| now > end.saturating_add(skew)) {
            return Err(Fault::Expired);
        }
        Ok(())
    }

    /// Checks that it is for one of these; none are anybody.
    ///
    /// # Errors
    /// When it is for others only.
    pub fn check_audience<T: AsRef<str>>(&self, wanted: &[T]) -> Result<(), Fault> {
        let meant = |wanted: &str| self.audiences.iter().any(|one| same_audience(one, wanted));
        let good = wanted.is_empty() || wanted.iter().any(|wanted| meant(wanted.as_ref()));
        if good { Ok(()) } else { Err(Fault::Audience) }
    }

    /// A claim inside claims.
    pub fn claim(&self, path: &[Box<str>]) -> Option<&Value> {
        let (first, rest) = path.split_first()?;
        rest.iter().try_fold(self.claims.get(&**first)?, |value, name| value.get(&**name))
    }
}

/// Audiences are compared without scheme and closing slash, as in Envoy.
fn same_audience(one: &str, other: &str) -> bool {
    fn bare(text: &str) -> &str {
        let text = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")).unwrap_or(text);
        text.strip_suffix('/').unwrap_or(text)
    }
    bare(one) == bare(other)
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

/// Fractions of a second do not count. `wrong`: no number, and no time.
fn seconds(value: Option<&Value>, wrong: (Fault, Fault)) -> Result<Option<u64>, Fault> {
    let Some(Value::Number(number)) = value else {
        return if value.is_none() { Ok(None) } else { Err(wrong.0) };
    };
    let fraction = || number.as_f64().filter(|number| *number >= 0.0).map(|number| number as u64);
    number.as_u64().or_else(fraction).map(Some).ok_or(wrong.1)
}

fn text(value: Option<&Value>, wrong: Fault) -> Result<Option<String>, Fault> {
    value.map(|value| value.as_str().map(str::to_owned).ok_or(wrong)).transpose()
}
