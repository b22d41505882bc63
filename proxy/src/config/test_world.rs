//! Parts of a snapshot for tests, as plain as they can be: what a test is about it says itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::balance::{Balancing, LbPolicy};
use super::cluster::{Cluster, Discovery, UpstreamProtocol};
use super::listener::{
    ChainMatch, Direction, FilterChain, HeaderCase, Http2Settings, HttpSettings, Inspect, Listener,
    NetworkFilter,
};
use super::live::{Breakers, Connections, Limit, RetryLimit};
use super::route::{Forward, HeaderEdits, Literal, PathMatch, Route, RouteAction, RouteMatch};
use crate::stats::registry::Registry;
use crate::stats::scope::{ClusterStats, ListenerStats, listener_prefix};

/// Limits on connections, pending requests, requests and retries.
pub(crate) fn breakers([connections, pending, requests, retries]: [u32; 4]) -> Arc<Breakers> {
    Arc::new(Breakers {
        connections: Arc::new(Connections::new(Limit::new(connections), None)),
        pools: Limit::new(1024),
        pending: Limit::new(pending),
        requests: Limit::new(requests),
        retries: RetryLimit::Fixed(Limit::new(retries)),
    })
}

/// A cluster of HTTP/1 hosts with these limits.
pub(crate) fn cluster(registry: &Registry, name: &str, limits: [u32; 4]) -> Cluster {
    Cluster {
        name: name.into(),
        discovery: Discovery::Eds { service_name: name.into() },
        balancing: Arc::new(Balancing::of(LbPolicy::RoundRobin)),
        connect_timeout: Duration::from_secs(1),
        protocol: UpstreamProtocol::Http1,
        header_case: HeaderCase::Lower,
        http1_trailers: false,
        http2: Http2Settings {
            max_concurrent_streams: 100,
            stream_window: 65_535,
            connection_window: 65_535,
            hpack_table_size: 4096,
            allow_connect: false,
            keepalive_interval: Duration::ZERO,
            keepalive_timeout: Duration::ZERO,
        },
        idle_timeout: Duration::ZERO,
        max_connection_duration: Duration::ZERO,
        max_stream_duration: Duration::ZERO,
        retry: None,
        remaining: [None, None],
        max_requests_per_connection: 0,
        max_head_bytes: 60 * 1024,
        buffer_limit: usize::MAX,
        max_fields: 100,
        tls: None,
        keepalive: None,
        health_check: None,
        metadata: None,
        alias: None,
        ignore_new_hosts_until_first_hc: false,
        outlier: None,
        close_connections_on_host_set_change: false,
        breakers: [breakers(limits), breakers([1024, 1024, 1024, 3])],
        stats: ClusterStats::for_cluster(registry, name),
        of_no_service: None,
        tracked: None,
    }
}

/// An inbound listener without a chain.
pub(crate) fn listener(registry: &Registry, address: SocketAddr) -> Listener {
    Listener {
        access_logs: Vec::new(),
        name: "lds_ingress".into(),
        address,
        bind_to_port: true,
        ipv4_compat: false,
        use_original_dst: false,
        original_dst: false,
        inspect: Inspect::default(),
        listener_filters_timeout: Duration::ZERO,
        continue_on_timeout: false,
        direction: Direction::Inbound,
        backlog: 128,
        ignores_connection_limit: false,
        bypasses_overload: false,
        chains: Vec::new(),
        default_chain: None,
        metadata: None,
        stats: ListenerStats::for_address(registry, address),
        stats_prefix: listener_prefix(address).into(),
    }
}

/// A chain that takes every connection.
pub(crate) fn chain(http: HttpSettings) -> Arc<FilterChain> {
    Arc::new(FilterChain {
        name: "".into(),
        matches: ChainMatch::default(),
        tls: None,
        transport_socket_timeout: Duration::ZERO,
        guards: Vec::new(),
        filter: NetworkFilter::Http(Arc::new(http)),
        metadata: None,
    })
}

/// A route of every request.
pub(crate) fn route(forward: Forward) -> Route {
    Route {
        name: "".into(),
        matches: RouteMatch {
            path: PathMatch::Prefix(Literal { text: b"/".as_slice().into(), ignore_case: false }),
            headers: Vec::new(),
            query: Vec::new(),
            cookies: Vec::new(),
            ignore_parameters: false,
            grpc: false,
            certificate: None,
            runtime_fraction_ppm: None,
        },
        action: RouteAction::Forward(Box::new(forward)),
        headers: HeaderEdits::default(),
        filters: Default::default(),
        metadata: None,
        tracing: None,
    }
}
