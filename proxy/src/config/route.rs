//! Compiled route tables: virtual hosts in Envoy's domain search order, route matches, actions.
//! Source: `envoy.config.route.v3.RouteConfiguration`.

use std::sync::Arc;
use std::time::Duration;

use regex::bytes::Regex;

use super::balance::HashPolicy;
use super::filter::Overrides;
use super::filter::descriptor::{DescriptorRule, RouteRules};
use super::internal_redirect::InternalRedirects;
use super::live::Priority;
use super::metadata::Namespaces;
use super::mirror::Mirror;
use super::retry::RetryPolicy;
use super::service::Service;
use super::subset::Criteria;
use crate::base::ids::ClusterId;
use crate::base::matcher::{CookieMatch, HeaderMatch, QueryMatch};
use crate::observe::access_log::LogFormat;
use crate::observe::format::Format;
use crate::observe::trace::tracer::RouteTracing;

/// One RouteConfiguration.
#[derive(Debug, Default)]
pub struct RouteTable {
    /// xDS resource name.
    pub name: Box<str>,
    /// Virtual hosts in configuration order; the lookup tables below index into it.
    pub virtual_hosts: Vec<VirtualHost>,
    /// Lower-case exact domains.
    pub exact: foldhash::HashMap<Box<str>, usize>,
    /// `*suffix` domains without the star, longest first.
    pub suffix: Vec<(Box<str>, usize)>,
    /// `prefix*` domains without the star, longest first.
    pub prefix: Vec<(Box<str>, usize)>,
    /// The `*` domain.
    pub any: Option<usize>,
    /// Compare hosts without their port.
    pub ignore_port: bool,
    /// `vhost_header`: look this header's value up instead of the authority (lower case).
    pub host_header: Option<Box<str>>,
    /// Table-wide header edits, applied after those of virtual host, route and weighted cluster.
    pub headers: HeaderEdits,
    /// `most_specific_header_mutations_wins`: reverse that order.
    pub most_specific_wins: bool,
    /// Lower-case names stripped from external requests.
    pub internal_only_headers: Vec<Box<str>>,
    /// What the table says about filters.
    pub filters: Overrides,
}

/// One virtual host.
#[derive(Debug, Default)]
pub struct VirtualHost {
    /// Name for stats and logs.
    pub name: Box<str>,
    /// First match wins; there is no fall-through to another host.
    pub routes: Vec<Route>,
    /// Header edits of this host.
    pub headers: HeaderEdits,
    /// Send `x-envoy-attempt-count` upstream.
    pub include_request_attempt_count: bool,
    /// Send `x-envoy-attempt-count` in responses.
    pub include_attempt_count_in_response: bool,
    /// Tell the upstream with retries whether a timeout caused them (`x-envoy-is-timeout-retry`).
    pub include_is_timeout_retry: bool,
    /// `require_tls`: redirect plaintext requests to https.
    pub require_tls: TlsRequirement,
    /// What this host says about filters.
    pub filters: Overrides,
    /// What rate limits tell requests to this host apart by (`rate_limits`).
    pub rate_limits: Vec<DescriptorRule>,
    /// Metadata, for logs.
    pub metadata: Option<Arc<Namespaces>>,
}

/// Which plaintext requests a virtual host redirects to https.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsRequirement {
    /// None.
    #[default]
    None,
    /// Those that are not internal (`x-envoy-internal`).
    External,
    /// All.
    All,
}

/// One route.
#[derive(Debug)]
pub struct Route {
    /// Name for the access log.
    pub name: Box<str>,
    /// Conditions.
    pub matches: RouteMatch,
    /// What to do.
    pub action: RouteAction,
    /// Header edits of this route.
    pub headers: HeaderEdits,
    /// What this route says about filters.
    pub filters: Overrides,
    /// Metadata, for logs.
    pub metadata: Option<Arc<Namespaces>>,
    /// What it says of tracing.
    pub tracing: Option<Box<RouteTracing>>,
}

/// Conditions of one route; all must hold.
#[derive(Debug)]
pub struct RouteMatch {
    /// Path condition.
    pub path: PathMatch,
    /// Headers, ANDed.
    pub headers: Vec<HeaderMatch>,
    /// Query parameters, ANDed.
    pub query: Vec<QueryMatch>,
    /// Cookies, ANDed.
    pub cookies: Vec<CookieMatch>,
    /// Compare the path without the parameters (`;a=1`) of its segments.
    pub ignore_parameters: bool,
    /// Only for `content-type: application/grpc*`.
    pub grpc: bool,
    /// What is asked of the client's certificate (`tls_context`).
    pub certificate: Option<CertificateMatch>,
    /// Share of requests this route takes, per million; `None` is all.
    /// The same random value serves the weighted cluster choice.
    pub runtime_fraction_ppm: Option<u32>,
}

/// Condition on the client's certificate. Source: `RouteMatch.TlsContextMatchOptions`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertificateMatch {
    /// Whether it has shown one.
    pub presented: Option<bool>,
    /// Whether that one was verified.
    pub validated: Option<bool>,
}

/// What the client of a connection has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShownCertificate {
    /// No certificate, or no TLS.
    None,
    /// One that nobody verified.
    Unverified,
    /// A verified one.
    Verified,
}

impl CertificateMatch {
    /// Whether a client that has shown this fits.
    pub fn holds(self, shown: ShownCertificate) -> bool {
        let fits = |wanted: Option<bool>, is: bool| wanted.is_none_or(|wanted| wanted == is);
        fits(self.presented, shown != ShownCertificate::None)
            && fits(self.validated, shown == ShownCertificate::Verified)
    }
}

/// Path conditions. Values are compared with the path without query and fragment.
#[derive(Debug)]
pub enum PathMatch {
    /// Starts with; not segment aware.
    Prefix(Literal),
    /// Equal.
    Exact(Literal),
    /// Equal, or the prefix followed by `/`.
    SeparatedPrefix(Literal),
    /// Whole path matches; already anchored.
    Regex(Regex),
    /// CONNECT requests only.
    Connect,
}

/// Text compared with or without regard to ASCII case.
#[derive(Clone, Debug)]
pub struct Literal {
    /// The text; lower case when `ignore_case`.
    pub text: Box<[u8]>,
    /// `case_sensitive: false`.
    pub ignore_case: bool,
}

/// What a matched route does.
#[derive(Debug)]
pub enum RouteAction {
    /// Send to a cluster.
    Forward(Box<Forward>),
    /// Answer with a redirect.
    Redirect(Box<Redirect>),
    /// Answer with a fixed response.
    Direct(DirectResponse),
}

/// Fixed answer.
#[derive(Debug)]
pub struct DirectResponse {
    /// 200..=599.
    pub status: u16,
    /// At most `max_direct_response_body_size_bytes`.
    pub body: bytes::Bytes,
    /// `body_format`: what to make of the body.
    pub format: Option<BodyFormat>,
}

/// Source: `envoy.config.core.v3.SubstitutionFormatString`.
#[derive(Debug)]
pub struct BodyFormat {
    /// The body's text.
    pub format: LogFormat,
    /// Its `content-type`.
    pub content_type: Box<str>,
}

/// Redirect answer.
#[derive(Debug, Default)]
pub struct Redirect {
    /// New scheme.
    pub scheme: Option<Box<str>>,
    /// New host.
    pub host: Option<Box<str>>,
    /// New port.
    pub port: Option<u16>,
    /// New path.
    pub path: Option<PathRewrite>,
    /// Drop the query.
    pub strip_query: bool,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// Which cluster takes a request or a connection.
#[derive(Debug)]
pub enum ClusterChoice {
    /// Always this one.
    One(ClusterId),
    /// By weight.
    Weighted(WeightedClusters),
    /// Named by a request header.
    Header {
        /// Lower-case header name.
        name: Box<str>,
    },
}

/// Weighted clusters; the sum of weights is at least 1.
#[derive(Debug)]
pub struct WeightedClusters {
    /// Entries in configuration order.
    pub entries: Vec<WeightedCluster>,
    /// Sum of the weights.
    pub total: u32,
    /// What decides.
    pub chosen_by: ChosenBy,
}

/// What decides on the entry; where it says nothing, chance does. Source: `WeightedCluster.random_value_specifier`.
#[derive(Debug)]
pub enum ChosenBy {
    /// Chance.
    Random,
    /// The number in this request header (lower case).
    Header(Box<str>),
    /// The hash of the route's hash policies.
    Hash(Arc<[HashPolicy]>),
}

/// One entry.
#[derive(Debug)]
pub struct WeightedCluster {
    /// Target.
    pub cluster: EntryCluster,
    /// Share; 0 is never picked.
    pub weight: u32,
    /// Header edits when this entry is chosen.
    pub headers: HeaderEdits,
    /// Authority to send instead.
    pub host_rewrite: Option<Box<str>>,
    /// What this entry says about filters.
    pub filters: Overrides,
    /// Metadata that hosts must have, those of the route included; `None`: as the route says.
    pub metadata_match: Option<Criteria>,
}

/// The cluster of a weighted entry.
#[derive(Debug, PartialEq, Eq)]
pub enum EntryCluster {
    /// This one.
    Named(ClusterId),
    /// Named by this request header (lower case).
    Header(Box<str>),
}

impl ClusterChoice {
    /// The clusters that are known without a request.
    pub fn named(&self) -> Vec<ClusterId> {
        match self {
            ClusterChoice::One(id) => vec![*id],
            ClusterChoice::Weighted(weighted) => {
                weighted.entries.iter().filter_map(|entry| entry.cluster.named()).collect()
            }
            ClusterChoice::Header { .. } => Vec::new(),
        }
    }
}

impl EntryCluster {
    /// The cluster, when it is known without a request.
    pub fn named(&self) -> Option<ClusterId> {
        match self {
            EntryCluster::Named(cluster) => Some(*cluster),
            EntryCluster::Header(_) => None,
        }
    }
}

impl WeightedClusters {
    /// The entry whose interval of the summed weights holds `random`.
    pub fn choose(&self, random: u64) -> Option<&WeightedCluster> {
        let mut point = random % u64::from(self.total.max(1));
        self.entries.iter().find(|entry| {
            let inside = point < u64::from(entry.weight);
            point = point.saturating_sub(u64::from(entry.weight));
            inside
        })
    }
}

/// The cluster for a connection that has no headers, and the weighted entry when there is one.
pub fn choose_cluster(choice: &ClusterChoice, random: u64) -> (Option<ClusterId>, Option<&WeightedCluster>) {
    match choice {
        ClusterChoice::One(cluster) => (Some(*cluster), None),
        ClusterChoice::Weighted(weighted) => {
            let entry = weighted.choose(random);
            (entry.and_then(|entry| entry.cluster.named()), entry)
        }
        ClusterChoice::Header { .. } => (None, None),
    }
}

/// Settings of a forwarding route.
#[derive(Debug)]
pub struct Forward {
    /// Cluster selection.
    pub clusters: ClusterChoice,
    /// What its requests are for.
    pub service: Service,
    /// Status when the cluster is missing: 503, 404 or 500.
    pub cluster_not_found_status: u16,
    /// Path rewrite.
    pub path_rewrite: Option<PathRewrite>,
    /// Authority rewrite.
    pub host_rewrite: Option<HostRewrite>,
    /// Set `x-forwarded-host` when the authority is rewritten.
    pub append_x_forwarded_host: bool,
    /// Whole exchange, from the complete request to the complete response; zero is off.
    pub timeout: Duration,
    /// Stream idle timeout of this route; `None` takes the connection manager's, zero is off.
    pub idle_timeout: Option<Duration>,
    /// Longest life of the stream; presence switches `timeout` and `max_grpc_timeout` off.
    pub max_stream_duration: Option<MaxStreamDuration>,
    /// gRPC requests have the time that they ask for, up to this, instead of `timeout`; zero inside is uncapped.
    pub max_grpc_timeout: Option<Duration>,
    /// Taken off the time that a gRPC request asks for, unless nothing would be left.
    pub grpc_timeout_offset: Duration,
    /// Retries, unless the cluster has a policy of its own.
    pub retry: Option<Arc<RetryPolicy>>,
    /// `hedge_on_per_try_timeout`: a try that takes too long goes on beside the next one.
    pub hedge: bool,
    /// Most body bytes kept for another attempt, when the route or its host says so.
    pub replay_limit: Option<usize>,
    /// Which circuit breakers count.
    pub priority: Priority,
    /// Redirects of the upstream that are followed here.
    pub internal_redirects: Option<Box<InternalRedirects>>,
    /// Who gets copies of requests.
    pub mirrors: Option<Arc<[Mirror]>>,
    /// Upgrade types switched on or off for this route, lower case.
    pub upgrades: Vec<(Box<str>, bool)>,
    /// CONNECT is terminated here: the payload goes upstream as raw TCP.
    pub connect_terminate: bool,
    /// What of a request decides on the host, in clusters that hash.
    pub hash_policy: Option<Arc<[HashPolicy]>>,
    /// Metadata that hosts must have, in clusters with subsets.
    pub metadata_match: Option<Criteria>,
    /// What rate limits tell its requests apart by.
    pub rate_limits: Option<Box<RouteRules>>,
}

/// `RouteAction.max_stream_duration`.
#[derive(Clone, Copy, Debug, Default)]
pub struct MaxStreamDuration {
    /// Zero is off; `None` takes the connection manager's.
    pub max: Option<Duration>,
    /// Honour `grpc-timeout` up to this; zero inside is uncapped.
    pub grpc_timeout_max: Option<Duration>,
    /// Subtracted from `grpc-timeout`.
    pub grpc_timeout_offset: Duration,
}

/// Path rewrites.
#[derive(Debug)]
pub enum PathRewrite {
    /// Replace the matched prefix, or the whole path of an exact or regex match.
    Prefix(Box<str>),
    /// Replace every match in the path without query; the substitution uses `$1` groups.
    Regex {
        /// Pattern.
        pattern: Regex,
        /// Replacement in the regex crate's notation.
        substitution: Box<[u8]>,
    },
    /// Replace the whole path.
    Full(Box<str>),
    /// Replace the whole path by this text, unless it comes out empty.
    Format(Format),
}

/// Authority rewrites.
#[derive(Debug)]
pub enum HostRewrite {
    /// This text.
    Literal(Box<str>),
    /// The picked host's name.
    Auto,
    /// The value of this header (lower case).
    Header(Box<str>),
    /// This text, unless it comes out empty.
    Format(Format),
    /// The path rewritten by a regex.
    PathRegex {
        /// Pattern.
        pattern: Regex,
        /// Replacement in the regex crate's notation.
        substitution: Box<[u8]>,
    },
}

/// Header edits of one level.
#[derive(Debug, Default)]
pub struct HeaderEdits {
    /// Lower-case names removed from requests.
    pub request_remove: Vec<Box<str>>,
    /// Additions to requests.
    pub request_add: Vec<HeaderAdd>,
    /// Lower-case names removed from responses.
    pub response_remove: Vec<Box<str>>,
    /// Additions to responses.
    pub response_add: Vec<HeaderAdd>,
}

/// One addition.
#[derive(Debug)]
pub struct HeaderAdd {
    /// Lower-case name.
    pub name: Box<str>,
    /// Value, with access-log operators; unknown values become empty text.
    pub value: Format,
    /// What to do when the header exists.
    pub action: AppendAction,
    /// Send it even when the value came out empty.
    pub keep_empty: bool,
}

/// Envoy `HeaderAppendAction`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendAction {
    /// Append, or add.
    AppendOrAdd,
    /// Add only when absent.
    AddIfAbsent,
    /// Replace, or add.
    OverwriteOrAdd,
    /// Replace only when present.
    OverwriteIfExists,
}

impl HeaderEdits {
    /// True when requests pass unchanged.
    pub fn request_is_empty(&self) -> bool {
        self.request_remove.is_empty() && self.request_add.is_empty()
    }

    /// True when responses pass unchanged.
    pub fn response_is_empty(&self) -> bool {
        self.response_remove.is_empty() && self.response_add.is_empty()
    }
}
