//! Which resources were asked for and never answered, and how long their dependents wait for them.
//!
//! Invariant: a name is waited for from the moment it is first wanted until its first answer (update, refusal or
//! "does not exist") or its `initial_fetch_timeout`, whichever comes first; a lost stream changes nothing.
//! Source: Envoy `ConfigSource.initial_fetch_timeout`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::xds::resource::ResourceType;

/// State of every wanted name.
#[derive(Debug, Default)]
pub struct Fetches {
    by_type: BTreeMap<ResourceType, HashMap<Arc<str>, Fetch>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fetch {
    /// Until then; `None` is for ever.
    Waiting(Option<Instant>),
    Done,
}

impl Fetches {
    /// Makes `wanted` the wanted names of a type. New ones start to be waited for, with their timeout (zero is
    /// for ever); others are forgotten.
    pub fn want(&mut self, kind: ResourceType, wanted: &BTreeMap<Arc<str>, Duration>, now: Instant) {
        let names = self.by_type.entry(kind).or_default();
        names.retain(|name, _| wanted.contains_key(name));
        for (name, timeout) in wanted {
            let until = (!timeout.is_zero()).then(|| now + *timeout);
            names.entry(name.clone()).or_insert(Fetch::Waiting(until));
        }
    }

    /// The name was answered.
    pub fn done(&mut self, kind: ResourceType, name: &str) {
        if let Some(fetch) = self.by_type.get_mut(&kind).and_then(|names| names.get_mut(name)) {
            *fetch = Fetch::Done;
        }
    }

    /// Whether dependents need not wait for the name any longer. False for one that was never wanted.
    pub fn is_done(&self, kind: ResourceType, name: &str) -> bool {
        self.by_type.get(&kind).and_then(|names| names.get(name)) == Some(&Fetch::Done)
    }

    /// Names still waited for, for `/init_dump`.
    pub fn unanswered(&self) -> impl Iterator<Item = (ResourceType, &Arc<str>)> {
        self.by_type.iter().flat_map(|(kind, names)| {
            let waiting = names.iter().filter(|(_, fetch)| matches!(fetch, Fetch::Waiting(_)));
            waiting.map(|(name, _)| (*kind, name))
        })
    }

    /// The next moment at which [`Fetches::expire`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        let fetches = self.by_type.values().flat_map(HashMap::values);
        fetches.filter_map(|fetch| if let Fetch::Waiting(until) = fetch { *until } else { None }).min()
    }

    /// Gives up waiting for what is overdue; the names given up.
    pub fn expire(&mut self, now: Instant) -> Vec<(ResourceType, Arc<str>)> {
        let mut expired = Vec::new();
        for (kind, names) in &mut self.by_type {
            for (name, fetch) in names {
                if matches!(fetch, Fetch::Waiting(Some(until)) if *until <= now) {
                    *fetch = Fetch::Done;
                    expired.push((*kind, name.clone()));
                }
            }
        }
        expired.sort();
        expired
    }
}
