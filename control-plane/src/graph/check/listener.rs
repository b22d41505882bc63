//! Listeners of nodes, routers and gateways: ports, protocols, and parts that must fit them.

use std::collections::BTreeSet;

use crate::diagnostics::{Place, Position, Report};
use crate::graph::MeshGraph;
use crate::model::{
    ConnectionPool, HealthCheck, PortMapping, Protocol, Resource, ServiceDiscovery, VirtualNodeSpec,
};

/// Ports that the proxy itself uses in a task or pod.
const RESERVED: [u16; 4] = [15000, 15001, 9901, 9902];

pub(super) fn check(mesh: &MeshGraph, report: &mut Report) {
    for node in mesh.nodes.values() {
        check_node(node, report);
    }
    defaults(mesh, report);
    for router in mesh.routers.values() {
        distinct(router.spec.listeners.iter().map(|l| (&l.at, l.port_mapping.port)), report);
    }
    for gateway in mesh.gateways.values() {
        let listeners = &gateway.spec.listeners;
        distinct(listeners.iter().map(|l| (&l.at, l.port_mapping.port)), report);
        for l in listeners {
            reserved(&l.at, l.port_mapping.port, report);
            if l.port_mapping.protocol == Protocol::Tcp {
                let message = "a gateway listener cannot be tcp; use http, http2 or grpc";
                report.error(&l.at, "protocol-mismatch", message);
            }
            fit(&l.at, l.port_mapping, l.connection_pool.as_ref(), l.health_check.as_ref(), report);
        }
    }
}

fn check_node(node: &Resource<VirtualNodeSpec>, report: &mut Report) {
    let listeners = &node.spec.listeners;
    distinct(listeners.iter().map(|l| (&l.at, l.port_mapping.port)), report);
    for l in listeners {
        reserved(&l.at, l.port_mapping.port, report);
        fit(&l.at, l.port_mapping, l.connection_pool.as_ref(), l.health_check.as_ref(), report);
        if let Some(timeout) = &l.timeout {
            same_protocol(&l.at, "timeout", timeout.protocol(), l.port_mapping.protocol, report);
        }
    }
    if !listeners.is_empty() && node.spec.service_discovery.is_none() {
        let message = format!(
            "virtual node \"{}\" listens but has no serviceDiscovery, so callers cannot find it; add dns or awsCloudMap",
            node.meta.name
        );
        report.error(&node.meta.at, "no-service-discovery", message);
    }
    let mut seen = BTreeSet::new();
    for backend in &node.spec.backends {
        if !seen.insert(&backend.virtual_service.name) {
            let message = format!("backend \"{}\" is listed twice; remove one", backend.virtual_service.name);
            report.warn(&backend.virtual_service.at, "duplicate-backend", message);
        }
    }
}

/// What applies because nothing is written: official defaults that surprise.
fn defaults(mesh: &MeshGraph, report: &mut Report) {
    let plain: Vec<&Resource<VirtualNodeSpec>> = mesh
        .nodes
        .values()
        .filter(|n| {
            matches!(n.spec.service_discovery, Some(ServiceDiscovery::Dns { response_type: None, .. }))
        })
        .filter(|n| n.spec.access_log.is_none() && n.spec.listeners.iter().all(|l| l.timeout.is_none()))
        .collect();
    let Some(first) = plain.iter().min_by_key(|n| &n.meta.at) else { return };
    let message = format!(
        "App Mesh's defaults apply to {} in mesh \"{}\": a DNS answer counts as one endpoint (LOADBALANCER), requests \
         end after 15 s, there is no access log; write responseType, timeout or logging to change that",
        if plain.len() == 1 { "a virtual node".to_owned() } else { format!("{} virtual nodes", plain.len()) },
        mesh.id
    );
    report.info(&first.meta.at, "defaults-in-effect", message);
}

fn distinct<'l>(ports: impl Iterator<Item = (&'l Place, u16)>, report: &mut Report) {
    let mut seen = BTreeSet::new();
    for (at, port) in ports {
        if !seen.insert(port) {
            report.error(at, "duplicate-port", format!("port {port} has two listeners; change one of them"));
        }
    }
}

fn reserved(at: &Position, port: u16, report: &mut Report) {
    if RESERVED.contains(&port) {
        let message =
            format!("port {port} is used by the proxy itself (15000, 15001, 9901, 9902); choose another");
        report.error(at, "reserved", message);
    }
}

fn fit(
    at: &Position,
    mapping: PortMapping,
    pool: Option<&ConnectionPool>,
    check: Option<&HealthCheck>,
    report: &mut Report,
) {
    if let Some(pool) = pool {
        same_protocol(at, "connectionPool", pool.protocol(), mapping.protocol, report);
    }
    let Some(check) = check else { return };
    if let Some(port) = check.port.filter(|p| *p != mapping.port) {
        let message =
            format!("healthCheck goes to port {port}, but the listener is {}; use its port", mapping.port);
        report.error(&check.at, "health-check-port", message);
    }
    if check.path.is_some() && !matches!(check.protocol, Protocol::Http | Protocol::Http2) {
        let message =
            format!("a {} health check has no path, so it is not used; remove it", check.protocol.name());
        report.warn(&check.at, "health-check-path", message);
    }
    if check.path.is_none() && matches!(check.protocol, Protocol::Http | Protocol::Http2) {
        let message = "the health check has no path, so \"/\" is requested; write the path";
        report.warn(&check.at, "health-check-path", message);
    }
}

fn same_protocol(at: &Position, part: &str, found: Protocol, wanted: Protocol, report: &mut Report) {
    if found != wanted {
        let (found, wanted) = (found.name(), wanted.name());
        let message = format!("{part} is for {found}, but the listener is {wanted}; write {part}.{wanted}");
        report.error(at, "protocol-mismatch", message);
    }
}
