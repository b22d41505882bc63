//! `envoy.filters.http.jwt_authn`: whose tokens a request needs, and how they are checked.

mod fault;
mod keys;
mod token;

use std::collections::BTreeMap;

use crate::config::route::RouteMatch;
use crate::stats::scope::JwtStats;

pub use fault::Fault;
pub use keys::Keys;
pub use token::Token;

/// The filter.
#[derive(Debug)]
pub struct Jwt {
    /// Who issues tokens.
    pub providers: Vec<Provider>,
    /// What requests need: the first that matches says it.
    pub rules: Vec<Rule>,
    /// Requirements that routes name.
    pub named: BTreeMap<Box<str>, Requirement>,
    /// Preflights need nothing.
    pub bypass_preflight: bool,
    /// `http.<stat_prefix>.jwt_authn.*`
    pub stats: JwtStats,
}

/// Who issues tokens, where requests carry them, and what becomes of them.
#[derive(Debug)]
pub struct Provider {
    /// `iss` must be this; empty: anything.
    pub issuer: Box<str>,
    /// One of these must be in `aud`; empty: anything.
    pub audiences: Vec<Box<str>>,
    /// Its keys.
    pub keys: Keys,
    /// Headers that carry tokens, each with the text before the token.
    pub headers: Vec<(Box<str>, Box<str>)>,
    /// Query parameters that do.
    pub parameters: Vec<Box<str>>,
    /// Whether the upstream sees the token.
    pub forward: bool,
    /// Header for the payload, and whether its base64 is padded.
    pub payload_header: Option<(Box<str>, bool)>,
    /// Headers for claims, which are found by their path.
    pub claims: Vec<(Box<str>, Vec<Box<str>>)>,
    /// How far clocks may be apart, seconds.
    pub skew: u64,
}

/// Requests of one kind.
#[derive(Debug)]
pub struct Rule {
    /// Which.
    pub matching: RouteMatch,
    /// What they need; `None` is nothing.
    pub requires: Option<Requirement>,
}

/// What a request needs.
#[derive(Debug)]
pub enum Requirement {
    /// A token of this provider, for one of these audiences in place of the provider's.
    Provider(usize, Option<Vec<Box<str>>>),
    /// One of these, or what is tolerated.
    Any(Vec<Requirement>, Tolerance),
    /// All of these.
    All(Vec<Requirement>),
    /// Tokens of whichever provider, as far as they are there.
    Tolerant(Tolerance),
}

/// What is let through beside good tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tolerance {
    /// Nothing.
    #[default]
    Nothing,
    /// No token (`allow_missing`).
    Missing,
    /// Any token and none (`allow_missing_or_failed`).
    Failed,
}

/// What a route says in place of the rules.
#[derive(Debug)]
pub enum JwtRoute {
    /// Nothing is needed.
    Off,
    /// This of [`Jwt::named`].
    Named(Box<str>),
}

impl Tolerance {
    /// What becomes of a verdict.
    pub fn apply(self, verdict: Result<(), Fault>) -> Result<(), Fault> {
        match (self, verdict) {
            (Self::Failed, _) | (Self::Missing, Err(Fault::Missing)) => Ok(()),
            (_, verdict) => verdict,
        }
    }
}

impl Provider {
    /// Checks a token: issuer, time, audience, signature, in this order. `now` in seconds since 1970.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self, token: &Token<'_>, audiences: Option<&[Box<str>]>, now: u64) -> Result<(), Fault> {
        if !self.issuer.is_empty() && token.issuer != *self.issuer {
            return Err(Fault::UnknownIssuer);
        }
        if token.not_before.is_some_and(|start| now.saturating_add(self.skew) < start) {
            return Err(Fault::NotYetValid);
        }
        if token.expires.is_some_and(|end| now > end.saturating_add(self.skew)) {
            return Err(Fault::Expired);
        }
        let audiences = audiences.unwrap_or(&self.audiences);
        let meant = |wanted: &str| token.audiences.iter().any(|one| same_audience(one, wanted));
        if !audiences.is_empty() && !audiences.iter().any(|wanted| meant(wanted)) {
            return Err(Fault::Audience);
        }
        self.keys.verify(token)
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

#[cfg(test)]
mod tests;
