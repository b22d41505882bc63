//! The overlay that gives Cloud Map services their instances where no discovery service is asked.
//!
//! A YAML or JSON document of our own, beside the definitions:
//!
//! ```yaml
//! cloudMapInstances:
//!   - namespaceName: apps.local
//!     serviceName: back
//!     attributes: {AWS_INSTANCE_IPV4: 10.0.0.7, ECS_TASK_DEFINITION_FAMILY: blue}
//! ```
//!
//! Attribute names are those of Cloud Map.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::node::Node;
use super::read::{Fields, FromNode, Reader};
use crate::model::{Definitions, ServiceInstance};

/// Reads one document.
pub fn load(document: &Node, cx: &mut Reader<'_>, into: &mut Definitions) {
    let Some(mut fields) = Fields::open(document, "the endpoint list", cx) else { return };
    into.instances.extend(fields.list::<ServiceInstance>("cloudMapInstances", 0..=100_000, cx));
    let _ = fields.finish(cx);
}

impl FromNode for ServiceInstance {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, "the instance", cx)?;
        let namespace = fields.required_text("namespaceName", 1..=1024, cx);
        let service = fields.required_text("serviceName", 1..=1024, cx);
        let attributes = fields.required_with("attributes", cx, attributes);
        fields.finish(cx)?;
        Some(Self {
            namespace: namespace?,
            service: service?,
            attributes: attributes?,
            at: node.at.clone().into(),
        })
    }
}

/// Reads an attribute map; an instance needs at least one address.
fn attributes(node: &Node, cx: &mut Reader<'_>) -> Option<BTreeMap<String, String>> {
    let Some(entries) = node.as_map() else {
        let message = format!("attributes must be a map, found {}; write NAME: value", node.shape());
        cx.report.error(&node.at, "wrong-type", message);
        return None;
    };
    let mut attributes = BTreeMap::new();
    for entry in entries {
        attributes.insert(entry.key.clone(), cx.text(&entry.value, &entry.key)?);
    }
    let address = |key: &str| attributes.get(key).map(|text| text.parse::<IpAddr>());
    let valid = match (address("AWS_INSTANCE_IPV4"), address("AWS_INSTANCE_IPV6")) {
        (None, None) => false,
        (v4, v6) => {
            v4.is_none_or(|a| matches!(a, Ok(IpAddr::V4(_))))
                && v6.is_none_or(|a| matches!(a, Ok(IpAddr::V6(_))))
        }
    };
    if !valid {
        let message = "the instance has no usable address; write AWS_INSTANCE_IPV4 or AWS_INSTANCE_IPV6";
        cx.report.error(&node.at, "bad-value", message);
        return None;
    }
    Some(attributes)
}
