//! The mesh as a source of resources: definitions that were loaded and checked, translated for every proxy they know.
//!
//! The joint between what the definitions mean ([`crate::graph`], [`crate::translate`]) and how resources are served
//! ([`crate::snapshot`]). Translation happens when the source is made, so that definitions which some proxy could not
//! be given are refused as a whole, before anything of them is served.

use std::collections::BTreeMap;

use crate::diagnostics::Report;
use crate::graph::Graph;
use crate::model::NodeId;
use crate::snapshot::{NodeResources, ResourceSource, UnknownNode};
use crate::translate::{Resources, TranslateOptions, translate};

/// One state of the definitions, ready to be served.
pub struct MeshSource {
    graph: Graph,
    /// By canonical id.
    resources: BTreeMap<String, NodeResources>,
}

impl MeshSource {
    /// Translates the whole mesh; `options` says how, proxy by proxy. `None` if some proxy cannot be given what its
    /// definitions ask for, or if the report had errors before: the report says why.
    pub fn new(
        graph: Graph,
        options: impl Fn(&NodeId) -> TranslateOptions,
        report: &mut Report,
    ) -> Option<Self> {
        let mut resources = BTreeMap::new();
        for id in graph.proxies() {
            let proxy = graph.meshes.get(&id.mesh).and_then(|mesh| mesh.proxy(id.kind, &id.name));
            let translated = proxy.and_then(|proxy| translate(&graph, &proxy, &options(&id), report));
            resources.extend(translated.map(|r| (id.to_string(), encode(&r))));
        }
        (!report.has_errors()).then_some(Self { graph, resources })
    }

    /// Canonical ids of all proxies.
    pub fn node_ids(&self) -> impl Iterator<Item = &str> {
        self.resources.keys().map(String::as_str)
    }
}

impl ResourceSource for MeshSource {
    fn resources(&self, node_id: &str) -> Result<NodeResources, UnknownNode> {
        let unknown = |reason: &str| UnknownNode::new(node_id, reason, self.node_ids());
        let proxy = self.graph.resolve(node_id).map_err(|reason| unknown(&reason))?;
        let found = self.resources.get(&proxy.id().to_string());
        found.cloned().ok_or_else(|| unknown("it has no resources"))
    }
}

fn encode(resources: &Resources) -> NodeResources {
    let Resources { listeners, routes, clusters, endpoints } = resources;
    let mut encoded = NodeResources::default();
    listeners.iter().for_each(|(name, message)| encoded.insert(name, message));
    routes.iter().for_each(|(name, message)| encoded.insert(name, message));
    clusters.iter().for_each(|(name, message)| encoded.insert(name, message));
    endpoints.iter().for_each(|(name, message)| encoded.insert(name, message));
    encoded
}

#[cfg(test)]
mod tests;
