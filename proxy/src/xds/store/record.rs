//! One named resource and its versions: the one that serves, the one that warms, and the last that was refused.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::xds::resource::Body;

/// The moment of an event, on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For deadlines.
    pub instant: Instant,
    /// For dumps.
    pub wall: SystemTime,
}

/// Where a resource comes from. Static ones are never changed by xDS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Bootstrap.
    Static,
    /// xDS.
    Dynamic,
}

/// One accepted version of a resource.
#[derive(Clone, Debug)]
pub struct Held<T> {
    /// As received, for dumps and for comparison with the next one.
    pub body: Body,
    /// xDS version; empty for static resources.
    pub version: Arc<str>,
    /// When it was accepted.
    pub updated: SystemTime,
    /// Translated.
    pub value: T,
}

/// A refused version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// As received.
    pub body: Body,
    /// xDS version.
    pub version: Arc<str>,
    /// When it was refused.
    pub at: SystemTime,
    /// Why.
    pub details: String,
    /// Nothing is wrong with it: its port could not be had.
    pub port: bool,
}

/// All that is known under one name.
#[derive(Clone, Debug)]
pub struct Record<T> {
    /// Where it comes from.
    pub origin: Origin,
    /// The version that serves.
    pub active: Option<Held<T>>,
    /// A newer version that waits for what it refers to.
    pub warming: Option<Held<T>>,
    /// The last version that was refused, until one is accepted.
    pub refused: Option<Refused>,
}

impl<T> Record<T> {
    /// Nothing yet.
    pub fn empty(origin: Origin) -> Self {
        Self { origin, active: None, warming: None, refused: None }
    }

    /// The version accepted last.
    pub fn latest(&self) -> Option<&Held<T>> {
        self.warming.as_ref().or(self.active.as_ref())
    }

    /// Every accepted version.
    pub fn versions(&self) -> impl Iterator<Item = &Held<T>> {
        self.active.iter().chain(&self.warming)
    }

    /// Every accepted version, to be changed in place.
    pub fn versions_mut(&mut self) -> impl Iterator<Item = &mut Held<T>> {
        self.active.iter_mut().chain(&mut self.warming)
    }

    /// True when something waits and nothing serves.
    pub fn is_first_warming(&self) -> bool {
        self.active.is_none() && self.warming.is_some()
    }

    /// What to do with a received body.
    pub fn compare(&self, body: &Body) -> Novelty {
        match (&self.warming, &self.active) {
            (Some(held), _) | (None, Some(held)) if held.body == *body => Novelty::Same,
            (Some(_), Some(active)) if active.body == *body => Novelty::Rollback,
            _ => Novelty::New,
        }
    }
}

/// How a received body relates to what is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Novelty {
    /// Identical to the version accepted last: nothing happens, not even a new timestamp.
    Same,
    /// Identical to what serves, while something else warms: the warming one is given up.
    Rollback,
    /// Anything else.
    New,
}
