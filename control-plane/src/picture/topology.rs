//! The mesh as its definitions draw it: proxies, and which of them may call which.

use std::collections::{BTreeMap, BTreeSet};

use outrigger_xds_protos::any;
use outrigger_xds_protos::v3::cluster::Cluster;
use outrigger_xds_protos::v3::core::transport_socket::ConfigType;
use outrigger_xds_protos::v3::tls::UpstreamTlsContext;
use serde::Serialize;

use crate::graph::{Graph, MeshGraph, Proxy, service};
use crate::translate::{Resources, target_cluster};

/// All proxies and the calls that the definitions allow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// By canonical node id.
    pub nodes: BTreeMap<String, NodeDrawing>,
    /// By caller and name of the cluster through which it calls.
    pub edges: BTreeMap<(String, String), Edge>,
}

/// One proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeDrawing {
    /// `virtualNode` or `virtualGateway`.
    pub kind: &'static str,
    /// Name inside its mesh.
    pub name: String,
    /// The mesh.
    pub mesh: String,
    /// Virtual services that lead to it.
    pub services: BTreeSet<String>,
}

/// One cluster of a proxy that leads to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Canonical id of the node that is called.
    pub to: String,
    /// How the caller encrypts.
    pub encryption: Encryption,
}

/// How a caller speaks to a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encryption {
    /// Not at all.
    Plain,
    /// The caller checks whom it calls.
    Tls,
    /// The caller presents a certificate as well.
    MutualTls,
}

impl Topology {
    /// The proxies of all meshes, without edges.
    pub fn of(graph: &Graph) -> Self {
        let mut topology = Self::default();
        for id in graph.proxies() {
            let drawing = NodeDrawing {
                kind: id.kind.arn_segment(),
                name: id.name.clone(),
                mesh: id.mesh.to_string(),
                services: BTreeSet::new(),
            };
            topology.nodes.insert(id.to_string(), drawing);
        }
        for mesh in graph.meshes.values() {
            topology.add_services(mesh);
        }
        topology
    }

    /// The clusters through which a proxy, by its canonical id, calls others.
    pub fn clusters_of(&self, caller: &str) -> BTreeSet<&str> {
        let first = (caller.to_owned(), String::new());
        let own = self.edges.range(first..).take_while(|((from, _), _)| from == caller);
        own.map(|((_, cluster), _)| cluster.as_str()).collect()
    }

    fn add_services(&mut self, mesh: &MeshGraph) {
        for name in mesh.services.keys() {
            for port in service::ports(mesh, name) {
                for target in port.targets(mesh) {
                    let node = Proxy::Node(mesh, target.node).id().to_string();
                    if let Some(drawing) = self.nodes.get_mut(&node) {
                        drawing.services.insert(name.clone());
                    }
                }
            }
        }
    }

    /// Adds the calls that a proxy's resources allow.
    pub fn add_calls(&mut self, mesh: &MeshGraph, caller: &str, resources: &Resources) {
        for node in mesh.nodes.values() {
            for listener in &node.spec.listeners {
                let cluster = target_cluster(mesh, &service::Target { node, listener });
                let Some(message) = resources.clusters.get(&cluster) else { continue };
                let to = Proxy::Node(mesh, node).id().to_string();
                let edge = Edge { to, encryption: encryption(message) };
                self.edges.insert((caller.to_owned(), cluster), edge);
            }
        }
    }
}

fn encryption(cluster: &Cluster) -> Encryption {
    let Some(socket) = &cluster.transport_socket else { return Encryption::Plain };
    let Some(ConfigType::TypedConfig(config)) = &socket.config_type else { return Encryption::Plain };
    let context =
        any::unpack::<UpstreamTlsContext>(config).ok().and_then(|context| context.common_tls_context);
    let presents = context.is_some_and(|common| {
        !common.tls_certificates.is_empty() || !common.tls_certificate_sds_secret_configs.is_empty()
    });
    if presents { Encryption::MutualTls } else { Encryption::Tls }
}
