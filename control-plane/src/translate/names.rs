//! Resource names. Dashboards and alarms are keyed on them.
//!
//! Source: names seen in configuration dumps and documentation of App Mesh.

use crate::model::{PortMapping, Protocol};

/// `lds_ingress_0.0.0.0_15000`; the address is part of the name whatever is bound.
pub fn ingress_listener(port: u16) -> String {
    format!("lds_ingress_0.0.0.0_{port}")
}

/// `lds_egress_0.0.0.0_15001`.
pub fn egress_listener(port: u16) -> String {
    format!("lds_egress_0.0.0.0_{port}")
}

/// `rds_ingress_http_8080`.
pub fn ingress_routes(mapping: PortMapping) -> String {
    format!("rds_ingress_{}_{}", mapping.protocol.name(), mapping.port)
}

/// `rds_egress_http_8080`.
pub fn egress_routes(protocol: Protocol, port: u16) -> String {
    format!("rds_egress_{}_{port}", protocol.name())
}

/// `rds_grpc_client_<service>_grpc_8080`: ours, App Mesh served proxies only.
pub fn grpc_client_routes(service: &str, mapping: PortMapping) -> String {
    format!("rds_grpc_client_{service}_{}_{}", mapping.protocol.name(), mapping.port)
}

/// `cds_egress_<mesh>_<node>_http_8080`.
pub fn egress_cluster(mesh: &str, node: &str, mapping: PortMapping) -> String {
    format!("cds_egress_{mesh}_{node}_{}_{}", mapping.protocol.name(), mapping.port)
}

/// `cds_ingress_<mesh>_<node>_http_8080`.
pub fn ingress_cluster(mesh: &str, node: &str, mapping: PortMapping) -> String {
    format!("cds_ingress_{mesh}_{node}_{}_{}", mapping.protocol.name(), mapping.port)
}

/// `cds_ingress_<mesh>_<gateway>_self_redirect_http_15001`, with the listener's port when there are several.
pub fn self_redirect(
    mesh: &str,
    gateway: &str,
    listener: PortMapping,
    several: bool,
    egress_port: u16,
) -> String {
    let port = if several { format!("{}_", listener.port) } else { String::new() };
    format!("cds_ingress_{mesh}_{gateway}_self_redirect_{port}{}_{egress_port}", listener.protocol.name())
}

/// `cds_egress_<mesh>_amazonaws`.
pub fn amazon(mesh: &str) -> String {
    format!("cds_egress_{mesh}_amazonaws")
}

/// `cds_egress_<mesh>_mesh-allow-all`.
pub fn allow_all(mesh: &str) -> String {
    format!("cds_egress_{mesh}_mesh-allow-all")
}

/// HCM and TCP proxy statistics of an ingress chain.
pub fn ingress_stats(mapping: PortMapping, several: bool) -> String {
    if several {
        format!("ingress.{}.{}", mapping.protocol.name(), mapping.port)
    } else {
        "ingress".to_owned()
    }
}

/// HCM and TCP proxy statistics of egress chains.
pub const EGRESS_STATS: &str = "egress";
/// The cluster of the local SDS server, which the proxy's bootstrap defines.
pub const SDS_CLUSTER: &str = "static_cluster_sds_unix_socket";
