//! Statistics of configuration: managers, subscriptions, membership, connection to the control plane.
//!
//! Owns the handles that belong to no cluster or listener; reads everything else where it is. Names and meaning are
//! Envoy's (`cluster_manager.*`, `listener_manager.*`, `control_plane.*`, `cluster.<name>.membership_*` and
//! `update_*`, `http.<prefix>.rds.<name>.*`, `sds.<name>.*`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::apply::Tally;
use super::compile::Membership;
use super::resource::{Fault, ResourceType, Update};
use super::store::{Changes, Origin, Record, Store};
use crate::config::cluster::{CoarseHealth, Discovery, HostSet};
use crate::config::listener::{Listener, NetworkFilter};
use crate::config::outside::Resolution;
use crate::stats::registry::{Registry, SharedShard};
use crate::stats::scope::{
    ClusterManagerStats, ClusterStats, ControlPlaneStats, ListenerManagerStats, ServerStats,
    SubscriptionStats,
};

/// The counters.
#[derive(Debug)]
pub struct Counters {
    registry: Registry,
    clusters: ClusterManagerStats,
    listeners: ListenerManagerStats,
    control_plane: ControlPlaneStats,
    server: ServerStats,
    cds: SubscriptionStats,
    lds: SubscriptionStats,
    /// By route table, one per connection manager prefix that uses it.
    rds: BTreeMap<Arc<str>, Vec<SubscriptionStats>>,
    sds: BTreeMap<Arc<str>, SubscriptionStats>,
}

impl Counters {
    /// Registers what exists from the start.
    pub fn new(registry: &Registry) -> Self {
        Self {
            registry: registry.clone(),
            clusters: ClusterManagerStats::register(registry),
            listeners: ListenerManagerStats::register(registry),
            control_plane: ControlPlaneStats::register(registry),
            server: ServerStats::register(registry),
            cds: SubscriptionStats::cds(registry),
            lds: SubscriptionStats::lds(registry),
            rds: BTreeMap::new(),
            sds: BTreeMap::new(),
        }
    }

    fn shard(&self) -> &SharedShard {
        self.registry.shared()
    }

    /// `control_plane.connected_state`.
    pub fn connected(&self, yes: bool) {
        self.shard().gauge_set(self.control_plane.connected_state, i64::from(yes));
    }

    /// `control_plane.identifier`.
    pub fn control_plane(&self, identifier: &str) {
        if !identifier.is_empty() {
            self.control_plane.identifier.set(identifier);
        }
    }

    /// A stream ended or could not be opened: every subscription failed once.
    pub fn stream_failed(&self) {
        let shard = self.shard();
        let all =
            [&self.cds, &self.lds].into_iter().chain(self.rds.values().flatten()).chain(self.sds.values());
        for subscription in all {
            shard.inc(subscription.update_attempt);
            shard.inc(subscription.update_failure);
        }
    }

    /// Unknown fields in a resource.
    pub fn unknown_fields(&self, origin: Origin, count: u64) {
        let counter = match origin {
            Origin::Static => self.server.static_unknown_fields,
            Origin::Dynamic => self.server.dynamic_unknown_fields,
        };
        if count > 0 {
            self.shard().add(counter, count);
        }
    }

    /// Clusters or listeners came, changed or went.
    pub fn listed(&self, kind: ResourceType, tally: &Tally) {
        let (added, modified, removed) = match kind {
            ResourceType::Cluster => {
                (self.clusters.cluster_added, self.clusters.cluster_modified, self.clusters.cluster_removed)
            }
            ResourceType::Listener => (
                self.listeners.listener_added,
                self.listeners.listener_modified,
                self.listeners.listener_removed,
            ),
            _ => return,
        };
        let shard = self.shard();
        shard.add(added, u64::from(tally.added));
        shard.add(modified, u64::from(tally.modified));
        shard.add(removed, u64::from(tally.removed));
        shard.add(self.listeners.listener_in_place_updated, u64::from(tally.in_place));
        shard.add(self.listeners.listener_create_failure, u64::from(tally.unbound));
    }

    /// A response was taken in.
    pub fn updated(&self, update: &Update, faults: &[Fault], tally: &Tally, store: &Store, now: SystemTime) {
        self.listed(update.kind, tally);
        match update.kind {
            ResourceType::Cluster => self.subscription(&self.cds, update, faults.is_empty(), now),
            ResourceType::Listener => self.subscription(&self.lds, update, faults.is_empty(), now),
            ResourceType::Routes => {
                self.named(update, faults, now, |name| self.rds.get(name).into_iter().flatten())
            }
            ResourceType::Secret => self.named(update, faults, now, |name| self.sds.get(name).into_iter()),
            ResourceType::Endpoints => self.endpoints(update, faults, store),
        }
    }

    fn named<'a, I: Iterator<Item = &'a SubscriptionStats>>(
        &'a self,
        update: &Update,
        faults: &[Fault],
        now: SystemTime,
        of: impl Fn(&str) -> I,
    ) {
        for resource in &update.resources {
            let accepted = faults.iter().all(|fault| fault.name != resource.name);
            for stats in of(&resource.name) {
                self.subscription(stats, update, accepted, now);
                self.shard().add(stats.config_reload, u64::from(accepted));
            }
        }
    }

    fn subscription(&self, stats: &SubscriptionStats, update: &Update, accepted: bool, now: SystemTime) {
        let shard = self.shard();
        shard.inc(stats.update_attempt);
        if !accepted {
            return shard.inc(stats.update_rejected);
        }
        shard.inc(stats.update_success);
        shard.add(stats.update_empty, u64::from(update.resources.is_empty() && update.removed.is_empty()));
        let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        shard.gauge_set(stats.update_time, i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX));
        shard.gauge_set(stats.version, fingerprint(&update.version));
        stats.version_text.set(&update.version);
    }

    fn endpoints(&self, update: &Update, faults: &[Fault], store: &Store) {
        let shard = self.shard();
        let refused: BTreeSet<&str> = faults.iter().map(|fault| &*fault.name).collect();
        let names = update.resources.iter().map(|resource| &*resource.name);
        let names: BTreeSet<&str> = names.chain(refused.iter().copied()).collect();
        for name in names {
            for stats in store.eds_users(name).filter_map(|user| cluster_stats(store, user)) {
                shard.inc(stats.update_attempt);
                let outcome =
                    if refused.contains(name) { stats.update_rejected } else { stats.update_success };
                shard.inc(outcome);
            }
        }
    }

    /// A round of DNS.
    pub fn resolved(&self, store: &Store, cluster: &str, answer: &Resolution, changed: bool) {
        let Some(stats) = cluster_stats(store, cluster) else { return };
        let shard = self.shard();
        shard.add(stats.update_attempt, u64::from(answer.attempts));
        shard.add(stats.update_failure, u64::from(answer.failures));
        let succeeded = answer.attempts.saturating_sub(answer.failures);
        shard.add(stats.update_success, u64::from(succeeded));
        let empty = answer.addresses.iter().flatten().all(Vec::is_empty);
        shard.add(stats.update_empty, u64::from(succeeded > 0 && empty));
        shard.add(stats.update_no_rebuild, u64::from(succeeded > 0 && !changed));
    }

    /// A secret came by another way than its subscription.
    pub fn renewed(&self, secret: &str) {
        let Some(stats) = self.sds.get(secret) else { return };
        for counter in [stats.update_attempt, stats.update_success, stats.config_reload] {
            self.shard().inc(counter);
        }
    }

    /// A resource was given up.
    pub fn fetch_timed_out(&self, kind: ResourceType, name: &str, store: &Store) {
        let shard = self.shard();
        match kind {
            ResourceType::Cluster => shard.inc(self.cds.init_fetch_timeout),
            ResourceType::Listener => shard.inc(self.lds.init_fetch_timeout),
            ResourceType::Routes => {
                self.rds
                    .get(name)
                    .into_iter()
                    .flatten()
                    .for_each(|stats| shard.inc(stats.init_fetch_timeout));
            }
            ResourceType::Secret => {
                self.sds.get(name).into_iter().for_each(|stats| shard.inc(stats.init_fetch_timeout));
            }
            ResourceType::Endpoints => {
                let users = store.eds_users(name).filter_map(|user| cluster_stats(store, user));
                users.for_each(|stats| shard.inc(stats.init_fetch_timeout));
            }
        }
    }

    /// A listener began to listen on this many workers.
    pub fn listener_started(&self, workers: usize) {
        self.shard().add(self.listeners.listener_create_success, workers as u64);
    }

    /// The start is over: listeners are on their workers.
    pub fn workers_started(&self) {
        self.shard().gauge_set(self.listeners.workers_started, 1);
    }

    /// A listener could not.
    pub fn listener_failed(&self) {
        self.shard().inc(self.listeners.listener_create_failure);
    }

    /// Gauges of what serves and what warms. `promoted` are clusters that began to serve.
    pub fn settled(&self, store: &Store, changes: &Changes) {
        let shard = self.shard();
        let (active, warming) = count(store.clusters.values());
        shard.gauge_set(self.clusters.active_clusters, active);
        shard.gauge_set(self.clusters.warming_clusters, warming);
        let (active, warming) = count(store.listeners.values());
        shard.gauge_set(self.listeners.total_listeners_active, active);
        shard.gauge_set(self.listeners.total_listeners_warming, warming);
        for record in changes.clusters.iter().filter_map(|name| store.clusters.get(name)) {
            if let Some(held) = record.latest() {
                shard.gauge_set(held.value.config.stats.warming_state, i64::from(record.warming.is_some()));
            }
        }
    }

    /// Clusters whose hosts were replaced.
    pub fn memberships(&self, memberships: &[Membership]) {
        let shard = self.shard();
        for Membership { cluster, hosts, changed, served } in memberships {
            let stats = &cluster.stats;
            shard.add(self.clusters.cluster_updated, u64::from(*served));
            shard.add(stats.membership_change, u64::from(*changed));
            shard.gauge_set(stats.membership_total, hosts.hosts.len() as i64);
            shard.gauge_set(stats.membership_healthy, hosts.count(CoarseHealth::Healthy) as i64);
            shard.gauge_set(stats.membership_degraded, hosts.count(CoarseHealth::Degraded) as i64);
            // Envoy tells it of dynamic membership only.
            if !matches!(cluster.discovery, Discovery::Static) {
                shard.gauge_set(stats.max_host_weight, heaviest(hosts));
            }
        }
    }

    /// Brings the named subscriptions in line with what is referred to.
    pub fn follow(&mut self, store: &Store) {
        let mut routes: BTreeMap<Arc<str>, BTreeSet<Box<str>>> = BTreeMap::new();
        let mut secrets: BTreeSet<Arc<str>> = BTreeSet::new();
        for held in store.listeners.values().flat_map(Record::versions) {
            let listener = &held.value.translated;
            for route in &listener.route_refs {
                routes.entry(route.name.as_str().into()).or_default().extend(prefixes(&listener.config));
            }
            secrets.extend(listener.secret_refs.iter().map(|secret| secret.name.as_str().into()));
        }
        for held in store.clusters.values().flat_map(Record::versions) {
            secrets.extend(held.value.secret_refs.iter().map(|secret| secret.name.as_str().into()));
        }
        let registry = &self.registry;
        self.rds.retain(|name, _| routes.contains_key(name));
        for (name, prefixes) in routes {
            let stats = prefixes.iter().map(|prefix| SubscriptionStats::rds(registry, prefix, &name));
            self.rds.insert(name.clone(), stats.collect());
        }
        self.sds.retain(|name, _| secrets.contains(name));
        for name in secrets {
            self.sds.entry(name.clone()).or_insert_with(|| SubscriptionStats::sds(registry, &name));
        }
    }
}

fn cluster_stats<'a>(store: &'a Store, name: &str) -> Option<&'a ClusterStats> {
    store.clusters.get(name)?.latest().map(|held| &held.value.config.stats)
}

fn count<'a, T: 'a>(records: impl Iterator<Item = &'a Record<T>>) -> (i64, i64) {
    records.fold((0, 0), |(active, warming), record| {
        (active + i64::from(record.active.is_some()), warming + i64::from(record.warming.is_some()))
    })
}

fn heaviest(hosts: &HostSet) -> i64 {
    hosts.hosts.iter().map(|host| i64::from(host.weight)).max().unwrap_or(0)
}

/// `stat_prefix` of every connection manager of a listener.
fn prefixes(listener: &Listener) -> impl Iterator<Item = Box<str>> {
    listener.chains.iter().chain(&listener.default_chain).filter_map(|chain| match &chain.filter {
        NetworkFilter::Http(http) => Some(http.stat_prefix.clone()),
        NetworkFilter::Tcp(_) => None,
    })
}

/// A number that differs when the version does: FNV-1a, as positive as a gauge can be.
fn fingerprint(version: &str) -> i64 {
    let hash = version
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    (hash >> 2) as i64
}
