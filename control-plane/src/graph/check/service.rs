//! Virtual services: what they lead to, and whether callers can tell their names apart.

use std::collections::BTreeMap;

use crate::diagnostics::Report;
use crate::graph::order::route_order;
use crate::graph::{MeshGraph, service};
use crate::model::{Provider, Resource, RouteBody, RouteSpec, VirtualNodeSpec};

pub(super) fn check(mesh: &MeshGraph, report: &mut Report) {
    for service in mesh.services.values() {
        let name = &service.meta.name;
        if name.contains('*') {
            let message = format!(
                "virtual service \"{name}\" has a * in its name: App Mesh compared names as they are, sidecars take \
                 it for any text; name the services one by one"
            );
            report.warn(&service.meta.at, "wildcard-name", message);
        }
        match &service.spec.provider {
            None => {
                let message = format!(
                    "virtual service \"{name}\" has no provider, so the mesh leads no request to it; add one"
                );
                report.warn(&service.meta.at, "no-provider", message);
            }
            Some(Provider::VirtualRouter(router)) => {
                if mesh.routers.contains_key(&router.name) && mesh.routes_of(&router.name).next().is_none() {
                    let message = format!(
                        "router \"{}\" has no route, so the mesh leads no request to \"{name}\"; add one",
                        router.name
                    );
                    report.warn(&router.at, "no-route", message);
                }
            }
            Some(Provider::VirtualNode(_)) => {}
        }
    }
    for router in mesh.routers.keys() {
        repeated(mesh, router, report);
    }
    for node in mesh.nodes.values() {
        same_name(mesh, node, report);
    }
}

/// Of two routes with the same conditions only the first is ever taken.
fn repeated(mesh: &MeshGraph, router: &str, report: &mut Report) {
    let mut routes: Vec<&Resource<RouteSpec>> = mesh.routes_of(router).collect();
    routes.sort_by_cached_key(|route| route_order(route));
    for (index, route) in routes.iter().enumerate() {
        if let Some(first) = routes[..index].iter().find(|first| same_conditions(&first.spec, &route.spec)) {
            let message = format!(
                "route \"{}\" matches what route \"{}\" matches, which is tried before it; change the match of one",
                route.meta.name, first.meta.name
            );
            report.warn(&route.spec.at, "route-never-used", message);
        }
    }
}

fn same_conditions(a: &RouteSpec, b: &RouteSpec) -> bool {
    if a.body.protocol() != b.body.protocol() {
        return false;
    }
    match (&a.body, &b.body) {
        (RouteBody::Http { matching: a, .. }, RouteBody::Http { matching: b, .. }) => a == b,
        (RouteBody::Grpc { matching: a, .. }, RouteBody::Grpc { matching: b, .. }) => a == b,
        (RouteBody::Tcp { port: a, .. }, RouteBody::Tcp { port: b, .. }) => a == b,
        _ => false,
    }
}

/// Callers name a service by its host, whatever the case, with or without the port.
fn same_name(mesh: &MeshGraph, node: &Resource<VirtualNodeSpec>, report: &mut Report) {
    let mut taken: BTreeMap<(u16, String), &str> = BTreeMap::new();
    for backend in node.spec.backends.iter().map(|backend| &backend.virtual_service) {
        for port in service::ports(mesh, &backend.name).into_iter().filter(|p| p.mapping.protocol.is_http()) {
            let port = port.mapping.port;
            let name = backend.name.to_ascii_lowercase();
            for host in [format!("{name}:{port}"), name] {
                let first = *taken.entry((port, host.clone())).or_insert(&backend.name);
                if first != backend.name {
                    let message = format!(
                        "backends \"{first}\" and \"{}\" of virtual node \"{}\" both answer to \"{host}\" on port \
                         {port}, for case does not tell hosts apart: requests go to \"{first}\"; rename one",
                        backend.name, node.meta.name
                    );
                    report.warn(&backend.at, "name-conflict", message);
                }
            }
        }
    }
}
