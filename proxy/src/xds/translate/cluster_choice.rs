//! Which cluster takes a request or a connection: one, by weight, or by header.
//! Source: `RouteAction.cluster_specifier`, `envoy.config.route.v3.WeightedCluster`, `TcpProxy.WeightedCluster`.

use std::sync::Arc;

use outrigger_xds_protos::v3::core::Metadata;
use outrigger_xds_protos::v3::route::WeightedCluster as WeightedMessage;
use outrigger_xds_protos::v3::route::route_action::ClusterSpecifier;
use outrigger_xds_protos::v3::route::weighted_cluster::cluster_weight::HostRewriteSpecifier;
use outrigger_xds_protos::v3::route::weighted_cluster::{ClusterWeight, RandomValueSpecifier};
use outrigger_xds_protos::v3::tcp_proxy::tcp_proxy;
use outrigger_xds_protos::v3::wkt;

use super::fields;
use super::headers::{self, Lists};
use super::path::{Path, Rejection};
use super::route::{Inherited, require_cluster};
use super::scope::Scope;
use super::{filter, matchers, metadata};
use crate::config::balance::HashPolicy;
use crate::config::filter::Overrides;
use crate::config::route::{
    ChosenBy, ClusterChoice, EntryCluster, HeaderEdits, WeightedCluster, WeightedClusters,
};
use crate::config::subset::Criteria;

/// The choice of a route; `path` is the route action.
pub(super) fn for_route(
    specifier: &Option<ClusterSpecifier>,
    metadata_match: &Option<Metadata>,
    hash_policy: &Option<Arc<[HashPolicy]>>,
    inherited: &Inherited<'_>,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<ClusterChoice, Rejection> {
    let Some(specifier) = specifier else {
        return Err(path.reject("needs one of cluster, cluster_header, weighted_clusters"));
    };
    match specifier {
        ClusterSpecifier::Cluster(name) => {
            let path = path.field("cluster");
            require_cluster(name, inherited, &path, scope);
            scope.cluster(name, &path).map(ClusterChoice::One)
        }
        ClusterSpecifier::ClusterHeader(name) => {
            let name = matchers::header_name(name, &path.field("cluster_header"))?;
            Ok(ClusterChoice::Header { name })
        }
        ClusterSpecifier::WeightedClusters(message) => {
            let path = path.field("weighted_clusters");
            let weighted = weighted(message, metadata_match, inherited, &path, scope)?;
            let chosen_by = chosen_by(&message.random_value_specifier, hash_policy, &path)?;
            Ok(ClusterChoice::Weighted(WeightedClusters { chosen_by, ..weighted }))
        }
        ClusterSpecifier::ClusterSpecifierPlugin(_) => {
            Err(path.field("cluster_specifier_plugin").unsupported())
        }
        ClusterSpecifier::InlineClusterSpecifierPlugin(_) => {
            Err(path.field("inline_cluster_specifier_plugin").unsupported())
        }
    }
}

#[allow(deprecated, reason = "total_weight is still sent; the sum of the weights has replaced it")]
fn weighted(
    message: &WeightedMessage,
    metadata_match: &Option<Metadata>,
    inherited: &Inherited<'_>,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<WeightedClusters, Rejection> {
    let WeightedMessage {
        clusters,
        total_weight: _,
        runtime_key_prefix: _,     // There is no runtime, so the weights below hold.
        random_value_specifier: _, // The caller reads it.
    } = message;
    let list_path = path.field("clusters");
    let entry = |(i, message)| weighted_entry(message, metadata_match, inherited, &list_path.index(i), scope);
    summed(clusters.iter().enumerate().map(entry).collect::<Result<_, _>>()?, &list_path)
}

/// What decides on the entry. Hash policies of a route that has none leave it to chance.
fn chosen_by(
    specifier: &Option<RandomValueSpecifier>,
    hash_policy: &Option<Arc<[HashPolicy]>>,
    path: &Path<'_>,
) -> Result<ChosenBy, Rejection> {
    Ok(match specifier {
        Some(RandomValueSpecifier::HeaderName(name)) => {
            ChosenBy::Header(matchers::header_name(name, &path.field("header_name"))?)
        }
        Some(RandomValueSpecifier::UseHashPolicy(wkt::BoolValue { value: true })) => {
            hash_policy.clone().map_or(ChosenBy::Random, ChosenBy::Hash)
        }
        None | Some(RandomValueSpecifier::UseHashPolicy(_)) => ChosenBy::Random,
    })
}

fn weighted_entry(
    message: &ClusterWeight,
    of_route: &Option<Metadata>,
    inherited: &Inherited<'_>,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<WeightedCluster, Rejection> {
    let ClusterWeight {
        name,
        cluster_header,
        weight,
        metadata_match,
        request_headers_to_add,
        request_headers_to_remove,
        response_headers_to_add,
        response_headers_to_remove,
        typed_per_filter_config,
        host_rewrite_specifier,
    } = message;
    let filters = filter::overrides(typed_per_filter_config, path, scope)?;
    let lists = Lists {
        request_add: request_headers_to_add,
        request_remove: request_headers_to_remove,
        response_add: response_headers_to_add,
        response_remove: response_headers_to_remove,
    };
    let name_path = path.field("name");
    let header_path = path.field("cluster_header");
    let cluster = match (name.as_str(), cluster_header.as_str()) {
        ("", "") => return Err(name_path.missing()),
        ("", header) => EntryCluster::Header(matchers::header_name(header, &header_path)?),
        (name, "") => {
            require_cluster(name, inherited, &name_path, scope);
            EntryCluster::Named(scope.cluster(name, &name_path)?)
        }
        _ => return Err(header_path.reject("cannot be combined with name")),
    };
    Ok(WeightedCluster {
        cluster,
        weight: fields::count(weight).ok_or_else(|| path.field("weight").missing())?,
        headers: headers::edits(lists, path)?,
        host_rewrite: host_rewrite_specifier
            .as_ref()
            .map(|HostRewriteSpecifier::HostRewriteLiteral(host)| host.as_str().into()),
        filters,
        metadata_match: criteria(of_route, metadata_match),
    })
}

/// What an entry asks of hosts over what all entries do; `None` when it asks nothing of its own.
fn criteria(of_all: &Option<Metadata>, of_entry: &Option<Metadata>) -> Option<Criteria> {
    let own = metadata::of_balancing(of_entry)?;
    Some(match metadata::of_balancing(of_all) {
        Some(shared) => Arc::new(shared.overridden_by(&own)),
        None => own,
    })
}

/// The choice of a `tcp_proxy`; `path` is its message.
pub(super) fn for_tcp(
    specifier: &Option<tcp_proxy::ClusterSpecifier>,
    of_all: &Option<Metadata>,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<ClusterChoice, Rejection> {
    let Some(specifier) = specifier else {
        return Err(path.reject("needs one of cluster, weighted_clusters"));
    };
    let tcp_proxy::WeightedCluster { clusters } = match specifier {
        tcp_proxy::ClusterSpecifier::Cluster(name) => {
            return scope.cluster(name, &path.field("cluster")).map(ClusterChoice::One);
        }
        tcp_proxy::ClusterSpecifier::WeightedClusters(message) => message,
    };
    let path = path.field("weighted_clusters");
    let path = path.field("clusters");
    let mut entries = Vec::with_capacity(clusters.len());
    for (i, message) in clusters.iter().enumerate() {
        let path = path.index(i);
        let tcp_proxy::weighted_cluster::ClusterWeight { name, weight, metadata_match } = message;
        if *weight == 0 {
            return Err(path.field("weight").reject("must be at least 1"));
        }
        entries.push(WeightedCluster {
            cluster: EntryCluster::Named(scope.cluster(name, &path.field("name"))?),
            weight: *weight,
            headers: HeaderEdits::default(),
            host_rewrite: None,
            filters: Overrides::default(),
            metadata_match: criteria(of_all, metadata_match),
        });
    }
    summed(entries, &path).map(ClusterChoice::Weighted)
}

/// Checks the sum of the weights: 1 to 2^32-1.
fn summed(entries: Vec<WeightedCluster>, path: &Path<'_>) -> Result<WeightedClusters, Rejection> {
    let total = entries.iter().try_fold(0u32, |sum, entry| sum.checked_add(entry.weight));
    match total {
        None => Err(path.reject("the sum of the weights is above 4294967295")),
        Some(0) => Err(path.reject("the sum of the weights must be at least 1")),
        Some(total) => Ok(WeightedClusters { entries, total, chosen_by: ChosenBy::Random }),
    }
}
