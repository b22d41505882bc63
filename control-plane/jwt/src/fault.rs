//! What may be wrong with a token, or with the keys for it. Texts and codes are Envoy's: clients see the texts, and
//! `failed_status_in_metadata` both.

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
    /// `sub` is no text.
    Subject,
    /// `iat` is no number.
    IssuedFormat,
    /// `iat` is no time.
    IssuedRange,
    /// `nbf` is no number.
    StartFormat,
    /// `nbf` is no time.
    StartRange,
    /// `exp` is no number.
    ExpiryFormat,
    /// `exp` is no time.
    ExpiryRange,
    /// `jti` is no text.
    TokenId,
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
    /// Its signature is wrong, or it says what its issuer may not say.
    Signature,
    /// The keys cannot be had.
    KeysUnavailable,
}

impl Fault {
    /// What the client is told.
    pub fn text(self) -> &'static str {
        self.told().1
    }

    /// Its number in Envoy's list.
    pub fn code(self) -> u16 {
        self.told().0
    }

    fn told(self) -> (u16, &'static str) {
        match self {
            Self::Missing => (1, "Jwt is missing"),
            Self::NotYetValid => (2, "Jwt not yet valid"),
            Self::Expired => (3, "Jwt is expired"),
            Self::Format => {
                (4, "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections")
            }
            Self::HeaderBase64 => (5, "Jwt header is an invalid Base64url encoded"),
            Self::HeaderJson => (6, "Jwt header is an invalid JSON"),
            Self::Algorithm => (7, "Jwt header [alg] field is required and must be a string"),
            Self::UnknownAlgorithm => (8, "Jwt header [alg] is not supported"),
            Self::KeyId => (9, "Jwt header [kid] field is not a string"),
            Self::PayloadBase64 => (10, "Jwt payload is an invalid Base64url encoded"),
            Self::PayloadJson => (11, "Jwt payload is an invalid JSON"),
            Self::Issuer => (12, "Jwt payload [iss] field is not a string"),
            Self::Subject => (13, "Jwt payload [sub] field is not a string"),
            Self::IssuedFormat => (14, "Jwt payload [iat] field is not an integer"),
            Self::IssuedRange => (15, "Jwt payload [iat] field is not a positive 64 bit integer"),
            Self::StartFormat => (16, "Jwt payload [nbf] field is not an integer"),
            Self::StartRange => (17, "Jwt payload [nbf] field is not a positive 64 bit integer"),
            Self::ExpiryFormat => (18, "Jwt payload [exp] field is not an integer"),
            Self::ExpiryRange => (19, "Jwt payload [exp] field is not a positive 64 bit integer"),
            Self::TokenId => (20, "Jwt payload [jti] field is not a string"),
            Self::AudienceFormat => (21, "Jwt payload [aud] field is not a string or string list"),
            Self::SignatureBase64 => (22, "Jwt signature is an invalid Base64url encoded"),
            Self::UnknownIssuer => (24, "Jwt issuer is not configured"),
            Self::Audience => (25, "Audiences in Jwt are not allowed"),
            Self::Signature => (26, "Jwt verification fails"),
            Self::NoKey => (32, "Jwks doesn't have key to match kid or alg from Jwt"),
            Self::KeysUnavailable => (40, "Jwks remote fetch is failed"),
        }
    }

    /// The HTTP status of the answer.
    pub fn status(self) -> u16 {
        if self == Self::Audience { 403 } else { 401 }
    }
}
