//! Virtual service and virtual router.

use super::{Fields, FromNode, Reader};
use crate::model::{Kind, Provider, Reference, RouterListener, VirtualRouterSpec, VirtualServiceSpec};
use crate::source::node::Node;

impl FromNode for VirtualServiceSpec {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, "the virtual service spec", cx)?;
        let provider = fields.optional("provider", cx);
        fields.finish(cx)?;
        Some(Self { provider })
    }
}

impl FromNode for Provider {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, "provider", cx)?;
        let provider = match fields.exactly_one(&["virtualNode", "virtualRouter"], cx) {
            Some("virtualNode") => provided(&mut fields, Kind::VirtualNode, cx).map(Self::VirtualNode),
            Some(_) => provided(&mut fields, Kind::VirtualRouter, cx).map(Self::VirtualRouter),
            None => None,
        };
        fields.finish(cx)?;
        provider
    }
}

fn provided(fields: &mut Fields<'_>, kind: Kind, cx: &mut Reader<'_>) -> Option<Reference> {
    fields.required_with(kind.arn_segment(), cx, |node, cx| {
        let mut fields = Fields::open(node, kind.arn_segment(), cx)?;
        let reference = fields.reference(kind.name_key(), kind, cx);
        fields.finish(cx)?;
        reference
    })
}

impl FromNode for VirtualRouterSpec {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, "the virtual router spec", cx)?;
        let listeners = fields.list("listeners", 1..=64, cx);
        fields.finish(cx)?;
        Some(Self { listeners })
    }
}

impl FromNode for RouterListener {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, "the router listener", cx)?;
        let port_mapping = fields.required("portMapping", cx);
        fields.finish(cx)?;
        Some(Self { port_mapping: port_mapping?, at: node.at.clone().into() })
    }
}
