//! A model control plane without I/O: requests in, responses out, both variants, by the letter of the protocol.

use std::collections::{BTreeMap, BTreeSet};

use outrigger_xds_protos::v3::discovery::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use outrigger_xds_protos::v3::wkt::Any;

use super::World;
use crate::xds::protocol::{Request, Response};
use crate::xds::resource::{ResourceType, WILDCARD};

/// One server and one stream.
#[derive(Default)]
pub(in crate::xds) struct Server {
    pub(in crate::xds) world: World,
    /// Every NACK text received.
    pub(in crate::xds) nacks: Vec<String>,
    streams: BTreeMap<ResourceType, Sub>,
    nonce: u64,
}

#[derive(Default)]
struct Sub {
    wildcard: bool,
    named: bool,
    names: BTreeSet<String>,
    nonce: String,
    /// What the client was sent on this stream, or said to hold.
    sent: BTreeMap<String, String>,
    /// State of the world: what the last response said.
    last: Option<Vec<Any>>,
}

/// A content hash, as a good server computes.
fn version(resource: &Any) -> String {
    let hash =
        resource.value.iter().fold(7u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(*byte)));
    format!("{hash:x}")
}

impl Server {
    /// A server of this world.
    pub(in crate::xds) fn new(world: World) -> Self {
        Self { world, ..Self::default() }
    }

    /// A new stream: nothing of the old one is known.
    pub(in crate::xds) fn reconnect(&mut self) {
        self.streams.clear();
    }

    /// Takes a request; the response it causes.
    pub(in crate::xds) fn request(&mut self, request: Request) -> Option<Response> {
        match request {
            Request::Sotw(request) => self.sotw(request),
            Request::Delta(request) => self.delta(request),
        }
    }

    fn sotw(&mut self, request: DiscoveryRequest) -> Option<Response> {
        let kind = ResourceType::from_type_url(&request.type_url)?;
        self.nacks.extend(request.error_detail.map(|status| status.message));
        let sub = self.streams.entry(kind).or_default();
        if request.response_nonce != sub.nonce {
            return None;
        }
        let names: BTreeSet<String> = request.resource_names.into_iter().collect();
        sub.named |= !names.is_empty();
        sub.wildcard = names.contains(WILDCARD) || !sub.named;
        let changed = sub.names != names;
        sub.names = names;
        let fresh = sub.nonce.is_empty() && sub.last.is_none();
        if changed || fresh { self.push_sotw(kind, true) } else { None }
    }

    fn push_sotw(&mut self, kind: ResourceType, always: bool) -> Option<Response> {
        let sub = self.streams.get_mut(&kind)?;
        let all = self.world.of(kind);
        let wanted = all.into_iter().filter(|(name, _)| sub.wildcard || sub.names.contains(name));
        let resources: Vec<Any> = wanted.map(|(_, resource)| resource).collect();
        if !always && sub.last.as_ref() == Some(&resources) {
            return None;
        }
        // Piecemeal types say nothing when there is nothing to say.
        if !kind.is_root() && resources.is_empty() {
            return None;
        }
        self.nonce += 1;
        sub.nonce = self.nonce.to_string();
        sub.last = Some(resources.clone());
        let text: String = resources.iter().map(version).collect();
        Some(Response::Sotw(DiscoveryResponse {
            version_info: version(&Any { type_url: String::new(), value: text.into_bytes() }),
            nonce: sub.nonce.clone(),
            type_url: kind.type_url().to_owned(),
            resources,
            ..Default::default()
        }))
    }

    fn delta(&mut self, request: DeltaDiscoveryRequest) -> Option<Response> {
        let kind = ResourceType::from_type_url(&request.type_url)?;
        self.nacks.extend(request.error_detail.map(|status| status.message));
        let first = !self.streams.contains_key(&kind);
        let sub = self.streams.entry(kind).or_default();
        if first {
            sub.wildcard = request.resource_names_subscribe.is_empty();
            sub.sent = request.initial_resource_versions.into_iter().collect();
        }
        for name in &request.resource_names_unsubscribe {
            sub.names.remove(name);
            sub.sent.remove(name);
            sub.wildcard &= name != WILDCARD;
        }
        let asked: BTreeSet<String> = request.resource_names_subscribe.into_iter().collect();
        sub.wildcard |= asked.contains(WILDCARD);
        sub.names.extend(asked.iter().cloned());
        if !first && asked.is_empty() {
            return None;
        }
        self.push_delta(kind, &asked, first)
    }

    fn push_delta(&mut self, kind: ResourceType, asked: &BTreeSet<String>, always: bool) -> Option<Response> {
        let sub = self.streams.get_mut(&kind)?;
        let all = self.world.of(kind);
        let mut resources = Vec::new();
        for (name, resource) in &all {
            let version = version(resource);
            let wanted = sub.wildcard || sub.names.contains(name);
            let known = sub.sent.get(name) == Some(&version);
            if wanted && (!known || (asked.contains(name) && !always)) {
                sub.sent.insert(name.clone(), version.clone());
                let resource = Some(resource.clone());
                resources.push(Resource { name: name.clone(), version, resource, ..Default::default() });
            }
        }
        let gone =
            sub.sent.keys().chain(asked.iter()).filter(|name| !all.contains_key(*name) && *name != WILDCARD);
        let removed: BTreeSet<String> = gone.cloned().collect();
        sub.sent.retain(|name, _| all.contains_key(name));
        if !always && resources.is_empty() && removed.is_empty() {
            return None;
        }
        self.nonce += 1;
        Some(Response::Delta(DeltaDiscoveryResponse {
            nonce: self.nonce.to_string(),
            type_url: kind.type_url().to_owned(),
            resources,
            removed_resources: removed.into_iter().collect(),
            ..Default::default()
        }))
    }

    /// The world changed: what is pushed, clusters first. `delta` says which variant the stream speaks.
    pub(in crate::xds) fn push(&mut self, kind: ResourceType, delta: bool) -> Option<Response> {
        if delta { self.push_delta(kind, &BTreeSet::new(), false) } else { self.push_sotw(kind, false) }
    }
}
