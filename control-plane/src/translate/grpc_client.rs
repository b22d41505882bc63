//! A virtual node whose application is a gRPC client without a proxy: its backends as targets that it dials itself.
//!
//! A target `xds:///<service>[:<port>]` is a listener of that name; without a port it is the service's first port
//! that speaks HTTP/2 or gRPC. Behind it are the routes, weights and retries that a proxy would get, in what gRPC
//! libraries take: every cluster is EDS, or LOGICAL_DNS with one name, and localities have weights.
//! What a library would refuse or not honour is left out and named: plain HTTP/1.1 and TCP, and TLS, for which the
//! library has certificates of its own configuration only.
//! Source: the xDS support of gRPC (A27, A28, A31, A37, A44).

use std::collections::BTreeSet;

use outrigger_xds_protos::v3::cluster::Cluster;
use outrigger_xds_protos::v3::cluster::cluster::{ClusterDiscoveryType, DiscoveryType, EdsClusterConfig};
use outrigger_xds_protos::v3::core::Locality;
use outrigger_xds_protos::v3::endpoint::ClusterLoadAssignment;
use outrigger_xds_protos::v3::listener::filter::ConfigType;
use outrigger_xds_protos::v3::listener::{ApiListener, Listener};
use outrigger_xds_protos::v3::route::route::Action;
use outrigger_xds_protos::v3::route::route_action::MaxStreamDuration;
use outrigger_xds_protos::v3::route::{Route, RouteConfiguration};

use super::message::{ads, number};
use super::options::TranslateOptions;
use super::{Resources, cluster, endpoint, http, names, route, tls};
use crate::diagnostics::Report;
use crate::graph::service::{self, ServicePort};
use crate::graph::{Graph, MeshGraph};
use crate::model::{Backend, Resource, VirtualNodeSpec};

/// What a gRPC client is given.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GrpcClient {
    /// One listener for each target, and what is behind it.
    pub resources: Resources,
    /// Services that it is not given, each with the reason.
    pub left_out: Vec<String>,
}

/// Translates the backends of a node.
pub fn translate(
    graph: &Graph,
    mesh: &MeshGraph,
    node: &Resource<VirtualNodeSpec>,
    options: &TranslateOptions,
) -> GrpcClient {
    let (mut client, mut seen) = (GrpcClient::default(), BTreeSet::new());
    let translation = Translation { graph, mesh, node, options };
    for backend in node.spec.backends.iter().filter(|b| seen.insert(&b.virtual_service.name)) {
        translation.add_service(backend, &mut client);
    }
    client
}

struct Translation<'g> {
    graph: &'g Graph,
    mesh: &'g MeshGraph,
    node: &'g Resource<VirtualNodeSpec>,
    options: &'g TranslateOptions,
}

impl<'g> Translation<'g> {
    fn add_service(&self, backend: &Backend, client: &mut GrpcClient) {
        let mut named = false;
        for port in service::ports(self.mesh, &backend.virtual_service.name) {
            let (name, target) = (port.service, format!("{}:{}", port.service, port.mapping.port));
            if !port.mapping.protocol.is_http2() {
                let protocol = port.mapping.protocol.name();
                client.left_out.push(format!("{target}: it speaks {protocol}, not grpc or http2"));
                continue;
            }
            if self.needs_tls(backend, &port) {
                client.left_out.push(format!("{target}: it is reached with TLS, which needs a proxy"));
                continue;
            }
            let routes = self.add_routes(&port, &mut client.resources);
            if !std::mem::replace(&mut named, true) {
                client.resources.add_listener(listener(name.to_owned(), &routes));
            }
            client.resources.add_listener(listener(target, &routes));
        }
    }

    /// Whether a proxy would encrypt on the way to any of the targets, or could not.
    fn needs_tls(&self, backend: &Backend, port: &ServicePort<'g>) -> bool {
        let policy = self.node.spec.policy_of(backend);
        let scene = tls::Scene {
            mesh: &self.mesh.id,
            has_ca: false,
            issuer: "",
            is_ambiguous: false,
            asks_only: false,
        };
        let plain = |target| matches!(tls::upstream(policy, target, scene, &mut Report::default()), Ok(None));
        !port.targets(self.mesh).iter().all(plain)
    }

    /// Adds routes and clusters of a service's port; the name of the routes.
    fn add_routes(&self, port: &ServicePort<'g>, resources: &mut Resources) -> String {
        for target in port.targets(self.mesh) {
            let mut found = Resources::default();
            cluster::add_target(self.graph, self.mesh, &target, None, self.options, &mut found);
            let Resources { clusters, endpoints, .. } = found;
            resources.endpoints.extend(endpoints.into_iter().map(|(name, e)| (name, weighted(e))));
            clusters.into_values().for_each(|cluster| add_cluster(cluster, resources));
        }
        let name = names::grpc_client_routes(port.service, port.mapping);
        let routes = route::service_routes(self.mesh, port).into_iter().map(for_client).collect();
        // The target has chosen the service; the authority that the application sets is its own affair.
        let host = route::virtual_host(port.service, vec!["*".to_owned()], routes);
        resources.add_route(RouteConfiguration {
            name: name.clone(),
            virtual_hosts: vec![host],
            ..Default::default()
        });
        name
    }
}

fn listener(name: String, routes: &str) -> Listener {
    let manager = http::connection_manager(names::EGRESS_STATS, routes, None);
    let api_listener = match manager.config_type {
        Some(ConfigType::TypedConfig(config)) => Some(config),
        _ => None,
    };
    Listener { name, api_listener: Some(ApiListener { api_listener }), ..Default::default() }
}

/// Libraries read the time limit from another field, and refuse a policy that never retries.
fn for_client(mut route: Route) -> Route {
    if let Some(Action::Route(action)) = &mut route.action {
        action.max_stream_duration =
            Some(MaxStreamDuration { max_stream_duration: action.timeout, ..Default::default() });
        let never = |count: u32| count == 0;
        if action.retry_policy.as_ref().is_some_and(|p| p.num_retries.is_some_and(|n| never(n.value))) {
            action.retry_policy = None;
        }
    }
    route
}

/// Fixed addresses come by EDS, several names by the resolver of the library.
fn add_cluster(mut cluster: Cluster, resources: &mut Resources) {
    let kind = match cluster.cluster_discovery_type {
        Some(ClusterDiscoveryType::Type(kind)) => DiscoveryType::try_from(kind).unwrap_or_default(),
        _ => DiscoveryType::Static,
    };
    match kind {
        DiscoveryType::Eds => {}
        DiscoveryType::StrictDns | DiscoveryType::LogicalDns => {
            cluster.cluster_discovery_type =
                Some(ClusterDiscoveryType::Type(DiscoveryType::LogicalDns as i32));
            cluster.load_assignment = cluster.load_assignment.map(weighted);
        }
        DiscoveryType::Static | DiscoveryType::OriginalDst => {
            let assignment = cluster.load_assignment.take();
            let assignment = assignment.unwrap_or_else(|| endpoint::assignment(&cluster.name, Vec::new()));
            resources.endpoints.insert(cluster.name.clone(), weighted(assignment));
            cluster.cluster_discovery_type = Some(ClusterDiscoveryType::Type(DiscoveryType::Eds as i32));
            cluster.eds_cluster_config =
                Some(EdsClusterConfig { eds_config: Some(ads()), ..Default::default() });
        }
    }
    resources.add_cluster(cluster);
}

/// A locality without weight is no locality to these clients.
fn weighted(mut assignment: ClusterLoadAssignment) -> ClusterLoadAssignment {
    for locality in &mut assignment.endpoints {
        locality.load_balancing_weight = Some(number(1));
        locality.locality.get_or_insert_with(Locality::default);
    }
    assignment
}

#[cfg(test)]
mod tests;
