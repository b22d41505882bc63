//! Routes: their type against listeners, their ports, their weights.

use std::collections::BTreeMap;

use crate::diagnostics::Report;
use crate::graph::{MeshGraph, service};
use crate::model::{
    Protocol, Provider, Reference, Resource, RouteSpec, RouterListener, VirtualNodeSpec, WeightedTarget,
};

pub(super) fn check(mesh: &MeshGraph, report: &mut Report) {
    for ((router, _), route) in &mesh.routes {
        weights(route, report);
        retries(route, report);
        if let Some(router) = mesh.routers.get(router) {
            against_router(route, &router.spec.listeners, report);
        }
        for target in route.spec.body.targets() {
            if let Some(node) = mesh.nodes.get(&target.virtual_node.name) {
                against_node(route, target, node, report);
            }
        }
    }
    for service in mesh.services.values() {
        if let Some(Provider::VirtualNode(r)) = &service.spec.provider {
            listens(mesh, r, report);
        }
    }
    for node in mesh.nodes.values() {
        port_conflicts(mesh, node, report);
    }
}

fn weights(route: &Resource<RouteSpec>, report: &mut Report) {
    let sum: u32 = route.spec.body.targets().iter().map(|t| t.weight).sum();
    let name = &route.meta.name;
    if sum == 0 {
        let message =
            format!("all weights of route \"{name}\" are zero, so it leads nowhere; give one a weight");
        report.error(&route.spec.at, "zero-weights", message);
    } else if sum > 100 {
        let message = format!("the weights of route \"{name}\" add up to {sum}; keep their sum within 100");
        report.error(&route.spec.at, "out-of-range", message);
    }
}

/// Server errors that are answers are not the connections that fail.
fn retries(route: &Resource<RouteSpec>, report: &mut Report) {
    let Some(retry) = route.spec.body.retry() else { return };
    if !retry.tcp_connection_error && !retry.http_events.is_empty() && retry.grpc_events.is_empty() {
        let message = "the retry policy does not cover connections that cannot be made; add \
                       TcpRetryEvents: [connection-error] if they should be tried again";
        report.info(&retry.at, "retry-without-connection-error", message);
    }
}

fn against_router(route: &Resource<RouteSpec>, listeners: &[RouterListener], report: &mut Report) {
    let (body, name) = (&route.spec.body, &route.meta.name);
    let listener = match (listeners, body.port()) {
        ([], _) => return,
        (_, Some(port)) => {
            let found = listeners.iter().find(|l| l.port_mapping.port == port);
            if found.is_none() {
                let message = format!(
                    "route \"{name}\" matches port {port}, which its router does not have; correct it"
                );
                report.error(&route.spec.at, "unknown-port", message);
            }
            found
        }
        ([only], None) => Some(only),
        (_, None) => {
            let message = format!(
                "route \"{name}\" must say which of its router's listeners it is for; add match.port"
            );
            report.error(&route.spec.at, "port-required", message);
            None
        }
    };
    let Some(listener) = listener else { return };
    let (found, wanted) = (body.protocol(), listener.port_mapping.protocol);
    if found != wanted {
        let message = format!(
            "route \"{name}\" is a {}, but the router's listener is {}; make them agree",
            type_name(found),
            wanted.name()
        );
        report.error(&route.spec.at, "protocol-mismatch", message);
    }
}

fn type_name(protocol: Protocol) -> String {
    format!("{}Route", protocol.name())
}

fn against_node(
    route: &Resource<RouteSpec>,
    target: &WeightedTarget,
    node: &Resource<VirtualNodeSpec>,
    report: &mut Report,
) {
    let at = &target.virtual_node.at;
    let name = &node.meta.name;
    let listener = match (node.spec.listeners.as_slice(), target.port) {
        ([], _) => {
            let message =
                format!("virtual node \"{name}\" has no listener, so nothing can be sent to it; add one");
            report.error(at, "no-listener", message);
            return;
        }
        (all, Some(port)) => match all.iter().find(|l| l.port_mapping.port == port) {
            Some(l) => l,
            None => {
                let message =
                    format!("virtual node \"{name}\" has no listener on port {port}; correct the port");
                report.error(at, "unknown-port", message);
                return;
            }
        },
        ([only], None) => only,
        (_, None) => {
            let message = format!("virtual node \"{name}\" has several listeners; add the target's port");
            report.error(at, "port-required", message);
            return;
        }
    };
    let (found, wanted) = (route.spec.body.protocol(), listener.port_mapping.protocol);
    if found != wanted {
        let message = format!(
            "route \"{}\" is a {}, but the listener of virtual node \"{name}\" is {}; make them agree",
            route.meta.name,
            type_name(found),
            wanted.name()
        );
        report.error(at, "protocol-mismatch", message);
    }
}

fn listens(mesh: &MeshGraph, provider: &Reference, report: &mut Report) {
    let Some(node) = mesh.nodes.get(&provider.name) else { return };
    if node.spec.listeners.is_empty() {
        let message = format!(
            "virtual node \"{}\" provides a service but has no listener, so callers cannot reach it; add one",
            provider.name
        );
        report.error(&provider.at, "no-listener", message);
    }
}

/// Only the port tells TCP backends apart in a caller's proxy, from each other and from HTTP.
fn port_conflicts(mesh: &MeshGraph, node: &Resource<VirtualNodeSpec>, report: &mut Report) {
    let backends = node.spec.backends.iter().map(|b| &b.virtual_service);
    let ports = backends.flat_map(|r| service::ports(mesh, &r.name).into_iter().map(move |p| (r, p.mapping)));
    let mut winners: BTreeMap<u16, (&Reference, Protocol)> = BTreeMap::new();
    for (service, mapping) in ports {
        let (winner, protocol) = *winners.entry(mapping.port).or_insert((service, mapping.protocol));
        if winner.name == service.name || (protocol.is_http() && mapping.protocol.is_http()) {
            continue;
        }
        let taken = if mapping.protocol.is_http() && !protocol.is_http() {
            winners.insert(mapping.port, (service, mapping.protocol));
            &service.name
        } else {
            &winner.name
        };
        let message = format!(
            "backends \"{}\" and \"{}\" of virtual node \"{}\" share port {}, and only the port tells TCP apart: \
             traffic goes to \"{taken}\"; give one of them another port",
            winner.name, service.name, node.meta.name, mapping.port
        );
        report.warn(&service.at, "port-conflict", message);
    }
}
