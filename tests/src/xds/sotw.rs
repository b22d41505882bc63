//! One state-of-the-world stream: what it is subscribed to, was sent, and is due.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use outrigger_xds_protos::v3::discovery::{DiscoveryRequest, DiscoveryResponse};

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
    /// Whether a name was ever given: until then, none means all.
    named: bool,
    nonce: String,
    version: String,
    /// Versions by name as last sent; `None` before the first response.
    sent: Option<BTreeMap<String, String>>,
}

impl Subscription {
    fn wants(&self, type_url: &str, name: &str) -> bool {
        self.names.contains(name) || self.names.contains("*") || (is_wildcard_type(type_url) && !self.named)
    }
}

impl Stream {
    /// Takes a request; returns what it meant, nothing when it answers an outdated response.
    pub(super) fn request(&mut self, request: &DiscoveryRequest) -> Vec<Kind> {
        let subscription = self.types.entry(request.type_url.clone()).or_default();
        let first = subscription.nonce.is_empty();
        if !first && request.response_nonce != subscription.nonce {
            return Vec::new();
        }
        let mut meant = Vec::new();
        match &request.error_detail {
            Some(error) => meant.push(Kind::Nack { message: error.message.clone() }),
            None if !first => meant.push(Kind::Ack { version: subscription.version.clone() }),
            None => {}
        }
        let names: BTreeSet<_> = request.resource_names.iter().cloned().collect();
        if first || names != subscription.names {
            let known = Some(request.version_info.clone()).filter(|version| !version.is_empty());
            let names = request.resource_names.clone();
            meant.push(Kind::Subscribed {
                names,
                unsubscribed: Vec::new(),
                known: known.into_iter().collect(),
            });
        }
        subscription.named |= !names.is_empty();
        if let Some(sent) = &mut subscription.sent {
            // A name that comes back must be answered even when unchanged.
            sent.retain(|name, _| subscription.names.contains(name) || !names.contains(name));
        }
        subscription.names = names;
        meant
    }

    /// The responses that bring this stream up to date, in the order that avoids gaps.
    pub(super) fn due(&mut self, resources: &Resources) -> Vec<DiscoveryResponse> {
        let types = Resources::ordered(self.types.keys());
        types.iter().filter_map(|type_url| self.due_for(type_url, resources)).collect()
    }

    fn due_for(&mut self, type_url: &str, resources: &Resources) -> Option<DiscoveryResponse> {
        let subscription = self.types.get_mut(type_url)?;
        let wanted: Vec<&Resource> =
            resources.of(type_url).filter(|resource| subscription.wants(type_url, &resource.name)).collect();
        let versions: BTreeMap<_, _> = wanted.iter().map(|r| (r.name.clone(), r.version.clone())).collect();
        let before = subscription.sent.as_ref();
        let changed =
            |(name, version): &(&String, &String)| before.and_then(|sent| sent.get(*name)) != Some(*version);
        let changed: Vec<_> = versions.iter().filter(changed).map(|(name, _)| name.clone()).collect();
        let removal = is_wildcard_type(type_url) && before.is_some_and(|sent| sent.len() != versions.len());
        let unanswered = is_wildcard_type(type_url) && before.is_none();
        if changed.is_empty() && !removal && !unanswered {
            return None;
        }
        self.nonces += 1;
        subscription.nonce = self.nonces.to_string();
        subscription.version = resources.version(type_url);
        subscription.sent = Some(versions);
        let response = DiscoveryResponse {
            version_info: subscription.version.clone(),
            resources: wanted.iter().map(|resource| resource.any.clone()).collect(),
            type_url: type_url.to_owned(),
            nonce: subscription.nonce.clone(),
            ..DiscoveryResponse::default()
        };
        self.forget_children(type_url, &changed);
        Some(response)
    }

    /// A changed parent starts anew and waits for its child, which therefore is due again.
    fn forget_children(&mut self, type_url: &str, changed: &[String]) {
        let child = child_type(type_url).and_then(|child| self.types.get_mut(child));
        let Some(sent) = child.and_then(|subscription| subscription.sent.as_mut()) else { return };
        if type_url == outrigger_xds_protos::type_url::LISTENER {
            sent.clear();
        }
        sent.retain(|name, _| !changed.contains(name));
    }

    /// Notes a scripted response, so that its answer is understood.
    pub(super) fn pushed(&mut self, response: &mut DiscoveryResponse) {
        let subscription = self.types.entry(response.type_url.clone()).or_default();
        if response.nonce.is_empty() {
            self.nonces += 1;
            response.nonce = self.nonces.to_string();
        }
        subscription.nonce.clone_from(&response.nonce);
        subscription.version.clone_from(&response.version_info);
    }
}

/// What the log says about a response.
pub(super) fn sent(response: &DiscoveryResponse) -> Kind {
    let names = response.resources.iter().map(|any| format!("{} bytes", any.value.len())).collect();
    Kind::Sent { version: response.version_info.clone(), names, removed: Vec::new() }
}
