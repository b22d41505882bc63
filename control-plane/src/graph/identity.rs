//! Which mesh a resource belongs to, and which resource a proxy is.

use std::collections::{BTreeMap, BTreeSet};

use super::{Graph, MeshGraph};
use crate::model::{Definitions, Kind, MeshId, NodeId, Resource, VirtualGatewaySpec, VirtualNodeSpec};

/// The owners that definitions name, so that resources which do not name one join the right mesh.
pub(super) struct Owners(BTreeMap<String, BTreeSet<String>>);

impl Owners {
    pub(super) fn of(definitions: &Definitions) -> Self {
        let mut owners: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (_, meta) in definitions.all() {
            let named = owners.entry(meta.mesh.name.clone()).or_default();
            named.extend(meta.mesh.owner.clone());
        }
        Self(owners)
    }

    /// A mesh named without owner is the one mesh of that name whose owner is known, if there is just one.
    pub(super) fn resolve(&self, id: &MeshId) -> MeshId {
        let owners = self.0.get(&id.name);
        match (&id.owner, owners) {
            (None, Some(owners)) if owners.len() == 1 => {
                MeshId { name: id.name.clone(), owner: owners.first().cloned() }
            }
            _ => id.clone(),
        }
    }
}

/// The resource that a proxy is.
#[derive(Clone, Copy, Debug)]
pub enum Proxy<'g> {
    /// The sidecar of a virtual node.
    Node(&'g MeshGraph, &'g Resource<VirtualNodeSpec>),
    /// A gateway.
    Gateway(&'g MeshGraph, &'g Resource<VirtualGatewaySpec>),
}

impl<'g> Proxy<'g> {
    /// The mesh it is part of.
    pub fn mesh(&self) -> &'g MeshGraph {
        match self {
            Self::Node(mesh, _) | Self::Gateway(mesh, _) => mesh,
        }
    }

    /// The canonical id.
    pub fn id(&self) -> NodeId {
        match self {
            Self::Node(mesh, r) => node_id(mesh, Kind::VirtualNode, &r.meta.name),
            Self::Gateway(mesh, r) => node_id(mesh, Kind::VirtualGateway, &r.meta.name),
        }
    }
}

fn node_id(mesh: &MeshGraph, kind: Kind, name: &str) -> NodeId {
    NodeId { mesh: mesh.id.clone(), kind, name: name.to_owned() }
}

impl Graph {
    /// Every proxy that the definitions know.
    pub fn proxies(&self) -> impl Iterator<Item = NodeId> {
        self.meshes.values().flat_map(|mesh| {
            let nodes = mesh.nodes.keys().map(|name| node_id(mesh, Kind::VirtualNode, name));
            nodes.chain(mesh.gateways.keys().map(|name| node_id(mesh, Kind::VirtualGateway, name)))
        })
    }

    /// The resource behind what a proxy presents as its id, or why there is none: an id in one of its forms, or
    /// a bare name that only one node, or else only one gateway, of all meshes has.
    pub fn resolve(&self, text: &str) -> Result<Proxy<'_>, String> {
        if !text.contains('/') {
            return self.resolve_name(text);
        }
        let id = NodeId::parse(text)?;
        let meshes: Vec<&MeshGraph> = self.meshes.values().filter(|m| same_mesh(&m.id, &id.mesh)).collect();
        let mesh = match meshes.as_slice() {
            [] => return Err(format!("no mesh \"{}\" is defined; {}", id.mesh, self.known_meshes())),
            [mesh] => mesh,
            _ => {
                let name = &id.mesh.name;
                return Err(format!(
                    "several accounts own a mesh \"{name}\"; write mesh/{name}@<account>/..."
                ));
            }
        };
        mesh.proxy(id.kind, &id.name).ok_or_else(|| {
            format!(
                "mesh \"{}\" has no {} \"{}\"; correct the name or define it",
                mesh.id,
                id.kind.words(),
                id.name
            )
        })
    }

    fn resolve_name(&self, name: &str) -> Result<Proxy<'_>, String> {
        for kind in [Kind::VirtualNode, Kind::VirtualGateway] {
            let found: Vec<Proxy<'_>> = self.meshes.values().filter_map(|m| m.proxy(kind, name)).collect();
            match found.as_slice() {
                [] => {}
                [proxy] => return Ok(*proxy),
                several => {
                    let ids: Vec<String> = several.iter().map(|p| p.id().to_string()).collect();
                    return Err(format!("\"{name}\" may be {}; write one of these", ids.join(" or ")));
                }
            }
        }
        Err(format!(
            "no virtual node or virtual gateway is called \"{name}\"; write mesh/<mesh>/virtualNode/<name>"
        ))
    }

    fn known_meshes(&self) -> String {
        let names: Vec<String> = self.meshes.keys().map(|id| format!("\"{id}\"")).collect();
        if names.is_empty() { "none is".to_owned() } else { format!("known are {}", names.join(", ")) }
    }
}

impl MeshGraph {
    /// The node or gateway of that name.
    pub fn proxy(&self, kind: Kind, name: &str) -> Option<Proxy<'_>> {
        match kind {
            Kind::VirtualNode => self.nodes.get(name).map(|r| Proxy::Node(self, r)),
            Kind::VirtualGateway => self.gateways.get(name).map(|r| Proxy::Gateway(self, r)),
            _ => None,
        }
    }
}

/// An owner that one side does not say matches every owner.
fn same_mesh(known: &MeshId, asked: &MeshId) -> bool {
    known.name == asked.name && (known.owner.is_none() || asked.owner.is_none() || known.owner == asked.owner)
}
