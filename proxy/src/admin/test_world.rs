//! A small world for tests of the endpoints: one cluster, one listener, scripted process and configuration.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use futures_util::future::BoxFuture;
use hyper::StatusCode;
use serde_json::{Value, json};

use super::logging::{Level, LogLevels};
use super::reply::{Body, Reply};
use super::*;
use crate::config::cluster::{Host, HostSet, Locality};
use crate::config::live::HostLive;
use crate::config::publish::{self, Publisher};
use crate::config::{ClusterSlot, ListenerSlot, Snapshot, test_world};
use crate::observe::collect::{Collector, Constants, Vitals};

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

    fn unresolved(&self) -> BoxFuture<'_, Vec<(String, String)>> {
        let why = "\"dead.local.\": no such name (NXDOMAIN), 3 s ago";
        Box::pin(async move { vec![("dead".to_owned(), why.to_owned())] })
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
            config: Arc::new(test_world::cluster(registry, "up:1", [5, 1024, 1024, 3])),
            hosts: Arc::new(HostSet {
                hosts: vec![Arc::new(host())],
                localities: vec![Locality { region: "us".into(), ..Locality::default() }],
                ..HostSet::default()
            }),
        });
        let dead = Arc::new(ClusterSlot {
            config: Arc::new(test_world::cluster(registry, "dead", [1024, 1024, 1024, 3])),
            hosts: Arc::default(),
        });
        let listener = test_world::listener(registry, SocketAddr::from(([127, 0, 0, 1], 18080)));
        let listener = ListenerSlot { config: Arc::new(listener), sockets: None };
        self.publisher.publish(Snapshot {
            clusters: vec![Some(up.clone()), None, Some(dead)],
            listeners: vec![Some(Arc::new(listener))],
            ..Snapshot::default()
        });
        up
    }
}

/// `127.0.0.1:19901`, which has served a little.
fn host() -> Host {
    let live = HostLive::default();
    live.cx_active.store(2, Ordering::Relaxed);
    live.cx_total.store(2, Ordering::Relaxed);
    live.rq_total.store(3, Ordering::Relaxed);
    live.rq_success.store(3, Ordering::Relaxed);
    let plain = Host::at(1, SocketAddr::from(([127, 0, 0, 1], 19901)));
    Host { hostname: "hh".into(), live: Arc::new(live), ..plain }
}

/// The text of a whole answer.
pub(super) fn text(reply: Reply) -> (StatusCode, String) {
    let text = match reply.body {
        Body::Whole(text) => text,
        Body::Pieces(pieces) => pieces.collect(),
        Body::Live(_) => panic!("a live answer"),
    };
    (reply.status, text)
}
