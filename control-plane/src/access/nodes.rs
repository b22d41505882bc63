//! The nodes that a client may be.

use crate::model::NodeId;

/// A set of nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Nodes {
    /// Any.
    All,
    /// Those with these ids; one that ends in `*` stands for all that begin so.
    Listed(Vec<String>),
    /// The one with this SPIFFE id.
    Identity(String),
}

impl Nodes {
    /// Whether the node that a client says it is belongs to the set.
    pub fn include(&self, node_id: &str) -> bool {
        if *self == Self::All {
            return true;
        }
        let Ok(id) = NodeId::parse(node_id) else { return false };
        match self {
            Self::All => true,
            Self::Listed(listed) => listed.iter().any(|one| matches(one, &id)),
            Self::Identity(uri) => is_identity(uri, &id),
        }
    }
}

/// Rules that name no owner mean the mesh of that name, whoever owns it.
fn matches(rule: &str, id: &NodeId) -> bool {
    let with_owner = rule.split('/').nth(1).is_some_and(|mesh| mesh.contains('@'));
    let mut id = id.clone();
    if !with_owner {
        id.mesh.owner = None;
    }
    let id = id.to_string();
    match rule.strip_suffix('*') {
        Some(start) => id.starts_with(start),
        None => id == rule,
    }
}

/// Whether a SPIFFE id is that of a node, which may leave its mesh's owner out.
fn is_identity(uri: &str, id: &NodeId) -> bool {
    if uri == id.spiffe_id() {
        return true;
    }
    let Some((domain, path)) = uri.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/')) else {
        return false;
    };
    let Some((mesh, owner)) = domain.rsplit_once('.') else { return false };
    let owned = owner.len() == 12 && owner.bytes().all(|byte| byte.is_ascii_digit());
    owned && id.mesh.owner.is_none() && format!("spiffe://{mesh}/{path}") == id.spiffe_id()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listed_nodes_are_whole_ids_or_beginnings() {
        let nodes =
            Nodes::Listed(vec!["mesh/shop/virtualNode/a".into(), "mesh/shop/virtualGateway/*".into()]);
        for (id, included) in [
            ("mesh/shop/virtualNode/a", true),
            ("mesh/shop@111122223333/virtualNode/a", true),
            ("arn:aws:appmesh:eu-west-1:111122223333:mesh/shop/virtualNode/a", true),
            ("mesh/shop/virtualNode/ab", false),
            ("mesh/shop2/virtualNode/a", false),
            ("mesh/shop/virtualGateway/edge", true),
            ("mesh/shop/virtualNode/*", false),
            ("a", false),
            ("", false),
        ] {
            assert_eq!(nodes.include(id), included, "{id}");
        }
    }

    #[test]
    fn an_identity_is_one_node() {
        let nodes = |uri: &str| Nodes::Identity(uri.to_owned());
        assert!(nodes("spiffe://shop/virtualNode/a").include("mesh/Shop/virtualNode/a"));
        assert!(nodes("spiffe://shop.111122223333/virtualNode/a").include("mesh/shop/virtualNode/a"));
        assert!(
            nodes("spiffe://shop.111122223333/virtualNode/a").include("mesh/shop@111122223333/virtualNode/a")
        );
        assert!(
            !nodes("spiffe://shop.111122223333/virtualNode/a")
                .include("mesh/shop@999922223333/virtualNode/a")
        );
        assert!(!nodes("spiffe://shop/virtualNode/a").include("mesh/shop/virtualNode/b"));
        assert!(!nodes("spiffe://shop/virtualNode/a").include("mesh/shop/virtualGateway/a"));
        assert!(!nodes("https://shop/virtualNode/a").include("mesh/shop/virtualNode/a"));
    }
}
