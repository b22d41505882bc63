//! Virtual node.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{
    AccessLog, ClientTls, HealthCheck, HttpTimeout, IpPreference, ListenerTls, PortMapping, Protocol,
    Reference, TcpTimeout, TlsMode,
};
use crate::diagnostics::Place;

/// Specification of a virtual node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VirtualNodeSpec {
    /// Inbound ports. Empty: a client only, without an ingress listener.
    pub listeners: Vec<NodeListener>,
    /// How callers find the node; required when it listens.
    pub service_discovery: Option<ServiceDiscovery>,
    /// Services that the node may call.
    pub backends: Vec<Backend>,
    /// TLS towards backends that have no policy of their own.
    pub backend_defaults: Option<ClientTls>,
    /// Access log of both directions.
    pub access_log: Option<AccessLog>,
}

impl VirtualNodeSpec {
    /// The policy by which a backend is called: its own, even an empty one, or the node's default.
    pub fn policy_of<'p>(&'p self, backend: &'p Backend) -> Option<&'p ClientTls> {
        if backend.has_policy { backend.client_tls.as_ref() } else { self.backend_defaults.as_ref() }
    }
}

/// One inbound port of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeListener {
    /// Port that the application listens on, and its protocol.
    pub port_mapping: PortMapping,
    /// TLS termination.
    pub tls: Option<ListenerTls>,
    /// Active check by callers.
    pub health_check: Option<HealthCheck>,
    /// Passive ejection by callers.
    pub outlier_detection: Option<OutlierDetection>,
    /// Limits between this node's proxy and its application.
    pub connection_pool: Option<ConnectionPool>,
    /// Request and idle limits.
    pub timeout: Option<ListenerTimeout>,
    /// Where it is written.
    pub at: Place,
}

impl NodeListener {
    /// TLS that callers are offered.
    pub fn offered_tls(&self) -> Option<&ListenerTls> {
        self.tls.as_ref().filter(|tls| tls.mode != TlsMode::Disabled)
    }
}

/// Limits by protocol; the member must be the listener's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerTimeout {
    /// http, http2 or grpc, as named.
    Http(Protocol, HttpTimeout),
    /// tcp.
    Tcp(TcpTimeout),
}

impl ListenerTimeout {
    /// The union member that was given.
    pub fn protocol(&self) -> Protocol {
        match self {
            Self::Http(protocol, _) => *protocol,
            Self::Tcp(_) => Protocol::Tcp,
        }
    }
}

/// Passive ejection of endpoints in callers' proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutlierDetection {
    /// Consecutive server errors until ejection, at least 1.
    pub max_server_errors: u32,
    /// Time between sweeps.
    pub interval: Duration,
    /// Ejection time, multiplied by the number of ejections.
    pub base_ejection_duration: Duration,
    /// 0..=100.
    pub max_ejection_percent: u32,
}

/// Limits of connections; the member must be the listener's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionPool {
    /// HTTP/1.1.
    Http {
        /// At least 1.
        max_connections: u32,
        /// At least 1; default 2147483647.
        max_pending_requests: Option<u32>,
    },
    /// HTTP/2 streams, at least 1.
    Http2 {
        /// At least 1.
        max_requests: u32,
    },
    /// gRPC streams, at least 1.
    Grpc {
        /// At least 1.
        max_requests: u32,
    },
    /// Connections, at least 1.
    Tcp {
        /// At least 1.
        max_connections: u32,
    },
}

impl ConnectionPool {
    /// The union member that was given.
    pub fn protocol(&self) -> Protocol {
        match self {
            Self::Http { .. } => Protocol::Http,
            Self::Http2 { .. } => Protocol::Http2,
            Self::Grpc { .. } => Protocol::Grpc,
            Self::Tcp { .. } => Protocol::Tcp,
        }
    }
}

/// How callers find a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceDiscovery {
    /// By name.
    Dns {
        /// The name to resolve.
        hostname: String,
        /// Absent: [`DnsResponseType::LoadBalancer`].
        response_type: Option<DnsResponseType>,
        /// Beats the mesh's preference.
        ip_preference: Option<IpPreference>,
        /// Where the host name is written.
        at: Place,
    },
    /// By registered instances.
    CloudMap {
        /// Namespace name.
        namespace: String,
        /// Service name.
        service: String,
        /// Attributes that an instance must carry, all of them.
        attributes: BTreeMap<String, String>,
        /// Beats the mesh's preference.
        ip_preference: Option<IpPreference>,
        /// Where it is written.
        at: Place,
    },
}

/// What the addresses of a DNS answer are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsResponseType {
    /// One logical endpoint.
    LoadBalancer,
    /// Each address is an endpoint.
    Endpoints,
}

/// A service that a node may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// The virtual service.
    pub virtual_service: Reference,
    /// TLS; replaces the node's default.
    pub client_tls: Option<ClientTls>,
    /// A client policy was written, even an empty one: it replaces the default.
    pub has_policy: bool,
}

/// An instance registered for a Cloud Map service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceInstance {
    /// Namespace name.
    pub namespace: String,
    /// Service name.
    pub service: String,
    /// Attributes, the addresses (`AWS_INSTANCE_IPV4`, `AWS_INSTANCE_IPV6`) among them.
    pub attributes: BTreeMap<String, String>,
    /// Where it is written.
    pub at: Place,
}
