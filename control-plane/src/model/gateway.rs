//! Virtual gateway.

use super::{AccessLog, ClientTls, ConnectionPool, HealthCheck, ListenerTls, PortMapping};
use crate::diagnostics::Place;

/// Specification of a virtual gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VirtualGatewaySpec {
    /// Ports that the proxy binds; at least one.
    pub listeners: Vec<GatewayListener>,
    /// TLS towards all services.
    pub backend_defaults: Option<ClientTls>,
    /// Access log.
    pub access_log: Option<AccessLog>,
}

/// One port of a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayListener {
    /// Port and protocol; never tcp.
    pub port_mapping: PortMapping,
    /// TLS termination.
    pub tls: Option<ListenerTls>,
    /// Limits of the gateway's loop cluster.
    pub connection_pool: Option<ConnectionPool>,
    /// Accepted; nobody in the mesh calls a gateway.
    pub health_check: Option<HealthCheck>,
    /// Where it is written.
    pub at: Place,
}
