//! HTTP filters of a connection manager, and what routes say about them. `http::filter` runs them.

pub mod authz;
pub mod concurrency;
pub mod cors;
pub mod descriptor;
pub mod fault;
pub mod headers;
pub mod health;
pub mod jwt;
pub mod rate_limit;

use crate::base::ids::FilterId;
use crate::config::rbac::{Rbac, RbacFilter};
use authz::{Authz, AuthzRoute};
use concurrency::Concurrency;
use cors::CorsPolicy;
use fault::{Fault, FaultFilter};
use headers::{HeaderMutations, MutationFilter};
use health::HealthFilter;
use jwt::{Jwt, JwtRoute};
use rate_limit::RateLimit;

/// One entry of `http_filters` before the router.
#[derive(Debug)]
pub struct HttpFilter {
    /// Its name, by which routes refer to it.
    pub id: FilterId,
    /// Off unless a route switches it on.
    pub disabled: bool,
    /// What it is.
    pub kind: FilterKind,
}

/// The filters there are.
#[derive(Debug)]
pub enum FilterKind {
    /// `envoy.filters.http.local_ratelimit`
    RateLimit(Box<RateLimit>),
    /// `envoy.filters.http.fault`
    Fault(Box<FaultFilter>),
    /// `envoy.filters.http.cors`
    Cors(crate::stats::scope::CorsStats),
    /// `envoy.filters.http.buffer`: waits for the whole request body.
    Buffer {
        /// Largest body; beyond it 413.
        max_request_bytes: u32,
    },
    /// `envoy.filters.http.rbac`
    Rbac(Box<RbacFilter>),
    /// `envoy.filters.http.adaptive_concurrency`
    Concurrency(Box<Concurrency>),
    /// `envoy.filters.http.header_mutation`
    Headers(Box<MutationFilter>),
    /// `envoy.filters.http.health_check`
    Health(Box<HealthFilter>),
    /// `envoy.filters.http.jwt_authn`
    Jwt(Box<Jwt>),
    /// `envoy.filters.http.ext_authz`
    Authz(Box<Authz>),
}

/// What one level of the route configuration says about one filter.
#[derive(Debug)]
pub struct Override {
    /// The filter's name.
    pub filter: FilterId,
    /// Off for what this level covers; else on.
    pub disabled: bool,
    /// Settings instead of the filter's own.
    pub config: Option<RouteFilter>,
}

/// Settings of a filter at a level of the route configuration.
#[derive(Debug)]
pub enum RouteFilter {
    /// `LocalRateLimit`
    RateLimit(Box<RateLimit>),
    /// `HTTPFault`
    Fault(Box<Fault>),
    /// `CorsPolicy`
    Cors(Box<CorsPolicy>),
    /// `BufferPerRoute`; `None` is off.
    Buffer(Option<u32>),
    /// `RBACPerRoute`; `None` is off.
    Rbac(Option<Box<Rbac>>),
    /// `HeaderMutationPerRoute`
    Headers(Box<HeaderMutations>),
    /// `PerRouteConfig` of `jwt_authn`.
    Jwt(JwtRoute),
    /// `ExtAuthzPerRoute`
    Authz(Box<AuthzRoute>),
}

/// `typed_per_filter_config` of one level, with the older `cors` field beside it.
#[derive(Debug, Default)]
pub struct Overrides {
    list: Vec<Override>,
    /// `cors` of the virtual host or route action.
    pub cors: Option<Box<CorsPolicy>>,
}

impl Overrides {
    /// Of these entries.
    pub fn new(list: Vec<Override>) -> Self {
        Self { list, cors: None }
    }

    #[inline]
    fn get(&self, filter: FilterId) -> Option<&Override> {
        self.list.iter().find(|entry| entry.filter == filter)
    }
}

/// The levels that speak for one request, most specific first: weighted cluster, route, virtual host, table.
#[derive(Clone, Copy, Debug, Default)]
pub struct Levels<'r>(pub [Option<&'r Overrides>; 4]);

impl<'r> Levels<'r> {
    fn entries(self, filter: FilterId) -> impl Iterator<Item = &'r Override> {
        self.0.into_iter().flatten().filter_map(move |level| level.get(filter))
    }

    /// Whether the filter runs: the most specific level that mentions it decides.
    #[inline]
    pub fn is_on(self, filter: &HttpFilter) -> bool {
        !self.entries(filter.id).next().map_or(filter.disabled, |entry| entry.disabled)
    }

    /// Settings for the filter, most specific first.
    pub fn configs(self, filter: FilterId) -> impl Iterator<Item = &'r RouteFilter> {
        self.entries(filter).filter_map(|entry| entry.config.as_ref())
    }

    /// The settings in force: those of the most specific level that has any, else the filter's own.
    #[inline]
    pub fn settings<T>(self, filter: FilterId, own: T, read: impl FnOnce(&'r RouteFilter) -> Option<T>) -> T {
        self.configs(filter).next().and_then(read).unwrap_or(own)
    }

    /// The older `cors` fields, most specific first.
    pub fn cors(self) -> impl Iterator<Item = &'r CorsPolicy> {
        self.0.into_iter().flatten().filter_map(|level| level.cors.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(disabled: bool, config: Option<RouteFilter>) -> Overrides {
        Overrides::new(vec![Override { filter: FilterId(7), disabled, config }])
    }

    #[test]
    fn the_most_specific_level_that_mentions_a_filter_decides() {
        let filter = |disabled| HttpFilter {
            id: FilterId(7),
            disabled,
            kind: FilterKind::Buffer { max_request_bytes: 1 },
        };
        assert!(Levels::default().is_on(&filter(false)));
        assert!(!Levels::default().is_on(&filter(true)));
        let (off, on) = (level(true, None), level(false, None));
        assert!(!Levels([None, None, Some(&off), Some(&on)]).is_on(&filter(false)));
        assert!(Levels([None, Some(&on), Some(&off), None]).is_on(&filter(true)));
        let other = Overrides::new(vec![Override { filter: FilterId(8), disabled: true, config: None }]);
        assert!(Levels([Some(&other), None, None, None]).is_on(&filter(false)));
    }

    #[test]
    fn settings_come_from_the_most_specific_level_that_has_any() {
        let (bare, host) = (level(false, None), level(false, Some(RouteFilter::Buffer(Some(2)))));
        let table = level(false, Some(RouteFilter::Buffer(None)));
        let levels = Levels([None, Some(&bare), Some(&host), Some(&table)]);
        let found: Vec<_> = levels.configs(FilterId(7)).collect();
        assert!(matches!(found[..], [RouteFilter::Buffer(Some(2)), RouteFilter::Buffer(None)]));
        assert_eq!(levels.configs(FilterId(8)).count(), 0);
        let limit = |config: &RouteFilter| match config {
            RouteFilter::Buffer(limit) => Some(*limit),
            _ => None,
        };
        assert_eq!(levels.settings(FilterId(7), Some(9), limit), Some(2));
        assert_eq!(levels.settings(FilterId(8), Some(9), limit), Some(9));
    }
}
