//! The rules, as an operator writes them down.
//!
//! ```yaml
//! certificates: true            # a certificate of the mesh makes its holder the node it names
//! tokens:                       # for development
//!   - token: a-long-random-text
//!     nodes: [mesh/shop/virtualNode/front]
//! kubernetes:
//!   - issuer: https://oidc.eks.eu-west-1.amazonaws.com/id/0123
//!     audience: outrigger
//!     keys: /etc/outrigger/jwks.json
//!     accounts:
//!       - account: shop/front   # namespace and service account
//!         nodes: [mesh/shop/virtualNode/front]
//! ```

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::jwt::{self, Claims};
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
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JoinToken {
    token: String,
    nodes: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cluster {
    issuer: String,
    audience: String,
    keys: PathBuf,
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
    tokens: Vec<([u8; 32], Vec<String>)>,
    clusters: Vec<Cluster>,
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
        let File { certificates, tokens, kubernetes } =
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
        listed.flatten().try_for_each(|node| check_node(node))?;
        if let Some(odd) = accounts.into_iter().find(|one| one.account.split('/').count() != 2) {
            return Err(format!("account {:?}: write namespace/name", odd.account));
        }
        if let Some(empty) = kubernetes.iter().find(|one| one.issuer.is_empty() || one.audience.is_empty()) {
            return Err(format!("issuer {:?}: issuer and audience must be given", empty.issuer));
        }
        let tokens = tokens.into_iter().map(|one| (Sha256::digest(one.token).into(), one.nodes)).collect();
        Ok(Self { certificates, tokens, clusters: kubernetes })
    }

    pub(super) fn takes_certificates(&self) -> bool {
        self.certificates
    }

    /// The client that holds this token.
    pub(super) fn of_token(&self, token: &str, now: SystemTime) -> Result<Principal, Denied> {
        // Hashes are compared: how long that takes says nothing about the token.
        let hash: [u8; 32] = Sha256::digest(token).into();
        if let Some((_, nodes)) = self.tokens.iter().find(|(known, _)| *known == hash) {
            return Ok(Principal { name: "join token".to_owned(), nodes: Nodes::Listed(nodes.clone()) });
        }
        let claimed = jwt::issuer(token).ok_or_else(|| Denied("an unknown token".to_owned()))?;
        let cluster = self.clusters.iter().find(|cluster| cluster.issuer == claimed);
        let cluster = cluster.ok_or_else(|| Denied(format!("a token of the unknown issuer {claimed:?}")))?;
        let keys = std::fs::read(&cluster.keys)
            .map_err(|error| Denied(format!("{} cannot be read: {error}", cluster.keys.display())))?;
        let Claims { subject } = jwt::verify(token, &keys, &cluster.audience, now).map_err(Denied)?;
        let account = subject.strip_prefix("system:serviceaccount:").map(|rest| rest.replacen(':', "/", 1));
        let known = cluster.accounts.iter().find(|one| Some(&one.account) == account.as_ref());
        let known = known.ok_or_else(|| Denied(format!("{subject:?} has no nodes")))?;
        Ok(Principal { name: subject, nodes: Nodes::Listed(known.nodes.clone()) })
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
