//! Where a cluster's hosts come from: written in it, DNS, EDS, or the connection itself.
//! Source: `Cluster.cluster_discovery_type`, `envoy.extensions.clusters.{dns,original_dst}.v3`.

use std::time::Duration;

use outrigger_xds_protos::any;
use outrigger_xds_protos::pb::envoy::extensions::clusters::common::dns::v3::DnsLookupFamily as ExtensionFamily;
use outrigger_xds_protos::pb::google::protobuf::{Any, Duration as DurationMessage, UInt32Value};
use outrigger_xds_protos::v3::aggregate_cluster::ClusterConfig as AggregateConfig;
use outrigger_xds_protos::v3::cluster::Cluster as ClusterMessage;
use outrigger_xds_protos::v3::cluster::cluster::{
    ClusterDiscoveryType, CustomClusterType, DiscoveryType, DnsLookupFamily, EdsClusterConfig, LbConfig,
    OriginalDstLbConfig, RefreshRate,
};
use outrigger_xds_protos::v3::dns_cluster::{DnsCluster, dns_cluster};
use outrigger_xds_protos::v3::endpoint::ClusterLoadAssignment;
use outrigger_xds_protos::v3::original_dst_cluster::OriginalDstCluster;

use super::endpoint;
use super::fields;
use super::fields::refuse;
use super::path::{Path, Rejection};
use super::scope::{Scope, ads_reference};
use super::{Assignment, ResourceRef, matchers};
use crate::config::cluster::{AssignmentPolicy, Discovery, DnsSettings, LookupFamily};

/// Envoy's default `dns_refresh_rate`.
const DNS_REFRESH: Duration = Duration::from_secs(5);
/// Envoy's default `cleanup_interval`.
const CLEANUP_INTERVAL: Duration = Duration::from_secs(5);
/// Header that names the destination when `use_http_header` is set without a name.
const ORIGINAL_DST_HEADER: &str = "x-envoy-original-dst-host";

/// Discovery and what it needs.
pub(super) struct Found {
    pub(super) discovery: Discovery,
    pub(super) static_hosts: Option<Assignment>,
    pub(super) eds: Option<ResourceRef>,
}

impl Found {
    fn of(discovery: Discovery) -> Self {
        Self { discovery, static_hosts: None, eds: None }
    }
}

/// Finds the discovery of a cluster and refuses the fields of the others, which would have no effect.
pub(super) fn compile(
    message: &ClusterMessage,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Found, Rejection> {
    let number = match &message.cluster_discovery_type {
        Some(ClusterDiscoveryType::ClusterType(custom)) => return extension(custom, message, path, scope),
        Some(ClusterDiscoveryType::Type(number)) => *number,
        None => 0,
    };
    match DiscoveryType::try_from(number) {
        Ok(DiscoveryType::Static) => fixed(message, path, scope),
        Ok(DiscoveryType::StrictDns) => dns(message, DnsKind::Strict, path, scope),
        Ok(DiscoveryType::LogicalDns) => dns(message, DnsKind::Logical, path, scope),
        Ok(DiscoveryType::Eds) => eds(message, path),
        Ok(DiscoveryType::OriginalDst) => original_dst(message, path),
        Err(_) => Err(path.field("type").reject(fields::unknown_enum(number))),
    }
}

fn assignment<'m>(
    message: &'m ClusterMessage,
    path: &Path<'_>,
) -> Result<&'m ClusterLoadAssignment, Rejection> {
    fields::message(&message.load_assignment, &path.field("load_assignment"))
}

fn fixed(message: &ClusterMessage, path: &Path<'_>, scope: &mut Scope<'_>) -> Result<Found, Rejection> {
    let ClusterMessage { eds_cluster_config, .. } = message;
    refuse_for(path, "STATIC", eds_cluster_config, "eds_cluster_config")?;
    let hosts = match &message.load_assignment {
        Some(assignment) => endpoint::hosts(assignment, &path.field("load_assignment"), scope)?,
        // An empty cluster is how meshes spell a black hole.
        None => Assignment::default(),
    };
    Ok(Found { static_hosts: Some(hosts), ..Found::of(Discovery::Static) })
}

/// A field that only another discovery type reads.
fn refuse_for<T>(path: &Path<'_>, kind: &str, field: &Option<T>, name: &str) -> Result<(), Rejection> {
    match field {
        Some(_) => {
            Err(path.field(name).reject(format_args!("has no meaning for a {kind} cluster; remove it")))
        }
        None => Ok(()),
    }
}

fn eds(message: &ClusterMessage, path: &Path<'_>) -> Result<Found, Rejection> {
    refuse_for(path, "EDS", &message.load_assignment, "load_assignment")?;
    let path = path.field("eds_cluster_config");
    let EdsClusterConfig { eds_config, service_name } = fields::message(&message.eds_cluster_config, &path)?;
    let name = if service_name.is_empty() { &message.name } else { service_name };
    let source_path = path.field("eds_config");
    let reference = ads_reference(name, fields::message(eds_config, &source_path)?, &source_path)?;
    let discovery = Discovery::Eds { service_name: name.as_str().into() };
    Ok(Found { eds: Some(reference), ..Found::of(discovery) })
}

/// How many hosts the addresses of a name make.
#[derive(Clone, Copy)]
enum DnsKind {
    Strict,
    Logical,
}

#[allow(deprecated, reason = "most control planes still send these fields and not the DnsCluster extension")]
fn dns(
    message: &ClusterMessage,
    kind: DnsKind,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Found, Rejection> {
    let ClusterMessage {
        dns_refresh_rate,
        dns_jitter,
        dns_failure_refresh_rate,
        respect_dns_ttl,
        dns_lookup_family,
        dns_resolvers,
        use_tcp_for_dns_lookups,
        dns_resolution_config,
        typed_dns_resolver_config,
        ..
    } = message;
    refuse!(path; dns_resolvers, use_tcp_for_dns_lookups, dns_resolution_config, typed_dns_resolver_config);
    let failure_path = path.field("dns_failure_refresh_rate");
    let failure = dns_failure_refresh_rate.as_ref().map(|RefreshRate { base_interval, max_interval }| {
        Intervals { base: base_interval, max: max_interval, path: &failure_path }
    });
    let family = match DnsLookupFamily::try_from(*dns_lookup_family) {
        Ok(DnsLookupFamily::Auto) => LookupFamily::Auto,
        Ok(DnsLookupFamily::V4Only) => LookupFamily::V4Only,
        Ok(DnsLookupFamily::V6Only) => LookupFamily::V6Only,
        Ok(DnsLookupFamily::V4Preferred) => LookupFamily::V4Preferred,
        Ok(DnsLookupFamily::All) => LookupFamily::All,
        Err(_) => {
            return Err(path.field("dns_lookup_family").reject(fields::unknown_enum(*dns_lookup_family)));
        }
    };
    let timing = dns_timing(dns_refresh_rate, dns_jitter, failure, path, scope)?;
    let settings = DnsSettings { respect_ttl: *respect_dns_ttl, family, ..timing };
    with_names(settings, kind, message, path, scope)
}

/// Back-off intervals with the place of their message.
struct Intervals<'m> {
    base: &'m Option<DurationMessage>,
    max: &'m Option<DurationMessage>,
    path: &'m Path<'m>,
}

/// Refresh intervals; names, TTL and family are the caller's.
fn dns_timing(
    refresh: &Option<DurationMessage>,
    jitter: &Option<DurationMessage>,
    failure: Option<Intervals<'_>>,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<DnsSettings, Rejection> {
    if fields::duration_or_off(jitter, &path.field("dns_jitter"))? > Duration::ZERO {
        scope.warn(&path.field("dns_jitter"), "is not in effect: refreshes are not delayed");
    }
    let refresh = fields::positive_duration(refresh, &path.field("dns_refresh_rate"))?.unwrap_or(DNS_REFRESH);
    if refresh < Duration::from_millis(1) {
        return Err(path.field("dns_refresh_rate").reject("must be at least 1ms"));
    }
    let (failure_refresh, failure_refresh_max) = match failure {
        None => (refresh, refresh),
        Some(Intervals { base, max, path }) => {
            let base_path = path.field("base_interval");
            let base = fields::positive_duration(base, &base_path)?.ok_or_else(|| base_path.missing())?;
            let max_path = path.field("max_interval");
            let max = fields::positive_duration(max, &max_path)?.unwrap_or(base * 10);
            if max < base {
                return Err(max_path.reject("must not be below base_interval"));
            }
            (base, max)
        }
    };
    Ok(DnsSettings {
        names: Vec::new(),
        policy: AssignmentPolicy::default(),
        refresh,
        failure_refresh,
        failure_refresh_max,
        respect_ttl: false,
        family: LookupFamily::Auto,
    })
}

fn with_names(
    settings: DnsSettings,
    kind: DnsKind,
    message: &ClusterMessage,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Found, Rejection> {
    refuse_for(path, "DNS", &message.eds_cluster_config, "eds_cluster_config")?;
    let names_path = path.field("load_assignment");
    let (names, policy) = endpoint::names(assignment(message, path)?, &names_path, scope)?;
    let count = names.len();
    let settings = DnsSettings { names, policy, ..settings };
    match kind {
        DnsKind::Strict => Ok(Found::of(Discovery::StrictDns(settings))),
        DnsKind::Logical if count == 1 => Ok(Found::of(Discovery::LogicalDns(settings))),
        DnsKind::Logical => Err(names_path
            .reject(format_args!("a LOGICAL_DNS cluster needs exactly one endpoint, this has {count}"))),
    }
}

fn original_dst(message: &ClusterMessage, path: &Path<'_>) -> Result<Found, Rejection> {
    let (config, path_of_config) = match &message.lb_config {
        Some(LbConfig::OriginalDstLbConfig(config)) => (config.clone(), path.field("original_dst_lb_config")),
        _ => (OriginalDstLbConfig::default(), *path),
    };
    let OriginalDstLbConfig { use_http_header, http_header_name, upstream_port_override, metadata_key } =
        config;
    original_dst_with(
        OriginalDstCluster { use_http_header, http_header_name, upstream_port_override, metadata_key },
        message,
        path,
        &path_of_config,
    )
}

fn original_dst_with(
    config: OriginalDstCluster,
    message: &ClusterMessage,
    path: &Path<'_>,
    config_path: &Path<'_>,
) -> Result<Found, Rejection> {
    refuse_for(path, "ORIGINAL_DST", &message.load_assignment, "load_assignment")?;
    refuse_for(path, "ORIGINAL_DST", &message.eds_cluster_config, "eds_cluster_config")?;
    let OriginalDstCluster { use_http_header, http_header_name, upstream_port_override, metadata_key } =
        config;
    if metadata_key.is_some() {
        return Err(config_path.field("metadata_key").unsupported());
    }
    let header = match (use_http_header, http_header_name.as_str()) {
        (false, "") => None,
        (false, _) => {
            return Err(config_path.field("http_header_name").reject("needs use_http_header: true"));
        }
        (true, "") => Some(ORIGINAL_DST_HEADER.into()),
        (true, name) => Some(matchers::header_name(name, &config_path.field("http_header_name"))?),
    };
    let cleanup_path = path.field("cleanup_interval");
    Ok(Found::of(Discovery::OriginalDst {
        header,
        port_override: port_override(&upstream_port_override, config_path)?,
        cleanup_interval: fields::positive_duration(&message.cleanup_interval, &cleanup_path)?
            .unwrap_or(CLEANUP_INTERVAL),
    }))
}

fn port_override(value: &Option<UInt32Value>, path: &Path<'_>) -> Result<Option<u16>, Rejection> {
    let port = |value| fields::port(value, &path.field("upstream_port_override"));
    fields::count(value).map(port).transpose()
}

/// `cluster_type`: the extension form of discovery.
fn extension(
    custom: &CustomClusterType,
    message: &ClusterMessage,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Found, Rejection> {
    let CustomClusterType { name, typed_config } = custom;
    let path_of_type = path.field("cluster_type");
    let config_path = path_of_type.field("typed_config");
    match (name.as_str(), typed_config) {
        (_, Some(config)) if any::is::<DnsCluster>(config) => {
            dns_extension(&unpack(config, &config_path)?, message, path, &config_path, scope)
        }
        (_, Some(config)) if any::is::<OriginalDstCluster>(config) => {
            original_dst_with(unpack(config, &config_path)?, message, path, &config_path)
        }
        (_, Some(config)) if any::is::<AggregateConfig>(config) => {
            aggregate(&unpack(config, &config_path)?, message, path, &config_path, scope)
        }
        ("envoy.cluster.static", None) => fixed(message, path, scope),
        ("envoy.cluster.strict_dns", None) => dns(message, DnsKind::Strict, path, scope),
        ("envoy.cluster.logical_dns", None) => dns(message, DnsKind::Logical, path, scope),
        ("envoy.cluster.eds", None) => eds(message, path),
        ("envoy.cluster.original_dst", None) => original_dst(message, path),
        (name, config) => {
            let url = config.as_ref().map_or("no typed_config", |config| config.type_url.as_str());
            Err(path_of_type.reject(format_args!("{name:?} ({url}) is not supported")))
        }
    }
}

/// A cluster made of clusters. They need not exist: those that do not have no hosts.
fn aggregate(
    config: &AggregateConfig,
    message: &ClusterMessage,
    path: &Path<'_>,
    config_path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Found, Rejection> {
    refuse_for(path, "aggregate", &message.load_assignment, "load_assignment")?;
    refuse_for(path, "aggregate", &message.eds_cluster_config, "eds_cluster_config")?;
    let AggregateConfig { clusters } = config;
    let list_path = config_path.field("clusters");
    if clusters.is_empty() {
        return Err(list_path.missing());
    }
    let member = |(i, name): (usize, &String)| scope.cluster(name, &list_path.index(i));
    let members = clusters.iter().enumerate().map(member).collect::<Result<_, _>>()?;
    Ok(Found::of(Discovery::Aggregate(members)))
}

fn unpack<M: any::Typed>(config: &Any, path: &Path<'_>) -> Result<M, Rejection> {
    any::unpack(config).map_err(|error| path.reject(error))
}

fn dns_extension(
    config: &DnsCluster,
    message: &ClusterMessage,
    path: &Path<'_>,
    config_path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Found, Rejection> {
    let DnsCluster {
        dns_refresh_rate,
        dns_failure_refresh_rate,
        respect_dns_ttl,
        dns_jitter,
        typed_dns_resolver_config,
        dns_lookup_family,
        all_addresses_in_single_endpoint,
        dns_min_refresh_rate,
    } = config;
    refuse!(config_path; typed_dns_resolver_config, dns_min_refresh_rate);
    let failure_path = config_path.field("dns_failure_refresh_rate");
    let failure =
        dns_failure_refresh_rate.as_ref().map(|dns_cluster::RefreshRate { base_interval, max_interval }| {
            Intervals { base: base_interval, max: max_interval, path: &failure_path }
        });
    let family = match ExtensionFamily::try_from(*dns_lookup_family) {
        Ok(ExtensionFamily::Unspecified | ExtensionFamily::Auto) => LookupFamily::Auto,
        Ok(ExtensionFamily::V4Only) => LookupFamily::V4Only,
        Ok(ExtensionFamily::V6Only) => LookupFamily::V6Only,
        Ok(ExtensionFamily::V4Preferred) => LookupFamily::V4Preferred,
        Ok(ExtensionFamily::All) => LookupFamily::All,
        Err(_) => {
            return Err(config_path
                .field("dns_lookup_family")
                .reject(fields::unknown_enum(*dns_lookup_family)));
        }
    };
    let timing = dns_timing(dns_refresh_rate, dns_jitter, failure, config_path, scope)?;
    let settings = DnsSettings { respect_ttl: *respect_dns_ttl, family, ..timing };
    let kind = if *all_addresses_in_single_endpoint { DnsKind::Logical } else { DnsKind::Strict };
    with_names(settings, kind, message, path, scope)
}
