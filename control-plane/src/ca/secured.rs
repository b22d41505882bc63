//! The mesh with its secrets: what a node is served, and its certificate where it uses one.

use std::sync::Arc;
use std::time::SystemTime;

use super::{CaError, MeshCa, Subject};
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

impl Secured {
    /// Whom a certificate with a key made here is for: of a proxy that uses one and cannot ask for it.
    fn given(&self, node_id: &str, audience: Audience) -> Option<Subject> {
        (audience == Audience::Proxy).then(|| self.mesh.secured(node_id)).flatten()
    }
}

impl ResourceSource for Secured {
    fn resources(&self, node_id: &str, audience: Audience) -> Result<NodeResources, NoResources> {
        let mut resources = self.mesh.resources(node_id, audience)?;
        match (audience, self.mesh.secured(node_id)) {
            (Audience::KeyHolder, Some(subject)) => self.ca.add_call(&subject, &mut resources),
            (Audience::Proxy, Some(subject)) => {
                let added = self.ca.add_secrets(&subject, &mut resources, SystemTime::now());
                added.map_err(|error| refused(node_id, &error))?;
            }
            _ => {}
        }
        Ok(resources)
    }

    fn is_prepared(&self, node_id: &str, audience: Audience) -> bool {
        let holds = |subject| self.ca.signs_at_once() || self.ca.holds(&subject, SystemTime::now());
        self.given(node_id, audience).is_none_or(holds)
    }

    fn prepare(&self, node_id: &str, audience: Audience) -> Result<(), NoResources> {
        let Some(subject) = self.given(node_id, audience) else { return Ok(()) };
        let issued = self.ca.current(&subject, SystemTime::now());
        issued.map(drop).map_err(|error| refused(node_id, &error))
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

/// What went wrong at the authority, accounts and roles in it, is for our log; the node learns that it has to wait.
fn refused(node: &str, error: &CaError) -> NoResources {
    tracing::warn!(node, "no certificate: {error}");
    NoResources::Refused {
        id: node.to_owned(),
        reason: "the authority cannot sign at the moment; the control plane's log says why".to_owned(),
    }
}
