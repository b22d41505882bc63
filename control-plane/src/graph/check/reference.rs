//! References that lead nowhere, and resources that nothing leads to.

use std::collections::BTreeSet;

use super::absent;
use crate::diagnostics::Report;
use crate::graph::MeshGraph;
use crate::model::{Kind, Meta, Provider, Reference, Resource, RouteSpec, VirtualRouterSpec};
use crate::source::read::suggest;

pub(super) fn check(mesh: &MeshGraph, report: &mut Report) {
    for service in mesh.services.values() {
        match &service.spec.provider {
            Some(Provider::VirtualNode(r)) => resolve(mesh, Kind::VirtualNode, r, report),
            Some(Provider::VirtualRouter(r)) => resolve(mesh, Kind::VirtualRouter, r, report),
            None => {}
        }
    }
    for route in mesh.routes.values() {
        parent(mesh, Kind::VirtualRouter, &route.meta, report);
        for target in route.spec.body.targets() {
            resolve(mesh, Kind::VirtualNode, &target.virtual_node, report);
        }
    }
    for route in mesh.gateway_routes.values() {
        parent(mesh, Kind::VirtualGateway, &route.meta, report);
        resolve(mesh, Kind::VirtualService, &route.spec.target.virtual_service, report);
    }
    for node in mesh.nodes.values() {
        for backend in &node.spec.backends {
            resolve(mesh, Kind::VirtualService, &backend.virtual_service, report);
        }
    }
    unprovided_routers(mesh, report);
    unreachable_nodes(mesh, report);
}

fn parent(mesh: &MeshGraph, kind: Kind, meta: &Meta, report: &mut Report) {
    if let Some(reference) = &meta.parent {
        resolve(mesh, kind, reference, report);
    }
}

fn resolve(mesh: &MeshGraph, kind: Kind, reference: &Reference, report: &mut Report) {
    if mesh.exists(kind, &reference.name) {
        return;
    }
    let names: Vec<&String> = match kind {
        Kind::VirtualNode => mesh.nodes.keys().collect(),
        Kind::VirtualService => mesh.services.keys().collect(),
        Kind::VirtualRouter => mesh.routers.keys().collect(),
        _ => mesh.gateways.keys().collect(),
    };
    let advice = match suggest(&reference.name, names.iter().map(|n| n.as_str())) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => "define it or correct the name".to_owned(),
    };
    let message = format!("mesh \"{}\" has no {} \"{}\"; {advice}", mesh.id, kind.words(), reference.name);
    report.add(&reference.at, absent(mesh), "dangling-reference", message);
}

/// Routers that no service has as its provider: nothing of theirs takes effect.
fn unprovided_routers(mesh: &MeshGraph, report: &mut Report) {
    let provided: BTreeSet<&str> = mesh
        .services
        .values()
        .filter_map(|s| match &s.spec.provider {
            Some(Provider::VirtualRouter(r)) => Some(r.name.as_str()),
            _ => None,
        })
        .collect();
    for (name, router) in mesh.routers.iter().filter(|(name, _)| !provided.contains(name.as_str())) {
        let routes: Vec<&Resource<RouteSpec>> = mesh.routes_of(name).collect();
        report.warn(&router.meta.at, "router-not-provider", unprovided(mesh, name, router, &routes));
    }
}

fn unprovided(
    mesh: &MeshGraph,
    name: &str,
    router: &Resource<VirtualRouterSpec>,
    routes: &[&Resource<RouteSpec>],
) -> String {
    let retries: Vec<&str> =
        routes.iter().filter(|r| r.spec.body.retry().is_some()).map(|r| r.meta.name.as_str()).collect();
    let lost = match (routes.is_empty(), retries.as_slice()) {
        (true, _) => "it has no effect".to_owned(),
        (false, []) => "its routes are not in effect".to_owned(),
        (false, names) => {
            format!("its routes, and the retry policy of {}, are not in effect", names.join(" and "))
        }
    };
    let service = bypassing_service(mesh, routes).unwrap_or("a virtual service");
    format!(
        "router {} is not the provider of any virtual service, so {lost}; to attach it, make it the provider of \
         {service}: Provider: {{VirtualRouter: {{VirtualRouterName: {name}}}}}",
        router.meta.name
    )
}

/// The service that goes straight to a node which the router's routes also lead to.
fn bypassing_service<'g>(mesh: &'g MeshGraph, routes: &[&Resource<RouteSpec>]) -> Option<&'g str> {
    let targets: BTreeSet<&str> =
        routes.iter().flat_map(|r| r.spec.body.targets()).map(|t| t.virtual_node.name.as_str()).collect();
    mesh.services.iter().find_map(|(name, service)| match &service.spec.provider {
        Some(Provider::VirtualNode(r)) if targets.contains(r.name.as_str()) => Some(name.as_str()),
        _ => None,
    })
}

/// Nodes that listen but that no service leads to.
fn unreachable_nodes(mesh: &MeshGraph, report: &mut Report) {
    let provided = mesh.services.values().filter_map(|s| match &s.spec.provider {
        Some(Provider::VirtualNode(r)) => Some(r.name.as_str()),
        _ => None,
    });
    let routed =
        mesh.routes.values().flat_map(|r| r.spec.body.targets()).map(|t| t.virtual_node.name.as_str());
    let reachable: BTreeSet<&str> = provided.chain(routed).collect();
    for (name, node) in &mesh.nodes {
        if !node.spec.listeners.is_empty() && !reachable.contains(name.as_str()) {
            let message = format!(
                "no virtual service leads to virtual node \"{name}\", so nothing in the mesh can call it; add a \
                 virtual service if something should"
            );
            report.info(&node.meta.at, "node-without-service", message);
        }
    }
}
