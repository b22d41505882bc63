//! What a virtual service answers on: its ports, and for each the routes or the node behind it.

use std::collections::BTreeMap;

use crate::graph::MeshGraph;
use crate::model::{
    NodeListener, PortMapping, Protocol, Provider, Resource, RouteSpec, VirtualNodeSpec, WeightedTarget,
};

/// A listener of a node that traffic can be sent to.
#[derive(Clone, Copy, Debug)]
pub struct Target<'g> {
    /// The node.
    pub node: &'g Resource<VirtualNodeSpec>,
    /// Its listener.
    pub listener: &'g NodeListener,
}

impl<'g> Target<'g> {
    /// The listener that a weighted target means.
    pub fn of(mesh: &'g MeshGraph, target: &WeightedTarget) -> Option<Self> {
        let node = mesh.nodes.get(&target.virtual_node.name)?;
        let listeners = &node.spec.listeners;
        let listener = match target.port {
            Some(port) => listeners.iter().find(|l| l.port_mapping.port == port)?,
            None => listeners.first()?,
        };
        Some(Self { node, listener })
    }
}

/// One port of a service as callers see it.
#[derive(Clone, Debug)]
pub struct ServicePort<'g> {
    /// Service name.
    pub service: &'g str,
    /// Port that callers dial, and its protocol.
    pub mapping: PortMapping,
    /// What stands behind it.
    pub behind: Behind<'g>,
}

impl<'g> ServicePort<'g> {
    /// The listeners that traffic may go to, as far as they are defined.
    pub fn targets(&self, mesh: &'g MeshGraph) -> Vec<Target<'g>> {
        match &self.behind {
            Behind::Node(target) => vec![*target],
            Behind::Routes(routes) => {
                let targets = routes.iter().flat_map(|r| r.spec.body.targets());
                targets.filter_map(|t| Target::of(mesh, t)).collect()
            }
        }
    }
}

/// What stands behind a port of a service.
#[derive(Clone, Debug)]
pub enum Behind<'g> {
    /// One node, with the implicit route and the default retry policy.
    Node(Target<'g>),
    /// The router's routes for this port, in the order in which they are tried.
    Routes(Vec<&'g Resource<RouteSpec>>),
}

/// The ports of a service, lowest first. None for a service without provider.
pub fn ports<'g>(mesh: &'g MeshGraph, service: &str) -> Vec<ServicePort<'g>> {
    let Some((name, resource)) = mesh.services.get_key_value(service) else { return Vec::new() };
    let mut ports = match &resource.spec.provider {
        Some(Provider::VirtualNode(r)) => node_ports(mesh, name, &r.name),
        Some(Provider::VirtualRouter(r)) => router_ports(mesh, name, &r.name),
        None => Vec::new(),
    };
    ports.sort_by_key(|p| p.mapping);
    ports
}

fn node_ports<'g>(mesh: &'g MeshGraph, service: &'g str, node: &str) -> Vec<ServicePort<'g>> {
    let Some(node) = mesh.nodes.get(node) else { return Vec::new() };
    let port = |listener: &'g NodeListener| ServicePort {
        service,
        mapping: listener.port_mapping,
        behind: Behind::Node(Target { node, listener }),
    };
    node.spec.listeners.iter().map(port).collect()
}

fn router_ports<'g>(mesh: &'g MeshGraph, service: &'g str, router: &str) -> Vec<ServicePort<'g>> {
    let Some((name, router)) = mesh.routers.get_key_value(router) else { return Vec::new() };
    let mut routes: Vec<&Resource<RouteSpec>> = mesh.routes_of(name).collect();
    routes.sort_by_cached_key(|r| super::order::route_order(r));
    let listeners: Vec<PortMapping> = router.spec.listeners.iter().map(|l| l.port_mapping).collect();
    let mappings = if listeners.is_empty() { target_mappings(mesh, &routes) } else { listeners };
    let port = |mapping: PortMapping| {
        let fits = |r: &&Resource<RouteSpec>| {
            r.spec.body.protocol() == mapping.protocol && r.spec.body.port().is_none_or(|p| p == mapping.port)
        };
        let routes = routes.iter().copied().filter(fits).collect();
        ServicePort { service, mapping, behind: Behind::Routes(routes) }
    };
    mappings.into_iter().map(port).collect()
}

/// The ports of a router without listeners: those of the nodes that its routes lead to.
fn target_mappings(mesh: &MeshGraph, routes: &[&Resource<RouteSpec>]) -> Vec<PortMapping> {
    let mut mappings: BTreeMap<u16, Protocol> = BTreeMap::new();
    for target in routes.iter().flat_map(|r| r.spec.body.targets()) {
        if let Some(target) = Target::of(mesh, target) {
            let mapping = target.listener.port_mapping;
            mappings.entry(mapping.port).or_insert(mapping.protocol);
        }
    }
    mappings.into_iter().map(|(port, protocol)| PortMapping { port, protocol }).collect()
}
