//! A virtual gateway: two hops through one proxy. The first applies gateway routes and rewrites, the second is
//! what a sidecar's egress is.

use std::collections::BTreeSet;

use outrigger_xds_protos::v3::core::TrafficDirection;
use outrigger_xds_protos::v3::route::{Route, VirtualHost};

use super::gateway_route::{self, PORT_HEADER, SERVICE_HEADER};
use super::listener::{self, Inspect};
use super::options::TranslateOptions;
use super::outbound::Outbound;
use super::{Resources, cluster, http, matching, message, names, route, tls};
use crate::diagnostics::Report;
use crate::graph::service::{self, ServicePort};
use crate::graph::{Graph, MeshGraph, Proxy};
use crate::model::{GatewayListener, GatewayRouteSpec, IpPreference, Protocol, Resource, VirtualGatewaySpec};

/// All resources of a gateway.
pub fn translate(
    graph: &Graph,
    mesh: &MeshGraph,
    gateway: &Resource<VirtualGatewaySpec>,
    options: &TranslateOptions,
    report: &mut Report,
) -> Resources {
    let mut resources = Resources::default();
    let preference = mesh.resource.as_ref().and_then(|r| r.spec.ip_preference);
    let routes: Vec<_> = mesh.gateway_routes_of(&gateway.meta.name).collect();
    let translation = Gateway { graph, mesh, gateway, routes, preference, options };
    for l in &gateway.spec.listeners {
        translation.first_hop(l, report, &mut resources);
    }
    translation.second_hop(report, &mut resources);
    resources
}

struct Gateway<'g> {
    graph: &'g Graph,
    mesh: &'g MeshGraph,
    gateway: &'g Resource<VirtualGatewaySpec>,
    routes: Vec<&'g Resource<GatewayRouteSpec>>,
    preference: Option<IpPreference>,
    options: &'g TranslateOptions,
}

impl<'g> Gateway<'g> {
    fn first_hop(&self, l: &GatewayListener, report: &mut Report, resources: &mut Resources) {
        let mapping = l.port_mapping;
        let several = self.gateway.spec.listeners.len() > 1;
        let (mesh, egress) = (&self.mesh.id.name, self.options.egress_port);
        let loop_name = names::self_redirect(mesh, &self.gateway.meta.name, mapping, several, egress);
        let host = self.options.bind_address.filter(|a| !a.is_unspecified());
        let host = host.unwrap_or_else(|| message::loopback(self.preference)).to_string();
        let pool = l.connection_pool.as_ref();
        resources.add_cluster(cluster::self_redirect(
            loop_name.clone(),
            mapping.protocol,
            pool,
            host,
            egress,
        ));
        let rds = names::ingress_routes(mapping);
        let here = self.routes.iter().filter(|r| r.spec.matching.port.is_none_or(|p| p == mapping.port));
        let routes = gateway_route::first_hop(self.mesh, here.copied(), &loop_name);
        let host = route::virtual_host("self_redirect", vec!["*".to_owned()], routes);
        resources.add_route(route::configuration(rds.clone(), vec![host]));
        let stats = names::ingress_stats(mapping, several);
        let filter = http::connection_manager(&stats, &rds, self.gateway.spec.access_log.as_ref());
        let port = self.options.bound_port(mapping.port);
        let (name, direction) = (names::ingress_listener(port), TrafficDirection::Inbound);
        let inspect = Inspect { tls: listener::is_permissive(l.tls.as_ref()), ..Inspect::default() };
        let mut listener = listener::listener(name, port, direction, inspect, self.preference, self.options);
        listener.filter_chains = listener::terminate(
            listener::chain(Some(port), filter, None),
            l.tls.as_ref(),
            mapping.protocol,
            tls::Scene::new(&self.mesh.id, self.options),
            report,
        );
        resources.add_listener(listener);
    }

    /// Routes, retries, TLS and endpoints of the services that gateway routes lead to.
    fn second_hop(&self, report: &mut Report, resources: &mut Resources) {
        let egress = self.options.egress_port;
        let log = self.gateway.spec.access_log.as_ref();
        let outbound = Outbound {
            graph: self.graph,
            mesh: self.mesh,
            caller: Proxy::Gateway(self.mesh, self.gateway),
            options: self.options,
            log,
            preference: self.preference,
        };
        let policy = self.gateway.spec.backend_defaults.as_ref();
        for name in self.services(|_| true) {
            for port in service::ports(self.mesh, name) {
                outbound.add_clusters(&port, policy, report, resources);
            }
        }
        let rds = names::egress_routes(self.protocol(), egress);
        resources.add_route(route::configuration(rds.clone(), self.second_hop_hosts()));
        let filter = http::connection_manager(names::EGRESS_STATS, &rds, log);
        let (name, direction) = (names::egress_listener(egress), TrafficDirection::Outbound);
        let inspect = Inspect::default();
        let mut listener =
            listener::listener(name, egress, direction, inspect, self.preference, self.options);
        listener.filter_chains = vec![listener::chain(Some(egress), filter, None)];
        resources.add_listener(listener);
    }

    /// The protocol that the second hop's routes are named after: the listeners' one, or http.
    fn protocol(&self) -> Protocol {
        let mut found = self.gateway.spec.listeners.iter().map(|l| l.port_mapping.protocol);
        let first = found.next().unwrap_or(Protocol::Http);
        if found.all(|p| p == first) { first } else { Protocol::Http }
    }

    /// The services of gateway routes of some kind, each once, by name.
    fn services(&self, of: impl Fn(&GatewayRouteSpec) -> bool) -> BTreeSet<&'g str> {
        let routes = self.routes.iter().filter(|r| of(&r.spec));
        routes.map(|r| r.spec.target.virtual_service.name.as_str()).collect()
    }

    fn second_hop_hosts(&self) -> Vec<VirtualHost> {
        let egress = self.options.egress_port;
        let host = |name: &str| {
            let domains = vec![name.to_owned(), format!("{name}:{egress}")];
            route::virtual_host(name, domains, self.second_hop_routes(name))
        };
        let mut hosts: Vec<VirtualHost> =
            self.services(|r| r.rewrite.hostname).into_iter().map(host).collect();
        let kept: Vec<Route> = self
            .services(|r| !r.rewrite.hostname)
            .into_iter()
            .flat_map(|name| {
                self.second_hop_routes(name).into_iter().map(move |r| by_service_header(r, name))
            })
            .collect();
        if !kept.is_empty() {
            hosts.push(route::virtual_host("default_backend", vec!["*".to_owned()], kept));
        }
        hosts
    }

    /// The routes of a service; with several ports, each set only for the port that the first hop chose.
    fn second_hop_routes(&self, service: &str) -> Vec<Route> {
        let ports: Vec<ServicePort<'_>> = service::ports(self.mesh, service);
        let ports: Vec<_> = ports.into_iter().filter(|p| p.mapping.protocol.is_http()).collect();
        let several = ports.len() > 1;
        let routes = ports.iter().flat_map(|port| {
            let routes = route::service_routes(self.mesh, port);
            routes.into_iter().map(move |r| if several { by_port_header(r, port.mapping.port) } else { r })
        });
        routes.collect()
    }
}

fn by_service_header(mut route: Route, service: &str) -> Route {
    route.r#match.get_or_insert_default().headers.push(matching::exact_header(SERVICE_HEADER, service));
    route.response_headers_to_remove.push(SERVICE_HEADER.to_owned());
    route
}

fn by_port_header(mut route: Route, port: u16) -> Route {
    route
        .r#match
        .get_or_insert_default()
        .headers
        .push(matching::exact_header(PORT_HEADER, &port.to_string()));
    route.request_headers_to_remove.push(PORT_HEADER.to_owned());
    route
}
