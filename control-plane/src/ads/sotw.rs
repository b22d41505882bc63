//! One type on one state-of-the-world stream, as a pure machine.
//!
//! Requests carry the complete list of names and count only with the last nonce. Two kinds of types: those whose
//! responses are complete sets (listeners, clusters: absence deletes), and the piecemeal ones (absence means nothing,
//! so only what changed is sent). A complete set is sent twice when resources vanish: first with them, so that what
//! refers to them can move away, and without them once it has. What a client still names from an earlier stream and
//! exists no more cannot be sent again: then the whole answer waits until what refers to it has moved. Of a client of
//! everything nobody knows what it holds, so only delta is without a gap when clusters vanish between two streams.
//! Source: Envoy's xDS protocol, "ACK/NACK and resource type instance version", "how the client specifies what
//! resources to return".

mod complete;

use std::sync::Arc;

use super::ledger::Ledger;
use super::machine::{Due, Machine, Nonce, Push, Received};
use super::subscription::Subscription;
use crate::snapshot::{Resource, TypeSnapshot, TypeUrl, Version};
use complete::CompleteSet;

/// What the client sends, without node and type.
#[derive(Debug, Clone, Default)]
pub struct SotwRequest {
    /// Version last accepted, on this stream or an earlier one.
    pub version: String,
    /// All names subscribed.
    pub names: Vec<String>,
    /// Nonce of the last response received, or empty.
    pub nonce: String,
    /// Set if it rejects that response.
    pub error: Option<String>,
}

/// The machine.
#[derive(Debug)]
pub struct Sotw {
    type_url: TypeUrl,
    subscription: Subscription,
    content: Content,
    started: bool,
    last_nonce: Option<Nonce>,
}

#[derive(Debug)]
enum Content {
    Complete(CompleteSet),
    Piecemeal(Ledger),
}

impl Sotw {
    /// What the nonce makes of a request. Before the first response there is nothing to answer, so whatever nonce a
    /// client has kept from an earlier stream is void.
    fn settle(&mut self, request: &SotwRequest) -> Received {
        let Some(last) = self.last_nonce.filter(|_| !request.nonce.is_empty()) else {
            return Received::Subscribed;
        };
        if Nonce::parse(&request.nonce) != Some(last) {
            return Received::Stale;
        }
        let accepted = request.error.is_none();
        let settled = match &mut self.content {
            Content::Complete(set) => set.settle(last, accepted),
            Content::Piecemeal(ledger) => ledger.settle(last, accepted),
        };
        match (settled, &request.error) {
            (true, None) => Received::Acked,
            (true, Some(text)) => Received::Nacked(text.clone()),
            // A change of the subscription after the answer was given: same nonce again.
            (false, _) => Received::Subscribed,
        }
    }

    fn subscribe(&mut self, request: &SotwRequest, set: &TypeSnapshot) {
        let first = !std::mem::replace(&mut self.started, true);
        let added = self.subscription.replace(&request.names, self.type_url.is_complete_set());
        let subscription = &self.subscription;
        match &mut self.content {
            Content::Complete(complete) => {
                complete.retain(|name| subscription.covers(name));
                // Nothing refers to a listener, so its absence is told at once.
                if first && self.type_url != TypeUrl::LISTENER && !request.version.is_empty() {
                    complete.resume();
                }
                let up_to_date = first
                    && subscription.is_wildcard()
                    && Version::parse(&request.version) == Some(set.version());
                if up_to_date {
                    complete.assume(set);
                } else if added.wildcard || !added.names.is_empty() {
                    complete.answer_due();
                }
            }
            Content::Piecemeal(ledger) => {
                ledger.retain(|name| subscription.covers(name));
                added.names.into_iter().for_each(|name| ledger.owe(name));
            }
        }
    }
}

impl Machine for Sotw {
    type Request = SotwRequest;

    fn new(type_url: TypeUrl) -> Self {
        let content = match type_url.is_complete_set() {
            true => Content::Complete(CompleteSet::default()),
            false => Content::Piecemeal(Ledger::default()),
        };
        Self { type_url, subscription: Subscription::default(), content, started: false, last_nonce: None }
    }

    fn request(&mut self, request: &SotwRequest, set: &TypeSnapshot) -> Received {
        let received = self.settle(request);
        if received != Received::Stale {
            self.subscribe(request, set);
        }
        received
    }

    fn due(&self, set: &TypeSnapshot) -> Due {
        match &self.content {
            Content::Complete(complete) => complete.due(&self.subscription, set),
            Content::Piecemeal(ledger) => match ledger.changes(&self.subscription, set).updates.is_empty() {
                true => Due::Nothing,
                false => Due::Updates,
            },
        }
    }

    fn respond(&mut self, set: &TypeSnapshot, nonce: Nonce, with_removals: bool) -> Push {
        self.last_nonce = Some(nonce);
        let (version, resources, changed) = match &mut self.content {
            Content::Complete(complete) => complete.respond(&self.subscription, set, nonce, with_removals),
            Content::Piecemeal(ledger) => {
                let updates = ledger.changes(&self.subscription, set).updates;
                ledger.sent(nonce, &updates, &[], set);
                (self.subscription.version(set), updates.clone(), updates)
            }
        };
        Push { type_url: self.type_url.clone(), nonce, version, resources, removed: Vec::new(), changed }
    }

    fn in_flight(&self) -> bool {
        match &self.content {
            Content::Complete(complete) => complete.in_flight(),
            Content::Piecemeal(ledger) => ledger.in_flight(),
        }
    }

    fn is_rejected(&self, set: &TypeSnapshot) -> bool {
        match &self.content {
            Content::Complete(complete) => complete.is_rejected(&self.subscription, set),
            Content::Piecemeal(ledger) => ledger.is_rejected(set),
        }
    }

    fn is_settled(&self, name: &str, set: &TypeSnapshot) -> bool {
        match &self.content {
            Content::Complete(complete) => complete.is_settled(name, set) || self.is_rejected(set),
            Content::Piecemeal(ledger) => ledger.is_settled(name, set),
        }
    }

    fn invalidate(&mut self, name: &str) {
        match &mut self.content {
            Content::Piecemeal(ledger) if self.subscription.covers(name) => ledger.owe(name.into()),
            _ => {}
        }
    }

    fn wanted<'a>(&'a self, set: &'a TypeSnapshot) -> Box<dyn Iterator<Item = &'a Arc<Resource>> + 'a> {
        self.subscription.wanted(set)
    }

    fn version(&self, set: &TypeSnapshot) -> Version {
        self.subscription.version(set)
    }

    fn is_resuming(&self) -> bool {
        match &self.content {
            Content::Complete(complete) => complete.is_resuming(),
            Content::Piecemeal(_) => false,
        }
    }

    fn names(&self) -> usize {
        self.subscription.name_count()
    }
}

#[cfg(test)]
mod tests;
