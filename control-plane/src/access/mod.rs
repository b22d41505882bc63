//! Who may connect, and as which node.
//!
//! Owns the decision, made before a client is told anything, and how long it holds; knows neither streams nor resources. A
//! client shows a certificate of the mesh, a join token, a service-account token of Kubernetes, or a signed question to
//! AWS, which prove who it is; the rules of the moment say which nodes that makes it. A refusal tells the client nothing;
//! the log has an audit line. Source: SPIFFE, RFC 7519, Kubernetes "Service account token volume projection", AWS STS.

mod aws;
mod cluster;
mod gate;
mod nodes;
mod questions;
mod rules;
mod token_review;

pub(crate) use gate::passed;
pub use gate::{Ended, Gate, Grant};
pub use nodes::Nodes;
pub(crate) use questions::Place;
pub use rules::{Rules, RulesError};

use std::time::SystemTime;

use self::questions::Mark;

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
    /// When that certificate ends.
    pub until: Option<SystemTime>,
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
    /// When what it has shown says nothing any more. What a connection has shown ends with the connection.
    pub until: Option<SystemTime>,
    /// What was proved, for rules that come later.
    proven: Proven,
}

/// Who a client has proved to be, whatever the rules make of it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Proven {
    /// Nobody was asked.
    Anyone,
    /// The holder of a certificate of the mesh with this URI.
    Certificate(String),
    /// The holder of a join token.
    JoinToken(Mark),
    /// A service account of a cluster.
    Account { issuer: String, subject: String, until: SystemTime },
    /// An identity of AWS, by its ARN.
    Aws(String),
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
        let proven = match self {
            Self::Open => Proven::Anyone,
            Self::Ruled(rules) => prove(rules, shown, now).await?,
        };
        self.of_proven(proven, now)
    }

    /// Decides anew about a client that earlier rules let in.
    ///
    /// # Errors
    /// When these do not.
    pub fn again(&self, earlier: &Principal, now: SystemTime) -> Result<Principal, Denied> {
        self.of_proven(earlier.proven.clone(), now)
    }

    fn of_proven(&self, proven: Proven, now: SystemTime) -> Result<Principal, Denied> {
        match self {
            Self::Open => Ok(Principal { name: "anyone".to_owned(), nodes: Nodes::All, until: None, proven }),
            Self::Ruled(rules) => rules.principal(proven, now),
        }
    }
}

async fn prove(rules: &Rules, shown: Shown<'_>, now: SystemTime) -> Result<Proven, Denied> {
    let denied = |reason: &str| Denied(reason.to_owned());
    if let (Some(uri), true) = (shown.uris.first(), rules.takes_certificates()) {
        // It was good at the beginning of the connection, which may be long ago.
        return match shown.until.is_some_and(|until| now >= until) {
            true => Err(denied("an expired certificate")),
            false => Ok(Proven::Certificate(uri.clone())),
        };
    }
    let authorization = shown.authorization.ok_or_else(|| denied("shows nothing"))?;
    let bearer = authorization.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let (_, token) = bearer.ok_or_else(|| denied("no bearer token"))?;
    if token.len() > MAX_TOKEN {
        return Err(denied("the token is too long"));
    }
    rules.prove(token.trim(), shown.address, now).await
}

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;
