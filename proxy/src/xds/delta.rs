//! Delta protocol: subscriptions as differences, versions per resource, removals.
//!
//! A pure machine: it is told what happened and says what to send. No I/O, no clock.
//! Invariant: `known` names exactly the accepted resources that are held and still wanted, each with the version
//! that is held, so a reconnect gets refused ones again and learns of removals. Source: xDS transport protocol,
//! "Incremental xDS".

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use outrigger_xds_protos::v3::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};

use super::resource::{Fault, Interest, ResourceType, Sorter, Update, WILDCARD, error_detail};

#[cfg(test)]
mod tests;

/// The protocol state of every type, over the life of the process.
#[derive(Debug, Default)]
pub struct Delta {
    types: BTreeMap<ResourceType, TypeState>,
    open: bool,
}

#[derive(Debug, Default)]
struct TypeState {
    interest: Interest,
    /// Accepted and held: name to version.
    known: BTreeMap<Arc<str>, Arc<str>>,
    /// What the server was told on this stream; `None` before the first request.
    told: Option<Interest>,
}

impl Delta {
    /// A stream was opened: the first request of every type that is wanted, with the versions held.
    pub fn opened(&mut self) -> Vec<DeltaDiscoveryRequest> {
        self.open = true;
        let mut requests = Vec::new();
        for (kind, state) in &mut self.types {
            state.told = None;
            requests.extend(state.subscription(*kind));
        }
        requests
    }

    /// The stream is gone; versions stay.
    pub fn closed(&mut self) {
        self.open = false;
    }

    /// Changes what is wanted of a type; the request that says so, if there is anything to say.
    pub fn want(&mut self, kind: ResourceType, interest: Interest) -> Option<DeltaDiscoveryRequest> {
        let state = self.types.entry(kind).or_default();
        if state.interest == interest {
            return None;
        }
        if !interest.wildcard {
            state.known.retain(|name, _| interest.names.contains(name));
        }
        state.interest = interest;
        if self.open { state.subscription(kind) } else { None }
    }

    /// A response arrived. `None` for a type that was not asked for on this stream: it is dropped.
    pub fn received(&mut self, response: DeltaDiscoveryResponse) -> Option<Update> {
        let kind = ResourceType::from_type_url(&response.type_url)?;
        let state = self.types.get(&kind).filter(|state| state.told.is_some())?;
        let mut sorter = Sorter::new(kind);
        for resource in response.resources {
            sorter.named(resource.name, resource.resource, resource.version.into());
        }
        let mut removed = BTreeSet::new();
        for name in response.removed_resources {
            let name: Arc<str> = name.into();
            if sorter.saw(&name) {
                sorter.refuse(name, "is both sent and removed in one response".to_owned());
            } else {
                removed.insert(name);
            }
        }
        let (mut resources, faults) = sorter.finish();
        resources.retain(|resource| state.interest.covers(&resource.name));
        Some(Update {
            kind,
            version: response.system_version_info.into(),
            nonce: response.nonce,
            complete: false,
            resources,
            removed: removed.into_iter().collect(),
            faults,
        })
    }

    /// Answers an update after the store has judged it. `faults` holds every refused resource, those of the
    /// update included; none means ACK.
    pub fn answer(&mut self, update: &Update, faults: &[Fault]) -> DeltaDiscoveryRequest {
        self.types.entry(update.kind).or_default().keep(update, faults);
        DeltaDiscoveryRequest {
            type_url: update.kind.type_url().to_owned(),
            response_nonce: update.nonce.clone(),
            error_detail: (!faults.is_empty()).then(|| error_detail(update.kind, faults)),
            ..DeltaDiscoveryRequest::default()
        }
    }
}

impl TypeState {
    /// Records what an answered response left behind.
    fn keep(&mut self, update: &Update, faults: &[Fault]) {
        for name in &update.removed {
            self.known.remove(name);
        }
        let refused: BTreeSet<&str> = faults.iter().map(|fault| &*fault.name).collect();
        for resource in update.resources.iter().filter(|resource| !refused.contains(&*resource.name)) {
            self.known.insert(resource.name.clone(), resource.version.clone());
        }
    }

    /// The request that brings the server's idea of the subscription up to date; `None` when it is.
    fn subscription(&mut self, kind: ResourceType) -> Option<DeltaDiscoveryRequest> {
        let mut request = match &self.told {
            // An empty first list would mean everything (legacy wildcard).
            None if self.interest.is_empty() => return None,
            None => self.first(),
            Some(told) => difference(told, &self.interest)?,
        };
        self.told = Some(self.interest.clone());
        request.type_url = kind.type_url().to_owned();
        Some(request)
    }

    /// Nothing survives a stream: every wanted name again, and what is held of them.
    fn first(&self) -> DeltaDiscoveryRequest {
        let star = self.interest.wildcard && !self.interest.names.is_empty();
        let names = self.interest.names.iter().map(|name| name.to_string());
        let versions = self.known.iter().map(|(name, version)| (name.to_string(), version.to_string()));
        DeltaDiscoveryRequest {
            resource_names_subscribe: star.then(|| WILDCARD.to_owned()).into_iter().chain(names).collect(),
            initial_resource_versions: versions.collect(),
            ..DeltaDiscoveryRequest::default()
        }
    }
}

/// What to add and to drop so that `told` becomes `wanted`.
fn difference(told: &Interest, wanted: &Interest) -> Option<DeltaDiscoveryRequest> {
    let request = DeltaDiscoveryRequest {
        resource_names_subscribe: beyond(wanted, told),
        resource_names_unsubscribe: beyond(told, wanted),
        ..DeltaDiscoveryRequest::default()
    };
    let silent = request.resource_names_subscribe.is_empty() && request.resource_names_unsubscribe.is_empty();
    (!silent).then_some(request)
}

/// The names, `*` among them, of `this` that `other` lacks.
fn beyond(this: &Interest, other: &Interest) -> Vec<String> {
    let star = (this.wildcard && !other.wildcard).then(|| WILDCARD.to_owned());
    star.into_iter().chain(this.names.difference(&other.names).map(|name| name.to_string())).collect()
}
