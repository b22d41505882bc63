//! The rules, as an operator writes them down.
//!
//! ```yaml
//! certificates: true            # a certificate of the mesh makes its holder the node it names
//! tokens:                       # for development
//!   - token: a-long-random-text
//!     nodes: [mesh/shop/virtualNode/front]
//!     until: 20270115T080000Z   # if it is to end
//! kubernetes:
//!   - issuer: https://oidc.eks.eu-west-1.amazonaws.com/id/0123
//!     audience: outrigger
//!     keys: /etc/outrigger/jwks.json   # offline; or let the API server review tokens:
//!     # review: {server: https://kubernetes.default.svc, roots: .../ca.crt, token: .../token}
//!     accounts:
//!       - account: shop/front   # namespace and service account
//!         nodes: [mesh/shop/virtualNode/front]
//! aws:
//!   audience: outrigger-shop      # what sidecars are told as OUTRIGGER_XDS_AWS_AUDIENCE
//!   regions: [eu-west-1]          # whose STS may be asked
//!   roles:
//!     - role: arn:aws:iam::111122223333:role/front
//!       nodes: [mesh/shop/virtualNode/front]
//! ```

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use outrigger_aws_auth::sigv4::moment_of;
use serde::Deserialize;

use super::aws::{self, Callers};
use super::jwt::{self, Claims};
use super::questions::{Mark, mark};
use super::token_review::Reviewer;
use super::{Denied, Nodes, Principal};
use crate::model::NodeId;

/// Shortest join token.
const SHORTEST_TOKEN: usize = 16;

/// Why there are no rules.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct RulesError {
    path: String,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    certificates: bool,
    #[serde(default)]
    tokens: Vec<JoinToken>,
    #[serde(default)]
    kubernetes: Vec<Cluster>,
    aws: Option<aws::Section>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JoinToken {
    token: String,
    nodes: Vec<String>,
    until: Option<String>,
}

/// A join token that is known, by its hash.
#[derive(Debug)]
struct Known {
    mark: Mark,
    nodes: Vec<String>,
    until: Option<SystemTime>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cluster {
    issuer: String,
    audience: String,
    keys: Option<PathBuf>,
    review: Option<Reviewer>,
    accounts: Vec<Account>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Account {
    account: String,
    nodes: Vec<String>,
}

/// The rules. Join tokens are kept as hashes.
#[derive(Debug)]
pub struct Rules {
    certificates: bool,
    tokens: Vec<Known>,
    clusters: Vec<Cluster>,
    aws: Option<Callers>,
}

impl Rules {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, or says something that has no meaning. Tokens are not in the message.
    pub fn read(path: &Path) -> Result<Self, RulesError> {
        let fail = |reason: String| RulesError { path: path.display().to_string(), reason };
        let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
        Self::parse(&text).map_err(fail)
    }

    /// Takes the text apart.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let File { certificates, tokens, kubernetes, aws } =
            yaml_serde::from_str(text).map_err(|error| match error.location() {
                // The text of the error may quote the file.
                Some(place) => format!("line {}: is not as rules are written", place.line()),
                None => "is not as rules are written".to_owned(),
            })?;
        for (position, one) in tokens.iter().enumerate() {
            if one.token.len() < SHORTEST_TOKEN {
                return Err(format!(
                    "tokens[{position}].token: must have {SHORTEST_TOKEN} characters at least"
                ));
            }
        }
        let accounts = kubernetes.iter().flat_map(|cluster| &cluster.accounts);
        let listed = tokens.iter().map(|one| &one.nodes).chain(accounts.clone().map(|one| &one.nodes));
        let roles = aws.iter().flat_map(|section| &section.roles).map(|one| &one.nodes);
        listed.chain(roles).flatten().try_for_each(|node| check_node(node))?;
        if let Some(odd) = accounts.into_iter().find(|one| one.account.split('/').count() != 2) {
            return Err(format!("account {:?}: write namespace/name", odd.account));
        }
        if let Some(empty) = kubernetes.iter().find(|one| one.issuer.is_empty() || one.audience.is_empty()) {
            return Err(format!("issuer {:?}: issuer and audience must be given", empty.issuer));
        }
        if let Some(odd) = kubernetes.iter().find(|one| one.keys.is_some() == one.review.is_some()) {
            return Err(format!("issuer {:?}: give either keys or review", odd.issuer));
        }
        let plain = |one: &Reviewer| !one.server.starts_with("https://");
        if let Some(odd) = kubernetes.iter().find(|one| one.review.as_ref().is_some_and(plain)) {
            return Err(format!("issuer {:?}: review.server must begin with https://", odd.issuer));
        }
        let aws = aws.map(Callers::new).transpose()?;
        let tokens = tokens.into_iter().enumerate().map(|(position, one)| one.known(position));
        Ok(Self { certificates, tokens: tokens.collect::<Result<_, _>>()?, clusters: kubernetes, aws })
    }

    pub(super) fn takes_certificates(&self) -> bool {
        self.certificates
    }

    /// The client that holds this token, and shows it from this address.
    pub(super) async fn of_token(
        &self,
        token: &str,
        address: &str,
        now: SystemTime,
    ) -> Result<Principal, Denied> {
        // Hashes are compared: how long that takes says nothing about the token.
        let hash = mark(token);
        if let Some(known) = self.tokens.iter().find(|known| known.mark == hash) {
            if known.until.is_some_and(|until| now >= until) {
                return Err(Denied("an expired join token".to_owned()));
            }
            return Ok(Principal {
                name: "join token".to_owned(),
                nodes: Nodes::Listed(known.nodes.clone()),
            });
        }
        if let Some(callers) = self.aws.as_ref().filter(|_| Callers::recognise(token)) {
            let (name, nodes) = callers.identify(token, address, now).await?;
            return Ok(Principal { name, nodes: Nodes::Listed(nodes) });
        }
        let claimed = jwt::issuer(token).ok_or_else(|| Denied("an unknown token".to_owned()))?;
        let cluster = self.clusters.iter().find(|cluster| cluster.issuer == claimed);
        let cluster = cluster.ok_or_else(|| Denied(format!("a token of the unknown issuer {claimed:?}")))?;
        let Claims { subject } = cluster.verify(token, address, now).await.map_err(Denied)?;
        let account = subject.strip_prefix("system:serviceaccount:").map(|rest| rest.replacen(':', "/", 1));
        let known = cluster.accounts.iter().find(|one| Some(&one.account) == account.as_ref());
        let known = known.ok_or_else(|| Denied(format!("{subject:?} has no nodes")))?;
        Ok(Principal { name: subject, nodes: Nodes::Listed(known.nodes.clone()) })
    }
}

impl JoinToken {
    fn known(self, position: usize) -> Result<Known, String> {
        let Self { token, nodes, until } = self;
        let moment = until.as_deref().map(|text| moment_of(text).ok_or(text)).transpose();
        let until = moment.map_err(|odd| {
            format!("tokens[{position}].until: {odd:?} is no moment; write it like 20270115T080000Z")
        })?;
        Ok(Known { mark: mark(&token), nodes, until })
    }
}

impl Cluster {
    async fn verify(&self, token: &str, address: &str, now: SystemTime) -> Result<Claims, String> {
        match (&self.keys, &self.review) {
            (Some(keys), _) => {
                let known = std::fs::read(keys)
                    .map_err(|error| format!("{} cannot be read: {error}", keys.display()))?;
                jwt::verify(token, &known, &self.audience, now)
            }
            (None, Some(reviewer)) => reviewer.verify(token, &self.audience, address, now).await,
            (None, None) => Err("nobody checks its tokens".to_owned()),
        }
    }
}

/// A node id, or the beginning of some with `*` at its end.
fn check_node(text: &str) -> Result<(), String> {
    let whole = text.strip_suffix('*').map(|start| format!("{start}x"));
    let id = NodeId::parse(whole.as_deref().unwrap_or(text))?;
    let canonical = id.to_string() == whole.as_deref().unwrap_or(text);
    if canonical {
        Ok(())
    } else {
        Err(format!("node {text:?}: write mesh/<mesh>/virtualNode/<name>, not an ARN"))
    }
}
