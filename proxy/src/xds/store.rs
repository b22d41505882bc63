//! Every resource this proxy holds, what it refers to, and when it may serve.
//!
//! Owns translated resources by type, the wait for missing ones, and DNS results; knows neither the protocol nor
//! sockets nor snapshots. Invariants: an accepted version serves only once everything it refers to was answered or
//! given up, and the one before serves until then; identical content changes nothing; a child resource lives as
//! long as something refers to it. Source: xDS transport protocol, "Resource warming"; Envoy cluster and listener
//! managers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::resource::{ResourceType, WILDCARD};
use super::translate::{Assignment, Secret, TranslatedCluster, TranslatedListener};
use crate::config::cluster::{Discovery, DnsSettings};
use crate::config::live::ListenerSockets;
use crate::config::outside::Resolution;
use crate::config::route::RouteTable;

mod fetch;
mod follow;
mod missing;
mod names;
mod record;
mod warm;

#[cfg(test)]
mod tests;

pub use follow::{Streams, Wants};
pub use names::Trouble;
pub use record::{Held, Novelty, Now, Origin, Record, Refused};

/// Records of one type by name.
pub type Records<T> = BTreeMap<Arc<str>, Record<T>>;

/// A listener with the sockets it was given when it was accepted.
#[derive(Clone, Debug)]
pub struct BoundListener {
    /// Settings and references.
    pub translated: TranslatedListener,
    /// `None` for `bind_to_port: false`.
    pub sockets: Option<Arc<ListenerSockets>>,
}

/// A route table; `since` is when it was accepted, which bounds how long it waits for warming clusters.
#[derive(Clone, Debug)]
pub struct RouteVersion {
    /// Compiled table.
    pub table: Arc<RouteTable>,
    /// When it was accepted.
    pub since: Instant,
}

/// Names whose place in the snapshot may have changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Clusters: settings, hosts, or gone.
    pub clusters: BTreeSet<Arc<str>>,
    /// Listeners.
    pub listeners: BTreeSet<Arc<str>>,
    /// Route tables.
    pub routes: BTreeSet<Arc<str>>,
}

impl Changes {
    /// Whether the snapshot can stay as it is.
    pub fn is_empty(&self) -> bool {
        self.clusters.is_empty() && self.listeners.is_empty() && self.routes.is_empty()
    }
}

/// The store.
#[derive(Debug, Default)]
pub struct Store {
    /// Clusters.
    pub clusters: Records<TranslatedCluster>,
    /// Listeners.
    pub listeners: Records<BoundListener>,
    /// Route tables.
    pub routes: Records<RouteVersion>,
    /// Assignments by EDS name.
    pub endpoints: Records<Arc<Assignment>>,
    /// Secrets.
    pub secrets: Records<Arc<Secret>>,
    fetches: fetch::Fetches,
    names: names::Names,
    /// Clusters by the EDS name they use.
    eds_users: HashMap<Arc<str>, BTreeSet<Arc<str>>>,
    list_versions: BTreeMap<ResourceType, Arc<str>>,
    changes: Changes,
}

impl Store {
    /// Waits for the first answer of a root type (or gives up after `timeout`; zero is never).
    pub fn want_root(&mut self, kind: ResourceType, timeout: Duration, now: Instant) {
        self.fetches.want(kind, &BTreeMap::from([(WILDCARD.into(), timeout)]), now);
    }

    /// A name was answered: updated, refused, or said not to exist.
    pub fn answered(&mut self, kind: ResourceType, name: &str) {
        self.fetches.done(kind, name);
    }

    /// Version of the last response of a type that was accepted as a whole; empty before the first.
    pub fn list_version(&self, kind: ResourceType) -> &str {
        self.list_versions.get(&kind).map_or("", |version| version)
    }

    /// A response of a type was accepted as a whole.
    pub fn set_list_version(&mut self, kind: ResourceType, version: Arc<str>) {
        self.list_versions.insert(kind, version);
    }

    /// A refused resource of a response was accepted later. If it was the last one, so is the response as a whole.
    pub fn forgiven(&mut self, kind: ResourceType, version: &Arc<str>) {
        let refused = match kind {
            ResourceType::Cluster => self.clusters.values().any(|record| record.refused.is_some()),
            ResourceType::Listener => self.listeners.values().any(|record| record.refused.is_some()),
            _ => return,
        };
        if !refused {
            self.set_list_version(kind, version.clone());
        }
    }

    /// Everything that is waited for.
    pub fn unanswered(&self) -> impl Iterator<Item = (ResourceType, &Arc<str>)> {
        self.fetches.unanswered()
    }

    /// Gives up waiting for what is overdue; the names given up.
    pub fn expire(&mut self, now: Instant) -> Vec<(ResourceType, Arc<str>)> {
        self.fetches.expire(now)
    }

    /// Takes a new version of a cluster: it warms.
    pub fn put_cluster(&mut self, name: &Arc<str>, origin: Origin, held: Held<TranslatedCluster>) {
        put(&mut self.clusters, name, origin, held);
    }

    /// Takes a new version of a listener: it warms.
    pub fn put_listener(&mut self, name: &Arc<str>, origin: Origin, held: Held<BoundListener>) {
        put(&mut self.listeners, name, origin, held);
    }

    /// Takes a new version of a route table. It serves once the clusters it names that are just warming do.
    pub fn put_routes(&mut self, name: &Arc<str>, held: Held<RouteVersion>) {
        put(&mut self.routes, name, Origin::Dynamic, held);
        self.fetches.done(ResourceType::Routes, name);
    }

    /// Takes a new assignment; its clusters change at once.
    pub fn put_endpoints(&mut self, name: &Arc<str>, held: Held<Arc<Assignment>>) {
        let record = self.endpoints.entry(name.clone()).or_insert_with(|| Record::empty(Origin::Dynamic));
        let same = record.active.as_ref().is_some_and(|active| active.value == held.value);
        record.refused = None;
        record.active = Some(held);
        self.fetches.done(ResourceType::Endpoints, name);
        if !same {
            self.mark_eds(name);
        }
    }

    /// Takes a new secret. The caller translates its users again, and says when it is answered.
    pub fn put_secret(&mut self, name: &Arc<str>, origin: Origin, held: Held<Arc<Secret>>) {
        let record = self.secrets.entry(name.clone()).or_insert_with(|| Record::empty(origin));
        record.refused = None;
        record.active = Some(held);
    }

    /// Takes an answer of the resolver; the cluster and whether its hosts changed.
    pub fn resolved(&mut self, answer: &Resolution) -> Option<(Arc<str>, bool)> {
        let (cluster, changed) = self.names.resolved(answer)?;
        if changed {
            self.changes.clusters.insert(cluster.clone());
        }
        Some((cluster, changed))
    }

    /// Clusters whose names did not resolve, with the last reason.
    pub fn unresolved(&self) -> Vec<(Arc<str>, Trouble)> {
        self.names.troubles().map(|(cluster, trouble)| (cluster.clone(), trouble.clone())).collect()
    }

    /// Removes a cluster, at once and with every version. False when there is none or it is static.
    pub fn remove_cluster(&mut self, name: &str) -> bool {
        let Some(gone) = remove(&mut self.clusters, name) else { return false };
        self.changes.clusters.insert(gone);
        true
    }

    /// Removes a listener. The data path drains its connections.
    pub fn remove_listener(&mut self, name: &str) -> bool {
        let Some(gone) = remove(&mut self.listeners, name) else { return false };
        self.changes.listeners.insert(gone);
        true
    }

    /// Records a refusal; whatever is held stays.
    pub fn refuse(&mut self, kind: ResourceType, name: &Arc<str>, refused: Refused) {
        self.fetches.done(kind, name);
        let slot = match kind {
            ResourceType::Cluster => refused_slot(&mut self.clusters, name),
            ResourceType::Listener => refused_slot(&mut self.listeners, name),
            ResourceType::Routes => refused_slot(&mut self.routes, name),
            ResourceType::Endpoints => refused_slot(&mut self.endpoints, name),
            ResourceType::Secret => refused_slot(&mut self.secrets, name),
        };
        *slot = Some(refused);
    }

    /// The hosts a cluster version has by now; `None` while they were never told, or it has none of its own.
    pub fn hosts<'a>(&'a self, name: &str, cluster: &'a TranslatedCluster) -> Option<&'a Assignment> {
        if let Some(eds) = &cluster.eds {
            return self.endpoints.get(&*eds.name)?.active.as_ref().map(|held| &*held.value);
        }
        match dns(cluster) {
            Some((logical, settings)) => self.names.hosts(name, logical, settings).map(|hosts| &**hosts),
            None => cluster.static_hosts.as_ref(),
        }
    }

    /// What changed since the last call.
    pub fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    /// Marks a cluster whose settings were translated again.
    pub fn touch_cluster(&mut self, name: &Arc<str>) {
        self.changes.clusters.insert(name.clone());
    }

    /// Marks a listener whose settings were translated again.
    pub fn touch_listener(&mut self, name: &Arc<str>) {
        self.changes.listeners.insert(name.clone());
    }

    /// Clusters that take their hosts from this EDS resource.
    pub fn eds_users(&self, eds_name: &str) -> impl Iterator<Item = &Arc<str>> {
        self.eds_users.get(eds_name).into_iter().flatten()
    }

    fn mark_eds(&mut self, eds_name: &str) {
        if let Some(users) = self.eds_users.get(eds_name) {
            self.changes.clusters.extend(users.iter().cloned());
        }
    }
}

fn put<T>(records: &mut Records<T>, name: &Arc<str>, origin: Origin, held: Held<T>) {
    let record = records.entry(name.clone()).or_insert_with(|| Record::empty(origin));
    record.refused = None;
    record.warming = Some(held);
}

/// Takes a dynamic record out; its name when it held anything.
fn remove<T>(records: &mut Records<T>, name: &str) -> Option<Arc<str>> {
    if records.get(name)?.origin == Origin::Static {
        return None;
    }
    let (name, record) = records.remove_entry(name)?;
    record.latest().is_some().then_some(name)
}

fn refused_slot<'a, T>(records: &'a mut Records<T>, name: &Arc<str>) -> &'a mut Option<Refused> {
    &mut records.entry(name.clone()).or_insert_with(|| Record::empty(Origin::Dynamic)).refused
}

/// Whether one logical host is wanted, and the names to resolve, of a DNS cluster.
fn dns(cluster: &TranslatedCluster) -> Option<(bool, &DnsSettings)> {
    match &cluster.config.discovery {
        Discovery::StrictDns(settings) => Some((false, settings)),
        Discovery::LogicalDns(settings) => Some((true, settings)),
        _ => None,
    }
}
