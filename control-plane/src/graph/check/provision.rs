//! What definitions ask for and this control plane cannot get by itself: certificates and instances of AWS.

use crate::diagnostics::{Place, Report};
use crate::graph::{Graph, MeshGraph};
use crate::model::{
    ClientTls, ListenerCertificate, ListenerTls, Resource, ServiceDiscovery, TlsMode, Trust, VirtualNodeSpec,
};

pub(super) fn check(graph: &Graph, mesh: &MeshGraph, report: &mut Report) {
    for node in mesh.nodes.values() {
        instances(graph, node, report);
        node.spec.listeners.iter().filter_map(|l| l.tls.as_ref()).for_each(|tls| listener(tls, report));
        let policies = node.spec.backends.iter().filter_map(|b| b.client_tls.as_ref());
        policies.chain(&node.spec.backend_defaults).for_each(|tls| client(tls, report));
    }
    for gateway in mesh.gateways.values() {
        gateway.spec.listeners.iter().filter_map(|l| l.tls.as_ref()).for_each(|tls| listener(tls, report));
        gateway.spec.backend_defaults.iter().for_each(|tls| client(tls, report));
    }
}

/// Cloud Map is not asked: its instances must be given.
fn instances(graph: &Graph, node: &Resource<VirtualNodeSpec>, report: &mut Report) {
    let Some(ServiceDiscovery::CloudMap { namespace, service, attributes, at, .. }) =
        &node.spec.service_discovery
    else {
        return;
    };
    if graph.instances_of(namespace, service, attributes).next().is_none() && !node.spec.listeners.is_empty()
    {
        let message = format!(
            "no instance of Cloud Map service \"{service}\" in \"{namespace}\" is known for virtual node \"{}\", so \
             requests to it are answered with 503; list its instances under cloudMapInstances",
            node.meta.name
        );
        report.warn(at, "no-instances", message);
    }
}

fn listener(tls: &ListenerTls, report: &mut Report) {
    if let (ListenerCertificate::Acm { at, .. }, false) = (&tls.certificate, tls.mode == TlsMode::Disabled) {
        acm(at, "the certificate", report);
    }
}

fn client(tls: &ClientTls, report: &mut Report) {
    if let Trust::Acm { at, .. } = &tls.validation.trust {
        acm(at, "the trusted authority", report);
    }
}

fn acm(at: &Place, what: &str, report: &mut Report) {
    let message = format!(
        "{what} is in AWS Certificate Manager, which is not asked; give it as file or sds, or let the mesh issue \
         certificates (serve --mesh-ca), else proxies that need it get no configuration"
    );
    report.warn(at, "tls-acm", message);
}
