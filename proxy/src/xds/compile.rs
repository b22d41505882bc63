//! The store and the last snapshot into the next snapshot.
//!
//! Owns the tables that snapshots are copied from, the ids of listeners and the identities of hosts. Invariants:
//! whatever did not change keeps its `Arc`; ids are never reused; a host keeps its uid and counters for as long as
//! its cluster has it. Cost is that of what changed plus one pointer per resource.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::store::{Changes, Store};
use super::translate::TranslateContext;
use crate::base::ids::{ClusterId, Interner, ListenerId};
use crate::config::cluster::Discovery;
use crate::config::live::Health;
use crate::config::{Cluster, ClusterSlot, Host, HostSet, ListenerSlot, Place, RouteTable, Snapshot};

mod hosts;

#[cfg(test)]
mod tests;

pub use hosts::Identities;
use hosts::Rules;

/// The compiler.
#[derive(Debug, Default)]
pub struct Compiler {
    listeners: Interner<ListenerId>,
    identities: Identities,
    tables: Snapshot,
    /// Clusters that wait for the first check of their hosts, and serve with these hosts after it.
    nursery: BTreeMap<Arc<str>, Arc<ClusterSlot>>,
    nursery_changed: bool,
    names_are_stale: bool,
}

/// A cluster whose host set was replaced, for statistics.
#[derive(Clone, Debug)]
pub struct Membership {
    /// The cluster.
    pub cluster: Arc<Cluster>,
    /// Its hosts now.
    pub hosts: Arc<HostSet>,
    /// Whether hosts came or went, and not only their weight or health.
    pub changed: bool,
    /// The cluster served with other hosts before.
    pub served: bool,
}

/// A compiled world.
#[derive(Debug)]
pub struct Compiled {
    /// To be published.
    pub snapshot: Snapshot,
    /// Clusters with another host set than before.
    pub memberships: Vec<Membership>,
}

impl Compiler {
    /// Says where this proxy runs, for every snapshot from now on.
    pub fn locate(&mut self, place: Place) {
        self.tables.place = Arc::new(place);
    }

    /// Brings the tables up to date with `changes`. `None` when nothing is different in the end.
    pub fn compile(
        &mut self,
        store: &Store,
        context: &mut TranslateContext,
        changes: &Changes,
    ) -> Option<Compiled> {
        let mut memberships = Vec::new();
        let mut different = std::mem::take(&mut self.nursery_changed);
        for name in &changes.clusters {
            let id = context.clusters.intern(name);
            different |= self.cluster(store, name, id, &mut memberships);
        }
        for name in &changes.routes {
            let id = context.route_tables.intern(name);
            let active = store.routes.get(name).and_then(|record| record.active.as_ref());
            let table: Option<Arc<RouteTable>> = active.map(|held| held.value.table.clone());
            different |= replace(&mut self.tables.route_tables, id.index(), table, Arc::ptr_eq);
        }
        for name in &changes.listeners {
            let id = self.listeners.intern(name);
            different |=
                replace(&mut self.tables.listeners, id.index(), listener(store, name), same_listener);
        }
        self.name_clusters(store, context);
        different.then(|| Compiled { snapshot: self.copy(), memberships })
    }

    fn cluster(
        &mut self,
        store: &Store,
        name: &Arc<str>,
        id: ClusterId,
        memberships: &mut Vec<Membership>,
    ) -> bool {
        let before = self.tables.clusters.get(id.index()).and_then(Option::as_ref);
        let active = store.clusters.get(name).and_then(|record| record.active.as_ref());
        let nursed = active.and_then(|_| self.nursery.remove(name));
        let slot = active.map(|held| {
            let cluster = &held.value.config;
            let old = before.map(|slot| &slot.hosts);
            let known = old.or(nursed.as_ref().map(|slot| &slot.hosts));
            let hosts = self.identities.host_set(store.hosts(name, &held.value), known, rules(cluster));
            if old.is_none_or(|old| !Arc::ptr_eq(old, &hosts)) {
                let (cluster, served) = (cluster.clone(), old.is_some());
                let changed =
                    old.map_or(!hosts.hosts.is_empty(), |old| hosts::membership_differs(old, &hosts));
                memberships.push(Membership { cluster, hosts: hosts.clone(), changed, served });
            }
            Arc::new(ClusterSlot { config: cluster.clone(), hosts })
        });
        self.names_are_stale |= before.is_some() != slot.is_some();
        replace(&mut self.tables.clusters, id.index(), slot, same_cluster)
    }

    /// Prepares the hosts of clusters that are warm but for the first check, so that they can be checked; those of
    /// them that were. A cluster that serves already is not held back: its hosts keep the health they have.
    pub fn nurse(&mut self, store: &Store) -> BTreeSet<Arc<str>> {
        let waiting = store.unchecked_clusters();
        let before = self.nursery.len();
        self.nursery.retain(|name, _| waiting.iter().any(|(waiting, _)| *waiting == name));
        self.nursery_changed |= before != self.nursery.len();
        for (name, cluster) in &waiting {
            let old = self.nursery.get(*name);
            let assignment = store.hosts(name, cluster);
            let hosts =
                self.identities.host_set(assignment, old.map(|slot| &slot.hosts), rules(&cluster.config));
            let slot = Arc::new(ClusterSlot { config: cluster.config.clone(), hosts });
            if old.is_none_or(|old| !same_cluster(old, &slot)) {
                self.nursery.insert((*name).clone(), slot);
                self.nursery_changed = true;
            }
        }
        let pending = |host: &Arc<Host>| host.live.health.has(Health::PENDING_ACTIVE_HC);
        let checked = self.nursery.iter().filter(|(_, slot)| !slot.hosts.hosts.iter().any(pending));
        checked.map(|(name, _)| name.clone()).collect()
    }

    /// Rebuilds the name table when clusters came or went.
    fn name_clusters(&mut self, store: &Store, context: &TranslateContext) {
        if !std::mem::take(&mut self.names_are_stale) {
            return;
        }
        let active = store.clusters.iter().filter(|(_, record)| record.active.is_some());
        let ids = active.filter_map(|(name, _)| Some((name.as_ref().into(), context.clusters.get(name)?)));
        self.tables.cluster_names = Arc::new(ids.collect());
    }

    /// The snapshot of the tables; the publisher stamps its generation.
    fn copy(&self) -> Snapshot {
        Snapshot {
            generation: 0,
            listeners: self.tables.listeners.clone(),
            route_tables: self.tables.route_tables.clone(),
            clusters: self.tables.clusters.clone(),
            warming: self.nursery.values().cloned().collect(),
            cluster_names: self.tables.cluster_names.clone(),
            place: self.tables.place.clone(),
        }
    }
}

fn rules(cluster: &Cluster) -> Rules {
    Rules {
        logical: matches!(cluster.discovery, Discovery::LogicalDns(_)),
        checked: cluster.health_check.is_some(),
        ignored_until_checked: cluster.ignore_new_hosts_until_first_hc,
    }
}

fn listener(store: &Store, name: &str) -> Option<Arc<ListenerSlot>> {
    let held = store.listeners.get(name)?.active.as_ref()?;
    let config = held.value.translated.config.clone();
    Some(Arc::new(ListenerSlot { config, sockets: held.value.sockets.clone() }))
}

fn same_cluster(a: &Arc<ClusterSlot>, b: &Arc<ClusterSlot>) -> bool {
    Arc::ptr_eq(&a.config, &b.config) && Arc::ptr_eq(&a.hosts, &b.hosts)
}

fn same_listener(a: &Arc<ListenerSlot>, b: &Arc<ListenerSlot>) -> bool {
    let same_sockets = match (&a.sockets, &b.sockets) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (a, b) => a.is_none() && b.is_none(),
    };
    same_sockets && Arc::ptr_eq(&a.config, &b.config)
}

/// Puts `next` at `index` unless what is there is the same; true when it was not.
fn replace<T>(
    table: &mut Vec<Option<Arc<T>>>,
    index: usize,
    next: Option<Arc<T>>,
    same: impl Fn(&Arc<T>, &Arc<T>) -> bool,
) -> bool {
    if table.len() <= index {
        table.resize_with(index + 1, || None);
    }
    let unchanged = match (&table[index], &next) {
        (Some(old), Some(new)) => same(old, new),
        (old, new) => old.is_none() && new.is_none(),
    };
    if !unchanged {
        table[index] = next;
    }
    !unchanged
}
