//! What a client holds of one type, resource by resource, and what it refused.
//!
//! Owns the bookkeeping common to delta and to the piecemeal types of state of the world. Rules: a response counts
//! when it is ACKed; after a NACK nobody knows which of its resources the client kept, so all of them count as not
//! held, but none is sent again until one of that response has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::machine::Nonce;
use super::subscription::Subscription;
use crate::snapshot::{Resource, TypeSnapshot, Version};

/// The version a client has of a resource; `None` when it came from elsewhere and is unknown to us, or, in a
/// response, when the response says that the resource is gone.
type Known = Option<Version>;

/// The account of one client, type and stream.
#[derive(Debug, Default)]
pub struct Ledger {
    held: BTreeMap<Arc<str>, Known>,
    in_flight: Option<(Nonce, BTreeMap<Arc<str>, Known>)>,
    rejected: BTreeMap<Arc<str>, (Nonce, Known)>,
    /// Names that the client must be told about even if it has been told before.
    owed: BTreeSet<Arc<str>>,
}

/// What a response has to say.
#[derive(Debug, Default)]
pub struct Changes {
    /// New, changed and owed resources.
    pub updates: Vec<Arc<Resource>>,
    /// Names the client asked for that do not exist.
    pub missing: Vec<Arc<str>>,
    /// Names the client holds that exist no more.
    pub gone: Vec<Arc<str>>,
}

impl Ledger {
    /// Enters what the client brought along from an earlier stream.
    pub fn bring(&mut self, name: &str, version: &str) {
        self.held.insert(name.into(), Version::parse(version));
    }

    /// Whether the client holds a resource of that name.
    pub fn holds(&self, name: &str) -> bool {
        self.held.contains_key(name)
    }

    /// Has the client told about a name, whatever it holds.
    pub fn owe(&mut self, name: Arc<str>) {
        self.owed.insert(name);
    }

    /// The client dropped a name.
    pub fn forget(&mut self, name: &str) {
        self.held.remove(name);
        self.owed.remove(name);
        self.rejected.remove(name);
        if let Some((_, content)) = &mut self.in_flight {
            content.remove(name);
        }
    }

    /// The client dropped all names but those that `keep` says.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.held.retain(|name, _| keep(name));
        self.owed.retain(|name| keep(name));
        self.rejected.retain(|name, _| keep(name));
        if let Some((_, content)) = &mut self.in_flight {
            content.retain(|name, _| keep(name));
        }
    }

    /// Whether a response awaits its answer.
    pub fn in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Settles the response in flight. `false` if the nonce is not its.
    pub fn settle(&mut self, nonce: Nonce, accepted: bool) -> bool {
        let Some((sent, content)) = self.in_flight.take_if(|(sent, _)| *sent == nonce) else { return false };
        for (name, known) in content {
            if !accepted {
                self.rejected.insert(name, (sent, known));
                continue;
            }
            match known {
                Some(version) => drop(self.held.insert(name, Some(version))),
                None => drop(self.held.remove(&name)),
            }
        }
        true
    }

    /// What the client has to be told beyond what is in flight, given its subscription and the current resources.
    pub fn changes(&self, subscription: &Subscription, set: &TypeSnapshot) -> Changes {
        let blocked = self.blocked(set);
        let is_news = |r: &Resource| {
            let told = self.told(&r.name) == Some(Some(r.version));
            self.owed.contains(&r.name) || !(told || blocked.contains(&*r.name))
        };
        let absent = |name: &&Arc<str>| set.get(name).is_none();
        let is_gone = |name: &&Arc<str>| {
            let known = self.told(name).is_some() && !self.owed.contains(*name);
            known && absent(name) && !blocked.contains(&***name)
        };
        let in_flight = self.in_flight.iter().flat_map(|(_, content)| content.keys());
        let touched: BTreeSet<&Arc<str>> = self.held.keys().chain(in_flight).collect();
        Changes {
            updates: subscription.wanted(set).filter(|r| is_news(r)).cloned().collect(),
            missing: self.owed.iter().filter(absent).cloned().collect(),
            gone: touched.into_iter().filter(is_gone).cloned().collect(),
        }
    }

    /// Whether something was refused and has not changed since.
    pub fn is_rejected(&self, set: &TypeSnapshot) -> bool {
        !self.blocked(set).is_empty()
    }

    /// Whether nothing more will be sent about a name.
    pub fn is_settled(&self, name: &str, set: &TypeSnapshot) -> bool {
        let current = set.get(name).map(|r| Some(r.version));
        self.held.get(name).copied() == current || self.blocked(set).contains(name)
    }

    /// Enters a response that was just made.
    pub fn sent(
        &mut self,
        nonce: Nonce,
        updates: &[Arc<Resource>],
        removed: &[Arc<str>],
        set: &TypeSnapshot,
    ) {
        let blocked: BTreeSet<Arc<str>> = self.blocked(set).into_iter().map(Arc::from).collect();
        self.rejected.retain(|name, _| blocked.contains(name));
        let updates = updates.iter().map(|r| (Arc::clone(&r.name), Some(r.version)));
        let content: BTreeMap<_, _> =
            updates.chain(removed.iter().map(|name| (Arc::clone(name), None))).collect();
        for name in content.keys() {
            self.owed.remove(name);
            self.rejected.remove(name);
        }
        self.in_flight = Some((nonce, content));
    }

    /// What the client will hold of a name if it accepts what is in flight.
    fn told(&self, name: &str) -> Option<Known> {
        match self.in_flight.as_ref().and_then(|(_, content)| content.get(name)) {
            Some(None) => None,
            Some(sent) => Some(*sent),
            None => self.held.get(name).copied(),
        }
    }

    /// The refused names of which no companion in the same refused response has changed.
    fn blocked(&self, set: &TypeSnapshot) -> BTreeSet<&str> {
        let current = |name: &str| set.get(name).map(|r| r.version);
        let changed: BTreeSet<Nonce> = self
            .rejected
            .iter()
            .filter(|(name, (_, known))| current(name) != *known)
            .map(|(_, (nonce, _))| *nonce)
            .collect();
        let unchanged = self.rejected.iter().filter(|(_, (nonce, _))| !changed.contains(nonce));
        unchanged.map(|(name, _)| &**name).collect()
    }
}
