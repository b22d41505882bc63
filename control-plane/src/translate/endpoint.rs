//! Endpoints: load assignments, and Cloud Map instances as EDS.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use outrigger_xds_protos::v3::endpoint::lb_endpoint::HostIdentifier;
use outrigger_xds_protos::v3::endpoint::{ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints};

use super::message::address;
use crate::graph::Graph;
use crate::model::{IpPreference, ServiceInstance};

/// A load assignment of these hosts. Without hosts it has no locality.
pub fn assignment(cluster: &str, hosts: Vec<(String, u16)>) -> ClusterLoadAssignment {
    let endpoints: Vec<LbEndpoint> = hosts.into_iter().map(|(host, port)| endpoint(host, port)).collect();
    let localities = if endpoints.is_empty() {
        Vec::new()
    } else {
        vec![LocalityLbEndpoints { lb_endpoints: endpoints, ..Default::default() }]
    };
    ClusterLoadAssignment { cluster_name: cluster.to_owned(), endpoints: localities, ..Default::default() }
}

/// Addresses as hosts of an assignment.
pub fn hosts(addresses: &[SocketAddr]) -> Vec<(String, u16)> {
    addresses.iter().map(|a| (a.ip().to_string(), a.port())).collect()
}

fn endpoint(host: String, port: u16) -> LbEndpoint {
    let endpoint = Endpoint { address: Some(address(host, port, false)), ..Default::default() };
    LbEndpoint { host_identifier: Some(HostIdentifier::Endpoint(endpoint)), ..Default::default() }
}

/// The addresses of a Cloud Map service's instances that carry all the attributes, in order.
pub fn cloud_map(
    graph: &Graph,
    namespace: &str,
    service: &str,
    attributes: &BTreeMap<String, String>,
    preference: Option<IpPreference>,
) -> Vec<IpAddr> {
    let instances = graph.instances_of(namespace, service, attributes);
    let mut addresses: Vec<IpAddr> = instances.filter_map(|i| pick(i, preference)).collect();
    addresses.sort();
    addresses.dedup();
    addresses
}

/// The address of an instance under a preference; IPv4 comes first unless IPv6 is preferred.
fn pick(instance: &ServiceInstance, preference: Option<IpPreference>) -> Option<IpAddr> {
    let address = |key: &str| instance.attributes.get(key).and_then(|t| t.parse::<IpAddr>().ok());
    let (v4, v6) = (address("AWS_INSTANCE_IPV4"), address("AWS_INSTANCE_IPV6"));
    match preference {
        None | Some(IpPreference::V4Preferred) => v4.or(v6),
        Some(IpPreference::V6Preferred) => v6.or(v4),
        Some(IpPreference::V4Only) => v4,
        Some(IpPreference::V6Only) => v6,
    }
}
