//! Client policies against what they lead to: TLS that is demanded and not done, or done and not answered.

use crate::diagnostics::Report;
use crate::graph::MeshGraph;
use crate::graph::service::{self, Target};
use crate::model::{ClientTls, Resource, TlsMode, VirtualNodeSpec};

pub(super) fn check(mesh: &MeshGraph, report: &mut Report) {
    for node in mesh.nodes.values() {
        check_node(mesh, node, report);
    }
}

fn check_node(mesh: &MeshGraph, node: &Resource<VirtualNodeSpec>, report: &mut Report) {
    for backend in &node.spec.backends {
        let policy = if backend.has_policy { &backend.client_tls } else { &node.spec.backend_defaults };
        let Some(policy) = policy.as_ref().filter(|policy| policy.enforce.unwrap_or(true)) else { continue };
        for port in service::ports(mesh, &backend.virtual_service.name) {
            for target in port.targets(mesh) {
                against(policy, &target, report);
            }
        }
    }
}

fn against(policy: &ClientTls, target: &Target<'_>, report: &mut Report) {
    let (name, port) = (&target.node.meta.name, target.listener.port_mapping.port);
    let offered = target.listener.tls.as_ref().is_some_and(|tls| tls.mode != TlsMode::Disabled);
    let covered = policy.ports.is_empty() || policy.ports.contains(&port);
    match (covered, offered) {
        (true, false) => {
            let message = format!(
                "the client policy demands TLS, but virtual node \"{name}\" does not offer it on port {port}, so no \
                 connection to it succeeds; add tls to its listener, or enforce: false"
            );
            report.warn(&policy.at, "tls-not-offered", message);
        }
        (false, false) => {
            let message = format!(
                "the client policy does not cover port {port} of virtual node \"{name}\", so it is called in plain \
                 text; add the port to ports"
            );
            report.warn(&policy.at, "tls-port-not-covered", message);
        }
        _ => {}
    }
}
