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
    /// Whether a node belongs to the set. The id is the canonical one, with the owner of its mesh where the definitions
    /// know it: what a client calls itself may leave that out, and mean a mesh of another account.
    pub fn include(&self, node_id: &str) -> bool {
        if *self == Self::All {
            return true;
        }
        let Ok(id) = NodeId::parse(node_id) else { return false };
        match self {
            Self::All => true,
            Self::Listed(listed) => listed.iter().any(|one| matches(one, &id)),
            Self::Identity(uri) => *uri == id.spiffe_id(),
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
    fn an_identity_is_one_node_of_one_account() {
        let nodes = |uri: &str| Nodes::Identity(uri.to_owned());
        for (uri, id, included) in [
            ("spiffe://shop/virtualNode/a", "mesh/Shop/virtualNode/a", true),
            ("spiffe://shop.111122223333/virtualNode/a", "mesh/shop@111122223333/virtualNode/a", true),
            ("spiffe://shop.111122223333/virtualNode/a", "mesh/shop@999922223333/virtualNode/a", false),
            ("spiffe://shop.111122223333/virtualNode/a", "mesh/shop/virtualNode/a", false),
            ("spiffe://shop/virtualNode/a", "mesh/shop@111122223333/virtualNode/a", false),
            ("spiffe://shop/virtualNode/a", "mesh/shop/virtualNode/b", false),
            ("spiffe://shop/virtualNode/a", "mesh/shop/virtualGateway/a", false),
            ("https://shop/virtualNode/a", "mesh/shop/virtualNode/a", false),
        ] {
            assert_eq!(nodes(uri).include(id), included, "{uri} {id}");
        }
    }
}
