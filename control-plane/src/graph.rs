//! The mesh as a whole: resources by name, references resolved, rules across resources.
//!
//! Owns what one resource alone cannot say: duplicates, dangling references, protocols and ports that must
//! agree. Built from [`crate::model::Definitions`]; translation reads it. Rules: the App Mesh service model
//! and user guide.
//! Invariant: keys of the maps are resource names, unique per kind and parent.

pub mod access;
mod check;
mod identity;
pub mod order;
pub mod service;

use std::collections::BTreeMap;

use crate::diagnostics::Report;
use crate::model::{
    Definitions, GatewayRouteSpec, Kind, MeshId, MeshSpec, Meta, Provider, Resource, RouteSpec,
    ServiceInstance, VirtualGatewaySpec, VirtualNodeSpec, VirtualRouterSpec, VirtualServiceSpec,
};
use crate::source::ecs::Sidecar;

pub use identity::Proxy;

/// All meshes of the definitions.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// Meshes by id; at most one without an owner per name.
    pub meshes: BTreeMap<MeshId, MeshGraph>,
    /// Instances of Cloud Map services, by namespace and service.
    pub instances: BTreeMap<String, BTreeMap<String, Vec<ServiceInstance>>>,
}

/// The resources of one mesh.
#[derive(Clone, Debug)]
pub struct MeshGraph {
    /// Name and owner.
    pub id: MeshId,
    /// The mesh resource; absent when the files define only resources in it.
    pub resource: Option<Resource<MeshSpec>>,
    /// Virtual nodes by name.
    pub nodes: BTreeMap<String, Resource<VirtualNodeSpec>>,
    /// Virtual services by name.
    pub services: BTreeMap<String, Resource<VirtualServiceSpec>>,
    /// Virtual routers by name.
    pub routers: BTreeMap<String, Resource<VirtualRouterSpec>>,
    /// Routes by router and name.
    pub routes: BTreeMap<(String, String), Resource<RouteSpec>>,
    /// Virtual gateways by name.
    pub gateways: BTreeMap<String, Resource<VirtualGatewaySpec>>,
    /// Gateway routes by gateway and name.
    pub gateway_routes: BTreeMap<(String, String), Resource<GatewayRouteSpec>>,
    /// Some definition names the mesh's owner, so other accounts may define resources in it.
    pub shared: bool,
    /// Resources that exist but could not be read.
    pub unread: Vec<(Kind, Meta)>,
    /// Who may call whom, where the mesh says so.
    pub access: Option<access::Access>,
}

impl Graph {
    /// Joins definitions and checks them; findings go to the report.
    pub fn build(definitions: Definitions, sidecars: &[Sidecar], report: &mut Report) -> Self {
        let owners = identity::Owners::of(&definitions);
        let mut graph = Self::default();
        for i in definitions.instances {
            let services = graph.instances.entry(i.namespace.clone()).or_default();
            services.entry(i.service.clone()).or_default().push(i);
        }
        for r in definitions.meshes {
            let mesh = graph.mesh_mut(&owners, &r.meta);
            match &mesh.resource {
                Some(first) => duplicate(Kind::Mesh, first, &r, report),
                None => mesh.resource = Some(r),
            }
        }
        for r in definitions.virtual_nodes {
            insert(Kind::VirtualNode, r, |m| &mut m.nodes, &mut graph, &owners, report);
        }
        for r in definitions.virtual_services {
            insert(Kind::VirtualService, r, |m| &mut m.services, &mut graph, &owners, report);
        }
        for r in definitions.virtual_routers {
            insert(Kind::VirtualRouter, r, |m| &mut m.routers, &mut graph, &owners, report);
        }
        for r in definitions.virtual_gateways {
            insert(Kind::VirtualGateway, r, |m| &mut m.gateways, &mut graph, &owners, report);
        }
        for r in definitions.routes {
            insert_child(Kind::Route, r, |m| &mut m.routes, &mut graph, &owners, report);
        }
        for r in definitions.gateway_routes {
            insert_child(Kind::GatewayRoute, r, |m| &mut m.gateway_routes, &mut graph, &owners, report);
        }
        for (kind, meta) in definitions.unread {
            graph.mesh_mut(&owners, &meta).unread.push((kind, meta));
        }
        check::check(&graph, sidecars, report);
        for mesh in graph.meshes.values_mut() {
            mesh.access = access::Access::of(mesh, report);
        }
        graph
    }

    /// The instances of a Cloud Map service that carry all of the attributes.
    pub fn instances_of<'g>(
        &'g self,
        namespace: &str,
        service: &str,
        attributes: &'g BTreeMap<String, String>,
    ) -> impl Iterator<Item = &'g ServiceInstance> {
        let all = self.instances.get(namespace).and_then(|services| services.get(service));
        let carries = |i: &&ServiceInstance| attributes.iter().all(|(k, v)| i.attributes.get(k) == Some(v));
        all.into_iter().flatten().filter(carries)
    }

    fn mesh_mut(&mut self, owners: &identity::Owners, meta: &Meta) -> &mut MeshGraph {
        let id = owners.resolve(&meta.mesh);
        let mesh = self.meshes.entry(id.clone()).or_insert_with(|| MeshGraph::new(id));
        mesh.shared |= meta.shared;
        mesh
    }
}

impl MeshGraph {
    fn new(id: MeshId) -> Self {
        Self {
            id,
            resource: None,
            shared: false,
            nodes: BTreeMap::new(),
            services: BTreeMap::new(),
            routers: BTreeMap::new(),
            routes: BTreeMap::new(),
            gateways: BTreeMap::new(),
            gateway_routes: BTreeMap::new(),
            unread: Vec::new(),
            access: None,
        }
    }

    /// The routes of a router, by name.
    pub fn routes_of(&self, router: &str) -> impl Iterator<Item = &Resource<RouteSpec>> {
        children(&self.routes, router)
    }

    /// The routes of a gateway, by name.
    pub fn gateway_routes_of(&self, gateway: &str) -> impl Iterator<Item = &Resource<GatewayRouteSpec>> {
        children(&self.gateway_routes, gateway)
    }

    /// The provider of a service.
    pub fn provider(&self, service: &str) -> Option<&Provider> {
        self.services.get(service)?.spec.provider.as_ref()
    }

    /// Whether a resource of this kind and name exists, read or not.
    pub fn exists(&self, kind: Kind, name: &str) -> bool {
        let read = match kind {
            Kind::Mesh => self.resource.is_some(),
            Kind::VirtualNode => self.nodes.contains_key(name),
            Kind::VirtualService => self.services.contains_key(name),
            Kind::VirtualRouter => self.routers.contains_key(name),
            Kind::VirtualGateway => self.gateways.contains_key(name),
            Kind::Route | Kind::GatewayRoute => false,
        };
        read || self.unread.iter().any(|(k, meta)| *k == kind && meta.name == name)
    }

    /// Whether the files define the mesh itself.
    pub fn is_defined(&self) -> bool {
        self.exists(Kind::Mesh, &self.id.name)
    }

    /// Whether what the files do not define does not exist: the mesh is theirs alone.
    pub fn is_complete(&self) -> bool {
        self.is_defined() && !self.shared
    }
}

/// The entries of a map whose key begins with this parent.
fn children<'g, S>(
    map: &'g BTreeMap<(String, String), Resource<S>>,
    parent: &str,
) -> impl Iterator<Item = &'g Resource<S>> {
    let parent = parent.to_owned();
    let from = (parent.clone(), String::new());
    map.range(from..).take_while(move |((p, _), _)| *p == parent).map(|(_, resource)| resource)
}

fn insert<S: PartialEq>(
    kind: Kind,
    resource: Resource<S>,
    map: impl Fn(&mut MeshGraph) -> &mut BTreeMap<String, Resource<S>>,
    graph: &mut Graph,
    owners: &identity::Owners,
    report: &mut Report,
) {
    let map = map(graph.mesh_mut(owners, &resource.meta));
    match map.get(&resource.meta.name) {
        Some(first) => duplicate(kind, first, &resource, report),
        None => {
            map.insert(resource.meta.name.clone(), resource);
        }
    }
}

fn insert_child<S: PartialEq>(
    kind: Kind,
    resource: Resource<S>,
    map: impl Fn(&mut MeshGraph) -> &mut BTreeMap<(String, String), Resource<S>>,
    graph: &mut Graph,
    owners: &identity::Owners,
    report: &mut Report,
) {
    let map = map(graph.mesh_mut(owners, &resource.meta));
    let parent = resource.meta.parent.as_ref().map(|p| p.name.clone()).unwrap_or_default();
    let key = (parent, resource.meta.name.clone());
    match map.get(&key) {
        Some(first) => duplicate(kind, first, &resource, report),
        None => {
            map.insert(key, resource);
        }
    }
}

/// A second definition of the same is superfluous; a different one is a contradiction.
fn duplicate<S: PartialEq>(kind: Kind, first: &Resource<S>, second: &Resource<S>, report: &mut Report) {
    let (words, name, at) = (kind.words(), &second.meta.name, &first.meta.at);
    if first.spec == second.spec {
        let message = format!("{words} \"{name}\" is defined in the same way at {at}; remove one of them");
        report.warn(&second.meta.at, "duplicate-resource", message);
    } else {
        let message = format!("{words} \"{name}\" is defined otherwise at {at}; keep one of them");
        report.error(&second.meta.at, "duplicate-resource", message);
    }
}

#[cfg(test)]
mod tests;
