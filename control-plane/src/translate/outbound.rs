//! Outbound traffic of a node: chains by port, virtual hosts by service, and what is outside the mesh.

use std::collections::{BTreeMap, BTreeSet};

use outrigger_xds_protos::v3::core::TrafficDirection;
use outrigger_xds_protos::v3::listener::{Filter, FilterChain};
use outrigger_xds_protos::v3::route::VirtualHost;

use super::listener::{self, Inspect};
use super::options::TranslateOptions;
use super::{Resources, access, cluster, http, names, route, tls};
use crate::diagnostics::Report;
use crate::graph::service::{self, Behind, ServicePort, Target};
use crate::graph::{Graph, MeshGraph, Proxy};
use crate::model::{
    AccessLog, ClientTls, EgressFilter, IpPreference, Protocol, Resource, RouteBody, VirtualNodeSpec,
};

/// Hosts that are reachable under every egress filter.
const AMAZON: &str = "*.amazonaws.com";

/// What outbound translation reads.
pub struct Outbound<'g> {
    pub graph: &'g Graph,
    pub mesh: &'g MeshGraph,
    /// Whose traffic it is.
    pub caller: Proxy<'g>,
    pub options: &'g TranslateOptions,
    pub log: Option<&'g AccessLog>,
    pub preference: Option<IpPreference>,
}

/// The declared services of a node.
#[derive(Default)]
struct Declared<'g> {
    /// By the port that callers dial.
    ports: BTreeMap<u16, Vec<ServicePort<'g>>>,
    /// Names of those that lead nowhere: without provider, or by a router without routes. They are answered with 404, and
    /// not by whoever has the name outside the mesh.
    unrouted: Vec<&'g str>,
}

/// Adds the egress side of a node.
pub fn translate(
    outbound: &Outbound<'_>,
    node: &Resource<VirtualNodeSpec>,
    report: &mut Report,
    resources: &mut Resources,
) {
    let mut declared = Declared::default();
    let mut seen = BTreeSet::new();
    for backend in &node.spec.backends {
        if !seen.insert(&backend.virtual_service.name) {
            continue;
        }
        let policy = node.spec.policy_of(backend);
        let ports = service::ports(outbound.mesh, &backend.virtual_service.name);
        if let (true, Some((name, _))) =
            (ports.is_empty(), outbound.mesh.services.get_key_value(&backend.virtual_service.name))
        {
            declared.unrouted.push(name);
        }
        for port in ports {
            outbound.add_clusters(&port, policy, report, resources);
            declared.ports.entry(port.mapping.port).or_default().push(port);
        }
    }
    if outbound.options.is_explicit() {
        outbound.explicit(&declared, resources);
    } else {
        outbound.intercepted(&declared, resources);
    }
}

impl<'g> Outbound<'g> {
    /// The clusters behind a service's port. There is one for each target, so all policies that lead to one must agree:
    /// which of them asks for more, nobody can tell for certificates of different authorities.
    pub fn add_clusters(
        &self,
        port: &ServicePort<'g>,
        policy: Option<&ClientTls>,
        report: &mut Report,
        resources: &mut Resources,
    ) {
        for target in port.targets(self.mesh) {
            let name = route::target_cluster(self.mesh, &target);
            let scene = tls::Scene::new(&self.mesh.id, self.options);
            access::check_caller(self.mesh, &self.caller, policy, &target, scene.has_ca, report);
            let Ok(socket) = tls::upstream(policy, &target, scene, report) else { continue };
            match resources.clusters.get(&name) {
                None => cluster::add_target(self.graph, self.mesh, &target, socket, self.options, resources),
                Some(first) if first.transport_socket != socket => {
                    let message = format!(
                        "virtual node \"{}\" is reached by services with different client policies, and would be \
                         reached by the weaker one; make clientPolicy.tls of these backends agree",
                        target.node.meta.name
                    );
                    report.error(&target.listener.at, "client-policy-conflict", message);
                }
                Some(_) => {}
            }
        }
    }

    fn allows_all(&self) -> bool {
        let filter = self.mesh.resource.as_ref().and_then(|r| r.spec.egress_filter);
        filter == Some(EgressFilter::AllowAll)
    }

    /// One listener behind the redirection; chains are told apart by original destination.
    fn intercepted(&self, declared: &Declared<'_>, resources: &mut Resources) {
        let mesh = &self.mesh.id.name;
        let mut chains = Vec::new();
        for (port, services) in &declared.ports {
            let http: Vec<_> = services.iter().filter(|s| s.mapping.protocol.is_http()).collect();
            if http.is_empty() {
                chains.extend(services.iter().find_map(|s| self.tcp_chain(s, Some(*port))));
                continue;
            }
            let protocol = http.iter().map(|s| s.mapping.protocol).min().unwrap_or(Protocol::Http);
            let name = names::egress_routes(protocol, *port);
            let mut hosts: Vec<VirtualHost> = http.iter().map(|s| self.virtual_host(s, *port)).collect();
            hosts.extend(declared.unrouted.iter().map(|name| unrouted_host(name, *port)));
            hosts.extend(self.outside_hosts(*port));
            resources.add_route(route::configuration(name.clone(), hosts));
            chains.push(listener::chain(Some(*port), self.manager(&name), None));
            chains.push(self.amazon_chain(Some(*port)));
        }
        chains.push(self.amazon_chain(None));
        let inspect = Inspect { original_destination: true, tls: true, server_first: true };
        let mut listener = self.listener(self.options.egress_port, inspect);
        listener.filter_chains = chains;
        resources.add_cluster(cluster::original_destination(names::amazon(mesh)));
        if self.allows_all() {
            let clusters = vec![(names::allow_all(mesh), 1)];
            let proxy = http::tcp_proxy(names::EGRESS_STATS, clusters, None, self.log);
            listener.default_filter_chain = Some(listener::chain(None, proxy, None));
            resources.add_cluster(cluster::original_destination(names::allow_all(mesh)));
        }
        resources.add_listener(listener);
    }

    /// One listener for all HTTP services, one for each port of TCP services.
    fn explicit(&self, declared: &Declared<'_>, resources: &mut Resources) {
        let egress = self.options.egress_port;
        let services: Vec<&ServicePort<'_>> = declared.ports.values().flatten().collect();
        let http: Vec<_> = services.iter().filter(|s| s.mapping.protocol.is_http()).copied().collect();
        let protocol = http.iter().map(|s| s.mapping.protocol).min().unwrap_or(Protocol::Http);
        let name = names::egress_routes(protocol, egress);
        let mut hosts = self.hosts_by_name(&http);
        hosts.extend(declared.unrouted.iter().map(|name| unrouted_host(name, egress)));
        resources.add_route(route::configuration(name.clone(), hosts));
        let mut listener = self.listener(egress, Inspect::default());
        listener.filter_chains = vec![listener::chain(None, self.manager(&name), None)];
        resources.add_listener(listener);
        for (port, services) in &declared.ports {
            if let Some(chain) = services.iter().find_map(|s| self.tcp_chain(s, None)) {
                let mut listener = self.listener(self.options.bound_port(*port), Inspect::default());
                listener.filter_chains = vec![chain];
                resources.add_listener(listener);
            }
        }
    }

    /// Virtual hosts of one listener for all ports: the first port of a service also answers to its bare name.
    fn hosts_by_name(&self, services: &[&ServicePort<'_>]) -> Vec<VirtualHost> {
        let mut named = BTreeSet::new();
        let mut hosts = Vec::new();
        for service in services {
            let (name, port) = (service.service, service.mapping.port);
            let mut domains = vec![format!("{name}:{port}")];
            let first = named.insert(name);
            if first {
                domains.insert(0, name.to_owned());
                if port != self.options.egress_port {
                    domains.push(format!("{name}:{}", self.options.egress_port));
                }
            }
            let host = if first { name.to_owned() } else { format!("{name}:{port}") };
            hosts.push(route::virtual_host(&host, domains, route::service_routes(self.mesh, service)));
        }
        hosts
    }

    fn virtual_host(&self, service: &ServicePort<'_>, port: u16) -> VirtualHost {
        let name = service.service;
        let domains = vec![name.to_owned(), format!("{name}:{port}")];
        route::virtual_host(name, domains, route::service_routes(self.mesh, service))
    }

    /// Hosts outside the mesh on a port that services use too.
    fn outside_hosts(&self, port: u16) -> Vec<VirtualHost> {
        let mesh = &self.mesh.id.name;
        let pass = |name: &str, domains: Vec<String>, cluster: String| {
            route::virtual_host(name, domains, vec![route::catch_all(cluster, None)])
        };
        let amazon = vec![AMAZON.to_owned(), format!("{AMAZON}:{port}")];
        let mut hosts = vec![pass("amazonaws", amazon, names::amazon(mesh))];
        if self.allows_all() {
            hosts.push(pass("mesh-allow-all", vec!["*".to_owned()], names::allow_all(mesh)));
        }
        hosts
    }

    fn manager(&self, routes: &str) -> Filter {
        http::connection_manager(names::EGRESS_STATS, routes, self.log)
    }

    /// TLS to AWS, which every egress filter lets through.
    fn amazon_chain(&self, port: Option<u16>) -> FilterChain {
        let clusters = vec![(names::amazon(&self.mesh.id.name), 1)];
        let proxy = http::tcp_proxy(names::EGRESS_STATS, clusters, None, self.log);
        listener::for_server_name(listener::chain(port, proxy, None), AMAZON)
    }

    /// A TCP service: only its port tells it, and its first route takes all connections.
    fn tcp_chain(&self, service: &ServicePort<'_>, port: Option<u16>) -> Option<FilterChain> {
        let (clusters, idle) = match &service.behind {
            Behind::Node(target) if service.mapping.protocol == Protocol::Tcp => {
                (vec![(route::target_cluster(self.mesh, target), 1)], None)
            }
            Behind::Node(_) => return None,
            Behind::Routes(routes) => routes.iter().find_map(|r| match &r.spec.body {
                RouteBody::Tcp { targets, timeout, .. } => {
                    let known = targets.iter().filter_map(|t| Some((Target::of(self.mesh, t)?, t.weight)));
                    let live = known.filter(|(_, weight)| *weight > 0);
                    let clusters =
                        live.map(|(t, weight)| (route::target_cluster(self.mesh, &t), weight)).collect();
                    Some((clusters, timeout.and_then(|t| t.idle)))
                }
                _ => None,
            })?,
        };
        (!clusters.is_empty()).then(|| {
            listener::chain(port, http::tcp_proxy(names::EGRESS_STATS, clusters, idle, self.log), None)
        })
    }

    fn listener(&self, port: u16, inspect: Inspect) -> outrigger_xds_protos::v3::listener::Listener {
        let direction = TrafficDirection::Outbound;
        listener::listener(
            names::egress_listener(port),
            port,
            direction,
            inspect,
            self.preference,
            self.options,
        )
    }
}

/// A service that leads nowhere.
fn unrouted_host(name: &str, port: u16) -> VirtualHost {
    route::virtual_host(name, vec![name.to_owned(), format!("{name}:{port}")], Vec::new())
}

#[cfg(test)]
mod tests;
