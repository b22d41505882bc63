//! Who may call whom: what a mesh's tag asks for, and the callers of each listener by the backends that they declare.
//!
//! App Mesh has no such rule, so its definitions have no field for it; the tag is one line that its API, its
//! templates and its command line take on a mesh.

use std::collections::{BTreeMap, BTreeSet};

use super::MeshGraph;
use super::service;
use crate::diagnostics::Report;
use crate::model::{Kind, NodeId, OURS};

/// The tag of a mesh.
pub const TAG: &str = "outrigger:backend-access";

/// What is done about callers that declare no backend behind a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They are denied.
    Enforce,
    /// They are counted and logged.
    DryRun,
}

/// Access by declared backends in a mesh that asks for it.
#[derive(Clone, Debug)]
pub struct Access {
    /// What is done.
    pub mode: Mode,
    callers: BTreeMap<(String, u16), BTreeSet<NodeId>>,
}

impl Access {
    /// Reads the mesh's tags and collects callers. `None`: the mesh does not ask for it, or the report says why it cannot
    /// be had.
    pub(super) fn of(mesh: &MeshGraph, report: &mut Report) -> Option<Self> {
        let mode = mode(mesh, report)?;
        if mesh.shared
            && let Some(resource) = &mesh.resource
        {
            let message = format!(
                "other accounts may have nodes in mesh \"{}\"; those that are not in these files may call nobody, give \
                 their files too",
                mesh.id
            );
            report.warn(&resource.meta.at, "access-shared-mesh", message);
        }
        Some(Self { mode, callers: callers(mesh) })
    }

    /// Who declares a backend that leads to this listener of a node.
    pub fn callers(&self, node: &str, port: u16) -> impl Iterator<Item = &NodeId> {
        self.callers.get(&(node.to_owned(), port)).into_iter().flatten()
    }
}

/// A tag of ours that nobody knows is a mistake: the rule that it was meant to set would be missing.
fn mode(mesh: &MeshGraph, report: &mut Report) -> Option<Mode> {
    let meta = &mesh.resource.as_ref()?.meta;
    let mut mode = None;
    for (key, value) in meta.tags.iter().filter(|(key, _)| key.starts_with(OURS)) {
        match (key.as_str(), value.as_str()) {
            (TAG, "enforce") => mode = Some(Mode::Enforce),
            (TAG, "dry-run") => mode = Some(Mode::DryRun),
            (TAG, "off") => {}
            (TAG, _) => {
                let message =
                    format!("tag {TAG} is \"{value}\"; write enforce, dry-run (counts and logs only) or off");
                report.error(&meta.at, "access-tag", message);
            }
            _ => {
                let message = format!("tag {key} means nothing; the tag of a mesh that is known is {TAG}");
                report.error(&meta.at, "access-tag", message);
            }
        }
    }
    mode
}

/// Callers by node and port: nodes by their backends, gateways by their routes.
fn callers(mesh: &MeshGraph) -> BTreeMap<(String, u16), BTreeSet<NodeId>> {
    let mut services: BTreeMap<&str, BTreeSet<NodeId>> = BTreeMap::new();
    let id = |kind, name: &String| NodeId { mesh: mesh.id.clone(), kind, name: name.clone() };
    for (name, node) in &mesh.nodes {
        for backend in &node.spec.backends {
            let declared = services.entry(&backend.virtual_service.name).or_default();
            declared.insert(id(Kind::VirtualNode, name));
        }
    }
    for ((gateway, _), route) in &mesh.gateway_routes {
        let declared = services.entry(&route.spec.target.virtual_service.name).or_default();
        declared.insert(id(Kind::VirtualGateway, gateway));
    }
    let mut callers: BTreeMap<(String, u16), BTreeSet<NodeId>> = BTreeMap::new();
    for (service, ids) in services {
        for target in service::ports(mesh, service).iter().flat_map(|port| port.targets(mesh)) {
            let listener = (target.node.meta.name.clone(), target.listener.port_mapping.port);
            callers.entry(listener).or_default().extend(ids.iter().cloned());
        }
    }
    callers
}
