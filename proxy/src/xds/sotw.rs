//! State-of-the-world protocol: versions, nonces, ACK and NACK of one aggregated stream.
//!
//! A pure machine: it is told what happened and says what to send. No I/O, no clock.
//! Invariant: every response of a watched type is answered exactly once with its own nonce; versions outlive
//! the stream, nonces do not. Source: xDS transport protocol, "Four variants", "ACK/NACK", "Resource hints".

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use outrigger_xds_protos::v3::discovery::{DiscoveryRequest, DiscoveryResponse};

use super::resource::{Fault, Interest, ResourceType, Sorter, Update, WILDCARD, error_detail};

#[cfg(test)]
mod tests;

/// The protocol state of every type, over the life of the process.
#[derive(Debug, Default)]
pub struct Sotw {
    types: BTreeMap<ResourceType, TypeState>,
    open: bool,
}

#[derive(Debug, Default)]
struct TypeState {
    interest: Interest,
    /// Version of the last response accepted as a whole.
    version: Arc<str>,
    /// Names accepted and still wanted. A wanted name outside this set was never answered.
    held: BTreeSet<Arc<str>>,
    stream: StreamState,
}

/// What dies with the stream.
#[derive(Debug, Default)]
struct StreamState {
    /// A request of this type was sent.
    started: bool,
    /// A request of this type named something: from then on an empty list means nothing, not everything.
    named: bool,
    /// Nonce of the last response.
    nonce: String,
}

impl Sotw {
    /// A stream was opened: the first request of every type that is wanted.
    pub fn opened(&mut self) -> Vec<DiscoveryRequest> {
        self.open = true;
        let mut requests = Vec::new();
        for (kind, state) in &mut self.types {
            state.stream = StreamState::default();
            requests.extend(state.subscription(*kind));
        }
        requests
    }

    /// The stream is gone; versions stay.
    pub fn closed(&mut self) {
        self.open = false;
    }

    /// Changes what is wanted of a type; the request that says so, if there is anything to say.
    pub fn want(&mut self, kind: ResourceType, interest: Interest) -> Option<DiscoveryRequest> {
        let state = self.types.entry(kind).or_default();
        if state.interest == interest {
            return None;
        }
        if !interest.wildcard {
            state.held.retain(|name| interest.names.contains(name));
        }
        state.interest = interest;
        if self.open { state.subscription(kind) } else { None }
    }

    /// A response arrived. `None` for a type that was not asked for on this stream: it is dropped.
    pub fn received(&mut self, response: DiscoveryResponse) -> Option<Update> {
        let kind = ResourceType::from_type_url(&response.type_url)?;
        let state = self.types.get_mut(&kind).filter(|state| state.stream.started)?;
        state.stream.nonce.clone_from(&response.nonce);
        let version: Arc<str> = response.version_info.into();
        let mut sorter = Sorter::new(kind);
        for (position, resource) in response.resources.into_iter().enumerate() {
            sorter.bare(position, resource, &version);
        }
        let complete = kind.is_root() && !sorter.has_nameless();
        let (mut resources, faults) = sorter.finish();
        resources.retain(|resource| state.interest.covers(&resource.name));
        Some(Update {
            kind,
            version,
            nonce: response.nonce,
            complete,
            resources,
            removed: Vec::new(),
            faults,
        })
    }

    /// Answers an update after the store has judged it. `faults` holds every refused resource, those of the
    /// update included; none means ACK.
    pub fn answer(&mut self, update: &Update, faults: &[Fault]) -> DiscoveryRequest {
        let state = self.types.entry(update.kind).or_default();
        state.keep(update, faults);
        let mut request = state.request(update.kind);
        request.response_nonce.clone_from(&update.nonce);
        if !faults.is_empty() {
            request.error_detail = Some(error_detail(update.kind, faults));
        }
        request
    }
}

impl TypeState {
    /// Records what an answered response left behind.
    fn keep(&mut self, update: &Update, faults: &[Fault]) {
        if faults.is_empty() {
            self.version = update.version.clone();
        }
        if update.complete {
            self.held.clear();
        }
        let refused: BTreeSet<&str> = faults.iter().map(|fault| &*fault.name).collect();
        let accepted = update.resources.iter().filter(|resource| !refused.contains(&*resource.name));
        self.held.extend(accepted.map(|resource| resource.name.clone()));
    }

    /// The request that states the subscription; `None` while there is nothing to ask for and never was.
    fn subscription(&mut self, kind: ResourceType) -> Option<DiscoveryRequest> {
        // An empty first list would mean everything (legacy wildcard).
        if self.interest.is_empty() && !self.stream.started {
            return None;
        }
        Some(self.request(kind))
    }

    fn request(&mut self, kind: ResourceType) -> DiscoveryRequest {
        let version_info = self.version_to_report();
        let resource_names = self.names();
        self.stream.named |= !resource_names.is_empty();
        self.stream.started = true;
        DiscoveryRequest {
            version_info,
            resource_names,
            type_url: kind.type_url().to_owned(),
            response_nonce: self.stream.nonce.clone(),
            ..DiscoveryRequest::default()
        }
    }

    /// The accepted version. On a new stream none is reported while a wanted name was never answered: a server
    /// may take the version as "has all of these" and stay silent about the new name.
    fn version_to_report(&self) -> String {
        let complete = self.interest.names.iter().all(|name| self.held.contains(name));
        if self.stream.started || complete { self.version.to_string() } else { String::new() }
    }

    fn names(&self) -> Vec<String> {
        let star = self.interest.wildcard && (self.stream.named || !self.interest.names.is_empty());
        let star = star.then(|| WILDCARD.to_owned());
        star.into_iter().chain(self.interest.names.iter().map(|name| name.to_string())).collect()
    }
}
