//! The world as one worker sees it: a snapshot plus this worker's balancers and pools, by cluster id.
//!
//! Built by `worker/reconcile` for every generation; unchanged clusters keep their state by pointer.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::aggregate::Aggregate;
use super::lb::{Availability, Balancer, Origin, PickContext};
use super::local::Local;
use super::pool::{HostPool, PoolPlace};
use crate::base::LARGEST_BUFFER;
use crate::base::ids::ClusterId;
use crate::config::cluster::{Discovery, Host};
use crate::config::live::Priority;
use crate::config::{Cluster, ClusterSlot, HostSet, Snapshot};
use crate::http::codec::h1;

/// A snapshot and this worker's state of each cluster.
#[derive(Debug, Default)]
pub struct View {
    /// The published world.
    pub snapshot: Arc<Snapshot>,
    clusters: Vec<Option<Rc<ClusterState>>>,
    /// Where requests start, when the bootstrap names a local cluster.
    origin: Option<Rc<Origin>>,
}

/// This worker's state of one cluster.
#[derive(Debug)]
pub struct ClusterState {
    slot: Arc<ClusterSlot>,
    balancer: RefCell<Balancer>,
    /// By host index: of default and of high priority.
    pools: Vec<[RefCell<Option<Rc<HostPool>>>; 2]>,
    original: RefCell<HashMap<(SocketAddr, Priority), OriginalHost>>,
    /// Members, of a cluster made of clusters.
    pub(super) aggregate: Option<Aggregate>,
    /// Client codec options of HTTP/1 connections.
    pub h1_options: Rc<h1::ClientOptions>,
}

/// A state that is no longer part of the view.
#[derive(Debug)]
pub struct Retired {
    state: Rc<ClusterState>,
    /// What has its id now: an update of the cluster, or another cluster.
    successor: Option<Rc<ClusterState>>,
}

impl Retired {
    /// Closes what the successor has not taken over.
    pub fn end(self, local: &Local) {
        self.state.retire(self.successor.as_deref(), local);
    }
}

/// A host made on demand by an ORIGINAL_DST cluster.
#[derive(Debug)]
struct OriginalHost {
    pool: Rc<HostPool>,
    used: Instant,
}

impl View {
    /// The next view: state of unchanged clusters is carried over, pools of hosts that stayed are kept.
    /// Returns the states that are no longer part of it, for draining.
    pub fn next(previous: &View, snapshot: Arc<Snapshot>, local: &Local) -> (Self, Vec<Retired>) {
        let mut retired = Vec::new();
        let mut clusters = Vec::with_capacity(snapshot.clusters.len());
        let origin = next_origin(previous.origin.as_ref(), &snapshot);
        let moved = origin.as_ref().map(Rc::as_ptr) != previous.origin.as_ref().map(Rc::as_ptr);
        for (index, slot) in snapshot.clusters.iter().enumerate() {
            let old = previous.clusters.get(index).and_then(Option::as_ref);
            let (state, before) = next_state(old, slot.as_ref(), origin.as_ref(), local);
            if let (true, None, Some(kept)) = (moved, &before, &state) {
                kept.move_to(origin.as_ref(), local);
            }
            retired.extend(before.map(|before| Retired { state: before, successor: state.clone() }));
            clusters.push(state);
        }
        (Self { snapshot, clusters, origin }, retired)
    }

    /// The cluster, when it is there and warm.
    #[inline]
    pub fn cluster(&self, id: ClusterId) -> Option<&Rc<ClusterState>> {
        self.clusters.get(id.index())?.as_ref()
    }

    /// Whether `address` is one of our own bound listeners: dialling it would be calling ourselves.
    pub fn is_own_listener(&self, address: SocketAddr) -> bool {
        let local = address.ip().is_loopback() || address.ip().is_unspecified();
        let bound = self.snapshot.listeners.iter().flatten().filter_map(|slot| slot.sockets.as_ref());
        bound.map(|sockets| sockets.address).any(|own| {
            own.port() == address.port() && (own.ip() == address.ip() || (local && own.ip().is_unspecified()))
        })
    }

    /// Members of the cluster that this process belongs to, well or not; 1 where none is known.
    pub fn own_members(&self) -> u64 {
        self.origin.as_ref().map_or(1, |origin| origin.hosts.hosts.len().max(1) as u64)
    }

    /// Every cluster that is there.
    pub fn clusters(&self) -> impl Iterator<Item = &Rc<ClusterState>> {
        self.clusters.iter().flatten()
    }
}

/// Where requests start from now on; what it was when nothing changed.
fn next_origin(previous: Option<&Rc<Origin>>, snapshot: &Snapshot) -> Option<Rc<Origin>> {
    let hosts = &snapshot.cluster(snapshot.place.cluster?)?.hosts;
    match previous {
        Some(origin) if Arc::ptr_eq(&origin.hosts, hosts) => Some(origin.clone()),
        _ => Some(Rc::new(Origin { locality: snapshot.place.locality.clone(), hosts: hosts.clone() })),
    }
}

/// The state for a slot, and the old state when it was replaced or removed.
fn next_state(
    old: Option<&Rc<ClusterState>>,
    slot: Option<&Arc<ClusterSlot>>,
    origin: Option<&Rc<Origin>>,
    local: &Local,
) -> (Option<Rc<ClusterState>>, Option<Rc<ClusterState>>) {
    match (old, slot) {
        (old, None) => (None, old.cloned()),
        (Some(old), Some(slot)) if Arc::ptr_eq(&old.slot, slot) => (Some(old.clone()), None),
        (Some(old), Some(slot)) if Arc::ptr_eq(&old.slot.config, &slot.config) => {
            (Some(Rc::new(ClusterState::with_hosts(old, slot.clone(), origin, local))), Some(old.clone()))
        }
        (old, Some(slot)) => (Some(Rc::new(ClusterState::new(slot.clone(), origin, local))), old.cloned()),
    }
}

impl ClusterState {
    /// State of a new or changed cluster, without connections.
    pub fn new(slot: Arc<ClusterSlot>, origin: Option<&Rc<Origin>>, local: &Local) -> Self {
        let state = Self::without_history(slot, origin, local);
        state.count_subsets(None, local);
        state
    }

    fn without_history(slot: Arc<ClusterSlot>, origin: Option<&Rc<Origin>>, local: &Local) -> Self {
        let (settings, hosts) = (slot.config.balancing.clone(), slot.hosts.clone());
        let balancer =
            local.random(|rng| Balancer::new(settings, hosts, origin.cloned(), Instant::now(), rng));
        let pools = slot.hosts.hosts.iter().map(|_| Default::default()).collect();
        let options = h1::ClientOptions {
            max_head_bytes: slot.config.max_head_bytes,
            max_fields: slot.config.max_fields,
            trailers: slot.config.http1_trailers,
            header_case: slot.config.header_case,
            large_reads: slot.config.buffer_limit >= LARGEST_BUFFER,
        };
        let is_aggregate = matches!(slot.config.discovery, Discovery::Aggregate(_));
        let aggregate = is_aggregate.then(Aggregate::default);
        Self {
            slot,
            balancer: RefCell::new(balancer),
            pools,
            original: RefCell::default(),
            aggregate,
            h1_options: Rc::new(options),
        }
    }

    /// State after a host update: pools of hosts that are still there move over.
    fn with_hosts(
        old: &ClusterState,
        slot: Arc<ClusterSlot>,
        origin: Option<&Rc<Origin>>,
        local: &Local,
    ) -> Self {
        let mut next = Self::without_history(slot, origin, local);
        next.count_subsets(Some(old), local);
        if !old.keeps_connections(&next) {
            return next;
        }
        let kept = old.slot.hosts.hosts.iter().zip(&old.pools);
        let kept: HashMap<u64, [Option<Rc<HostPool>>; 2]> = kept
            .map(|(host, pools)| (host.uid, pools.each_ref().map(|pool| pool.borrow().clone())))
            .collect();
        for (host, cells) in next.slot.hosts.hosts.iter().zip(&mut next.pools) {
            if let Some(pools) = kept.get(&host.uid) {
                *cells = pools.clone().map(RefCell::new);
            }
        }
        next.original = RefCell::new(old.original.take());
        next
    }

    /// Counts the subsets that came and went since `old`.
    fn count_subsets(&self, old: Option<&ClusterState>, local: &Local) {
        let balancer = self.balancer.borrow();
        let Some(now) = balancer.subsets() else { return };
        let old = old.map(|old| old.balancer.borrow());
        let before = old.as_ref().and_then(|old| old.subsets());
        let kept = before.map_or(0, |before| now.shared_with(before));
        let (created, removed) = (now.len() - kept, before.map_or(0, |before| before.len() - kept));
        let stats = &self.config().stats;
        local.stats.add(stats.lb_subsets_created, created as u64);
        local.stats.add(stats.lb_subsets_removed, removed as u64);
        local.stats.gauge_add(stats.lb_subsets_active, created as i64 - removed as i64);
        let duplicates = now.duplicates() as i64 - before.map_or(0, |before| before.duplicates() as i64);
        local.stats.gauge_add(stats.lb_subsets_single_host_duplicate, duplicates);
    }

    /// The subsets end with this state.
    fn forget_subsets(&self, local: &Local) {
        let balancer = self.balancer.borrow();
        let Some(now) = balancer.subsets() else { return };
        let stats = &self.config().stats;
        local.stats.add(stats.lb_subsets_removed, now.len() as u64);
        local.stats.gauge_add(stats.lb_subsets_active, -(now.len() as i64));
        local.stats.gauge_add(stats.lb_subsets_single_host_duplicate, -(now.duplicates() as i64));
    }

    /// Requests start elsewhere from now on.
    fn move_to(&self, origin: Option<&Rc<Origin>>, local: &Local) {
        let mut balancer = self.balancer.borrow_mut();
        if balancer.has_zones() {
            local.random(|rng| balancer.move_to(origin.cloned(), Instant::now(), rng));
        }
    }

    /// Whether connections outlive the step to `next`: with `close_connections_on_host_set_change` only when no host
    /// comes or goes.
    fn keeps_connections(&self, next: &Self) -> bool {
        let uids =
            |state: &Self| -> HashSet<u64> { state.slot.hosts.hosts.iter().map(|host| host.uid).collect() };
        !self.config().close_connections_on_host_set_change || uids(self) == uids(next)
    }

    /// Settings.
    #[inline]
    pub fn config(&self) -> &Arc<Cluster> {
        &self.slot.config
    }

    /// Hosts.
    pub fn hosts(&self) -> &Arc<HostSet> {
        &self.slot.hosts
    }

    /// Picks a host: this worker's connections of this priority to it. `destination` is where an ORIGINAL_DST cluster
    /// is to go: the connection's restored destination, or what a header of the request says.
    pub fn pick(
        &self,
        local: &Local,
        context: PickContext<'_>,
        destination: Option<SocketAddr>,
        priority: Priority,
    ) -> Option<Rc<HostPool>> {
        if let Discovery::OriginalDst { port_override, .. } = &self.config().discovery {
            let mut destination = destination?;
            destination.set_port(port_override.unwrap_or(destination.port()));
            return self.original_host(local, destination, priority);
        }
        let mut balancer = self.balancer.borrow_mut();
        self.follow_health(&mut balancer, local);
        let (choice, notes) = local.random(|rng| balancer.pick(context, &Instant::now, rng));
        notes.count(&self.config().stats, &local.stats);
        let index = choice?;
        let host = self.slot.hosts.hosts.get(index)?;
        let cell = &self.pools.get(index)?[priority as usize];
        if let Some(pool) = &*cell.borrow() {
            return Some(pool.clone());
        }
        let pool = self.new_pool(local, host.clone(), priority)?;
        cell.replace(Some(pool.clone()));
        Some(pool)
    }

    /// A new pool, in the place of one that nobody uses when there may not be more.
    fn new_pool(&self, local: &Local, host: Arc<Host>, priority: Priority) -> Option<Rc<HostPool>> {
        let take = || PoolPlace::take(self.config(), priority, local.index);
        let place = take().or_else(|| {
            let unused = |cell: &&RefCell<Option<Rc<HostPool>>>| {
                cell.borrow().as_ref().is_some_and(|pool| pool.is_unused())
            };
            let pool = self.pools.iter().map(|pools| &pools[priority as usize]).find(unused)?.take();
            drop(pool);
            take()
        });
        let Some(place) = place else {
            local.stats.inc(self.config().stats.upstream_cx_pool_overflow);
            return None;
        };
        Some(Rc::new(HostPool::new(host, priority, place)))
    }

    /// Closes an idle connection to another host, so that `pool` may open one.
    pub fn close_idle(&self, pool: &HostPool) {
        let connections = &self.config().breakers(pool.priority()).connections;
        let mut pools =
            self.pools.iter().filter_map(|pools| pools[pool.priority() as usize].borrow().clone());
        if connections.limit().is_open() {
            pools.any(|other| other.close_idle());
        }
    }

    /// Lists follow the hosts' health, and connections to hosts that failed take no new requests.
    #[inline]
    fn follow_health(&self, balancer: &mut Balancer, local: &Local) {
        let Some(failed) = local.random(|rng| balancer.refresh(Instant::now, rng)) else { return };
        for pools in failed.into_iter().filter_map(|index| self.pools.get(index)) {
            pools.iter().filter_map(RefCell::take).for_each(|pool| pool.drain());
        }
    }

    /// The health changes that are taken into account, with those that happened since.
    pub(super) fn epoch(&self, local: &Local) -> u64 {
        let mut balancer = self.balancer.borrow_mut();
        self.follow_health(&mut balancer, local);
        balancer.epoch()
    }

    /// The same, and the hosts of each priority.
    pub(super) fn levels(&self, local: &Local) -> (u64, Vec<Availability>) {
        let epoch = self.epoch(local);
        (epoch, self.balancer.borrow().levels().to_vec())
    }

    /// How many of its hosts are healthy or degraded, and how many it has.
    pub fn usable(&self, local: &Local) -> (u64, u64) {
        let (_, levels) = self.levels(local);
        let usable = levels.iter().map(|level| level.hosts.healthy + level.hosts.degraded).sum();
        (usable, levels.iter().map(|level| level.all).sum())
    }

    /// The host for an original destination, created at first sight.
    fn original_host(
        &self,
        local: &Local,
        destination: SocketAddr,
        priority: Priority,
    ) -> Option<Rc<HostPool>> {
        let mut known = self.original.borrow_mut();
        if let Some(entry) = known.get_mut(&(destination, priority)) {
            entry.used = Instant::now();
            return Some(entry.pool.clone());
        }
        let pool = self.new_pool(local, Arc::new(Host::at(0, destination)), priority)?;
        known.insert((destination, priority), OriginalHost { pool: pool.clone(), used: Instant::now() });
        Some(pool)
    }

    /// Forgets original-destination hosts that were idle for the cleanup interval, and closes pooled
    /// connections past their idle timeout and those to hosts that failed. Called by the worker about once a second.
    pub fn sweep(&self, local: &Rc<Local>, now: Instant) {
        if let Discovery::OriginalDst { cleanup_interval, .. } = &self.config().discovery {
            let interval = (*cleanup_interval).max(Duration::from_secs(1));
            self.original.borrow_mut().retain(|_, entry| {
                entry.pool.sweep(local, self.config(), now);
                now.duration_since(entry.used) < interval || !entry.pool.is_unused()
            });
        }
        self.follow_health(&mut self.balancer.borrow_mut(), local);
        for pool in self.pools.iter().flatten().filter_map(|pool| pool.borrow().clone()) {
            pool.sweep(local, self.config(), now);
        }
    }

    /// This state left the view: idle connections to hosts that are not in `successor` close, busy ones
    /// finish and are not pooled again.
    fn retire(&self, successor: Option<&ClusterState>, local: &Local) {
        let kept = successor.filter(|next| Arc::ptr_eq(&next.slot.config, &self.slot.config));
        if kept.is_none() {
            self.forget_subsets(local);
        }
        let kept = kept.filter(|next| self.keeps_connections(next));
        let staying: HashSet<u64> =
            kept.iter().flat_map(|next| &next.slot.hosts.hosts).map(|host| host.uid).collect();
        for (host, pools) in self.slot.hosts.hosts.iter().zip(&self.pools) {
            if !staying.contains(&host.uid) {
                pools.iter().filter_map(|pool| pool.borrow().clone()).for_each(|pool| pool.drain());
            }
        }
        if kept.is_none() {
            for entry in self.original.borrow().values() {
                entry.pool.drain();
            }
        }
    }
}
