//! A virtual node's sidecar: what comes in goes to the application, what goes out to declared services.

use outrigger_xds_protos::v3::core::TrafficDirection;
use outrigger_xds_protos::v3::listener::FilterChain;

use super::listener::{self, Inspect};
use super::options::{Listening, TranslateOptions};
use super::outbound::{self, Outbound};
use super::{Resources, access, application_tls, cluster, http, message, names, route, tls};
use crate::diagnostics::Report;
use crate::graph::{Graph, MeshGraph, Proxy};
use crate::model::{
    HttpTimeout, IpPreference, ListenerTimeout, NodeListener, Resource, ServiceDiscovery, VirtualNodeSpec,
};

/// All resources of a sidecar.
pub fn translate(
    graph: &Graph,
    mesh: &MeshGraph,
    node: &Resource<VirtualNodeSpec>,
    options: &TranslateOptions,
    report: &mut Report,
) -> Resources {
    let mut resources = Resources::default();
    let preference = preference(mesh, node);
    let inbound = Inbound { mesh, node, preference, options };
    inbound.translate(report, &mut resources);
    let log = node.spec.access_log.as_ref();
    let caller = Proxy::Node(mesh, node);
    let outbound = Outbound { graph, mesh, caller, options, log, preference };
    outbound::translate(&outbound, node, report, &mut resources);
    resources
}

/// The node's own preference beats the mesh's.
fn preference(mesh: &MeshGraph, node: &Resource<VirtualNodeSpec>) -> Option<IpPreference> {
    let own = match &node.spec.service_discovery {
        Some(
            ServiceDiscovery::Dns { ip_preference, .. } | ServiceDiscovery::CloudMap { ip_preference, .. },
        ) => *ip_preference,
        None => None,
    };
    own.or_else(|| mesh.resource.as_ref().and_then(|r| r.spec.ip_preference))
}

struct Inbound<'g> {
    mesh: &'g MeshGraph,
    node: &'g Resource<VirtualNodeSpec>,
    preference: Option<IpPreference>,
    options: &'g TranslateOptions,
}

impl Inbound<'_> {
    fn translate(&self, report: &mut Report, resources: &mut Resources) {
        let listeners = &self.node.spec.listeners;
        let chains: Vec<(u16, Vec<FilterChain>)> =
            listeners.iter().map(|l| (l.port_mapping.port, self.listen(l, report, resources))).collect();
        if chains.is_empty() {
            return;
        }
        match &self.options.listening {
            Listening::Intercepted { ingress_port } => {
                let tls = listeners.iter().any(|l| listener::is_permissive(l.tls.as_ref()));
                let server_first = listeners.iter().any(|l| !l.port_mapping.protocol.is_http());
                let inspect = Inspect { original_destination: true, tls, server_first };
                self.bind(
                    *ingress_port,
                    chains.into_iter().flat_map(|(_, c)| c).collect(),
                    inspect,
                    resources,
                );
            }
            Listening::Explicit { .. } => {
                for (l, (port, chains)) in listeners.iter().zip(chains) {
                    let inspect = Inspect {
                        original_destination: false,
                        tls: listener::is_permissive(l.tls.as_ref()),
                        server_first: !l.port_mapping.protocol.is_http(),
                    };
                    self.bind(self.options.bound_port(port), chains, inspect, resources);
                }
            }
        }
    }

    fn bind(&self, port: u16, chains: Vec<FilterChain>, inspect: Inspect, resources: &mut Resources) {
        let (name, direction) = (names::ingress_listener(port), TrafficDirection::Inbound);
        let mut listener = listener::listener(name, port, direction, inspect, self.preference, self.options);
        listener.filter_chains = chains;
        resources.add_listener(listener);
    }

    /// The chains of one listener, its routes and the cluster of the application.
    fn listen(&self, l: &NodeListener, report: &mut Report, resources: &mut Resources) -> Vec<FilterChain> {
        let mapping = l.port_mapping;
        let several = self.node.spec.listeners.len() > 1;
        let name = names::ingress_cluster(&self.mesh.id.name, &self.node.meta.name, mapping);
        let (host, port) = match self.options.applications.get(&mapping.port) {
            Some(address) => (address.ip(), address.port()),
            None => (message::loopback(self.preference), mapping.port),
        };
        let tls = application_tls::socket(self.node, mapping.protocol, report);
        resources.add_cluster(cluster::application(name.clone(), l, tls, (host.to_string(), port)));
        let stats = names::ingress_stats(mapping, several);
        let log = self.node.spec.access_log.as_ref();
        let has_ca = self.options.mesh_ca;
        let callers = access::Callers::of(self.mesh, self.node, l, has_ca, report);
        let filter = if mapping.protocol.is_http() {
            let routes = names::ingress_routes(mapping);
            let all = route::catch_all(name, Some(http_timeout(l)));
            let host = route::virtual_host("ingress", vec!["*".to_owned()], vec![all]);
            resources.add_route(route::configuration(routes.clone(), vec![host]));
            let guard = callers.as_ref().map(access::Callers::http_filter);
            http::guarded_connection_manager(&stats, &routes, log, guard)
        } else {
            http::tcp_proxy(&stats, vec![(name, 1)], tcp_idle(l), log)
        };
        let port = (!self.options.is_explicit()).then_some(mapping.port);
        let mut scene = tls::Scene::new(&self.mesh.id, self.options);
        let mut chain = listener::chain(port, filter, None);
        let mut tls = l.tls.clone();
        if let Some(callers) = callers {
            // A dry run refuses nobody who came in before it.
            scene.asks_only =
                callers.only_counts() && l.tls.as_ref().is_some_and(|tls| tls.validation.is_none());
            tls = tls.as_ref().map(tls::asking_callers);
            if !mapping.protocol.is_http() {
                chain.filters.insert(0, callers.network_filter(&stats));
            }
        }
        listener::terminate(chain, tls.as_ref(), mapping.protocol, scene, report)
    }
}

fn http_timeout(l: &NodeListener) -> HttpTimeout {
    match &l.timeout {
        Some(ListenerTimeout::Http(_, timeout)) => *timeout,
        _ => HttpTimeout::default(),
    }
}

fn tcp_idle(l: &NodeListener) -> Option<std::time::Duration> {
    match &l.timeout {
        Some(ListenerTimeout::Tcp(timeout)) => timeout.idle,
        _ => None,
    }
}
