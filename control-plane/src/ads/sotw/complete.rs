//! A type whose responses are complete sets: what was sent, what was accepted, and what may be left out yet.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ads::machine::{Due, Nonce};
use crate::ads::subscription::Subscription;
use crate::snapshot::{Resource, TypeSnapshot, Version};

type Set = BTreeMap<Arc<str>, Arc<Resource>>;

/// The account of a complete set.
#[derive(Debug, Default)]
pub struct CompleteSet {
    /// What the client accepted last.
    held: Set,
    /// The version of what was sent last, whatever became of it.
    sent: Option<Version>,
    in_flight: Option<(Nonce, Set)>,
    /// Whether what was sent last was refused.
    refused: bool,
    answer_due: bool,
    /// The client may hold what it named on an earlier stream, until its first answer on this one.
    resuming: bool,
}

impl CompleteSet {
    /// The client holds all of `set`, from an earlier stream.
    pub fn assume(&mut self, set: &TypeSnapshot) {
        self.held = set.iter().map(|r| (Arc::clone(&r.name), Arc::clone(r))).collect();
        self.sent = Some(set.version());
    }

    /// The client waits for a response, be it the same or an empty one.
    pub fn answer_due(&mut self) {
        self.answer_due = true;
    }

    /// The client comes from an earlier stream.
    pub fn resume(&mut self) {
        self.resuming = true;
    }

    /// Whether the client comes from an earlier stream and has had no answer on this one.
    pub fn is_resuming(&self) -> bool {
        self.resuming
    }

    /// The client dropped all names but those that `keep` says.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.held.retain(|name, _| keep(name));
        if let Some((_, content)) = &mut self.in_flight {
            content.retain(|name, _| keep(name));
        }
    }

    /// Settles the response in flight. `false` if there is none.
    pub fn settle(&mut self, nonce: Nonce, accepted: bool) -> bool {
        let Some((_, content)) = self.in_flight.take_if(|(sent, _)| *sent == nonce) else { return false };
        self.refused = !accepted;
        if accepted {
            self.held = content;
        }
        true
    }

    /// What is due. What was sent last is not sent again, accepted or not.
    pub fn due(&self, subscription: &Subscription, set: &TypeSnapshot) -> Due {
        if self.answer_due {
            // An answer without a name that the client may hold takes it away.
            if self.resuming && subscription.lacks(set) { Due::Removals } else { Due::Updates }
        } else if self.sent == Some(subscription.version(set)) {
            Due::Nothing
        } else if self.sent == Some(version(&self.content(subscription, set, false))) {
            Due::Removals
        } else {
            Due::Updates
        }
    }

    /// Makes the response: version, resources, and those of them that the client does not hold at that version.
    pub fn respond(
        &mut self,
        subscription: &Subscription,
        set: &TypeSnapshot,
        nonce: Nonce,
        with_removals: bool,
    ) -> (Version, Vec<Arc<Resource>>, Vec<Arc<Resource>>) {
        let content = self.content(subscription, set, with_removals);
        let resources: Vec<_> = content.values().cloned().collect();
        let version = version(&content);
        let changed = resources.iter().filter(|r| !self.holds(r)).cloned().collect();
        self.sent = Some(version);
        self.in_flight = Some((nonce, content));
        (self.refused, self.answer_due, self.resuming) = (false, false, false);
        (version, resources, changed)
    }

    /// Whether a response awaits its answer.
    pub fn in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Whether the client refused what it would be sent now.
    pub fn is_rejected(&self, subscription: &Subscription, set: &TypeSnapshot) -> bool {
        self.refused && self.due(subscription, set) != Due::Updates
    }

    /// Whether the client accepted the current version of a resource, or its absence.
    pub fn is_settled(&self, name: &str, set: &TypeSnapshot) -> bool {
        set.get(name).map(|r| r.version) == self.held.get(name).map(|r| r.version)
    }

    fn holds(&self, resource: &Resource) -> bool {
        self.held.get(&resource.name).is_some_and(|held| held.version == resource.version)
    }

    /// What the client wants and exists; and, unless removals may go, what it holds that exists no more.
    fn content(&self, subscription: &Subscription, set: &TypeSnapshot, with_removals: bool) -> Set {
        let kept =
            self.held.iter().filter(|_| !with_removals).map(|(name, r)| (Arc::clone(name), Arc::clone(r)));
        let mut content: Set = kept.collect();
        content.extend(subscription.wanted(set).map(|r| (Arc::clone(&r.name), Arc::clone(r))));
        content
    }
}

fn version(set: &Set) -> Version {
    Version::of_set(set.values().map(Arc::as_ref))
}
