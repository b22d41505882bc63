//! The mesh, seen from one proxy, as xDS resources.
//!
//! Owns the encoding: names, listeners, routes, clusters, endpoints, as App Mesh's control plane sent them. Pure:
//! graph, proxy and options in, resources out, in a fixed order. It does not validate the mesh (that is
//! [`crate::graph`]) and does not send anything.
//! Invariant: what a definition says is translated or the proxy's whole configuration is refused with a finding
//! that names the field; TLS that cannot be provided never becomes plain text.

mod access;
mod access_log;
mod application_tls;
mod cluster;
mod endpoint;
mod gateway;
mod gateway_route;
mod grpc_client;
mod health;
mod http;
mod listener;
mod matching;
mod message;
mod names;
mod node;
mod options;
mod outbound;
mod retry;
mod route;

mod tls;

pub use grpc_client::{GrpcClient, translate as grpc_client};
pub use options::{Listening, TranslateOptions};
pub use route::target_cluster;

use std::collections::BTreeMap;

use outrigger_xds_protos::v3;

use crate::diagnostics::Report;
use crate::graph::{Graph, Proxy};

/// The resources of one proxy, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resources {
    /// LDS.
    pub listeners: BTreeMap<String, v3::listener::Listener>,
    /// RDS.
    pub routes: BTreeMap<String, v3::route::RouteConfiguration>,
    /// CDS.
    pub clusters: BTreeMap<String, v3::cluster::Cluster>,
    /// EDS, one for each cluster that takes its endpoints from there.
    pub endpoints: BTreeMap<String, v3::endpoint::ClusterLoadAssignment>,
}

impl Resources {
    fn add_listener(&mut self, listener: v3::listener::Listener) {
        self.listeners.insert(listener.name.clone(), listener);
    }

    fn add_route(&mut self, route: v3::route::RouteConfiguration) {
        self.routes.insert(route.name.clone(), route);
    }

    fn add_cluster(&mut self, cluster: v3::cluster::Cluster) {
        self.clusters.insert(cluster.name.clone(), cluster);
    }
}

/// Translates for one proxy. `None`: the report says what cannot be provided.
pub fn translate(
    graph: &Graph,
    proxy: &Proxy<'_>,
    options: &TranslateOptions,
    report: &mut Report,
) -> Option<Resources> {
    let mut found = Report::default();
    if options.mesh_ca {
        own_trust_domain(graph, proxy, &mut found);
    }
    let resources = match proxy {
        Proxy::Node(mesh, node) => node::translate(graph, mesh, node, options, &mut found),
        Proxy::Gateway(mesh, gateway) => gateway::translate(graph, mesh, gateway, options, &mut found),
    };
    let refused = found.has_errors();
    report.append(found);
    (!refused).then_some(resources)
}

/// Two meshes with one trust domain have one identity for two proxies, of which each could be the other.
fn own_trust_domain(graph: &Graph, proxy: &Proxy<'_>, report: &mut Report) {
    let (mesh, domain) = (proxy.mesh(), proxy.mesh().id.trust_domain());
    let other = graph.meshes.values().find(|other| other.id != mesh.id && other.id.trust_domain() == domain);
    let Some(other) = other else { return };
    let at = match proxy {
        Proxy::Node(_, node) => &node.meta.at,
        Proxy::Gateway(_, gateway) => &gateway.meta.at,
    };
    let message = format!(
        "meshes \"{}\" and \"{}\" would both issue identities of the trust domain \"{domain}\"; give them names that \
         differ in more than case, or serve them from control planes with roots of their own",
        mesh.id, other.id
    );
    report.error(at, "trust-domain", message);
}
