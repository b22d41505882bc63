//! Clusters: other nodes, the local application, a gateway's loop, and what is outside the mesh.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use outrigger_xds_protos::v3::cluster::circuit_breakers::Thresholds;
use outrigger_xds_protos::v3::cluster::cluster::{
    ClusterDiscoveryType, DiscoveryType, DnsLookupFamily, EdsClusterConfig, LbPolicy,
};
use outrigger_xds_protos::v3::cluster::{CircuitBreakers, Cluster};
use outrigger_xds_protos::v3::core::{Http1ProtocolOptions, Http2ProtocolOptions, TransportSocket};
use outrigger_xds_protos::v3::http_options::HttpProtocolOptions;
use outrigger_xds_protos::v3::http_options::http_protocol_options::explicit_http_config::ProtocolConfig;
use outrigger_xds_protos::v3::http_options::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig,
};
use outrigger_xds_protos::v3::wkt;

use super::message::{ads, duration, number, packed, stats_metadata};
use super::options::TranslateOptions;
use super::{Resources, endpoint, health, route};
use crate::graph::service::Target;
use crate::graph::{Graph, MeshGraph};
use crate::model::{ConnectionPool, DnsResponseType, IpPreference, NodeListener, Protocol, ServiceDiscovery};

const LOCAL_CONNECT: Duration = Duration::from_millis(250);
const REMOTE_CONNECT: Duration = Duration::from_secs(1);
/// What App Mesh writes for "no limit".
const UNLIMITED: u32 = 2_147_483_647;
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// Adds the cluster of another node's listener, and its endpoints where they are pushed.
pub fn add_target(
    graph: &Graph,
    mesh: &MeshGraph,
    target: &Target<'_>,
    socket: Option<TransportSocket>,
    options: &TranslateOptions,
    resources: &mut Resources,
) {
    let name = route::target_cluster(mesh, target);
    let listener = target.listener;
    let mut cluster = Cluster {
        health_checks: listener.health_check.iter().map(health::check).collect(),
        outlier_detection: listener.outlier_detection.as_ref().map(health::outlier),
        transport_socket: socket,
        metadata: Some(stats_metadata(&[("TargetVirtualNode", &target.node.meta.name)])),
        ..base(name, REMOTE_CONNECT, listener.port_mapping.protocol, thresholds(None))
    };
    discovery(graph, mesh, target, options, &mut cluster, resources);
    resources.add_cluster(cluster);
}

fn discovery(
    graph: &Graph,
    mesh: &MeshGraph,
    target: &Target<'_>,
    options: &TranslateOptions,
    cluster: &mut Cluster,
    resources: &mut Resources,
) {
    let port = target.listener.port_mapping.port;
    let mesh_preference = mesh.resource.as_ref().and_then(|r| r.spec.ip_preference);
    let key = (target.node.meta.name.clone(), port);
    if let Some(addresses) = options.endpoints.get(&key) {
        set_hosts(cluster, DiscoveryType::Static, endpoint::hosts(addresses));
        return;
    }
    match &target.node.spec.service_discovery {
        Some(ServiceDiscovery::Dns { hostname, response_type, ip_preference, .. }) => {
            let kind = match response_type {
                Some(DnsResponseType::Endpoints) => DiscoveryType::StrictDns,
                _ => DiscoveryType::LogicalDns,
            };
            set_hosts(cluster, kind, vec![(absolute(hostname), port)]);
            cluster.dns_lookup_family = lookup_family(ip_preference.or(mesh_preference)) as i32;
        }
        Some(ServiceDiscovery::CloudMap { namespace, service, attributes, ip_preference, .. }) => {
            let preference = ip_preference.or(mesh_preference);
            let addresses = endpoint::cloud_map(graph, namespace, service, attributes, preference);
            let hosts = addresses.into_iter().map(|a| (a.to_string(), port)).collect();
            let config = EdsClusterConfig { eds_config: Some(ads()), ..Default::default() };
            cluster.eds_cluster_config = Some(config);
            cluster.cluster_discovery_type = Some(ClusterDiscoveryType::Type(DiscoveryType::Eds as i32));
            // A host that discovery no longer names is gone, whatever its last check said.
            cluster.ignore_health_on_host_removal = true;
            resources.endpoints.insert(cluster.name.clone(), endpoint::assignment(&cluster.name, hosts));
        }
        None => set_hosts(cluster, DiscoveryType::Static, Vec::new()),
    }
}

fn set_hosts(cluster: &mut Cluster, kind: DiscoveryType, hosts: Vec<(String, u16)>) {
    cluster.cluster_discovery_type = Some(ClusterDiscoveryType::Type(kind as i32));
    cluster.load_assignment = Some(endpoint::assignment(&cluster.name, hosts));
}

/// A name is absolute, so that no search domain is tried; an address stays as it is.
fn absolute(hostname: &str) -> String {
    if hostname.ends_with('.') || hostname.parse::<IpAddr>().is_ok() {
        hostname.to_owned()
    } else {
        format!("{hostname}.")
    }
}

fn lookup_family(preference: Option<IpPreference>) -> DnsLookupFamily {
    match preference {
        None | Some(IpPreference::V6Preferred) => DnsLookupFamily::Auto,
        Some(IpPreference::V4Preferred) => DnsLookupFamily::V4Preferred,
        Some(IpPreference::V4Only) => DnsLookupFamily::V4Only,
        Some(IpPreference::V6Only) => DnsLookupFamily::V6Only,
    }
}

/// The cluster of the node's own application, reached by TLS where there is a socket for it.
pub fn application(
    name: String,
    listener: &NodeListener,
    tls: Option<TransportSocket>,
    (host, port): (String, u16),
) -> Cluster {
    let thresholds = thresholds(listener.connection_pool.as_ref());
    // A handshake takes an application's CPU, which a small task has little of.
    let connect = if tls.is_some() { REMOTE_CONNECT } else { LOCAL_CONNECT };
    let mut cluster = base(name, connect, listener.port_mapping.protocol, thresholds);
    cluster.transport_socket = tls;
    set_hosts(&mut cluster, DiscoveryType::Static, vec![(host, port)]);
    cluster
}

/// The cluster by which a gateway sends requests to its own second hop.
pub fn self_redirect(
    name: String,
    protocol: Protocol,
    pool: Option<&ConnectionPool>,
    host: String,
    port: u16,
) -> Cluster {
    let mut cluster = base(name, LOCAL_CONNECT, protocol, thresholds(pool));
    set_hosts(&mut cluster, DiscoveryType::Static, vec![(host, port)]);
    cluster
}

/// A cluster that connects to where the connection was going. HTTP is passed on in the version it came in.
pub fn original_destination(name: String) -> Cluster {
    let options = UpstreamProtocolOptions::UseDownstreamProtocolConfig(UseDownstreamHttpConfig {
        http_protocol_options: Some(Http1ProtocolOptions::default()),
        http2_protocol_options: Some(Http2ProtocolOptions::default()),
        ..Default::default()
    });
    Cluster {
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::OriginalDst as i32)),
        lb_policy: LbPolicy::ClusterProvided as i32,
        typed_extension_protocol_options: protocol_options(options),
        ..base(name, REMOTE_CONNECT, Protocol::Http, thresholds(None))
    }
}

fn base(name: String, connect: Duration, protocol: Protocol, thresholds: Thresholds) -> Cluster {
    let http2 = || {
        UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
            protocol_config: Some(ProtocolConfig::Http2ProtocolOptions(Http2ProtocolOptions::default())),
        })
    };
    let options = if protocol.is_http2() { protocol_options(http2()) } else { HashMap::new() };
    Cluster {
        name,
        connect_timeout: Some(duration(connect)),
        circuit_breakers: Some(CircuitBreakers { thresholds: vec![thresholds], ..Default::default() }),
        typed_extension_protocol_options: options,
        ..Default::default()
    }
}

fn protocol_options(options: UpstreamProtocolOptions) -> HashMap<String, wkt::Any> {
    let options = HttpProtocolOptions { upstream_protocol_options: Some(options), ..Default::default() };
    HashMap::from([(HTTP_OPTIONS.to_owned(), packed(&options))])
}

/// Limits of the default priority; all of them are without limit where nothing is written.
fn thresholds(pool: Option<&ConnectionPool>) -> Thresholds {
    let (connections, pending, requests) = match pool {
        Some(ConnectionPool::Http { max_connections, max_pending_requests }) => {
            (Some(*max_connections), *max_pending_requests, None)
        }
        Some(ConnectionPool::Http2 { max_requests } | ConnectionPool::Grpc { max_requests }) => {
            (None, None, Some(*max_requests))
        }
        Some(ConnectionPool::Tcp { max_connections }) => (Some(*max_connections), None, None),
        None => (None, None, None),
    };
    let limit = |written: Option<u32>| Some(number(written.unwrap_or(UNLIMITED)));
    Thresholds {
        max_connections: limit(connections),
        max_pending_requests: limit(pending),
        max_requests: limit(requests),
        max_retries: limit(None),
        ..Default::default()
    }
}
