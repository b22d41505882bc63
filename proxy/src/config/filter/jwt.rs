//! `envoy.filters.http.jwt_authn`: whose tokens a request needs, and how they are checked.

mod remote;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::matcher::StringMatch;
use crate::config::route::RouteMatch;
use crate::stats::scope::JwtStats;

pub use outrigger_jwt::{Fault, Keys, Token};
pub use remote::{Fetch, RemoteKeys};

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
    /// Clients are not told what is wrong.
    pub silent: bool,
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
    /// `sub` must match.
    pub subjects: Option<StringMatch>,
    /// There must be an end.
    pub require_expiration: bool,
    /// And it must not be further away, seconds.
    pub max_lifetime: Option<u64>,
    /// Its keys.
    pub keys: KeySource,
    /// Headers that carry tokens, each with the text before the token.
    pub headers: Vec<(Box<str>, Box<str>)>,
    /// Query parameters that do.
    pub parameters: Vec<Box<str>>,
    /// Cookies that do.
    pub cookies: Vec<Box<str>>,
    /// Whether the upstream sees the token. That in a cookie it always does, as in Envoy.
    pub forward: bool,
    /// Header for the payload, and whether its base64 is padded.
    pub payload_header: Option<(Box<str>, bool)>,
    /// Headers for claims, which are found by their path.
    pub claims: Vec<(Box<str>, Vec<Box<str>>)>,
    /// How far clocks may be apart, seconds.
    pub skew: u64,
    /// What becomes dynamic metadata.
    pub metadata: InMetadata,
    /// Requests that carry something of the token are routed anew.
    pub clear_route: bool,
}

/// Where a provider's keys are from.
#[derive(Debug)]
pub enum KeySource {
    /// The configuration.
    Local(Keys),
    /// A server.
    Remote(Arc<RemoteKeys>),
}

/// Fields of the filter's namespace for what a token says; `None` is not at all.
#[derive(Debug, Default)]
pub struct InMetadata {
    /// Its payload.
    pub payload: Option<Box<str>>,
    /// Its header.
    pub header: Option<Box<str>>,
    /// What is wrong with it.
    pub failure: Option<Box<str>>,
    /// Claims that are lists of words, separated by spaces.
    pub spaced: Vec<Box<str>>,
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
    /// Checks what a token says: issuer, subject, time, audience, in this order. `now` in seconds since 1970. Its signature
    /// is to be checked as well.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check_claims(
        &self,
        token: &Token<'_>,
        audiences: Option<&[Box<str>]>,
        now: u64,
    ) -> Result<(), Fault> {
        if !self.issuer.is_empty() && token.issuer != *self.issuer {
            return Err(Fault::UnknownIssuer);
        }
        let subject = token.subject.as_deref().unwrap_or_default();
        if self.subjects.as_ref().is_some_and(|matcher| !matcher.matches(subject.as_bytes())) {
            return Err(Fault::Signature);
        }
        token.check_time(now, self.skew)?;
        let too_long = |end: u64| self.max_lifetime.is_some_and(|most| end > now.saturating_add(most));
        let ends = self.require_expiration || self.max_lifetime.is_some();
        if token.expires.map_or(ends, too_long) {
            return Err(Fault::Signature);
        }
        token.check_audience(audiences.unwrap_or(&self.audiences))
    }
}
