//! A small world for tests of the endpoints: one cluster, one listener, scripted process and configuration.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::logging::{Level, LogLevels};
use super::*;
use crate::config::balance::{Balancing, LbPolicy};
use crate::config::cluster::*;
use crate::config::listener::{Direction, HeaderCase, Http2Settings, Inspect, Listener};
use crate::config::live::{Breakers, Connections, HostLive, Limit, RetryLimit};
use crate::config::publish::{self, Publisher};
use crate::config::{ListenerSlot, Snapshot};
use crate::observe::collect::{Collector, Constants, Vitals};
use crate::stats::scope::{ClusterStats, ListenerStats};

/// What the endpoints commanded.
#[derive(Debug, Default)]
pub(super) struct Script {
    pub(super) failing: AtomicBool,
    pub(super) quits: AtomicU64,
    pub(super) reopened: AtomicU64,
    pub(super) drains: Mutex<Vec<DrainRequest>>,
}

impl Process for Script {
    fn state(&self) -> ServerState {
        if self.failing.load(Ordering::Relaxed) { ServerState::Draining } else { ServerState::Live }
    }

    fn drain(&self, request: DrainRequest) {
        self.drains.lock().unwrap().push(request);
    }

    fn fail_health_checks(&self, failing: bool) {
        self.failing.store(failing, Ordering::Relaxed);
    }

    fn quit(&self) {
        self.quits.fetch_add(1, Ordering::Relaxed);
    }

    fn reopen_logs(&self) {
        self.reopened.fetch_add(1, Ordering::Relaxed);
    }
}

struct Resources;

impl ConfigView for Resources {
    fn sections(&self, include_eds: bool) -> BoxFuture<'_, Vec<Value>> {
        let _ = include_eds;
        Box::pin(async { super::dump::tests::sections() })
    }

    fn unready(&self) -> BoxFuture<'_, Value> {
        Box::pin(async { json!({}) })
    }

    fn unconfigured(&self) -> BoxFuture<'_, Vec<String>> {
        Box::pin(async { Vec::new() })
    }

    fn is_static_cluster(&self, name: &str) -> bool {
        name == "dead"
    }

    fn certificates(&self) -> Vec<CertificatePair> {
        Vec::new()
    }
}

pub(super) struct World {
    pub(super) state: Arc<AdminState>,
    pub(super) script: Arc<Script>,
    pub(super) publisher: Publisher,
}

impl World {
    pub(super) fn new() -> Self {
        let registry = Registry::new();
        let (publisher, snapshots) = publish::channel();
        let script = Arc::new(Script::default());
        let started = Instant::now();
        let vitals = Box::new(|| Vitals { state: 0, connections: 3, until_expiry: None });
        let constants = Constants::of(2);
        let state = AdminState {
            stats_config: Arc::default(),
            mesh: None,
            collector: Arc::new(Collector::new(&registry, snapshots.clone(), started, constants, vitals)),
            registry,
            snapshots,
            info: ServerInfo {
                version: "0000/0.1.0/Clean/RELEASE/rustls".to_owned(),
                started,
                command_line_options: json!({ "concurrency": 2, "mode": "Serve" }),
                node: json!({ "id": "mesh/m/virtualNode/n" }),
            },
            process: script.clone(),
            config: Arc::new(Resources),
            logging: LogLevels::new(Level::Info, Box::new(|_| Ok(()))),
        };
        Self { state: Arc::new(state), script, publisher }
    }

    /// Publishes clusters `up:1` (xDS, one host) and `dead` (static, no host), and a listener.
    pub(super) fn publish(&self) -> Arc<ClusterSlot> {
        let registry = &self.state.registry;
        let up = Arc::new(ClusterSlot {
            config: Arc::new(cluster(registry, "up:1", [5, 1024, 1024, 3])),
            hosts: Arc::new(HostSet {
                hosts: vec![Arc::new(host())],
                localities: vec![Locality { region: "us".into(), ..Locality::default() }],
                ..HostSet::default()
            }),
        });
        let dead = Arc::new(ClusterSlot {
            config: Arc::new(cluster(registry, "dead", [1024, 1024, 1024, 3])),
            hosts: Arc::default(),
        });
        let listener = ListenerSlot { config: Arc::new(listener(registry)), sockets: None };
        self.publisher.publish(Snapshot {
            clusters: vec![Some(up.clone()), None, Some(dead)],
            listeners: vec![Some(Arc::new(listener))],
            ..Snapshot::default()
        });
        up
    }
}

use crate::config::ClusterSlot;

pub(crate) fn cluster(registry: &Registry, name: &str, limits: [u32; 4]) -> Cluster {
    let breakers = |[connections, pending, requests, retries]: [u32; 4]| {
        Arc::new(Breakers {
            connections: Arc::new(Connections::new(Limit::new(connections), None)),
            pools: Limit::new(u32::MAX),
            pending: Limit::new(pending),
            requests: Limit::new(requests),
            retries: RetryLimit::Fixed(Limit::new(retries)),
        })
    };
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
    }
}

fn host() -> Host {
    let live = HostLive::default();
    live.cx_active.store(2, Ordering::Relaxed);
    live.cx_total.store(2, Ordering::Relaxed);
    live.rq_total.store(3, Ordering::Relaxed);
    live.rq_success.store(3, Ordering::Relaxed);
    Host {
        uid: 1,
        address: HostAddress::Ip(SocketAddr::from(([127, 0, 0, 1], 19901))),
        display: "127.0.0.1:19901".into(),
        hostname: "hh".into(),
        weight: 1,
        priority: 0,
        locality: 0,
        health: DiscoveryHealth::Healthy,
        metadata: None,
        labels: None,
        check: None,
        live: Arc::new(live),
    }
}

pub(crate) fn listener(registry: &Registry) -> Listener {
    let address = SocketAddr::from(([127, 0, 0, 1], 18080));
    Listener {
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
    }
}
