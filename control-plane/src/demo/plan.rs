//! Who listens where: every virtual node's sidecar and sample service on loopback, and what the nodes call.
//!
//! What a loopback demo cannot have (certificates, log files of containers, gateways' clients) is left out of the
//! graph, and a notice says so.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

use super::Result;
use super::probe::{self, Probe};
use super::service::Backend;
use crate::graph::service::{self, ServicePort};
use crate::graph::{Graph, MeshGraph, Proxy};
use crate::model::{PortMapping, Resource, VirtualNodeSpec};
use crate::translate::{Listening, TranslateOptions};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const STDOUT: &str = "/dev/stdout";
/// Each virtual node is a process.
const MAX_NODES: usize = 64;

/// The whole demo.
#[derive(Debug, Default)]
pub struct Plan {
    /// Virtual nodes, by mesh and name.
    pub nodes: Vec<NodePlan>,
    /// What is left out, and why.
    pub notices: Vec<String>,
    reserved: Vec<TcpSocket>,
}

/// One virtual node.
#[derive(Debug)]
pub struct NodePlan {
    /// Node id, as the sidecar presents it.
    pub id: String,
    /// Name.
    pub name: String,
    /// Its listeners and where the sidecar offers them.
    pub listeners: Vec<(PortMapping, SocketAddr)>,
    /// Sockets of the sample service, until it is started.
    pub applications: Vec<TcpListener>,
    /// How the sample service reaches the node's backends, by the name it is asked for.
    pub backends: BTreeMap<String, Backend>,
    /// What to ask the backends.
    pub calls: Vec<(String, Probe)>,
    /// The node's view of the mesh.
    pub options: TranslateOptions,
}

impl NodePlan {
    /// The first listener that speaks HTTP.
    pub fn http(&self) -> Option<(PortMapping, SocketAddr)> {
        self.listeners.iter().copied().find(|(mapping, _)| mapping.protocol.is_http())
    }
}

/// Plans for all virtual nodes of a graph; takes out of the graph what the demo cannot have.
///
/// # Errors
/// When there is nothing to show, or too much, or the system has no ports.
pub async fn plan(graph: &mut Graph) -> Result<Plan> {
    let mut plan = Plan::default();
    simplify(graph, &mut plan.notices);
    let count: usize = graph.meshes.values().map(|m| m.nodes.len()).sum();
    if count == 0 {
        return Err("the definitions have no virtual node; there is nothing to run".into());
    }
    if count > MAX_NODES {
        return Err(
            format!("{count} virtual nodes are too many for one machine; the demo runs {MAX_NODES}").into()
        );
    }
    let mut names = BTreeSet::new();
    for mesh in graph.meshes.values() {
        for node in mesh.nodes.values() {
            if !names.insert(&node.meta.name) {
                let name = &node.meta.name;
                return Err(
                    format!("two meshes have a virtual node \"{name}\"; name files of one mesh").into()
                );
            }
            plan.add(mesh, node).await?;
        }
    }
    plan.connect();
    Ok(plan)
}

fn simplify(graph: &mut Graph, notices: &mut Vec<String>) {
    let (mut tls, mut logs, mut gateways) = (false, false, 0);
    for mesh in graph.meshes.values_mut() {
        gateways += mesh.gateways.len();
        for node in mesh.nodes.values_mut() {
            let spec = &mut node.spec;
            tls |= spec.backend_defaults.take().is_some();
            for listener in &mut spec.listeners {
                tls |= listener.tls.take().is_some();
            }
            for backend in &mut spec.backends {
                tls |= backend.client_tls.take().is_some();
                backend.has_policy = false;
            }
            if let Some(log) = spec.access_log.as_mut().filter(|log| log.path != STDOUT) {
                (logs, log.path) = (true, STDOUT.to_owned());
            }
        }
    }
    if tls {
        notices.push("TLS is left out: the demo has no certificates".to_owned());
    }
    if logs {
        notices.push(format!("access logs go to {STDOUT} instead of files"));
    }
    if gateways > 0 {
        notices.push(format!("{gateways} virtual gateway(s) are left out: the demo runs virtual nodes"));
    }
}

impl Plan {
    async fn add(&mut self, mesh: &MeshGraph, node: &Resource<VirtualNodeSpec>) -> Result<()> {
        let mut options = TranslateOptions { bind_address: Some(LOOPBACK), ..TranslateOptions::default() };
        let (mut ports, mut listeners, mut applications) = (BTreeMap::new(), Vec::new(), Vec::new());
        for listener in &node.spec.listeners {
            let mapping = listener.port_mapping;
            let ingress = self.reserve()?;
            let application = TcpListener::bind((LOOPBACK, 0)).await?;
            options.applications.insert(mapping.port, application.local_addr()?);
            ports.insert(mapping.port, ingress.port());
            listeners.push((mapping, ingress));
            applications.push(application);
        }
        let egress = self.reserve()?;
        options.egress_port = egress.port();
        let mut planned = NodePlan {
            id: Proxy::Node(mesh, node).id().to_string(),
            name: node.meta.name.clone(),
            listeners,
            applications,
            backends: BTreeMap::new(),
            calls: Vec::new(),
            options,
        };
        for port in callable(mesh, node) {
            self.add_backend(&mut planned, &port, egress, &mut ports)?;
        }
        planned.options.listening = Listening::Explicit { ports };
        self.nodes.push(planned);
        Ok(())
    }

    fn add_backend(
        &mut self,
        node: &mut NodePlan,
        port: &ServicePort<'_>,
        egress: SocketAddr,
        ports: &mut BTreeMap<u16, u16>,
    ) -> Result<()> {
        let (name, mapping) = (port.service, port.mapping);
        let key = match node.backends.contains_key(name) {
            true => format!("{name}:{}", mapping.port),
            false => name.to_owned(),
        };
        let address = match (mapping.protocol.is_http(), ports.entry(mapping.port)) {
            (true, _) => egress,
            (false, Entry::Vacant(port)) => {
                let address = self.reserve()?;
                port.insert(address.port());
                address
            }
            (false, Entry::Occupied(_)) => {
                let why = "the port is taken in a demo without interception";
                self.notices.push(format!("{} does not call {name}:{}: {why}", node.name, mapping.port));
                return Ok(());
            }
        };
        for probe in probe::probes(&port.behind) {
            match probe {
                Ok(probe) => node.calls.push((key.clone(), probe)),
                Err(why) => self.notices.push(format!("not called: {name}, {why}")),
            }
        }
        let http2 = mapping.protocol.is_http2();
        node.backends.insert(key.clone(), Backend { address, http2, authority: key });
        Ok(())
    }

    /// Tells every node where the sidecars of all are.
    fn connect(&mut self) {
        let ingress = self.nodes.iter().flat_map(|node| {
            node.listeners.iter().map(|(m, address)| ((node.name.clone(), m.port), vec![*address]))
        });
        let endpoints: BTreeMap<_, _> = ingress.collect();
        for node in &mut self.nodes {
            node.options.endpoints = endpoints.clone();
        }
    }

    /// A port that nobody else is given while the plan lives. The socket does not listen, and shares its port with
    /// the sidecar's, which does.
    fn reserve(&mut self) -> Result<SocketAddr> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.set_reuseport(true)?;
        socket.bind((LOOPBACK, 0).into())?;
        let address = socket.local_addr()?;
        self.reserved.push(socket);
        Ok(address)
    }
}

/// Ports of the services that a node declares, HTTP first, lowest first, as the explicit egress orders them.
fn callable<'g>(mesh: &'g MeshGraph, node: &Resource<VirtualNodeSpec>) -> Vec<ServicePort<'g>> {
    let names: BTreeSet<&String> = node.spec.backends.iter().map(|b| &b.virtual_service.name).collect();
    let mut ports: Vec<_> = names.into_iter().flat_map(|name| service::ports(mesh, name)).collect();
    ports.sort_by_key(|p| (!p.mapping.protocol.is_http(), p.mapping.port));
    ports
}
