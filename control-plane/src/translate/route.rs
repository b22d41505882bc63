//! Virtual hosts and routes towards services.

use std::collections::HashSet;
use std::time::Duration;

use outrigger_xds_protos::v3::route::route::Action;
use outrigger_xds_protos::v3::route::route_action::ClusterSpecifier;
use outrigger_xds_protos::v3::route::weighted_cluster::ClusterWeight;
use outrigger_xds_protos::v3::route::{
    DirectResponseAction, Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost, WeightedCluster,
};

use super::message::{duration, number, stats_metadata};
use super::{matching, names, retry};
use crate::graph::MeshGraph;
use crate::graph::service::{Behind, ServicePort, Target};
use crate::model::{HttpTimeout, Resource, RouteBody, RouteSpec, WeightedTarget};

/// The limit of a request when nothing is written.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// A route configuration. A domain that several hosts have is the first one's: sidecars refuse tables that repeat one.
pub fn configuration(name: String, mut virtual_hosts: Vec<VirtualHost>) -> RouteConfiguration {
    let mut taken = HashSet::new();
    for host in &mut virtual_hosts {
        host.domains.retain(|domain| taken.insert(domain.to_ascii_lowercase()));
    }
    virtual_hosts.retain(|host| !host.domains.is_empty());
    RouteConfiguration { name, virtual_hosts, ..Default::default() }
}

/// A virtual host.
pub fn virtual_host(name: &str, domains: Vec<String>, routes: Vec<Route>) -> VirtualHost {
    VirtualHost { name: name.to_owned(), domains, routes, ..Default::default() }
}

/// A route for everything to one cluster, limited only where `timeout` says so.
pub fn catch_all(cluster: String, timeout: Option<HttpTimeout>) -> Route {
    let timeout = timeout.unwrap_or(HttpTimeout { idle: None, per_request: Some(Duration::ZERO) });
    let action =
        RouteAction { cluster_specifier: Some(ClusterSpecifier::Cluster(cluster)), ..limits(timeout) };
    Route { r#match: Some(matching::any()), action: Some(Action::Route(action)), ..Default::default() }
}

/// The routes of a service's port in a caller's proxy.
pub fn service_routes(mesh: &MeshGraph, port: &ServicePort<'_>) -> Vec<Route> {
    match &port.behind {
        Behind::Node(target) => vec![node_route(mesh, port.service, target)],
        Behind::Routes(routes) => routes.iter().filter_map(|r| router_route(mesh, port.service, r)).collect(),
    }
}

/// The implicit route of a service that one node provides.
fn node_route(mesh: &MeshGraph, service: &str, target: &Target<'_>) -> Route {
    let cluster = target_cluster(mesh, target);
    let action = RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster)),
        retry_policy: Some(retry::policy(None)),
        ..limits(HttpTimeout::default())
    };
    tagged(service, String::new(), matching::any(), Action::Route(action))
}

fn router_route(mesh: &MeshGraph, service: &str, route: &Resource<RouteSpec>) -> Option<Route> {
    let (matching, targets, policy, timeout) = match &route.spec.body {
        RouteBody::Http { matching, targets, retry, timeout, .. } => {
            (matching::http(matching), targets, retry, timeout)
        }
        RouteBody::Grpc { matching, targets, retry, timeout } => {
            (matching::grpc(matching), targets, retry, timeout)
        }
        RouteBody::Tcp { .. } => return None,
    };
    let name = route.meta.name.clone();
    let Some(clusters) = weighted(mesh, targets) else {
        return Some(tagged(service, name, matching, unavailable()));
    };
    let action = RouteAction {
        cluster_specifier: Some(ClusterSpecifier::WeightedClusters(clusters)),
        retry_policy: Some(retry::policy(policy.as_ref())),
        ..limits(timeout.unwrap_or_default())
    };
    Some(tagged(service, name, matching, Action::Route(action)))
}

/// The answer where there is nothing to send to.
fn unavailable() -> Action {
    Action::DirectResponse(DirectResponseAction { status: 503, ..Default::default() })
}

/// Targets of weight zero stay in the list; the sum is written for proxies that assume a hundred. None when no
/// target that traffic could go to is defined.
#[allow(deprecated, reason = "older proxies take 100 for the sum when it is not written")]
fn weighted(mesh: &MeshGraph, targets: &[WeightedTarget]) -> Option<WeightedCluster> {
    let known = targets.iter().filter_map(|t| Some((t.weight, Target::of(mesh, t)?)));
    let cluster = |(weight, target): (u32, Target<'_>)| ClusterWeight {
        name: target_cluster(mesh, &target),
        weight: Some(number(weight)),
        ..Default::default()
    };
    let clusters: Vec<ClusterWeight> = known.map(cluster).collect();
    let sum = clusters.iter().filter_map(|c| c.weight.as_ref()).map(|w| w.value).sum();
    (sum > 0).then(|| WeightedCluster { clusters, total_weight: Some(number(sum)), ..Default::default() })
}

/// The name of the cluster for a target.
pub fn target_cluster(mesh: &MeshGraph, target: &Target<'_>) -> String {
    names::egress_cluster(&mesh.id.name, &target.node.meta.name, target.listener.port_mapping)
}

fn tagged(service: &str, name: String, matching: RouteMatch, action: Action) -> Route {
    Route {
        name,
        r#match: Some(matching),
        metadata: Some(stats_metadata(&[("TargetVirtualService", service)])),
        action: Some(action),
        ..Default::default()
    }
}

/// Request and idle limits; zero switches a limit off in both worlds.
pub fn limits(timeout: HttpTimeout) -> RouteAction {
    RouteAction {
        timeout: Some(duration(timeout.per_request.unwrap_or(REQUEST_TIMEOUT))),
        idle_timeout: timeout.idle.map(duration),
        ..Default::default()
    }
}

/// The longest request limit of the routes behind a service; zero, "no limit", is the longest of all.
pub fn longest_timeout(ports: &[ServicePort<'_>]) -> Duration {
    let routes = ports.iter().flat_map(|p| match &p.behind {
        Behind::Routes(routes) => routes.as_slice(),
        Behind::Node(_) => &[],
    });
    let limits = routes.map(|r| match &r.spec.body {
        RouteBody::Http { timeout, .. } | RouteBody::Grpc { timeout, .. } => {
            timeout.and_then(|t| t.per_request).unwrap_or(REQUEST_TIMEOUT)
        }
        RouteBody::Tcp { .. } => REQUEST_TIMEOUT,
    });
    let limits: Vec<Duration> = limits.collect();
    if limits.iter().any(Duration::is_zero) {
        return Duration::ZERO;
    }
    limits.into_iter().max().unwrap_or(REQUEST_TIMEOUT)
}
