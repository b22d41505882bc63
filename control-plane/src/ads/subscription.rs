//! What a client asked for: names, or everything.
//!
//! The one subtle rule: an empty first list means everything, but only until any name (even `*`) has ever been used
//! for the type on the stream; from then on an empty list means nothing. And only for types whose absence means
//! something (listeners, clusters).

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::snapshot::{Resource, TypeSnapshot, Version, VersionHasher};

/// The explicit name of everything.
pub const WILDCARD: &str = "*";

/// The subscription of one client to one type on one stream.
#[derive(Debug, Default)]
pub struct Subscription {
    wildcard: bool,
    names: BTreeSet<Arc<str>>,
    /// Whether a name was ever used, which ends the legacy meaning of an empty list.
    named: bool,
    started: bool,
}

/// What a request added to a subscription.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// Names that were not subscribed before (or, in delta, were named again).
    pub names: Vec<Arc<str>>,
    /// Whether everything was asked for anew.
    pub wildcard: bool,
}

impl Subscription {
    /// Replaces the subscription by a complete list of names, as a state-of-the-world request does.
    pub fn replace(&mut self, list: &[String], complete_set: bool) -> Added {
        let wildcard = self.means_everything(list, complete_set);
        let names: BTreeSet<Arc<str>> =
            list.iter().filter(|n| !is_wildcard(n, complete_set)).map(|n| Arc::from(n.as_str())).collect();
        let added = Added {
            names: names.difference(&self.names).cloned().collect(),
            wildcard: wildcard && !self.wildcard,
        };
        (self.wildcard, self.names) = (wildcard, names);
        added
    }

    /// Adds names, as a delta request does. An empty list counts on the first request only. Names that were there
    /// already are reported as added: naming one again is the client's way of asking to be told again.
    pub fn subscribe(&mut self, list: &[String], complete_set: bool) -> Added {
        let first = !self.started;
        let everything = self.means_everything(list, complete_set);
        let wildcard = everything && (first || !list.is_empty());
        self.wildcard |= wildcard;
        let names: Vec<Arc<str>> =
            list.iter().filter(|n| !is_wildcard(n, complete_set)).map(|n| Arc::from(n.as_str())).collect();
        self.names.extend(names.iter().cloned());
        Added { names, wildcard }
    }

    /// Takes one name (or `*`) back; whether it was subscribed.
    pub fn unsubscribe(&mut self, name: &str, complete_set: bool) -> bool {
        if is_wildcard(name, complete_set) {
            return std::mem::take(&mut self.wildcard);
        }
        self.names.remove(name)
    }

    /// Whether a resource of that name is wanted.
    pub fn covers(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }

    /// Whether everything is wanted.
    pub fn is_wildcard(&self) -> bool {
        self.wildcard
    }

    /// How many names are subscribed.
    pub fn name_count(&self) -> usize {
        self.names.len()
    }

    /// The resources of `set` that are wanted, in name order.
    pub fn wanted<'a>(&'a self, set: &'a TypeSnapshot) -> Box<dyn Iterator<Item = &'a Arc<Resource>> + 'a> {
        match self.wildcard {
            true => Box::new(set.iter()),
            false => Box::new(self.names.iter().filter_map(|name| set.get(name))),
        }
    }

    /// Whether a name is subscribed that does not exist.
    pub fn lacks(&self, set: &TypeSnapshot) -> bool {
        self.names.iter().any(|name| set.get(name).is_none())
    }

    /// The version of what is wanted: a function of content alone, equal on every replica.
    pub fn version(&self, set: &TypeSnapshot) -> Version {
        if self.wildcard {
            return set.version();
        }
        let mut hasher = VersionHasher::default();
        self.wanted(set).for_each(|r| hasher.add(r));
        hasher.finish()
    }

    fn means_everything(&mut self, list: &[String], complete_set: bool) -> bool {
        self.started = true;
        self.named |= !list.is_empty();
        complete_set && (!self.named || list.iter().any(|n| n == WILDCARD))
    }
}

fn is_wildcard(name: &str, complete_set: bool) -> bool {
    complete_set && name == WILDCARD
}

#[cfg(test)]
mod tests;
