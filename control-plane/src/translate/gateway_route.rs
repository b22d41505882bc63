//! Gateway routes as routes of a gateway's first hop.

use std::cmp::Reverse;

use outrigger_xds_protos::v3::matcher::RegexMatchAndSubstitute;
use outrigger_xds_protos::v3::route::route::Action;
use outrigger_xds_protos::v3::route::route_action::{ClusterSpecifier, HostRewriteSpecifier};
use outrigger_xds_protos::v3::route::route_match::PathSpecifier;
use outrigger_xds_protos::v3::route::{Route, RouteAction, RouteMatch};

use super::matching;
use super::message::{header, regex, stats_metadata};
use super::route;
use crate::graph::order::{self, Order, PathRank};
use crate::graph::{MeshGraph, service};
use crate::model::{GatewayRouteSpec, HttpTimeout, PathMatch, PathRewrite, Protocol, Resource};

/// Names the service for the second hop when the client's host is kept. Applications receive it.
pub const SERVICE_HEADER: &str = "x-app-mesh-virtual-service";
/// Names the service's port for the second hop when it has several. Applications do not receive it.
pub const PORT_HEADER: &str = "x-app-mesh-virtual-service-port";

/// The first hop's routes in the order in which they are tried: priority, then length of the match.
pub fn first_hop<'g>(
    mesh: &MeshGraph,
    routes: impl Iterator<Item = &'g Resource<GatewayRouteSpec>>,
    cluster: &str,
) -> Vec<Route> {
    let mut expanded: Vec<(Order, Route)> = routes.flat_map(|r| expand(mesh, r, cluster)).collect();
    expanded.sort_by(|(a, _), (b, _)| a.cmp(b));
    expanded.into_iter().map(|(_, route)| route).collect()
}

/// One gateway route; a prefix without final slash becomes two routes, so that `/x/1` becomes `/1` and `/x` `/`.
fn expand(mesh: &MeshGraph, resource: &Resource<GatewayRouteSpec>, cluster: &str) -> Vec<(Order, Route)> {
    let spec = &resource.spec;
    let paths = paths(spec);
    let conditions = spec.matching.headers.len()
        + spec.matching.query.len()
        + usize::from(spec.matching.method.is_some())
        + usize::from(spec.matching.hostname.is_some());
    let one = |(rank, path, rewrite): (PathRank, PathSpecifier, Rewrite)| {
        let order = order::order(spec.priority, rank, conditions, &resource.meta.name);
        (order, one_route(mesh, resource, path, rewrite, cluster))
    };
    paths.into_iter().map(one).collect()
}

/// What happens to the path.
enum Rewrite {
    Keep,
    Prefix(String),
    Whole(String),
}

fn paths(spec: &GatewayRouteSpec) -> Vec<(PathRank, PathSpecifier, Rewrite)> {
    if spec.protocol == Protocol::Grpc {
        let service = spec.matching.grpc_service.as_deref();
        let rank = PathRank::Prefix(Reverse(service.map_or(0, |s| s.len() + 2)));
        return vec![(rank, matching::grpc_path(service, None), Rewrite::Keep)];
    }
    let path = spec.matching.path.as_ref();
    let rank = PathRank::of(path);
    match (path, &spec.rewrite.path) {
        (_, PathRewrite::Exact(whole)) => vec![(rank, matching::path(path), Rewrite::Whole(whole.clone()))],
        (Some(PathMatch::Prefix(prefix)), PathRewrite::Keep) => {
            vec![(rank, matching::path(path), Rewrite::Prefix(prefix.clone()))]
        }
        (Some(PathMatch::Prefix(prefix)), PathRewrite::Prefix(value)) => prefixes(prefix, value),
        (Some(PathMatch::Prefix(prefix)), PathRewrite::Default) => prefixes(prefix, "/"),
        _ => vec![(rank, matching::path(path), Rewrite::Keep)],
    }
}

fn prefixes(prefix: &str, value: &str) -> Vec<(PathRank, PathSpecifier, Rewrite)> {
    let one = |prefix: String| {
        let rank = PathRank::Prefix(Reverse(prefix.len()));
        (rank, PathSpecifier::Prefix(prefix), Rewrite::Prefix(value.to_owned()))
    };
    if prefix.ends_with('/') {
        vec![one(prefix.to_owned())]
    } else {
        vec![one(format!("{prefix}/")), one(prefix.to_owned())]
    }
}

fn one_route(
    mesh: &MeshGraph,
    resource: &Resource<GatewayRouteSpec>,
    path: PathSpecifier,
    rewrite: Rewrite,
    cluster: &str,
) -> Route {
    let spec = &resource.spec;
    let service = spec.target.virtual_service.name.as_str();
    let ports = service::ports(mesh, service);
    let mut headers = Vec::new();
    let mut action = RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.to_owned())),
        ..route::limits(HttpTimeout { idle: None, per_request: Some(route::longest_timeout(&ports)) })
    };
    if spec.rewrite.hostname {
        action.host_rewrite_specifier = Some(HostRewriteSpecifier::HostRewriteLiteral(service.to_owned()));
    } else {
        headers.push(header(SERVICE_HEADER, service));
    }
    if ports.len() > 1 {
        let port = spec.target.port.unwrap_or(ports[0].mapping.port);
        headers.push(header(PORT_HEADER, &port.to_string()));
    }
    set_rewrite(&mut action, &path, rewrite);
    Route {
        name: resource.meta.name.clone(),
        r#match: Some(conditions(spec, path)),
        metadata: Some(stats_metadata(&[("TargetVirtualService", service)])),
        request_headers_to_add: headers,
        action: Some(Action::Route(action)),
        ..Default::default()
    }
}

fn set_rewrite(action: &mut RouteAction, path: &PathSpecifier, rewrite: Rewrite) {
    match (rewrite, path) {
        (Rewrite::Keep, _) => {}
        (Rewrite::Prefix(value), _) => action.prefix_rewrite = value,
        (Rewrite::Whole(value), PathSpecifier::Path(_)) => action.prefix_rewrite = value,
        (Rewrite::Whole(value), _) => {
            action.regex_rewrite = Some(RegexMatchAndSubstitute {
                pattern: Some(regex("^.+$")),
                substitution: value.replace('\\', "\\\\"),
            });
        }
    }
}

fn conditions(spec: &GatewayRouteSpec, path: PathSpecifier) -> RouteMatch {
    let matching = &spec.matching;
    let method = matching.method.map(|m| matching::exact_header(":method", m.name()));
    let host = matching.hostname.as_ref().map(matching::hostname);
    RouteMatch {
        path_specifier: Some(path),
        headers: host
            .into_iter()
            .chain(method)
            .chain(matching.headers.iter().map(matching::header))
            .collect(),
        query_parameters: matching.query.iter().map(matching::query).collect(),
        ..Default::default()
    }
}
