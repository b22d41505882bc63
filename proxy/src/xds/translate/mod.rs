//! Envoy protobuf to compiled `config` types, one resource at a time.
//!
//! The only place where both worlds meet. Each function is pure apart from the context: it interns names,
//! resolves statistics handles, reads certificate files. A field that is set and that we cannot honour is a
//! [`Rejection`] naming it; where Envoy's semantics allow going on without it, it is a [`Warning`]. Messages are
//! destructured without `..`, so a field added by a new version of the API does not compile until someone decides.
//! Source: the Envoy v3 API.

mod access_log;
mod call;
mod cel;
mod cluster;
mod cluster_choice;
mod data_source;
mod discovery;
mod endpoint;
pub(crate) mod fields;
mod filter;
mod filter_chain;
mod grpc_service;
mod guard;
mod hash_policy;
mod hcm;
mod headers;
mod health;
mod http_filter;
mod http_options;
mod internal_redirect;
mod lb;
mod listener;
pub(crate) mod matchers;
mod metadata;
mod mirror;
mod outlier;
mod path;
mod protocol;
mod rate_limits;
mod rbac;
mod retry;
mod rewrite;
mod route;
mod route_action;
mod route_match;
mod scope;
mod secret;
mod secret_source;
mod service;
mod tcp_proxy;
mod tls;
mod tracing;
mod uri_template;
mod value_match;
mod warnings;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use outrigger_xds_protos::v3;
use rustls::crypto::CryptoProvider;

use crate::base::ids::{ClusterId, FilterId, Interner, RouteTableId};
use crate::config::cluster::{
    AssignmentPolicy, Cluster, Discovery, DiscoveryHealth, DnsSettings, HostAddress, Locality,
};
use crate::config::health::HostCheck;
use crate::config::listener::Listener;
use crate::config::metadata::Namespaces;
use crate::config::route::RouteTable;
use crate::config::subset::Metadata;
use crate::observe::access_log::grpc::GrpcLogs;
use crate::observe::access_log::sink::Sinks;
use crate::stats::registry::Registry;
use crate::xds::files::Files;
use crate::xds::settings::AdsSettings;

pub(in crate::xds) use fields::positive_duration;
pub use path::{Path, Rejection};
use scope::Scope;
pub use scope::ads_fetch_timeout;
pub use secret::{Secret, wipe as wipe_secret};
pub use tracing::{
    Central, TRACE_EXPORT, TracingContext, TracingOptions, of_bootstrap as tracing_of_bootstrap,
};
pub use warnings::{Warning, Warnings};

/// What translation needs to know and grows while it works. Owned by the compiler.
#[derive(Debug)]
pub struct TranslateContext {
    /// Dense ids of clusters, by name. Routes that name a cluster before it arrived reserve its id.
    pub clusters: Interner<ClusterId>,
    /// Dense ids of route tables, by resource name.
    pub route_tables: Interner<RouteTableId>,
    /// Dense ids of HTTP filters, by name: routes refer to filters by it.
    pub filters: Interner<FilterId>,
    /// Where statistics handles come from.
    pub stats: Registry,
    /// Access-log sinks; `None` checks loggers and opens nothing (`--mode validate`).
    pub sinks: Option<Arc<Sinks>>,
    /// Loggers to services; `None` as with `sinks`.
    pub grpc_logs: Option<Arc<GrpcLogs>>,
    /// Tracers, and the provider of the bootstrap.
    pub tracing: TracingContext,
    /// Secrets that have arrived (SDS) or were written in the bootstrap, by name. The compiler inserts what
    /// [`secret()`] returned and then translates again every listener and cluster that refers to the name.
    pub secrets: HashMap<String, Arc<Secret>>,
    /// Certificate files that were read, as they were then.
    pub files: Files,
    /// `node.cluster` of the bootstrap: the name of the service that this process stands before.
    pub service_cluster: Box<str>,
    /// The cluster that this process is a member of is named (`cluster_manager.local_cluster_name`).
    pub has_own_cluster: bool,
    /// Whether TLS towards hosts that nobody verifies is an error (`OUTRIGGER_STRICT_TLS`).
    pub strict_tls: bool,
    /// Whether requests are counted by virtual service, for metrics that are told apart by it.
    pub counts_services: bool,
    /// Collected warnings; take and log them after each batch.
    pub warnings: Warnings,
    /// Algorithms of every TLS configuration.
    crypto: Arc<CryptoProvider>,
    tls_generation: u64,
}

impl TranslateContext {
    /// An empty context whose statistics go to `stats` and whose access logs go to `sinks`.
    pub fn new(stats: Registry, sinks: Option<Arc<Sinks>>) -> Self {
        Self {
            clusters: Interner::default(),
            route_tables: Interner::default(),
            filters: Interner::default(),
            stats,
            sinks,
            grpc_logs: None,
            tracing: TracingContext::default(),
            secrets: HashMap::new(),
            files: Files::new(),
            service_cluster: "".into(),
            has_own_cluster: false,
            strict_tls: false,
            counts_services: false,
            warnings: Warnings::default(),
            crypto: Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
            tls_generation: 0,
        }
    }

    /// Numbers the client TLS configurations built; see [`crate::config::secret::ClientTls::generation`].
    fn next_tls_generation(&mut self) -> u64 {
        self.tls_generation += 1;
        self.tls_generation
    }
}

/// A reference to another resource, to be subscribed over ADS, or over a stream of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceRef {
    /// Resource name.
    pub name: String,
    /// How long warming waits for it; zero waits for ever. Default 15 s (`initial_fetch_timeout`).
    pub fetch_timeout: Duration,
    /// The stream of its own, which secrets may have (`SdsSecretConfig.sds_config.api_config_source`).
    pub stream: Option<Arc<AdsSettings>>,
}

/// A cluster that must exist when the resource is applied (`validate_clusters`, static configuration).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequiredCluster {
    /// Where it is named.
    pub path: String,
    /// Its name.
    pub name: String,
}

/// A listener and what it waits for.
#[derive(Clone, Debug)]
pub struct TranslatedListener {
    /// Compiled settings. A chain whose secrets have not arrived refuses every handshake.
    pub config: Arc<Listener>,
    /// RDS names.
    pub route_refs: Vec<ResourceRef>,
    /// SDS names, whether they arrived or not.
    pub secret_refs: Vec<ResourceRef>,
    /// Clusters named by inline route tables that ask for validation.
    pub required_clusters: Vec<RequiredCluster>,
}

/// A route table and what it requires.
#[derive(Clone, Debug)]
pub struct TranslatedRouteTable {
    /// Compiled table.
    pub config: Arc<RouteTable>,
    /// Clusters to check when `validate_clusters` is on.
    pub required_clusters: Vec<RequiredCluster>,
}

/// A cluster and what it waits for.
#[derive(Clone, Debug)]
pub struct TranslatedCluster {
    /// Compiled settings. A TLS context whose secrets have not arrived fails every connection.
    pub config: Arc<Cluster>,
    /// Hosts written in the cluster (STATIC).
    pub static_hosts: Option<Assignment>,
    /// EDS resource, for EDS clusters.
    pub eds: Option<ResourceRef>,
    /// SDS names, whether they arrived or not.
    pub secret_refs: Vec<ResourceRef>,
}

impl TranslatedCluster {
    /// Names to resolve, for STRICT_DNS and LOGICAL_DNS clusters.
    pub fn dns(&self) -> Option<&DnsSettings> {
        match &self.config.discovery {
            Discovery::StrictDns(dns) | Discovery::LogicalDns(dns) => Some(dns),
            _ => None,
        }
    }
}

/// The hosts of a cluster as configured; the compiler gives them identities and carries live state over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    /// `cluster_name`: the EDS resource name.
    pub name: String,
    /// Hosts in configuration order; an address occurs once.
    pub hosts: Vec<HostSpec>,
    /// Localities that hosts refer to.
    pub localities: Vec<Locality>,
    /// How they share load.
    pub policy: AssignmentPolicy,
}

/// One configured host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSpec {
    /// Address.
    pub address: HostAddress,
    /// `endpoint.hostname`; empty when there is none.
    pub hostname: Box<str>,
    /// At least 1.
    pub weight: u32,
    /// 0 is highest.
    pub priority: u32,
    /// Index into [`Assignment::localities`].
    pub locality: u32,
    /// As told by discovery.
    pub health: DiscoveryHealth,
    /// `envoy.lb` metadata, when there is any.
    pub metadata: Option<Arc<Metadata>>,
    /// Other metadata, likewise.
    pub labels: Option<Arc<Namespaces>>,
    /// How it is checked, when discovery says so.
    pub check: Option<Arc<HostCheck>>,
}

/// A secret by its name.
#[derive(Clone, Debug)]
pub struct TranslatedSecret {
    /// Resource name.
    pub name: String,
    /// Material.
    pub secret: Arc<Secret>,
}

/// Compiles a Listener.
pub fn listener(
    message: &v3::listener::Listener,
    context: &mut TranslateContext,
) -> Result<TranslatedListener, Rejection> {
    listener::compile(message, Scope::new(context, "listener", &message.name), &Path::ROOT)
}

/// Compiles a RouteConfiguration (RDS).
pub fn route_table(
    message: &v3::route::RouteConfiguration,
    context: &mut TranslateContext,
) -> Result<TranslatedRouteTable, Rejection> {
    let mut scope = Scope::new(context, "route configuration", &message.name);
    fields::required(&message.name, &Path::ROOT.field("name"))?;
    let config = route::table(message, false, &Path::ROOT, &mut scope)?;
    Ok(TranslatedRouteTable { config, required_clusters: scope.required_clusters })
}

/// Compiles a Cluster.
pub fn cluster(
    message: &v3::cluster::Cluster,
    context: &mut TranslateContext,
) -> Result<TranslatedCluster, Rejection> {
    cluster::compile(message, Scope::new(context, "cluster", &message.name), &Path::ROOT)
}

/// Compiles a ClusterLoadAssignment (EDS).
pub fn load_assignment(
    message: &v3::endpoint::ClusterLoadAssignment,
    context: &mut TranslateContext,
) -> Result<Assignment, Rejection> {
    let mut scope = Scope::new(context, "endpoints", &message.cluster_name);
    fields::required(&message.cluster_name, &Path::ROOT.field("cluster_name"))?;
    endpoint::hosts(message, &Path::ROOT, &mut scope)
}

/// Compiles a locality.
pub fn locality(message: &Option<v3::core::Locality>) -> Locality {
    endpoint::locality(message)
}

/// Validates a Secret.
pub fn secret(
    message: &v3::tls::Secret,
    context: &mut TranslateContext,
) -> Result<TranslatedSecret, Rejection> {
    secret::compile(message, Scope::new(context, "secret", &message.name), &Path::ROOT)
}

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;
