//! One delta stream: what it is subscribed to, holds, and is due.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use outrigger_xds_protos::v3::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource as Wire};

use super::log::Kind;
use super::resources::{Resource, Resources, child_type, is_wildcard_type};

/// The protocol state of one stream.
#[derive(Debug, Default)]
pub(super) struct Stream {
    types: HashMap<String, Subscription>,
    nonces: u64,
}

#[derive(Debug, Default)]
struct Subscription {
    names: BTreeSet<String>,
    /// The legacy wildcard: nothing named in the first request.
    all: bool,
    /// Versions by name as the client holds them; an empty version means "told that it does not exist".
    held: BTreeMap<String, String>,
    answered: bool,
    nonce: String,
    version: String,
}

impl Subscription {
    fn wants(&self, name: &str) -> bool {
        self.all || self.names.contains(name) || self.names.contains("*")
    }

    fn subscribe(&mut self, request: &DeltaDiscoveryRequest, first: bool) {
        if first {
            self.held = request.initial_resource_versions.clone().into_iter().collect();
            self.all = is_wildcard_type(&request.type_url) && request.resource_names_subscribe.is_empty();
        }
        for name in &request.resource_names_subscribe {
            if !first {
                self.held.remove(name);
            }
            self.names.insert(name.clone());
        }
        for name in &request.resource_names_unsubscribe {
            self.names.remove(name);
            self.held.remove(name);
        }
    }
}

impl Stream {
    /// Takes a request and returns what it meant.
    pub(super) fn request(&mut self, request: &DeltaDiscoveryRequest) -> Vec<Kind> {
        let first = !self.types.contains_key(&request.type_url);
        let subscription = self.types.entry(request.type_url.clone()).or_default();
        let mut meant = Vec::new();
        let answers = !request.response_nonce.is_empty() && request.response_nonce == subscription.nonce;
        match &request.error_detail {
            Some(error) => meant.push(Kind::Nack { message: error.message.clone() }),
            None if answers => meant.push(Kind::Ack { version: subscription.version.clone() }),
            None => {}
        }
        let changes =
            !request.resource_names_subscribe.is_empty() || !request.resource_names_unsubscribe.is_empty();
        if first || changes {
            meant.push(subscribed(request));
            subscription.subscribe(request, first);
        }
        meant
    }

    /// The responses that bring this stream up to date, in the order that avoids gaps.
    pub(super) fn due(&mut self, resources: &Resources) -> Vec<DeltaDiscoveryResponse> {
        let types = Resources::ordered(self.types.keys());
        types.iter().filter_map(|type_url| self.due_for(type_url, resources)).collect()
    }

    fn due_for(&mut self, type_url: &str, resources: &Resources) -> Option<DeltaDiscoveryResponse> {
        let subscription = self.types.get_mut(type_url)?;
        let existing: BTreeMap<&str, &Resource> = resources
            .of(type_url)
            .filter(|r| subscription.wants(&r.name))
            .map(|r| (r.name.as_str(), r))
            .collect();
        let unlike_held = |r: &&&Resource| subscription.held.get(&r.name) != Some(&r.version);
        let changed: Vec<Resource> = existing.values().filter(unlike_held).map(|r| (*r).clone()).collect();
        let removed = removed(subscription, &existing);
        let unanswered = is_wildcard_type(type_url) && !subscription.answered;
        if changed.is_empty() && removed.is_empty() && !unanswered {
            return None;
        }
        subscription.held.extend(changed.iter().map(|r| (r.name.clone(), r.version.clone())));
        for name in &removed {
            subscription.held.insert(name.clone(), String::new());
        }
        self.nonces += 1;
        subscription.answered = true;
        subscription.nonce = self.nonces.to_string();
        subscription.version = resources.version(type_url);
        let response = DeltaDiscoveryResponse {
            system_version_info: subscription.version.clone(),
            type_url: type_url.to_owned(),
            nonce: subscription.nonce.clone(),
            removed_resources: removed,
            resources: changed.iter().map(wire).collect(),
            ..DeltaDiscoveryResponse::default()
        };
        self.forget_children(type_url, &changed);
        Some(response)
    }

    /// A changed parent starts anew and waits for its child, which therefore is due again.
    fn forget_children(&mut self, type_url: &str, changed: &[Resource]) {
        let Some(child) = child_type(type_url).and_then(|child| self.types.get_mut(child)) else { return };
        if type_url == outrigger_xds_protos::type_url::LISTENER && !changed.is_empty() {
            child.held.clear();
        }
        child.held.retain(|name, _| changed.iter().all(|resource| resource.name != *name));
    }

    /// Notes a scripted response, so that its answer is understood.
    pub(super) fn pushed(&mut self, response: &mut DeltaDiscoveryResponse) {
        let subscription = self.types.entry(response.type_url.clone()).or_default();
        if response.nonce.is_empty() {
            self.nonces += 1;
            response.nonce = self.nonces.to_string();
        }
        subscription.nonce.clone_from(&response.nonce);
        subscription.version.clone_from(&response.system_version_info);
    }
}

/// What the client holds, or asked for by name, and does not exist; told once.
fn removed(subscription: &Subscription, existing: &BTreeMap<&str, &Resource>) -> Vec<String> {
    let held = subscription.held.iter().filter(|(_, version)| !version.is_empty()).map(|(name, _)| name);
    let unknown = subscription.names.iter().filter(|n| *n != "*" && !subscription.held.contains_key(*n));
    let gone: BTreeSet<_> =
        held.chain(unknown).filter(|name| !existing.contains_key(name.as_str())).collect();
    gone.into_iter().cloned().collect()
}

fn subscribed(request: &DeltaDiscoveryRequest) -> Kind {
    let versions = request.initial_resource_versions.iter();
    let mut known: Vec<_> = versions.map(|(name, version)| format!("{name}={version}")).collect();
    known.sort_unstable();
    Kind::Subscribed {
        names: request.resource_names_subscribe.clone(),
        unsubscribed: request.resource_names_unsubscribe.clone(),
        known,
    }
}

fn wire(resource: &Resource) -> Wire {
    Wire {
        name: resource.name.clone(),
        version: resource.version.clone(),
        resource: Some(resource.any.clone()),
        ..Wire::default()
    }
}

/// What the log says about a response.
pub(super) fn sent(response: &DeltaDiscoveryResponse) -> Kind {
    Kind::Sent {
        version: response.system_version_info.clone(),
        names: response.resources.iter().map(|resource| resource.name.clone()).collect(),
        removed: response.removed_resources.clone(),
    }
}
