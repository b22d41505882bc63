//! What may be wrong with a token. Texts are Envoy's: clients see them.

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There is none.
    Missing,
    /// It has not three parts.
    Format,
    /// Its header is no base64.
    HeaderBase64,
    /// Its header is no JSON object.
    HeaderJson,
    /// `alg` is no text.
    Algorithm,
    /// `alg` is none that there is.
    UnknownAlgorithm,
    /// `kid` is no text.
    KeyId,
    /// Its payload is no base64.
    PayloadBase64,
    /// Its payload is no JSON object.
    PayloadJson,
    /// `iss` is no text.
    Issuer,
    /// `exp` is no number of seconds.
    ExpiryFormat,
    /// `nbf` is no number of seconds.
    StartFormat,
    /// `aud` is neither text nor texts.
    AudienceFormat,
    /// Its signature is no base64.
    SignatureBase64,
    /// Nobody knows who issued it.
    UnknownIssuer,
    /// It is of the future.
    NotYetValid,
    /// It is of the past.
    Expired,
    /// It is for others.
    Audience,
    /// No key is for it.
    NoKey,
    /// Its signature is wrong.
    Signature,
}

impl Fault {
    /// What the client is told.
    pub fn text(self) -> &'static str {
        match self {
            Self::Missing => "Jwt is missing",
            Self::Format => "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections",
            Self::HeaderBase64 => "Jwt header is an invalid Base64url encoded",
            Self::HeaderJson => "Jwt header is an invalid JSON",
            Self::Algorithm => "Jwt header [alg] field is required and must be a string",
            Self::UnknownAlgorithm => "Jwt header [alg] is not supported",
            Self::KeyId => "Jwt header [kid] field is not a string",
            Self::PayloadBase64 => "Jwt payload is an invalid Base64",
            Self::PayloadJson => "Jwt payload is an invalid JSON",
            Self::Issuer => "Jwt payload [iss] field is not a string",
            Self::ExpiryFormat => "Jwt payload [exp] field is not an integer",
            Self::StartFormat => "Jwt payload [nbf] field is not an integer",
            Self::AudienceFormat => "Jwt payload [aud] field is not a string or string list",
            Self::SignatureBase64 => "Jwt signature is an invalid Base64",
            Self::UnknownIssuer => "Jwt issuer is not configured",
            Self::NotYetValid => "Jwt not yet valid",
            Self::Expired => "Jwt is expired",
            Self::Audience => "Audiences in Jwt are not allowed",
            Self::NoKey => "Jwks doesn't have key to match kid or alg from Jwt",
            Self::Signature => "Jwt verification fails",
        }
    }

    /// The HTTP status of the answer.
    pub fn status(self) -> u16 {
        if self == Self::Audience { 403 } else { 401 }
    }
}
