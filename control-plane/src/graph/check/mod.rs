//! Rules that span resources. One file per area; each adds findings and changes nothing.

mod client_policy;
mod gateway;
mod listener;
mod provision;
mod reference;
mod route;
mod service;
mod sidecar;

use super::{Graph, MeshGraph};
use crate::diagnostics::{Report, Severity};
use crate::source::ecs::Sidecar;

/// Runs all checks.
pub(super) fn check(graph: &Graph, sidecars: &[Sidecar], report: &mut Report) {
    for mesh in graph.meshes.values() {
        mesh_itself(mesh, report);
        reference::check(mesh, report);
        listener::check(mesh, report);
        route::check(mesh, report);
        service::check(mesh, report);
        client_policy::check(mesh, report);
        gateway::check(mesh, report);
        provision::check(graph, mesh, report);
    }
    sidecar::check(graph, sidecars, report);
}

fn mesh_itself(mesh: &MeshGraph, report: &mut Report) {
    if mesh.is_defined() {
        return;
    }
    let first = first_position(mesh);
    let message = format!(
        "mesh \"{}\" is not defined in the files; its egress filter is taken as DROP_ALL and what its resources \
         refer to may be elsewhere, give its file too",
        mesh.id
    );
    if let Some(at) = first {
        report.warn(at, "mesh-not-defined", message);
    }
}

fn first_position(mesh: &MeshGraph) -> Option<&crate::diagnostics::Position> {
    let nodes = mesh.nodes.values().map(|r| &r.meta.at);
    let services = mesh.services.values().map(|r| &r.meta.at);
    let routers = mesh.routers.values().map(|r| &r.meta.at);
    let routes = mesh.routes.values().map(|r| &r.meta.at);
    let gateways = mesh.gateways.values().map(|r| &r.meta.at);
    let gateway_routes = mesh.gateway_routes.values().map(|r| &r.meta.at);
    let unread = mesh.unread.iter().map(|(_, meta)| &meta.at);
    nodes
        .chain(services)
        .chain(routers)
        .chain(routes)
        .chain(gateways)
        .chain(gateway_routes)
        .chain(unread)
        .min()
}

/// How bad something is that is not in the files: it may be elsewhere unless the mesh is theirs alone.
fn absent(mesh: &MeshGraph) -> Severity {
    if mesh.is_complete() { Severity::Error } else { Severity::Warning }
}
