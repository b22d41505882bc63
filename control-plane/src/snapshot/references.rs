//! Which resources point at which over ADS: clusters at their endpoints, listeners at their route configurations.
//!
//! References by name to clusters from routes are not followed: clusters are pushed, not asked for by name. Secrets
//! neither: a client keeps a secret across changes of what uses it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use outrigger_xds_protos::any::{self, Typed, UnpackError};
use outrigger_xds_protos::v3;
use v3::core::config_source::ConfigSourceSpecifier;

use super::{TypeSnapshot, TypeUrl};

/// A resource by type and name, as another refers to it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// Type of what is referred to.
    pub type_url: TypeUrl,
    /// Name of what is referred to.
    pub name: String,
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.type_url, self.name)
    }
}

/// The references in one encoded message.
pub fn references(type_url: &TypeUrl, message: &[u8]) -> Result<Box<[Reference]>, UnpackError> {
    let (child, names) = if *type_url == TypeUrl::CLUSTER {
        (TypeUrl::ENDPOINTS, endpoints_of(&v3::cluster::Cluster::from_wire(message)?))
    } else if *type_url == TypeUrl::LISTENER {
        (TypeUrl::ROUTE, routes_of(&v3::listener::Listener::from_wire(message)?)?)
    } else {
        return Ok(Box::default());
    };
    Ok(names.into_iter().map(|name| Reference { type_url: child.clone(), name }).collect())
}

/// References of any resource to what none of `types` holds.
pub fn dangling(types: &BTreeMap<TypeUrl, TypeSnapshot>) -> Vec<Reference> {
    let held = |r: &&Reference| types.get(&r.type_url).is_some_and(|set| set.get(&r.name).is_some());
    let all = types.values().flat_map(TypeSnapshot::iter).flat_map(|r| r.children.iter());
    all.filter(|r| !held(r)).cloned().collect::<BTreeSet<_>>().into_iter().collect()
}

fn endpoints_of(cluster: &v3::cluster::Cluster) -> BTreeSet<String> {
    let eds = v3::cluster::cluster::DiscoveryType::Eds as i32;
    let uses_eds = matches!(
        cluster.cluster_discovery_type,
        Some(v3::cluster::cluster::ClusterDiscoveryType::Type(kind)) if kind == eds
    );
    let Some(settings) = cluster.eds_cluster_config.as_ref().filter(|_| uses_eds) else {
        return BTreeSet::new();
    };
    if !is_ads(settings.eds_config.as_ref()) {
        return BTreeSet::new();
    }
    let name = if settings.service_name.is_empty() { &cluster.name } else { &settings.service_name };
    BTreeSet::from([name.clone()])
}

fn routes_of(listener: &v3::listener::Listener) -> Result<BTreeSet<String>, UnpackError> {
    let chains = listener.filter_chains.iter().chain(&listener.default_filter_chain);
    let filters = chains.flat_map(|chain| &chain.filters).filter_map(|filter| match &filter.config_type {
        Some(v3::listener::filter::ConfigType::TypedConfig(config)) => Some(config),
        _ => None,
    });
    let api = listener.api_listener.iter().filter_map(|api| api.api_listener.as_ref());
    let mut names = BTreeSet::new();
    for config in filters.chain(api).filter(|config| any::is::<v3::hcm::HttpConnectionManager>(config)) {
        names.extend(route_of(&any::unpack(config)?));
    }
    Ok(names)
}

fn route_of(manager: &v3::hcm::HttpConnectionManager) -> Option<String> {
    match &manager.route_specifier {
        Some(v3::hcm::http_connection_manager::RouteSpecifier::Rds(rds))
            if is_ads(rds.config_source.as_ref()) =>
        {
            Some(rds.route_config_name.clone())
        }
        _ => None,
    }
}

/// Whether the resource comes over the stream that its parent came over.
fn is_ads(source: Option<&v3::core::ConfigSource>) -> bool {
    let specifier = source.and_then(|s| s.config_source_specifier.as_ref());
    matches!(specifier, Some(ConfigSourceSpecifier::Ads(_) | ConfigSourceSpecifier::Self_(_)))
}
