//! Who may connect, and as which node.
//!
//! Owns the decision, made before a client is told anything; knows neither streams nor resources. A client shows a
//! certificate of the mesh, a join token, a service-account token of Kubernetes, or a signed question to AWS; the rules
//! say which nodes that makes it. A refusal tells the client nothing; the log has an audit line. Source: SPIFFE, RFC 7519,
//! Kubernetes "Service account token volume projection", AWS STS.

mod aws;
mod jwt;
mod nodes;
mod questions;
mod rules;
mod token_review;

pub use nodes::Nodes;
pub use rules::{Rules, RulesError};

use std::time::SystemTime;

/// Longest token looked at.
const MAX_TOKEN: usize = 16 << 10;

/// Who may connect.
#[derive(Debug, Default)]
pub enum Access {
    /// Whoever reaches us, as any node: loopback, Unix sockets, or at the operator's own risk.
    #[default]
    Open,
    /// Whoever the rules know.
    Ruled(Box<Rules>),
}

/// What a client shows.
#[derive(Debug, Default, Clone, Copy)]
pub struct Shown<'s> {
    /// URIs of its certificate, whose chain and key have been checked.
    pub uris: &'s [String],
    /// `authorization` of the call.
    pub authorization: Option<&'s str>,
    /// Where it connects from.
    pub address: &'s str,
}

/// A client that may be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// For the audit.
    pub name: String,
    /// As which nodes.
    pub nodes: Nodes,
}

/// A client that may not; the reason is for the audit alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied(pub String);

impl Access {
    /// Decides about a client at a moment.
    ///
    /// # Errors
    /// When nothing that it shows is enough.
    pub async fn principal(&self, shown: Shown<'_>, now: SystemTime) -> Result<Principal, Denied> {
        let Self::Ruled(rules) = self else {
            return Ok(Principal { name: "anyone".to_owned(), nodes: Nodes::All });
        };
        if let (Some(uri), true) = (shown.uris.first(), rules.takes_certificates()) {
            return Ok(Principal { name: uri.clone(), nodes: Nodes::Identity(uri.clone()) });
        }
        let Some(authorization) = shown.authorization else { return Err(Denied("shows nothing".to_owned())) };
        let bearer =
            authorization.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let Some((_, token)) = bearer else { return Err(Denied("no bearer token".to_owned())) };
        if token.len() > MAX_TOKEN {
            return Err(Denied("the token is too long".to_owned()));
        }
        rules.of_token(token.trim(), shown.address, now).await
    }
}

#[cfg(test)]
mod tests;
