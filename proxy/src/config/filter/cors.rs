//! Cross-origin resource sharing. Source: `envoy.extensions.filters.http.cors.v3.CorsPolicy`.

use crate::base::matcher::StringMatch;

/// The policy of one level. Empty and `None` leave the decision to the next level.
#[derive(Debug)]
pub struct CorsPolicy {
    /// Origins that are allowed.
    pub origins: Vec<StringMatch>,
    /// `access-control-allow-methods`; `*` repeats what was asked for.
    pub methods: Box<str>,
    /// `access-control-allow-headers`; `*` repeats what was asked for.
    pub headers: Box<str>,
    /// `access-control-expose-headers`
    pub expose: Box<str>,
    /// `access-control-max-age`
    pub max_age: Box<str>,
    /// Credentials may be sent.
    pub credentials: Option<bool>,
    /// Requests from public to private networks are allowed.
    pub private_network: Option<bool>,
    /// Preflights of other origins go upstream; so unless a level says otherwise.
    pub forward_mismatch: Option<bool>,
    /// Share of requests that the policy is applied to, per million.
    pub enabled_ppm: u32,
    /// Share of the others that are only counted, per million.
    pub shadow_ppm: u32,
}
