//! Proxies of ECS task definitions against the resources that they claim to be.

use crate::diagnostics::Report;
use crate::graph::Graph;
use crate::model::NodeId;
use crate::source::ecs::Sidecar;

pub(super) fn check(graph: &Graph, sidecars: &[Sidecar], report: &mut Report) {
    for sidecar in sidecars {
        let Some(name) = &sidecar.resource else { continue };
        if name.contains('/') {
            check_id(graph, sidecar, name, report);
        } else {
            check_bare(graph, sidecar, name, report);
        }
    }
}

/// The image's agent refuses a bare name; it is taken when only one resource has it.
fn check_bare(graph: &Graph, sidecar: &Sidecar, name: &str, report: &mut Report) {
    let refused = format!("{} \"{name}\" is a bare name, which the App Mesh image refuses", sidecar.variable);
    if graph.meshes.is_empty() {
        let message =
            format!("{refused}; write mesh/<mesh>/virtualNode/{name}, or give the mesh's file to find it");
        report.warn(&sidecar.at, "ecs-bare-name", message);
        return;
    }
    match graph.resolve(name) {
        Ok(proxy) => {
            let message = format!("{refused}; it is taken as {}, write that", proxy.id());
            report.warn(&sidecar.at, "ecs-bare-name", message);
        }
        Err(why) => report.error(&sidecar.at, "ecs-bare-name", format!("{refused}: {why}")),
    }
}

fn check_id(graph: &Graph, sidecar: &Sidecar, name: &str, report: &mut Report) {
    let Ok(id) = NodeId::parse(name) else { return };
    let unread =
        |m: &crate::graph::MeshGraph| m.unread.iter().any(|(k, meta)| *k == id.kind && meta.name == id.name);
    let known = graph.meshes.values().any(|m| m.id.name == id.mesh.name && m.is_defined());
    if !known || graph.meshes.values().any(unread) {
        return;
    }
    if let Err(why) = graph.resolve(name) {
        report.warn(&sidecar.at, "ecs-unknown-resource", format!("{}: {why}", sidecar.variable));
    }
}
