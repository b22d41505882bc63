//! The reference graph: from what is held to what must be subscribed to and resolved.
//!
//! Recomputed as a whole whenever a cluster or listener changed: a thousand clusters take well under a
//! millisecond, and there are no counters to get out of step.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::names::Wanted;
use super::record::{Origin, Record};
use super::{Records, Store, dns};
use crate::config::outside::ResolveCommand;
use crate::xds::resource::{Interest, ResourceType};
use crate::xds::settings::AdsSettings;
use crate::xds::translate::ResourceRef;

/// What the held resources refer to.
#[derive(Debug, Default)]
pub struct Wants {
    /// Names of child types to be subscribed to.
    pub interests: Vec<(ResourceType, Interest)>,
    /// What to tell the resolver.
    pub resolve: Vec<ResolveCommand>,
    /// Secrets that were dropped.
    pub dropped_secrets: Vec<Arc<str>>,
    /// Secrets that have streams of their own; not among the interests.
    pub streams: Streams,
}

/// Secrets by name, with the stream that each comes by.
pub type Streams = BTreeMap<Arc<str>, Arc<AdsSettings>>;

/// Wanted names of one type, with the longest time a dependent waits for each (zero is for ever).
type Wanting = BTreeMap<Arc<str>, Duration>;

#[derive(Default)]
struct References {
    endpoints: Wanting,
    routes: Wanting,
    secrets: Wanting,
    streams: Streams,
    names: Vec<Wanted>,
}

impl Store {
    /// Follows the references of everything held: what to subscribe to and to resolve from now on. Children that
    /// nothing refers to any more are dropped.
    pub fn follow(&mut self, now: Instant) -> Wants {
        let mut found = References::default();
        self.follow_clusters(&mut found);
        self.follow_listeners(&mut found);
        // Secrets of the bootstrap are here already.
        found
            .secrets
            .retain(|name, _| self.secrets.get(name).is_none_or(|record| record.origin == Origin::Dynamic));
        drop_unwanted(&mut self.endpoints, &found.endpoints);
        self.changes.routes.extend(drop_unwanted(&mut self.routes, &found.routes));
        let dropped_secrets = drop_unwanted(&mut self.secrets, &found.secrets);
        let resolve = self.names.want(found.names);
        found.streams.retain(|name, _| found.secrets.contains_key(name));
        let streams = found.streams;
        let kinds = [ResourceType::Endpoints, ResourceType::Routes, ResourceType::Secret];
        let wanted = kinds.into_iter().zip([found.endpoints, found.routes, found.secrets]);
        let interests = wanted.map(|(kind, names)| {
            self.fetches.want(kind, &names, now);
            let aggregated = |name: &Arc<str>| kind != ResourceType::Secret || !streams.contains_key(name);
            (kind, Interest::named(names.into_keys().filter(aggregated)))
        });
        Wants { interests: interests.collect(), resolve, dropped_secrets, streams }
    }

    fn follow_clusters(&mut self, found: &mut References) {
        let mut eds_users = HashMap::new();
        for (name, record) in &self.clusters {
            for held in record.versions() {
                let cluster = &held.value;
                refer(&mut found.endpoints, &cluster.eds);
                refer(&mut found.secrets, &cluster.secret_refs);
                refer_to_streams(&mut found.streams, &cluster.secret_refs);
                let wanted = dns(cluster).map(|(logical, settings)| Wanted {
                    cluster: name.clone(),
                    logical,
                    settings: settings.clone(),
                });
                found.names.extend(wanted);
                if let Some(eds) = &cluster.eds {
                    let users: &mut super::BTreeSet<_> =
                        eds_users.entry(eds.name.as_str().into()).or_default();
                    users.insert(name.clone());
                }
            }
        }
        self.eds_users = eds_users;
    }

    fn follow_listeners(&self, found: &mut References) {
        for held in self.listeners.values().flat_map(Record::versions) {
            refer(&mut found.routes, &held.value.translated.route_refs);
            refer(&mut found.secrets, &held.value.translated.secret_refs);
            refer_to_streams(&mut found.streams, &held.value.translated.secret_refs);
        }
    }
}

fn refer<'a>(wanted: &mut Wanting, refs: impl IntoIterator<Item = &'a ResourceRef>) {
    for reference in refs {
        let longest = wanted.entry(reference.name.as_str().into()).or_insert(reference.fetch_timeout);
        let for_ever = longest.is_zero() || reference.fetch_timeout.is_zero();
        *longest = if for_ever { Duration::ZERO } else { (*longest).max(reference.fetch_timeout) };
    }
}

/// A name is one secret of one source: see `apply/sources`.
fn refer_to_streams(streams: &mut Streams, refs: &[ResourceRef]) {
    for reference in refs {
        if let Some(stream) = &reference.stream {
            streams.entry(reference.name.as_str().into()).or_insert_with(|| stream.clone());
        }
    }
}

/// Drops dynamic records that are not wanted; their names.
fn drop_unwanted<T>(records: &mut Records<T>, wanted: &Wanting) -> Vec<Arc<str>> {
    let stale =
        |name: &Arc<str>, record: &Record<T>| record.origin == Origin::Dynamic && !wanted.contains_key(name);
    let names: Vec<Arc<str>> =
        records.iter().filter(|(name, record)| stale(name, record)).map(|(name, _)| name.clone()).collect();
    for name in &names {
        records.remove(name);
    }
    names
}
