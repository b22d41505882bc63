//! The mesh as a source of resources: definitions that were loaded and checked, translated for every proxy they know.
//!
//! The joint between what the definitions mean ([`crate::graph`], [`crate::translate`]) and how resources are served
//! ([`crate::snapshot`]). Translation happens when the source is made. A proxy that cannot be given what its
//! definitions ask for keeps what the state before gave it, or is refused by name; the others are not held back.
//! What gRPC clients without a proxy are given is translated when the first of a node asks: few nodes have any.

use std::collections::BTreeMap;

use crate::ca::{IDENTITY, Subject, TRUST};
use crate::diagnostics::{Report, Severity};
use crate::graph::{Graph, Proxy};
use crate::model::{NodeId, ServiceDiscovery};
use crate::picture::topology::Topology;
use crate::snapshot::{Audience, NoResources, NodeResources, ResourceSource, UnknownNode};
use crate::translate::{GrpcClient, Resources, TranslateOptions, grpc_client, translate};

/// One state of the definitions, ready to be served.
pub struct MeshSource {
    graph: Graph,
    /// By canonical id.
    proxies: BTreeMap<String, Served>,
    /// Proxies that this state could not be translated for, and why.
    refused: BTreeMap<String, Refused>,
    topology: Topology,
}

struct Served {
    options: TranslateOptions,
    resources: NodeResources,
    /// Whether they refer to secrets of the mesh's authority.
    secured: bool,
}

/// Why a proxy is not given the current state of its definitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The first error, with its position.
    pub reason: String,
    /// Whether the proxy is served what an earlier state gave it.
    pub kept: bool,
}

impl MeshSource {
    /// Translates the whole mesh; `options` says how, proxy by proxy, `None` leaves a proxy out. What cannot be
    /// translated is taken from `before`, and named by [`MeshSource::refused`]. `None` if the report had errors
    /// before: then nobody knows what the definitions mean.
    pub fn new(
        graph: Graph,
        options: impl Fn(&NodeId) -> Option<TranslateOptions>,
        before: Option<&Self>,
        report: &mut Report,
    ) -> Option<Self> {
        if report.has_errors() {
            return None;
        }
        let (mut proxies, mut refused) = (BTreeMap::new(), BTreeMap::new());
        let mut topology = Topology::of(&graph);
        for id in graph.proxies() {
            let proxy = graph.meshes.get(&id.mesh).and_then(|mesh| mesh.proxy(id.kind, &id.name));
            let (Some(proxy), Some(options), id) = (proxy, options(&id), id.to_string()) else { continue };
            let mut found = Report::default();
            let translated = translate(&graph, &proxy, &options, &mut found);
            let served = match translated {
                Some(resources) => {
                    topology.add_calls(proxy.mesh(), &id, &resources);
                    Some(Served::new(options, encode(&resources)))
                }
                None => {
                    let kept = before.and_then(|source| source.proxies.get(&id)).map(Served::again);
                    let why = Refused { reason: first_error(&found), kept: kept.is_some() };
                    refused.insert(id.clone(), why);
                    kept
                }
            };
            report.append(found);
            proxies.extend(served.map(|served| (id, served)));
        }
        Some(Self { graph, proxies, refused, topology })
    }

    /// Canonical ids of all proxies that are served.
    pub fn node_ids(&self) -> impl Iterator<Item = &str> {
        self.proxies.keys().map(String::as_str)
    }

    /// Proxies that this state of the definitions could not be translated for, by canonical id.
    pub fn refused(&self) -> &BTreeMap<String, Refused> {
        &self.refused
    }

    /// Whom a certificate of the node with this id is for.
    pub fn subject(&self, node_id: &str) -> Option<Subject> {
        let proxy = self.graph.resolve(node_id).ok()?;
        let hosts = match &proxy {
            Proxy::Node(_, node) => node.spec.service_discovery.as_ref().map(discovered_as),
            Proxy::Gateway(..) => None,
        };
        Some(Subject { uri: proxy.id().spiffe_id(), hosts: hosts.into_iter().collect() })
    }

    /// The same, if the proxy's resources refer to secrets of the mesh's authority.
    pub fn secured(&self, node_id: &str) -> Option<Subject> {
        let id = self.graph.resolve(node_id).ok()?.id().to_string();
        self.proxies.get(&id).filter(|served| served.secured).and_then(|_| self.subject(&id))
    }

    fn of_proxy(&self, id: &str) -> Option<Result<NodeResources, NoResources>> {
        if let Some(served) = self.proxies.get(id) {
            return Some(Ok(served.resources.clone()));
        }
        let Refused { reason, .. } = self.refused.get(id)?;
        Some(Err(NoResources::Refused { id: id.to_owned(), reason: reason.clone() }))
    }

    /// What a node's services are to a gRPC client. What it cannot be given is logged.
    fn of_grpc_client(&self, proxy: &Proxy<'_>, id: &str) -> Option<NodeResources> {
        let Proxy::Node(mesh, node) = proxy else { return None };
        let default = TranslateOptions::default();
        let options = self.proxies.get(id).map_or(&default, |served| &served.options);
        let GrpcClient { resources, left_out } = grpc_client(&self.graph, mesh, node, options);
        for what in left_out {
            tracing::warn!(node = id, "gRPC clients without a proxy do not get {what}");
        }
        Some(encode(&resources))
    }
}

impl Served {
    fn new(options: TranslateOptions, resources: NodeResources) -> Self {
        let secured = resources.mention(IDENTITY) || resources.mention(TRUST);
        Self { options, resources, secured }
    }

    fn again(&self) -> Self {
        Self { options: self.options.clone(), resources: self.resources.clone(), secured: self.secured }
    }
}

impl ResourceSource for MeshSource {
    fn topology(&self) -> Option<&Topology> {
        Some(&self.topology)
    }

    fn canonical_id(&self, node_id: &str) -> Option<String> {
        self.graph.resolve(node_id).ok().map(|proxy| proxy.id().to_string())
    }

    fn resources(&self, node_id: &str, audience: Audience) -> Result<NodeResources, NoResources> {
        let unknown = |reason: &str| UnknownNode::new(node_id, reason, self.node_ids());
        let proxy = self.graph.resolve(node_id).map_err(|reason| unknown(&reason))?;
        let id = proxy.id().to_string();
        match audience {
            Audience::Proxy | Audience::KeyHolder => {
                self.of_proxy(&id).unwrap_or_else(|| Err(unknown("it has no resources").into()))
            }
            Audience::GrpcClient => {
                let resources = self.of_grpc_client(&proxy, &id);
                resources.ok_or_else(|| unknown("a gRPC client without a proxy is a virtual node").into())
            }
        }
    }
}

/// The name that callers find a node by: what App Mesh expects in its certificate.
fn discovered_as(discovery: &ServiceDiscovery) -> String {
    match discovery {
        ServiceDiscovery::Dns { hostname, .. } => hostname.trim_end_matches('.').to_owned(),
        ServiceDiscovery::CloudMap { namespace, service, .. } => format!("{service}.{namespace}"),
    }
}

fn first_error(report: &Report) -> String {
    let sorted = report.sorted();
    let error = sorted.into_iter().find(|finding| finding.severity == Severity::Error);
    error.map_or_else(|| "its definitions cannot be translated".to_owned(), ToString::to_string)
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
