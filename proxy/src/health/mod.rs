//! Active health checks, on the main runtime: which hosts are checked, and one task for each.
//!
//! A [`Checker`] follows the published snapshots. Every host of a cluster with a check (those of clusters that still
//! warm included) has one session, which ends with the host: what discovery removed is neither checked nor used any
//! more, whatever the last check said (Envoy would keep it until it fails). Sessions write health flags into the
//! host's live cells and tell the driver when a host has its first result, because warming waits for that.
//! Source: Envoy "Health checking"; `HealthCheckerImplBase`.

mod connection;
mod event;
mod grpc;
mod http;
mod payload;
mod probe;
mod session;
mod state;
mod tcp;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::config::publish::Subscriber;
use crate::config::{Cluster, ClusterSlot, Host, HostSet};
use crate::stats::registry::Registry;
use session::Session;

/// Keeps the sessions in line with the snapshots.
#[derive(Debug)]
pub struct Checker {
    snapshots: Subscriber,
    registry: Registry,
    /// Rung when a host got its first result.
    checked: Arc<Notify>,
    clusters: HashMap<Box<str>, Watched>,
}

/// A cluster whose hosts are checked.
#[derive(Debug)]
struct Watched {
    group: Arc<Group>,
    /// By uid.
    sessions: HashMap<u64, Running>,
}

/// What the sessions of one cluster share.
#[derive(Debug)]
struct Group {
    cluster: Arc<Cluster>,
    slot: ArcSwap<ClusterSlot>,
    /// A connection was made for a request: checks are as frequent as configured from then on.
    traffic: AtomicBool,
    registry: Registry,
    checked: Arc<Notify>,
}

/// A session; it ends when dropped.
#[derive(Debug)]
struct Running {
    host: Arc<Host>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Checker {
    /// A checker of everything published to `snapshots`. `checked` is rung at every first result of a host.
    pub fn new(snapshots: Subscriber, registry: &Registry, checked: Arc<Notify>) -> Self {
        Self { snapshots, registry: registry.clone(), checked, clusters: HashMap::new() }
    }

    /// Runs until the publisher is gone.
    pub async fn run(mut self) {
        let mut snapshot = self.snapshots.current();
        loop {
            let slots = snapshot.clusters.iter().flatten().chain(&snapshot.warming);
            let checked: Vec<&Arc<ClusterSlot>> =
                slots.filter(|slot| slot.config.health_check.is_some()).collect();
            let names: HashMap<&str, &Arc<ClusterSlot>> =
                checked.iter().map(|slot| (&*slot.config.name, *slot)).collect();
            self.clusters
                .retain(|name, watched| names.contains_key(&**name) || watched.end(&snapshot.clusters));
            for slot in checked {
                self.watch(slot);
            }
            match self.snapshots.changed().await {
                Some(next) => snapshot = next,
                None => return,
            }
        }
    }

    /// Brings the sessions of one cluster in line with its settings and hosts.
    fn watch(&mut self, slot: &Arc<ClusterSlot>) {
        let name = &slot.config.name;
        if self.clusters.get(name).is_some_and(|watched| !Arc::ptr_eq(&watched.group.cluster, &slot.config)) {
            // Other settings: everything starts anew, from the health that is known.
            self.clusters.remove(name);
        }
        let watched = self.clusters.entry(name.clone()).or_insert_with(|| Watched {
            group: Arc::new(Group::new(slot, &self.registry, &self.checked)),
            sessions: HashMap::new(),
        });
        watched.follow(slot);
    }
}

impl Watched {
    fn follow(&mut self, slot: &Arc<ClusterSlot>) {
        self.group.notice_traffic();
        self.group.slot.store(slot.clone());
        let wanted: HashMap<u64, &Arc<Host>> = slot.hosts.hosts.iter().map(|host| (host.uid, host)).collect();
        self.sessions.retain(|uid, running| {
            wanted.get(uid).is_some_and(|host| is_enabled(host) && is_checked_alike(host, &running.host))
        });
        for host in &slot.hosts.hosts {
            if !is_enabled(host) {
                session::forget(host);
            } else if !self.sessions.contains_key(&host.uid) {
                let session = Session::new(self.group.clone(), host.clone());
                let running = Running { host: host.clone(), task: tokio::spawn(session.run()) };
                self.sessions.insert(host.uid, running);
            }
        }
        self.group.gauges();
    }

    /// The cluster is gone or not checked any more; in that case its hosts are healthy. Always false.
    fn end(&mut self, clusters: &[Option<Arc<ClusterSlot>>]) -> bool {
        self.sessions.clear();
        let name = &self.group.cluster.name;
        if let Some(slot) = clusters.iter().flatten().find(|slot| slot.config.name == *name) {
            slot.hosts.hosts.iter().for_each(|host| session::forget(host));
        }
        false
    }
}

impl Group {
    fn new(slot: &Arc<ClusterSlot>, registry: &Registry, checked: &Arc<Notify>) -> Self {
        Self {
            cluster: slot.config.clone(),
            slot: ArcSwap::new(slot.clone()),
            traffic: AtomicBool::new(false),
            registry: registry.clone(),
            checked: checked.clone(),
        }
    }

    fn hosts(&self) -> Arc<HostSet> {
        self.slot.load().hosts.clone()
    }

    /// Whether the cluster ever had traffic; remembered when its hosts go.
    fn notice_traffic(&self) -> bool {
        if self.hosts().hosts.iter().any(|host| host.live.cx_total.load(Ordering::Relaxed) > 0) {
            self.traffic.store(true, Ordering::Relaxed);
        }
        self.traffic.load(Ordering::Relaxed)
    }

    fn gauges(&self) {
        let Some(check) = &self.cluster.health_check else { return };
        let (shard, hosts) = (self.registry.shared(), self.hosts());
        let count = |what: fn(u32) -> bool| {
            let checked = hosts.hosts.iter().filter(|host| is_enabled(host));
            checked.filter(|host| what(host.live.health.flags())).count() as i64
        };
        shard.gauge_set(check.stats.healthy, count(state::is_healthy));
        shard.gauge_set(check.stats.degraded, count(state::is_degraded));
    }
}

fn is_enabled(host: &Host) -> bool {
    host.check.as_ref().is_none_or(|check| !check.disabled)
}

/// Whether a session for one is a session for the other: weights and priorities may differ.
fn is_checked_alike(one: &Host, other: &Host) -> bool {
    one.address == other.address && one.check == other.check && Arc::ptr_eq(&one.live, &other.live)
}
