//! Virtual service and virtual router.

use super::{PortMapping, Reference};
use crate::diagnostics::Place;

/// Specification of a virtual service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VirtualServiceSpec {
    /// Who serves it. Absent: the service exists and answers 404.
    pub provider: Option<Provider>,
}

/// Who serves a virtual service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Provider {
    /// One node, no routes of one's own.
    VirtualNode(Reference),
    /// A router with its routes.
    VirtualRouter(Reference),
}

/// Specification of a virtual router.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VirtualRouterSpec {
    /// Ports that the router answers on in callers' proxies.
    pub listeners: Vec<RouterListener>,
}

/// One port of a router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterListener {
    /// Port that callers dial, and its protocol.
    pub port_mapping: PortMapping,
    /// Where it is written.
    pub at: Place,
}
