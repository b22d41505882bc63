//! `envoy.filters.http.ext_authz`: a service is asked whether a request may pass.

mod rules;

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::base::matcher::StringMatch;
use crate::config::call::Callee;
use crate::config::route::HeaderAdd;
use crate::stats::registry::Registry;
use crate::stats::scope::{AuthzStats, ClusterAuthzStats};

pub use rules::{Rules, Ruling};

/// The filter.
#[derive(Debug)]
pub struct Authz {
    /// Who is asked.
    pub service: Service,
    /// How much of the request's body is shown.
    pub body: Option<Body>,
    /// Requests pass when the service cannot be asked.
    pub allow_on_error: bool,
    /// And the upstream is told so.
    pub tell_failure: bool,
    /// Answer when the service cannot be asked.
    pub status_on_error: u16,
    /// A changed request is routed anew.
    pub clear_route: bool,
    /// What the service may change of requests; `None` is everything.
    pub rules: Option<Rules>,
    /// Headers that the service is shown; `None` is all with gRPC and none but the usual ones with HTTP.
    pub allowed: Option<Vec<StringMatch>>,
    /// Headers that it is not shown, whatever else says.
    pub disallowed: Vec<StringMatch>,
    /// Headers are shown line by line and byte for byte.
    pub raw_headers: bool,
    /// The client's certificate is shown.
    pub peer_certificate: bool,
    /// SNI is shown.
    pub tls_session: bool,
    /// Share of requests that are checked, per million.
    pub enabled_ppm: u32,
    /// The others are denied.
    pub deny_disabled: bool,
    /// Denials count among the responses of the request's cluster.
    pub charge: bool,
    /// Bodies of denials are cut to this; zero is not at all.
    pub most_denied_bytes: usize,
    /// Namespaces of dynamic metadata that the service is shown.
    pub namespaces: Vec<Box<str>>,
    /// What the service says of a request becomes dynamic metadata.
    pub ingests_metadata: bool,
    /// `http.<manager>.ext_authz.*`
    pub stats: AuthzStats,
    /// `cluster.<name>.ext_authz.*`
    pub of_clusters: OfClusters,
}

/// Who is asked, and how.
#[derive(Debug)]
pub enum Service {
    /// `envoy.service.auth.v3.Authorization/Check`
    Grpc(GrpcService),
    /// The request's own head, over HTTP.
    Http(Box<HttpService>),
}

/// A gRPC service.
#[derive(Debug)]
pub struct GrpcService {
    /// Where.
    pub callee: Callee,
    /// `:authority`.
    pub authority: Box<str>,
    /// Metadata of the call.
    pub metadata: Vec<HeaderAdd>,
    /// `x-envoy-*` headers are left out.
    pub plain: bool,
}

/// An HTTP service.
#[derive(Debug)]
pub struct HttpService {
    /// Where.
    pub callee: Callee,
    /// Its path.
    pub path: ServicePath,
    /// Headers for the service.
    pub add: Vec<HeaderAdd>,
    /// Headers of a good answer that replace those of the request.
    pub upstream: Vec<StringMatch>,
    /// Headers of a good answer that are added to those of the request.
    pub upstream_append: Vec<StringMatch>,
    /// Headers of a bad answer for the client; `None` is all.
    pub client: Option<Vec<StringMatch>>,
    /// Headers of a good answer for the client.
    pub client_on_success: Vec<StringMatch>,
    /// Headers of an answer that become dynamic metadata.
    pub metadata: Vec<StringMatch>,
}

/// The path that an HTTP service is asked at.
#[derive(Debug, PartialEq, Eq)]
pub enum ServicePath {
    /// This before the request's.
    Prefixed(Box<str>),
    /// This in its place.
    Fixed(Box<str>),
}

/// `BufferSettings`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Body {
    /// Most bytes that are shown.
    pub most: u32,
    /// Of a longer one its beginning; else 413.
    pub partial: bool,
    /// As `raw_body`, whatever it is; else as text.
    pub as_bytes: bool,
}

/// What one level of the routes says.
#[derive(Debug)]
pub enum AuthzRoute {
    /// Nobody is asked, or somebody is.
    Disabled(bool),
    /// What is asked.
    Check(CheckSettings),
}

/// `CheckSettings`
#[derive(Debug)]
pub struct CheckSettings {
    /// `context_extensions`; those of more specific levels replace those of others.
    pub context: BTreeMap<Box<str>, Box<str>>,
    /// The body is shown otherwise than the filter says; an inner `None` is not at all.
    pub body: Option<Option<Body>>,
    /// Somebody else is asked.
    pub service: Option<Service>,
}

/// Counters of the clusters that requests were for. A cluster has some once a request for it was checked.
#[derive(Debug)]
pub struct OfClusters {
    registry: Registry,
    /// `ext_authz.<stat_prefix>.`
    below: Box<str>,
    known: ArcSwap<Known>,
}

type Known = BTreeMap<Box<str>, Arc<ClusterAuthzStats>>;

impl OfClusters {
    /// Most clusters that are remembered: one that comes after is counted when others are forgotten.
    const MOST: usize = 4096;

    /// Of a filter with this prefix.
    pub fn new(registry: &Registry, below: &str) -> Self {
        Self { registry: registry.clone(), below: below.into(), known: ArcSwap::default() }
    }

    /// Calls `count` with the counters of a cluster. Only the first request of a cluster changes anything.
    pub fn with(&self, cluster: &str, count: impl FnOnce(&ClusterAuthzStats)) {
        if let Some(stats) = self.known.load().get(cluster) {
            return count(stats);
        }
        let made = Arc::new(ClusterAuthzStats::for_cluster(&self.registry, cluster, &self.below));
        self.known.rcu(|known| {
            let mut next = if known.len() < Self::MOST { Known::clone(known) } else { Known::new() };
            next.entry(cluster.into()).or_insert_with(|| made.clone());
            next
        });
        count(&made);
    }
}

impl Service {
    /// Where it is.
    pub fn callee(&self) -> &Callee {
        match self {
            Self::Grpc(service) => &service.callee,
            Self::Http(service) => &service.callee,
        }
    }
}
