//! Gateway routes: their type and ports against the gateway and the target service.

use crate::diagnostics::Report;
use crate::graph::MeshGraph;
use crate::model::{GatewayRouteSpec, PortMapping, Provider, Resource, VirtualGatewaySpec};

pub(super) fn check(mesh: &MeshGraph, report: &mut Report) {
    for ((gateway, _), route) in &mesh.gateway_routes {
        if let Some(gateway) = mesh.gateways.get(gateway) {
            against_gateway(route, gateway, report);
        }
        against_target(mesh, route, report);
    }
}

fn against_gateway(
    route: &Resource<GatewayRouteSpec>,
    gateway: &Resource<VirtualGatewaySpec>,
    report: &mut Report,
) {
    let listeners = &gateway.spec.listeners;
    let name = &route.meta.name;
    let port = route.spec.matching.port;
    if let Some(port) = port.filter(|p| listeners.iter().all(|l| l.port_mapping.port != *p)) {
        let message = format!(
            "gateway route \"{name}\" matches port {port}, which its gateway does not have; correct it"
        );
        report.error(&route.spec.at, "unknown-port", message);
        return;
    }
    let fits = listeners
        .iter()
        .filter(|l| port.is_none_or(|p| p == l.port_mapping.port))
        .any(|l| l.port_mapping.protocol == route.spec.protocol);
    if !fits {
        let message = format!(
            "gateway route \"{name}\" is for {}, but its gateway has no such listener; make them agree",
            route.spec.protocol.name()
        );
        report.warn(&route.spec.at, "protocol-mismatch", message);
    }
}

fn against_target(mesh: &MeshGraph, route: &Resource<GatewayRouteSpec>, report: &mut Report) {
    let target = &route.spec.target;
    let name = &target.virtual_service.name;
    let ports: Vec<u16> = service_listeners(mesh, name).iter().map(|m| m.port).collect();
    match target.port {
        Some(port) if !ports.is_empty() && !ports.contains(&port) => {
            let message =
                format!("virtual service \"{name}\" does not answer on port {port}; correct the port");
            report.error(&target.virtual_service.at, "unknown-port", message);
        }
        None if ports.len() > 1 => {
            let message =
                format!("virtual service \"{name}\" answers on several ports; add the target's port");
            report.error(&target.virtual_service.at, "port-required", message);
        }
        _ => {}
    }
}

/// The listeners of a service's router, or of its node; none when they are not known.
fn service_listeners(mesh: &MeshGraph, service: &str) -> Vec<PortMapping> {
    match mesh.provider(service) {
        Some(Provider::VirtualNode(r)) => mesh
            .nodes
            .get(&r.name)
            .map_or(Vec::new(), |n| n.spec.listeners.iter().map(|l| l.port_mapping).collect()),
        Some(Provider::VirtualRouter(r)) => mesh
            .routers
            .get(&r.name)
            .map_or(Vec::new(), |n| n.spec.listeners.iter().map(|l| l.port_mapping).collect()),
        None => Vec::new(),
    }
}
