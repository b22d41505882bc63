//! Load balancing: which host takes the next request. One balancer per cluster and worker.
//!
//! Pipeline as in Envoy: subset, then priority with its healthy, degraded or (in panic) all hosts, then locality, then
//! the policy. Lists and shares are computed when the host set or the health of a host changes, so a pick is a few
//! array reads.

mod edf;
mod elsewhere;
mod hash;
mod lists;
mod maglev;
mod mersenne;
mod notes;
pub mod peak_ewma;
mod picker;
mod priority;
mod ring;
mod source;
mod subset;
mod world;
mod zone;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use fastrand::Rng;

use crate::config::HostSet;
use crate::config::balance::{Balancing, LocalityRouting};
use crate::config::cluster::CoarseHealth;
use crate::config::retry::Avoid;
use crate::config::subset::Metadata;
use lists::Lists;
use source::Sources;
use subset::SubsetIndex;
use world::World;

pub use elsewhere::Attempted;
pub use notes::Notes;
pub use priority::{Availability, Split, Tier, split};
pub use zone::Origin;

/// What a pick may depend on.
#[derive(Debug, Default, Clone, Copy)]
pub struct PickContext<'a> {
    /// Hosts already tried by this request (by uid), to be avoided.
    pub avoid: &'a [u64],
    /// What else a retry avoids.
    pub omit: Option<&'a Avoid>,
    /// Re-picks while the choice is one to avoid.
    pub attempts: u32,
    /// Hash of the request; without one hash policies draw one.
    pub hash: Option<u64>,
    /// Metadata that hosts must have, in clusters with subsets.
    pub criteria: Option<&'a Metadata>,
    /// What an aggregate chose of its member.
    pub part: Option<Part>,
    /// Priorities that were tried, for retries that keep away from them.
    pub attempted: Attempted<'a>,
}

/// Hosts of one priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The priority.
    pub priority: usize,
    /// Which of its hosts.
    pub tier: Tier,
}

/// The balancer of one cluster.
#[derive(Debug)]
pub struct Balancer {
    hosts: Arc<HostSet>,
    settings: Arc<Balancing>,
    origin: Option<Rc<Origin>>,
    state: State,
    all: Lists,
    subsets: Option<SubsetIndex>,
}

/// What the lists were built from.
#[derive(Debug)]
struct State {
    /// The health changes that are taken into account.
    epoch: u64,
    /// The same of the origin's hosts.
    origin_epoch: u64,
    /// By host index.
    health: Vec<CoarseHealth>,
    /// When the last host leaves its slow start.
    settled: Option<Instant>,
    notes: Notes,
}

/// What one pick draws on.
struct Draw<'a> {
    hosts: &'a HostSet,
    rng: &'a mut Rng,
    now: &'a dyn Fn() -> Instant,
    /// A time of the past for those who do not need to know better.
    started: Instant,
    /// Of the request, or drawn.
    hash: u64,
    /// The hash decides on the priority too.
    by_hash: bool,
    part: Option<Part>,
    attempted: Attempted<'a>,
    attempt: u32,
    notes: Notes,
}

impl Draw<'_> {
    /// What decides on the priority.
    fn point(&mut self) -> u64 {
        if self.by_hash { self.hash } else { self.rng.u64(..) }
    }
}

impl Balancer {
    /// Builds the lists for `hosts`. `origin` is where requests start, where that matters.
    pub fn new(
        settings: Arc<Balancing>,
        hosts: Arc<HostSet>,
        origin: Option<Rc<Origin>>,
        now: Instant,
        rng: &mut Rng,
    ) -> Self {
        let subsets = settings.subsets.as_deref().map(|subsets| SubsetIndex::new(subsets, &hosts));
        let (state, all) = State::build(&settings, &hosts, origin.as_deref(), now, rng);
        Self { hosts, settings, origin, state, all, subsets }
    }

    /// Takes changes of the hosts' health into account; to be called before a pick. When there was one: the
    /// indexes of the hosts that became unhealthy by it.
    #[inline]
    pub fn refresh(&mut self, now: impl Fn() -> Instant, rng: &mut Rng) -> Option<Vec<usize>> {
        let changed = self.hosts.epoch.peek() != self.state.epoch
            || self.origin.as_ref().is_some_and(|it| it.hosts.epoch.peek() != self.state.origin_epoch)
            || self.state.settled.is_some_and(|settled| now() >= settled);
        changed.then(|| self.rebuild(now(), rng))
    }

    /// Requests start elsewhere from now on.
    pub fn move_to(&mut self, origin: Option<Rc<Origin>>, now: Instant, rng: &mut Rng) {
        self.origin = origin;
        self.rebuild(now, rng);
    }

    #[cold]
    fn rebuild(&mut self, now: Instant, rng: &mut Rng) -> Vec<usize> {
        let (state, all) = State::build(&self.settings, &self.hosts, self.origin.as_deref(), now, rng);
        self.all = all;
        self.subsets.iter_mut().for_each(SubsetIndex::invalidate);
        let before = std::mem::replace(&mut self.state, state).health;
        let pairs = before.iter().zip(&self.state.health).enumerate();
        let failed = |old, new| old != CoarseHealth::Unhealthy && new == CoarseHealth::Unhealthy;
        pairs.filter(|(_, (old, new))| failed(**old, **new)).map(|(index, _)| index).collect()
    }

    /// Picks a host: its index in the set. `None`: there is none to pick.
    pub fn pick(
        &mut self,
        context: PickContext<'_>,
        now: &dyn Fn() -> Instant,
        rng: &mut Rng,
    ) -> (Option<usize>, Notes) {
        let Self { hosts, settings, origin, state, all, subsets } = self;
        let by_hash = settings.policy.is_hash();
        let hash = match context.hash {
            _ if !by_hash => 0,
            Some(hash) => hash,
            None => rng.u64(..),
        };
        let notes = std::mem::take(&mut state.notes);
        let started = hosts.epoch.origin();
        let PickContext { part, attempted, .. } = context;
        let mut draw = Draw { hosts, rng, now, started, hash, by_hash, part, attempted, attempt: 0, notes };
        let world = World::new(settings, hosts, &state.health, origin.as_deref(), started);
        let mut sources = Sources { world, all, subsets: subsets.as_mut() };
        let is_avoided = |index: usize| {
            hosts.hosts.get(index).is_some_and(|host| {
                context.avoid.contains(&host.uid)
                    || context.omit.is_some_and(|omit| omit.omits(host.metadata.as_deref()))
            })
        };
        let mut choice = sources.pick(&context, &mut draw);
        while draw.attempt < context.attempts && choice.is_some_and(is_avoided) {
            draw.attempt += 1;
            choice = sources.pick(&context, &mut draw);
        }
        (choice, draw.notes)
    }

    /// The hosts indexes refer to.
    pub fn hosts(&self) -> &Arc<HostSet> {
        &self.hosts
    }

    /// The health changes that are taken into account.
    pub fn epoch(&self) -> u64 {
        self.state.epoch
    }

    /// The hosts of each priority.
    pub fn levels(&self) -> &[Availability] {
        self.all.levels()
    }

    /// The subsets, for statistics.
    pub fn subsets(&self) -> Option<&SubsetIndex> {
        self.subsets.as_ref()
    }

    /// Whether it matters where requests start.
    pub fn has_zones(&self) -> bool {
        matches!(self.settings.locality, LocalityRouting::ZoneAware(_)) && !self.settings.policy.is_hash()
    }
}

impl State {
    /// Reads the hosts' health and builds the lists over all hosts.
    fn build(
        settings: &Balancing,
        hosts: &HostSet,
        origin: Option<&Origin>,
        now: Instant,
        rng: &mut Rng,
    ) -> (Self, Lists) {
        // Before the flags: a change after this is seen as one by the next pick.
        let epoch = hosts.epoch.read();
        let origin_epoch = origin.map_or(0, |origin| origin.hosts.epoch.read());
        let health: Vec<CoarseHealth> = hosts.hosts.iter().map(|host| host.coarse_health()).collect();
        let world = World::new(settings, hosts, &health, origin, now);
        let members: Vec<u32> = (0..hosts.hosts.len() as u32).collect();
        let lists = Lists::new(&world, &members, rng);
        let (settled, notes) = (world.settled(), world.notes());
        (Self { epoch, origin_epoch, health, settled, notes }, lists)
    }
}

#[cfg(test)]
mod tests;
