//! What may differ from App Mesh: ports, addresses, interception.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// How connections come to the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listening {
    /// Redirected by the kernel: one listener for each direction, told apart by original destination.
    Intercepted {
        /// Port of a node's ingress listener.
        ingress_port: u16,
    },
    /// Dialled directly: one ingress listener for each listener of the node, one egress listener for all HTTP
    /// services by Host header, one for each port of a TCP service. There is no original destination, so nothing
    /// outside the mesh can be reached through the proxy, whatever the egress filter says.
    Explicit {
        /// The port to bind instead of a node's or gateway's listener port, or a TCP service's port.
        ports: BTreeMap<u16, u16>,
    },
}

/// Parameters of the translation. The defaults are App Mesh's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TranslateOptions {
    /// How connections come to the proxy.
    pub listening: Listening,
    /// Port of the egress listener.
    pub egress_port: u16,
    /// Address to bind. Absent: all addresses, of both families where the mesh prefers one.
    pub bind_address: Option<IpAddr>,
    /// Where the node's own application listens, by listener port. Absent: loopback and the same port.
    pub applications: BTreeMap<u16, SocketAddr>,
    /// Whether what definitions have in AWS Certificate Manager comes from the mesh's own authority.
    pub mesh_ca: bool,
    /// Whether that authority is AWS Private CA.
    pub private_ca: bool,
    /// Addresses of other nodes' proxies, by node name and listener port, in place of their service discovery.
    pub endpoints: BTreeMap<(String, u16), Vec<SocketAddr>>,
}

impl Default for TranslateOptions {
    fn default() -> Self {
        Self {
            listening: Listening::Intercepted { ingress_port: 15000 },
            egress_port: 15001,
            bind_address: None,
            applications: BTreeMap::new(),
            mesh_ca: false,
            private_ca: false,
            endpoints: BTreeMap::new(),
        }
    }
}

impl TranslateOptions {
    /// Whether connections are dialled directly.
    pub fn is_explicit(&self) -> bool {
        matches!(self.listening, Listening::Explicit { .. })
    }

    /// The port to bind for a port of the definitions when the proxy is dialled directly.
    pub(super) fn bound_port(&self, port: u16) -> u16 {
        match &self.listening {
            Listening::Intercepted { .. } => port,
            Listening::Explicit { ports } => ports.get(&port).copied().unwrap_or(port),
        }
    }
}
