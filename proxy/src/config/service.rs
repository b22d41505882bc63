//! The virtual service that a route's requests are for, in a mesh, and what is counted for it by cluster.

use crate::base::ids::ClusterId;
use crate::stats::scope::ServiceStats;

/// Whether a cluster of this name is the node's own: the local application, or a gateway's way from its first listener to
/// its second.
pub fn is_own_cluster(name: &str) -> bool {
    name.starts_with("cds_ingress_")
}

/// A virtual service of the mesh, as one route knows it.
#[derive(Clone, Debug, Default)]
pub struct Service {
    /// Its name, without control characters; empty when the route is of none.
    pub name: Box<str>,
    /// What the route's requests count in, by the cluster they go to. Empty where nobody asks for services.
    pub counts: Box<[(ClusterId, ServiceStats)]>,
}

impl Service {
    /// What requests to `cluster` count in.
    #[inline]
    pub fn counts(&self, cluster: ClusterId) -> Option<&ServiceStats> {
        self.counts.iter().find(|(known, _)| *known == cluster).map(|(_, stats)| stats)
    }
}
