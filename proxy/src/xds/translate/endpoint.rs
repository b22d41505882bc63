//! Hosts: load assignments as addresses (STATIC, EDS) or as names to resolve (DNS clusters).
//! Source: `envoy.config.endpoint.v3.ClusterLoadAssignment`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use outrigger_xds_protos::v3::core::{Address, HealthStatus, Locality as LocalityMessage, address};
use outrigger_xds_protos::v3::endpoint::cluster_load_assignment::Policy;
use outrigger_xds_protos::v3::endpoint::lb_endpoint::HostIdentifier;
use outrigger_xds_protos::v3::endpoint::{ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints};

use super::fields;
use super::fields::{refuse, warn_set};
use super::path::{Path, Rejection};
use super::scope::Scope;
use super::{Assignment, HostSpec, health as checks, metadata};
use crate::config::cluster::{
    AssignmentPolicy, DiscoveryHealth, DnsName, HostAddress, Locality, LocalityWeight,
};
use crate::config::health::HostCheck;
use crate::config::metadata::Namespaces;
use crate::config::subset::Metadata;

/// Highest `priority` that Envoy accepts.
const MAX_PRIORITY: u32 = 128;

/// An endpoint with what its locality says about it.
struct Entry<'m> {
    endpoint: &'m Endpoint,
    weight: u32,
    priority: u32,
    locality: &'m Option<LocalityMessage>,
    health: DiscoveryHealth,
    metadata: Option<Arc<Metadata>>,
    labels: Option<Arc<Namespaces>>,
    check: Option<Arc<HostCheck>>,
}

/// Localities in the order in which they are met, with their indexes.
#[derive(Default)]
struct Localities(HashMap<Locality, u32>);

impl Localities {
    fn index(&mut self, message: &Option<LocalityMessage>) -> u32 {
        let next = self.0.len() as u32;
        *self.0.entry(locality(message)).or_insert(next)
    }
}

/// The hosts of a STATIC or EDS assignment. Of hosts with the same address the first one counts.
pub(super) fn hosts(
    message: &ClusterLoadAssignment,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Assignment, Rejection> {
    let mut assignment = Assignment { name: message.cluster_name.clone(), ..Assignment::default() };
    let mut localities = Localities::default();
    let mut seen = HashSet::new();
    visit(message, path, scope, |entry, path| {
        let address = host_address(&entry.endpoint.address, &path.field("address"))?;
        if !seen.insert(address.clone()) {
            return Ok(());
        }
        let locality = localities.index(entry.locality);
        assignment.hosts.push(HostSpec {
            address,
            hostname: entry.endpoint.hostname.as_str().into(),
            weight: entry.weight,
            priority: entry.priority,
            locality,
            health: entry.health,
            metadata: entry.metadata,
            labels: entry.labels,
            check: entry.check,
        });
        Ok(())
    })?;
    assignment.policy = policy(message, &mut localities);
    assignment.localities = in_index_order(localities.0);
    Ok(assignment)
}

fn in_index_order(localities: HashMap<Locality, u32>) -> Vec<Locality> {
    let mut indexed: Vec<(Locality, u32)> = localities.into_iter().collect();
    indexed.sort_by_key(|(_, index)| *index);
    indexed.into_iter().map(|(locality, _)| locality).collect()
}

/// How hosts share load: overprovisioning and the weights of localities.
fn policy(message: &ClusterLoadAssignment, localities: &mut Localities) -> AssignmentPolicy {
    let default = AssignmentPolicy::default();
    let mut weights: Vec<LocalityWeight> = Vec::new();
    for group in &message.endpoints {
        let Some(weight) = fields::count(&group.load_balancing_weight).filter(|weight| *weight > 0) else {
            continue;
        };
        let next =
            LocalityWeight { priority: group.priority, locality: localities.index(&group.locality), weight };
        // A locality can be split over several groups; the last one that says a weight decides, as in Envoy.
        let key = |entry: &LocalityWeight| (entry.priority, entry.locality);
        match weights.iter_mut().find(|known| key(known) == key(&next)) {
            Some(known) => *known = next,
            None => weights.push(next),
        }
    }
    let policy = message.policy.as_ref();
    AssignmentPolicy {
        overprovisioning: policy
            .and_then(|policy| fields::count(&policy.overprovisioning_factor))
            .unwrap_or(default.overprovisioning),
        weighted_health: policy.is_some_and(|policy| policy.weighted_priority_health),
        locality_weights: weights,
    }
}

/// The names of a DNS cluster, and how their addresses share load. Localities are those of the names, in order. Host rewrites send the endpoint's `hostname`, else the name itself.
pub(super) fn names(
    message: &ClusterLoadAssignment,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<(Vec<DnsName>, AssignmentPolicy), Rejection> {
    let mut names = Vec::new();
    let mut localities = Localities::default();
    visit(message, path, scope, |entry, path| {
        let path = path.field("address");
        let socket = fields::socket_address(&entry.endpoint.address, &path)?;
        let (hostname, port) = fields::host_port(socket, &path.field("socket_address"))?;
        if entry.health != DiscoveryHealth::Healthy {
            return Err(path.reject("health_status is not supported for names; remove the endpoint instead"));
        }
        names.push(DnsName {
            hostname: hostname.into(),
            authority: match entry.endpoint.hostname.as_str() {
                "" => hostname.into(),
                authority => authority.into(),
            },
            port,
            weight: entry.weight,
            priority: entry.priority,
            locality: locality(entry.locality),
            metadata: entry.metadata,
            labels: entry.labels,
            check: entry.check,
        });
        localities.index(entry.locality);
        Ok(())
    })?;
    Ok((names, policy(message, &mut localities)))
}

/// Walks the endpoints in order. `each` gets the place of the endpoint message.
fn visit<'m>(
    message: &'m ClusterLoadAssignment,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
    mut each: impl FnMut(Entry<'m>, &Path<'_>) -> Result<(), Rejection>,
) -> Result<(), Rejection> {
    let ClusterLoadAssignment { cluster_name: _, endpoints, named_endpoints, policy } = message;
    refuse!(path; named_endpoints);
    check_policy(policy, &path.field("policy"), scope)?;
    let list_path = path.field("endpoints");
    for (i, group) in endpoints.iter().enumerate() {
        let path = list_path.index(i);
        let LocalityLbEndpoints {
            locality,
            metadata: _, // Only filters that we refuse read it.
            lb_endpoints,
            load_balancing_weight: _, // Read by `policy`, with `locality` and `priority`.
            priority,
            proximity: _, // Never used by Envoy.
            lb_config,
        } = group;
        if lb_config.is_some() {
            return Err(
                path.reject("leds_cluster_locality_config and load_balancer_endpoints are not supported")
            );
        }
        if *priority > MAX_PRIORITY {
            return Err(path
                .field("priority")
                .reject(format_args!("is {priority}, must be 0 to {MAX_PRIORITY}")));
        }
        let endpoints_path = path.field("lb_endpoints");
        let mut total = 0u32;
        for (i, endpoint) in lb_endpoints.iter().enumerate() {
            let path = endpoints_path.index(i);
            let entry = entry(endpoint, *priority, locality, &path, scope)?;
            total = total.checked_add(entry.weight).ok_or_else(|| {
                path.field("load_balancing_weight")
                    .reject("the weights of a locality add up to more than 4294967295")
            })?;
            each(entry, &path.field("endpoint"))?;
        }
    }
    Ok(())
}

fn check_policy(policy: &Option<Policy>, path: &Path<'_>, scope: &mut Scope<'_>) -> Result<(), Rejection> {
    let Some(Policy {
        drop_overloads,
        overprovisioning_factor,
        endpoint_stale_after,
        weighted_priority_health: _, // `policy`
    }) = policy
    else {
        return Ok(());
    };
    refuse!(path; drop_overloads);
    warn_set!(scope, path, "is not in effect"; endpoint_stale_after);
    fields::count_in(overprovisioning_factor, 1..=u32::MAX, &path.field("overprovisioning_factor"))?;
    Ok(())
}

fn entry<'m>(
    message: &'m LbEndpoint,
    priority: u32,
    locality: &'m Option<LocalityMessage>,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Entry<'m>, Rejection> {
    let LbEndpoint { health_status, metadata, load_balancing_weight, host_identifier } = message;
    let endpoint = match host_identifier {
        Some(HostIdentifier::Endpoint(endpoint)) => endpoint,
        Some(HostIdentifier::EndpointName(_)) => return Err(path.field("endpoint_name").unsupported()),
        None => return Err(path.field("endpoint").missing()),
    };
    let Endpoint {
        address: _,
        health_check_config,
        hostname: _,
        additional_addresses,
        observability_name: _, // Names the host in Envoy's per-endpoint statistics only.
    } = endpoint;
    warn_set!(scope, path.field("endpoint"), "is not in effect: only `address` is connected to";
        additional_addresses);
    let weight_path = path.field("load_balancing_weight");
    let weight = fields::count_in(load_balancing_weight, 1..=u32::MAX, &weight_path)?.unwrap_or(1);
    let health = health(*health_status, &path.field("health_status"))?;
    let check = checks::host(health_check_config, &path.field("endpoint").field("health_check_config"))?;
    let labels = metadata::beside_balancing(metadata);
    let metadata = metadata::of_balancing(metadata);
    Ok(Entry { endpoint, weight, priority, locality, health, metadata, labels, check })
}

fn health(number: i32, path: &Path<'_>) -> Result<DiscoveryHealth, Rejection> {
    Ok(match HealthStatus::try_from(number) {
        Ok(HealthStatus::Unknown | HealthStatus::Healthy) => DiscoveryHealth::Healthy,
        Ok(HealthStatus::Degraded) => DiscoveryHealth::Degraded,
        Ok(HealthStatus::Unhealthy | HealthStatus::Timeout) => DiscoveryHealth::Unhealthy,
        Ok(HealthStatus::Draining) => DiscoveryHealth::Draining,
        Err(_) => return Err(path.reject(fields::unknown_enum(number))),
    })
}

/// Where something is; nowhere in particular without a message.
pub(super) fn locality(message: &Option<LocalityMessage>) -> Locality {
    message.as_ref().map_or_else(Locality::default, |LocalityMessage { region, zone, sub_zone }| Locality {
        region: region.as_str().into(),
        zone: zone.as_str().into(),
        sub_zone: sub_zone.as_str().into(),
    })
}

fn host_address(message: &Option<Address>, path: &Path<'_>) -> Result<HostAddress, Rejection> {
    match message.as_ref().and_then(|message| message.address.as_ref()) {
        Some(address::Address::Pipe(pipe)) => {
            let path = path.field("pipe");
            Ok(HostAddress::Pipe(fields::required(&pipe.path, &path.field("path"))?.into()))
        }
        _ => {
            let socket = fields::socket_address(message, path)?;
            fields::ip_port(socket, &path.field("socket_address")).map(HostAddress::Ip)
        }
    }
}
