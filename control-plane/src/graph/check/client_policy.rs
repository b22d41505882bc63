//! Client policies against what they lead to: TLS that nobody answers, and TLS that nobody checks.

use crate::diagnostics::Report;
use crate::graph::MeshGraph;
use crate::graph::service::{self, Target};
use crate::model::{ClientTls, ListenerCertificate, Resource, VirtualNodeSpec};

pub(super) fn check(mesh: &MeshGraph, report: &mut Report) {
    for node in mesh.nodes.values() {
        check_node(mesh, node, report);
    }
}

fn check_node(mesh: &MeshGraph, node: &Resource<VirtualNodeSpec>, report: &mut Report) {
    for backend in &node.spec.backends {
        let Some(policy) = node.spec.policy_of(backend).filter(|policy| policy.enforce.unwrap_or(true))
        else {
            continue;
        };
        for port in service::ports(mesh, &backend.virtual_service.name) {
            for target in port.targets(mesh) {
                against(policy, &target, report);
            }
        }
    }
}

fn against(policy: &ClientTls, target: &Target<'_>, report: &mut Report) {
    let (name, port) = (&target.node.meta.name, target.listener.port_mapping.port);
    match (policy.covers(port), target.listener.offered_tls()) {
        (true, None) => {
            let message = format!(
                "the client policy demands TLS, and the listener of virtual node \"{name}\" on port {port} has none: \
                 connections succeed only if the host speaks TLS by itself"
            );
            report.info(&policy.at, "tls-not-offered", message);
        }
        (false, Some(tls)) if matches!(tls.certificate, ListenerCertificate::File(_)) => {
            let message = format!(
                "the client policy does not cover port {port} of virtual node \"{name}\", so connections to it use TLS \
                 and its certificate is not checked; add the port to ports"
            );
            report.warn(&policy.at, "tls-not-checked", message);
        }
        _ => {}
    }
}
