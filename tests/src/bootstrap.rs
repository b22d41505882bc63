//! Envoy configuration as JSON, in the pieces most scenarios share.
//!
//! The same text configures our sidecar and Envoy, statically or as xDS resources.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::tls::Identity;

/// A bootstrap with static resources and an admin endpoint on a free port.
pub fn with_static(listeners: &[Value], clusters: &[Value]) -> Value {
    json!({
        "node": {"id": "test-node", "cluster": "test-cluster"},
        "admin": admin(),
        "static_resources": {"listeners": listeners, "clusters": clusters},
    })
}

/// A bootstrap that takes everything from the aggregated xDS server at `server`.
pub fn with_ads(server: SocketAddr, api_type: &str) -> Value {
    with_ads_as("test-node", server, api_type)
}

/// The same for a node of this id.
pub fn with_ads_as(id: &str, server: SocketAddr, api_type: &str) -> Value {
    let source = json!({"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"});
    json!({
        "node": {"id": id, "cluster": "test-cluster"},
        "admin": admin(),
        "dynamic_resources": {
            "lds_config": source,
            "cds_config": source,
            "ads_config": stream(api_type),
        },
        "cluster_manager": {"load_stats_config": stream("GRPC")},
        "static_resources": {"clusters": [over_http2(cluster("xds", &[server]))]},
    })
}

/// A stream to the server of the cluster `xds`.
fn stream(api_type: &str) -> Value {
    json!({
        "api_type": api_type,
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
    })
}

fn admin() -> Value {
    json!({"address": address(([127, 0, 0, 1], 0).into())})
}

/// A socket address.
pub fn address(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

/// A STATIC round-robin cluster.
pub fn cluster(name: &str, endpoints: &[SocketAddr]) -> Value {
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": load_assignment(name, endpoints),
    })
}

/// A cluster whose endpoints come over the aggregated stream.
pub fn eds_cluster(name: &str) -> Value {
    json!({
        "name": name,
        "type": "EDS",
        "connect_timeout": "1s",
        "eds_cluster_config": {"eds_config": {"ads": {}, "resource_api_version": "V3"}},
    })
}

/// The endpoints of a cluster.
pub fn load_assignment(cluster: &str, endpoints: &[SocketAddr]) -> Value {
    let endpoints: Vec<_> = endpoints.iter().map(|e| json!({"endpoint": {"address": address(*e)}})).collect();
    json!({"cluster_name": cluster, "endpoints": [{"lb_endpoints": endpoints}]})
}

/// The cluster, spoken to in HTTP/2 with prior knowledge.
pub fn over_http2(mut cluster: Value) -> Value {
    cluster["typed_extension_protocol_options"] = json!({
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        },
    });
    cluster
}

/// A listener with one HTTP connection manager; `routing` is its `route_config` or `rds`.
pub fn http_listener(name: &str, at: SocketAddr, routing: (&str, Value)) -> Value {
    let mut manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
        }],
    });
    manager[routing.0] = routing.1;
    filter_listener(
        name,
        at,
        json!({"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}),
    )
}

/// A listener that proxies bytes to `cluster`.
pub fn tcp_listener(name: &str, at: SocketAddr, cluster: &str) -> Value {
    let proxy = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": name,
        "cluster": cluster,
    });
    filter_listener(name, at, json!({"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}))
}

/// A listener with one network filter.
pub fn filter_listener(name: &str, at: SocketAddr, filter: Value) -> Value {
    json!({"name": name, "address": address(at), "filter_chains": [{"filters": [filter]}]})
}

/// The transport socket of a filter chain that terminates TLS and offers these protocols.
pub fn terminate_tls(identity: &Identity, protocols: &[&str]) -> Value {
    json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {
                "alpn_protocols": protocols,
                "tls_certificates": [{
                    "certificate_chain": {"inline_string": identity.certificate},
                    "private_key": {"inline_string": identity.key},
                }],
            },
        },
    })
}

/// The HTTP connection manager of a listener, for what [`http_listener`] does not set.
pub fn manager_of(listener: &mut Value) -> &mut Value {
    &mut listener["filter_chains"][0]["filters"][0]["typed_config"]
}

/// Routes taken from the aggregated stream.
pub fn rds(route_config: &str) -> (&'static str, Value) {
    let source = json!({"ads": {}, "resource_api_version": "V3"});
    ("rds", json!({"route_config_name": route_config, "config_source": source}))
}

/// Routes given inline.
pub fn inline(route_config: Value) -> (&'static str, Value) {
    ("route_config", route_config)
}

/// A route table of virtual hosts.
pub fn route_config(name: &str, virtual_hosts: &[Value]) -> Value {
    json!({"name": name, "virtual_hosts": virtual_hosts})
}

/// A virtual host.
pub fn virtual_host(name: &str, domains: &[&str], routes: &[Value]) -> Value {
    json!({"name": name, "domains": domains, "routes": routes})
}

/// A route by path prefix.
pub fn prefix_route(prefix: &str, cluster: &str) -> Value {
    json!({"match": {"prefix": prefix}, "route": {"cluster": cluster}})
}
