//! The order in which the routes of a router or gateway are tried.
//!
//! App Mesh leaves the order among equal priorities open except for prefix length; here it is fixed, so that two
//! control planes agree: priority, exact path, expression, longest prefix, most conditions, name.

use std::cmp::Reverse;

use crate::model::{PathMatch, Resource, RouteBody, RouteSpec};

/// What sorts after every priority that can be written.
const NO_PRIORITY: u32 = 1001;

/// Sort key of routes: priority, exact path, expression, longest prefix, most conditions, name. The first that
/// matches is taken, so the order among equals must not be left open.
pub type Order = (u32, PathRank, Reverse<usize>, String);

/// Exact before expression before prefix, longer prefixes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathRank {
    /// A whole path.
    Exact,
    /// A regular expression.
    Regex,
    /// A prefix of this length.
    Prefix(Reverse<usize>),
}

impl PathRank {
    /// The rank of a path condition; none is served as the prefix `/`.
    pub fn of(path: Option<&PathMatch>) -> Self {
        match path {
            Some(PathMatch::Exact(_)) => Self::Exact,
            Some(PathMatch::Regex(_)) => Self::Regex,
            Some(PathMatch::Prefix(p)) => Self::Prefix(Reverse(p.len())),
            None => Self::Prefix(Reverse(1)),
        }
    }
}

/// The order of a route of a router.
pub fn route_order(route: &Resource<RouteSpec>) -> Order {
    let (rank, conditions) = match &route.spec.body {
        RouteBody::Http { matching, .. } => {
            let extra = usize::from(matching.method.is_some()) + usize::from(matching.scheme.is_some());
            (PathRank::of(matching.path.as_ref()), matching.headers.len() + matching.query.len() + extra)
        }
        RouteBody::Grpc { matching, .. } => {
            let rank = match (&matching.service, &matching.method) {
                (Some(_), Some(_)) => PathRank::Exact,
                (service, _) => PathRank::Prefix(Reverse(service.as_ref().map_or(0, |s| s.len() + 2))),
            };
            (rank, matching.metadata.len())
        }
        RouteBody::Tcp { .. } => (PathRank::of(None), 0),
    };
    order(route.spec.priority, rank, conditions, &route.meta.name)
}

/// Assembles a sort key.
pub fn order(priority: Option<u32>, rank: PathRank, conditions: usize, name: &str) -> Order {
    (priority.unwrap_or(NO_PRIORITY), rank, Reverse(conditions), name.to_owned())
}
