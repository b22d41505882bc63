//! The endpoints section: assignments as received over EDS, and those of other clusters as they stand.

use std::collections::BTreeMap;

use outrigger_xds_protos::any;
use outrigger_xds_protos::v3;
use outrigger_xds_protos::v3::admin::EndpointsConfigDump;
use outrigger_xds_protos::v3::admin::endpoints_config_dump::{DynamicEndpointConfig, StaticEndpointConfig};
use outrigger_xds_protos::v3::core::{Address, HealthStatus, Pipe, SocketAddress, address, socket_address};
use outrigger_xds_protos::v3::endpoint::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier,
};
use outrigger_xds_protos::v3::wkt::UInt32Value;

use super::{error_state, packed, status, timestamp};
use crate::config::cluster::{DiscoveryHealth, HostAddress, Locality};
use crate::xds::store::{Record, Store};
use crate::xds::translate::{Assignment, HostSpec};

pub(super) fn dump(store: &Store) -> EndpointsConfigDump {
    let dynamic = store.endpoints.values().map(received);
    let others = store.clusters.iter().filter_map(|(name, record)| {
        let held = record.latest().filter(|held| held.value.eds.is_none())?;
        let assignment = store.hosts(name, &held.value)?;
        Some(StaticEndpointConfig {
            endpoint_config: Some(any::pack(&as_message(name, assignment))),
            last_updated: timestamp(held.updated),
        })
    });
    EndpointsConfigDump {
        static_endpoint_configs: others.collect(),
        dynamic_endpoint_configs: dynamic.collect(),
    }
}

fn received<T>(record: &Record<T>) -> DynamicEndpointConfig {
    let held = record.active.as_ref();
    DynamicEndpointConfig {
        version_info: held.map(|held| held.version.to_string()).unwrap_or_default(),
        endpoint_config: held.map(|held| packed::<ClusterLoadAssignment>(&held.body)),
        last_updated: held.and_then(|held| timestamp(held.updated)),
        error_state: error_state::<ClusterLoadAssignment>(record.refused.as_ref()),
        client_status: status(record),
    }
}

/// Hosts grouped by locality and priority.
fn as_message(name: &str, assignment: &Assignment) -> ClusterLoadAssignment {
    let mut groups: BTreeMap<(u32, u32), Vec<LbEndpoint>> = BTreeMap::new();
    for host in &assignment.hosts {
        groups.entry((host.priority, host.locality)).or_default().push(endpoint(host));
    }
    let groups = groups.into_iter().map(|((priority, index), lb_endpoints)| LocalityLbEndpoints {
        locality: assignment.localities.get(index as usize).map(locality),
        lb_endpoints,
        priority,
        ..Default::default()
    });
    ClusterLoadAssignment { cluster_name: name.to_owned(), endpoints: groups.collect(), ..Default::default() }
}

fn locality(locality: &Locality) -> v3::core::Locality {
    v3::core::Locality {
        region: locality.region.to_string(),
        zone: locality.zone.to_string(),
        sub_zone: locality.sub_zone.to_string(),
    }
}

fn endpoint(host: &HostSpec) -> LbEndpoint {
    let health = match host.health {
        DiscoveryHealth::Healthy => HealthStatus::Healthy,
        DiscoveryHealth::Degraded => HealthStatus::Degraded,
        DiscoveryHealth::Unhealthy => HealthStatus::Unhealthy,
        DiscoveryHealth::Draining => HealthStatus::Draining,
    };
    let endpoint = Endpoint {
        address: Some(Address { address: Some(address(&host.address)) }),
        hostname: host.hostname.to_string(),
        ..Default::default()
    };
    LbEndpoint {
        health_status: health.into(),
        load_balancing_weight: Some(UInt32Value { value: host.weight }),
        host_identifier: Some(HostIdentifier::Endpoint(endpoint)),
        ..Default::default()
    }
}

fn address(address: &HostAddress) -> address::Address {
    match address {
        HostAddress::Ip(ip) => address::Address::SocketAddress(SocketAddress {
            address: ip.ip().to_string(),
            port_specifier: Some(socket_address::PortSpecifier::PortValue(u32::from(ip.port()))),
            ..Default::default()
        }),
        HostAddress::Pipe(path) => {
            address::Address::Pipe(Pipe { path: path.display().to_string(), ..Default::default() })
        }
    }
}
