//! The mesh with its secrets: what a node is served, and its certificate where it uses one.

use std::sync::Arc;
use std::time::SystemTime;

use super::{IDENTITY, MeshCa, TRUST};
use crate::mesh_source::MeshSource;
use crate::snapshot::{Audience, NoResources, NodeResources, ResourceSource};

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
        let wanted = audience == Audience::Proxy && (resources.mention(IDENTITY) || resources.mention(TRUST));
        if let Some(subject) = self.mesh.subject(node_id).filter(|_| wanted) {
            self.ca.add_secrets(&subject, &mut resources, SystemTime::now()).map_err(|error| {
                NoResources::Refused { id: node_id.to_owned(), reason: error.to_string() }
            })?;
        }
        Ok(resources)
    }
}
