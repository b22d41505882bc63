//! One type on one delta stream, as a pure machine.
//!
//! Requests are differences: a subscription change counts whatever nonce it comes with. What a client names it is
//! answered about, with the resource or with its name among the removed. Versions are per resource, so a client that
//! reconnects, to this replica or another, is sent only what differs from what it says it holds.
//! Source: Envoy's xDS protocol, "incremental xDS"; `DeltaDiscoveryRequest`.

use std::sync::Arc;

use super::ledger::Ledger;
use super::machine::{Due, Machine, Nonce, Push, Received};
use super::subscription::Subscription;
use crate::snapshot::{Resource, TypeSnapshot, TypeUrl, Version};

/// What the client sends, without node and type.
#[derive(Debug, Clone, Default)]
pub struct DeltaRequest {
    /// Names to add.
    pub subscribe: Vec<String>,
    /// Names to take back.
    pub unsubscribe: Vec<String>,
    /// Name and version of what the client kept from an earlier stream. Counts on the first request only.
    pub initial_versions: Vec<(String, String)>,
    /// Nonce of the response this answers, or empty.
    pub nonce: String,
    /// Set if it rejects that response.
    pub error: Option<String>,
}

/// The machine.
#[derive(Debug)]
pub struct Delta {
    type_url: TypeUrl,
    subscription: Subscription,
    ledger: Ledger,
    started: bool,
    /// The client asked for everything and must hear something, be it nothing.
    answer_due: bool,
    /// The client brought something along.
    resuming: bool,
}

impl Delta {
    fn first(&mut self, request: &DeltaRequest) {
        self.started = true;
        self.resuming = !request.initial_versions.is_empty();
        for (name, version) in &request.initial_versions {
            self.ledger.bring(name, version);
        }
        let added = self.subscription.subscribe(&request.subscribe, self.type_url.is_complete_set());
        self.answer_due = added.wildcard;
        for name in added.names {
            if !self.ledger.holds(&name) {
                self.ledger.owe(name);
            }
        }
        self.drop_uncovered();
    }

    fn subscribe(&mut self, names: &[String], set: &TypeSnapshot) {
        let added = self.subscription.subscribe(names, self.type_url.is_complete_set());
        added.names.into_iter().for_each(|name| self.ledger.owe(name));
        if added.wildcard {
            self.answer_due = true;
            set.iter().for_each(|r| self.ledger.owe(Arc::clone(&r.name)));
        }
    }

    fn unsubscribe(&mut self, name: &str) {
        if !self.subscription.unsubscribe(name, self.type_url.is_complete_set()) {
            return;
        }
        if self.subscription.covers(name) {
            // Still covered by `*`: the client dropped the name and must hear whether the wildcard has it.
            self.ledger.owe(name.into());
        } else {
            self.ledger.forget(name);
        }
        self.drop_uncovered();
    }

    fn drop_uncovered(&mut self) {
        let subscription = &self.subscription;
        self.ledger.retain(|name| subscription.covers(name));
    }

    fn settle(&mut self, request: &DeltaRequest) -> Received {
        let Some(nonce) = Nonce::parse(&request.nonce) else { return Received::Subscribed };
        match (self.ledger.settle(nonce, request.error.is_none()), &request.error) {
            (true, None) => Received::Acked,
            (true, Some(text)) => Received::Nacked(text.clone()),
            (false, _) => Received::Stale,
        }
    }
}

impl Machine for Delta {
    type Request = DeltaRequest;

    fn new(type_url: TypeUrl) -> Self {
        Self {
            type_url,
            subscription: Subscription::default(),
            ledger: Ledger::default(),
            started: false,
            answer_due: false,
            resuming: false,
        }
    }

    fn request(&mut self, request: &DeltaRequest, set: &TypeSnapshot) -> Received {
        let received = self.settle(request);
        if self.started {
            self.subscribe(&request.subscribe, set);
        } else {
            self.first(request);
        }
        request.unsubscribe.iter().for_each(|name| self.unsubscribe(name));
        received
    }

    fn due(&self, set: &TypeSnapshot) -> Due {
        let changes = self.ledger.changes(&self.subscription, set);
        if self.answer_due || !changes.updates.is_empty() || !changes.missing.is_empty() {
            Due::Updates
        } else if !changes.gone.is_empty() {
            Due::Removals
        } else {
            Due::Nothing
        }
    }

    fn respond(&mut self, set: &TypeSnapshot, nonce: Nonce, with_removals: bool) -> Push {
        let changes = self.ledger.changes(&self.subscription, set);
        let mut removed = changes.missing;
        if with_removals {
            removed.extend(changes.gone);
        }
        self.ledger.sent(nonce, &changes.updates, &removed, set);
        self.answer_due = false;
        Push {
            type_url: self.type_url.clone(),
            nonce,
            version: self.version(set),
            changed: changes.updates.clone(),
            resources: changes.updates,
            removed,
        }
    }

    fn in_flight(&self) -> bool {
        self.ledger.in_flight()
    }

    fn is_rejected(&self, set: &TypeSnapshot) -> bool {
        self.ledger.is_rejected(set)
    }

    fn is_settled(&self, name: &str, set: &TypeSnapshot) -> bool {
        self.ledger.is_settled(name, set)
    }

    fn invalidate(&mut self, name: &str) {
        if self.subscription.covers(name) {
            self.ledger.owe(name.into());
        }
    }

    fn wanted<'a>(&'a self, set: &'a TypeSnapshot) -> Box<dyn Iterator<Item = &'a Arc<Resource>> + 'a> {
        self.subscription.wanted(set)
    }

    fn version(&self, set: &TypeSnapshot) -> Version {
        self.subscription.version(set)
    }

    fn is_resuming(&self) -> bool {
        self.resuming
    }

    fn names(&self) -> usize {
        self.subscription.name_count()
    }
}

#[cfg(test)]
mod tests;
