//! Mesh.

use super::{Fields, FromNode, Reader};
use crate::model::{EgressFilter, MeshSpec};
use crate::source::node::Node;

impl FromNode for MeshSpec {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, "the mesh spec", cx)?;
        let egress_filter = fields.optional("egressFilter", cx);
        let ip_preference = fields.optional_with("serviceDiscovery", cx, |node, cx| {
            let mut fields = Fields::open(node, "serviceDiscovery of a mesh", cx)?;
            let preference = fields.optional("ipPreference", cx);
            fields.finish(cx)?;
            Some(preference)
        });
        fields.finish(cx)?;
        Some(Self { egress_filter, ip_preference: ip_preference.flatten() })
    }
}

impl FromNode for EgressFilter {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, "egressFilter", cx)?;
        let words = [("ALLOW_ALL", Self::AllowAll), ("DROP_ALL", Self::DropAll)];
        let filter = fields.required_with("type", cx, |n, cx| cx.keyword(n, "type", &words));
        fields.finish(cx)?;
        filter
    }
}
