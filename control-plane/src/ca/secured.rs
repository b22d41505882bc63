//! The mesh with its secrets: what a node is served, and its certificate where it uses one.

use std::sync::Arc;
use std::time::SystemTime;

use super::{IDENTITY, MeshCa, TRUST};
use crate::mesh_source::MeshSource;
use crate::picture::topology::Topology;
use crate::snapshot::{Audience, NoResources, NodeResources, NotCertified, ResourceSource, UnknownNode};

/// One state of the definitions with the certificates of this moment.
pub struct Secured {
    mesh: Arc<MeshSource>,
    ca: Arc<MeshCa>,
}

impl Secured {
    /// The mesh, with certificates of this authority.
    pub fn new(mesh: Arc<MeshSource>, ca: Arc<MeshCa>) -> Self {
        Self { mesh, ca }
    }
}

impl ResourceSource for Secured {
    fn resources(&self, node_id: &str, audience: Audience) -> Result<NodeResources, NoResources> {
        let mut resources = self.mesh.resources(node_id, audience)?;
        if !resources.mention(IDENTITY) && !resources.mention(TRUST) {
            return Ok(resources);
        }
        match (audience, self.mesh.subject(node_id)) {
            (Audience::KeyHolder, Some(subject)) => self.ca.add_call(&subject, &mut resources),
            (Audience::Proxy, Some(subject)) => {
                let added = self.ca.add_secrets(&subject, &mut resources, SystemTime::now());
                added.map_err(|error| NoResources::Refused {
                    id: node_id.to_owned(),
                    reason: error.to_string(),
                })?;
            }
            _ => {}
        }
        Ok(resources)
    }

    fn certify(&self, node_id: &str, request: &[u8]) -> Result<String, NotCertified> {
        let unknown = || UnknownNode::new(node_id, "it has no identity", self.mesh.node_ids());
        let subject = self.mesh.subject(node_id).ok_or_else(unknown)?;
        self.ca.certify(&subject, request, SystemTime::now())
    }

    fn topology(&self) -> Option<&Topology> {
        self.mesh.topology()
    }

    fn canonical_id(&self, node_id: &str) -> Option<String> {
        self.mesh.canonical_id(node_id)
    }
}
