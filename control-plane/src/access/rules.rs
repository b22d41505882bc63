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

use std::path::Path;
use std::time::SystemTime;

use outrigger_aws_auth::sigv4::moment_of;
use outrigger_jwt::Token;
use serde::Deserialize;

use super::aws::{self, Callers};
use super::cluster::Cluster;
use super::questions::{Mark, mark};
use super::{Denied, Nodes, Principal, Proven};
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
        let accounts = kubernetes.iter().flat_map(|cluster| &cluster.accounts).map(|one| &one.nodes);
        let listed = tokens.iter().map(|one| &one.nodes).chain(accounts);
        let roles = aws.iter().flat_map(|section| &section.roles).map(|one| &one.nodes);
        listed.chain(roles).flatten().try_for_each(|node| check_node(node))?;
        kubernetes.iter().try_for_each(Cluster::check)?;
        let aws = aws.map(Callers::new).transpose()?;
        let tokens = tokens.into_iter().enumerate().map(|(position, one)| one.known(position));
        Ok(Self { certificates, tokens: tokens.collect::<Result<_, _>>()?, clusters: kubernetes, aws })
    }

    pub(super) fn takes_certificates(&self) -> bool {
        self.certificates
    }

    /// Whose token this is, shown from this address.
    pub(super) async fn prove(&self, token: &str, address: &str, now: SystemTime) -> Result<Proven, Denied> {
        // Hashes are compared: how long that takes says nothing about the token.
        let hash = mark(token);
        if self.tokens.iter().any(|known| known.mark == hash) {
            return Ok(Proven::JoinToken(hash));
        }
        if let Some(callers) = self.aws.as_ref().filter(|_| Callers::recognise(token)) {
            return callers.identify(token, address, now).await.map(Proven::Aws);
        }
        let taken = Token::parse(token).map_err(|_| Denied("an unknown token".to_owned()))?;
        let cluster = self.cluster(&taken.issuer);
        let cluster =
            cluster.ok_or_else(|| Denied(format!("a token of the unknown issuer {:.200?}", taken.issuer)))?;
        cluster.identify(&taken, token, address, now).await.map_err(Denied)
    }

    /// What somebody is here.
    pub(super) fn principal(&self, proven: Proven, now: SystemTime) -> Result<Principal, Denied> {
        let none = |who: &str| Denied(format!("{who:?} has no nodes"));
        let (name, nodes, until) = match &proven {
            Proven::Certificate(uri) if self.certificates => {
                (uri.clone(), Nodes::Identity(uri.clone()), None)
            }
            Proven::Anyone | Proven::Certificate(_) => return Err(none("a certificate")),
            Proven::JoinToken(mark) => {
                let known = self.tokens.iter().find(|known| known.mark == *mark);
                let known = known.ok_or_else(|| none("join token"))?;
                if known.until.is_some_and(|until| now >= until) {
                    return Err(Denied("an expired join token".to_owned()));
                }
                ("join token".to_owned(), Nodes::Listed(known.nodes.clone()), known.until)
            }
            Proven::Account { issuer, subject, until } => {
                let nodes = self.cluster(issuer).and_then(|cluster| cluster.nodes(subject));
                let nodes = nodes.ok_or_else(|| none(subject))?;
                (subject.clone(), Nodes::Listed(nodes.to_vec()), Some(*until))
            }
            Proven::Aws(arn) => {
                let nodes = self.aws.as_ref().and_then(|callers| callers.nodes(arn));
                let nodes = nodes.ok_or_else(|| none(arn))?;
                (arn.clone(), Nodes::Listed(nodes.to_vec()), None)
            }
        };
        Ok(Principal { name, nodes, until, proven })
    }

    fn cluster(&self, issuer: &str) -> Option<&Cluster> {
        self.clusters.iter().find(|cluster| cluster.issuer == issuer)
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
