//! Warming: which accepted versions may serve now.
//!
//! Clusters wait for endpoints, secrets and the first health check of every host, listeners for routes and secrets. Beyond Envoy, a route table waits a
//! moment for clusters it names that just arrived and never served: a control plane that sends cluster and route
//! back to back would otherwise cause a burst of 503 while the endpoints are on their way.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{BoundListener, Record, Store, dns};
use crate::base::ids::ClusterId;
use crate::config::route::{ClusterChoice, RouteAction, RouteTable};
use crate::xds::resource::{ResourceType, WILDCARD};
use crate::xds::translate::{ResourceRef, Secret, TranslatedCluster};

/// Longest wait of a route table for clusters that warm: a few round trips to the control plane.
pub const ROUTE_HOLD: Duration = Duration::from_secs(1);

impl Store {
    /// Lets every cluster and route table that is warm serve; the clusters that began to.
    /// Of clusters that must be checked first (see [`Store::unchecked_clusters`]) only those in `checked`.
    pub fn promote(
        &mut self,
        id_of: impl Fn(&str) -> Option<ClusterId>,
        checked: &BTreeSet<Arc<str>>,
        now: Instant,
    ) -> Vec<Arc<str>> {
        let warm = self.clusters.iter().filter(|(name, record)| {
            let may_serve = !must_be_checked(record) || checked.contains(*name);
            may_serve && record.warming.as_ref().is_some_and(|held| self.cluster_is_warm(name, &held.value))
        });
        let clusters: Vec<Arc<str>> = warm.map(|(name, _)| name.clone()).collect();
        for name in &clusters {
            activate(self.clusters.get_mut(name));
            self.changes.clusters.insert(name.clone());
        }
        self.promote_routes(id_of, now);
        clusters
    }

    /// Clusters that never served, have a health check, and are warm otherwise.
    pub fn unchecked_clusters(&self) -> Vec<(&Arc<str>, &TranslatedCluster)> {
        let waiting = self.clusters.iter().filter(|(_, record)| must_be_checked(record));
        let warming = waiting.filter_map(|(name, record)| Some((name, &record.warming.as_ref()?.value)));
        warming.filter(|(name, cluster)| self.cluster_is_warm(name, cluster)).collect()
    }

    fn promote_routes(&mut self, id_of: impl Fn(&str) -> Option<ClusterId>, now: Instant) {
        if self.routes.values().all(|record| record.warming.is_none()) {
            return;
        }
        let cold = self.clusters.iter().filter(|(_, record)| record.is_first_warming());
        let cold: HashSet<ClusterId> = cold.filter_map(|(name, _)| id_of(name)).collect();
        for (name, record) in &mut self.routes {
            let Some(held) = &record.warming else { continue };
            let overdue = held.value.since + ROUTE_HOLD <= now;
            if overdue || cold.is_empty() || !names_any(&held.value.table, &cold) {
                activate(Some(record));
                self.changes.routes.insert(name.clone());
            }
        }
    }

    /// The listeners that are warm. The caller makes their sockets listen, then calls
    /// [`Store::activate_listener`].
    pub fn warm_listeners(&self) -> Vec<Arc<str>> {
        let warm = self.listeners.iter().filter(|(_, record)| {
            record.warming.as_ref().is_some_and(|held| self.listener_is_warm(&held.value))
        });
        warm.map(|(name, _)| name.clone()).collect()
    }

    /// Lets the warming version of a listener serve.
    pub fn activate_listener(&mut self, name: &Arc<str>) {
        activate(self.listeners.get_mut(name));
        self.changes.listeners.insert(name.clone());
    }

    fn cluster_is_warm(&self, name: &str, cluster: &TranslatedCluster) -> bool {
        let resolved = dns(cluster)
            .is_none_or(|(logical, settings)| self.names.hosts(name, logical, settings).is_some());
        let endpoints =
            cluster.eds.as_ref().is_none_or(|eds| self.fetches.is_done(ResourceType::Endpoints, &eds.name));
        resolved && endpoints && self.secrets_are_here(&cluster.secret_refs)
    }

    fn listener_is_warm(&self, listener: &BoundListener) -> bool {
        let routes = listener.translated.route_refs.iter().all(|route| self.route_is_here(&route.name));
        routes && self.secrets_are_here(&listener.translated.secret_refs)
    }

    /// Serving, or answered with nothing that could serve soon.
    fn route_is_here(&self, name: &str) -> bool {
        match self.routes.get(name) {
            Some(record) if record.active.is_some() => true,
            Some(record) if record.warming.is_some() => false,
            _ => self.fetches.is_done(ResourceType::Routes, name),
        }
    }

    fn secrets_are_here(&self, refs: &[ResourceRef]) -> bool {
        refs.iter().all(|secret| {
            let held = self.secrets.get(&*secret.name).and_then(|record| record.active.as_ref());
            // One that has to be asked for is here when the answer is.
            held.is_some_and(|held| !matches!(*held.value, Secret::Requested(_)))
                || self.fetches.is_done(ResourceType::Secret, &secret.name)
        })
    }

    /// Whether the clusters are as far as they get before listeners are asked for: none warms for the first time.
    pub fn clusters_are_initialised(&self) -> bool {
        !self.clusters.values().any(Record::is_first_warming)
    }

    /// The same for listeners.
    pub fn listeners_are_initialised(&self) -> bool {
        !self.listeners.values().any(Record::is_first_warming)
    }

    /// Whether a root type was answered or given up.
    pub fn root_is_answered(&self, kind: ResourceType) -> bool {
        self.fetches.is_done(kind, WILDCARD)
    }

    /// When something warms by the passing of time alone.
    pub fn next_deadline(&self) -> Option<Instant> {
        let held = self.routes.values().filter_map(|record| record.warming.as_ref());
        held.map(|held| held.value.since + ROUTE_HOLD).chain(self.fetches.next_deadline()).min()
    }
}

/// A cluster that serves for the first time does so when its hosts have their first result.
fn must_be_checked(record: &Record<TranslatedCluster>) -> bool {
    let warming = record.warming.as_ref().filter(|_| record.active.is_none());
    warming.is_some_and(|held| held.value.config.health_check.is_some())
}

fn activate<T>(record: Option<&mut Record<T>>) {
    if let Some(record) = record
        && let Some(warm) = record.warming.take()
    {
        record.active = Some(warm);
    }
}

/// Whether the table sends anything to one of `clusters`.
fn names_any(table: &RouteTable, clusters: &HashSet<ClusterId>) -> bool {
    let routes = table.virtual_hosts.iter().flat_map(|host| &host.routes);
    let mut choices = routes.filter_map(|route| match &route.action {
        RouteAction::Forward(forward) => Some(&forward.clusters),
        RouteAction::Redirect(_) | RouteAction::Direct(_) => None,
    });
    choices.any(|choice| match choice {
        ClusterChoice::One(id) => clusters.contains(id),
        ClusterChoice::Weighted(weighted) => {
            weighted.entries.iter().filter_map(|entry| entry.cluster.named()).any(|id| clusters.contains(&id))
        }
        ClusterChoice::Header { .. } => false,
    })
}
