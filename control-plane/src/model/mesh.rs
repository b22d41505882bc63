//! Mesh.

use super::IpPreference;

/// Specification of a mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MeshSpec {
    /// What proxies do with traffic to nothing they know. Absent: [`EgressFilter::DropAll`].
    pub egress_filter: Option<EgressFilter>,
    /// IP family of all nodes and gateways unless a node says otherwise.
    pub ip_preference: Option<IpPreference>,
}

/// What proxies do with outbound connections that match no declared backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EgressFilter {
    /// Pass to the original destination.
    AllowAll,
    /// Refuse, apart from `*.amazonaws.com`.
    DropAll,
}
