//! What one balancer, of a cluster or of a subset of it, picks from: shares of the load, each with its hosts. Rebuilt
//! when the health of a host changed; a pick only reads.

use fastrand::Rng;

use super::Draw;
use super::Part as Wanted;
use super::edf::Edf;
use super::hash::Hashed;
use super::notes::Note;
use super::picker::Picker;
use super::priority::{self, Amount, Availability, Split, Tier};
use super::world::World;
use super::zone::Zones;
use crate::config::balance::LocalityRouting;
use crate::config::cluster::CoarseHealth;

/// Shares of the load with their hosts.
#[derive(Debug)]
pub struct Lists {
    parts: Vec<Part>,
    /// Priorities that have hosts and no share of the load. Retries may go there, and nothing needs to be built then.
    standby: Vec<Part>,
    levels: Vec<Availability>,
    /// There is no share, and panic is not switched off.
    panics: bool,
}

#[derive(Debug)]
struct Part {
    /// Where it ends in 0..=100.
    end: u32,
    priority: usize,
    tier: Tier,
    source: Source,
}

/// Where a host comes from.
#[derive(Debug)]
enum Source {
    /// One list.
    Flat(Picker),
    /// A locality by weight, then its list.
    Weighted { localities: Edf, lists: Vec<Picker> },
    /// The own zone first.
    Zones(Box<Zones>),
}

/// The hosts of one priority, by index.
#[derive(Debug, Default)]
pub(super) struct Level {
    pub(super) all: Vec<u32>,
    pub(super) healthy: Vec<u32>,
    degraded: Vec<u32>,
    excluded: Vec<u32>,
    availability: Availability,
}

impl Lists {
    /// Over the hosts with these indexes.
    pub(super) fn new(world: &World<'_>, members: &[u32], rng: &mut Rng) -> Self {
        let levels = levels(world, members);
        let availability: Vec<Availability> = levels.iter().map(|level| level.availability).collect();
        let split = priority::split(&availability, world.settings.panic_threshold);
        let standby = standby(world, &levels, &split, rng);
        let mut end = 0;
        let part = |Split { level: priority, tier, percent }| {
            end += percent;
            let source = source(world, levels.get(priority)?, priority, tier, rng);
            Some(Part { end, priority, tier, source })
        };
        let parts: Vec<Part> = split.into_iter().filter_map(part).collect();
        let panics = parts.is_empty() && world.settings.panic_threshold > 0;
        Self { parts, standby, levels: availability, panics }
    }

    /// The hosts of each priority.
    pub(super) fn levels(&self) -> &[Availability] {
        &self.levels
    }

    /// A host; `None`: there is none to pick.
    pub(super) fn pick(&mut self, draw: &mut Draw<'_>) -> Option<usize> {
        let elsewhere = if draw.attempted.every == 0 { None } else { self.elsewhere(draw) };
        if let Some(wanted) = elsewhere {
            let mut all = self.parts.iter_mut().chain(&mut self.standby);
            return all.find(|part| part.is(wanted))?.pick(draw);
        }
        let wanted = draw.part.and_then(|wanted| self.parts.iter().position(|part| part.is(wanted)));
        let part = match (wanted, self.parts.as_mut_slice()) {
            (_, []) => return self.none(draw),
            (Some(at), parts) => parts.get_mut(at)?,
            (None, [only]) => only,
            (None, parts) => {
                let point = (draw.point() % 100) as u32;
                parts.iter_mut().find(|part| point < part.end)?
            }
        };
        part.pick(draw)
    }

    /// There is nothing to pick from; to Envoy that is panic, too.
    #[cold]
    fn none(&self, draw: &mut Draw<'_>) -> Option<usize> {
        if self.panics {
            draw.notes.add(Note::Panic);
        }
        None
    }

    /// Where a retry goes that keeps away from what was tried.
    #[cold]
    fn elsewhere(&self, draw: &mut Draw<'_>) -> Option<Wanted> {
        let split = draw.attempted.split(&self.levels)?;
        let mut point = (draw.point() % 100) as u32;
        let share = split.iter().find(|share| {
            let inside = point < share.percent;
            point = point.saturating_sub(share.percent);
            inside
        })?;
        Some(Wanted { priority: share.level, tier: share.tier })
    }
}

impl Part {
    fn pick(&mut self, draw: &mut Draw<'_>) -> Option<usize> {
        if self.tier == Tier::All {
            draw.notes.add(Note::Panic);
        }
        match &mut self.source {
            Source::Flat(list) => list.pick(draw),
            Source::Weighted { localities, lists } => {
                let locality = localities.pick(|_, weight| weight)?;
                lists.get_mut(locality)?.pick(draw)
            }
            Source::Zones(zones) => zones.pick(draw),
        }
    }

    /// Whether it is what an aggregate chose; in panic that is all of a priority's hosts.
    fn is(&self, wanted: Wanted) -> bool {
        self.priority == wanted.priority && (self.tier == wanted.tier || self.tier == Tier::All)
    }
}

/// Every list of usable hosts that no share of the load goes to.
fn standby(world: &World<'_>, levels: &[Level], split: &[Split], rng: &mut Rng) -> Vec<Part> {
    let mut standby = Vec::new();
    for (priority, level) in levels.iter().enumerate().filter(|_| levels.len() > 1) {
        for (tier, list) in [(Tier::Healthy, &level.healthy), (Tier::Degraded, &level.degraded)] {
            let is_used = |one: &Split| one.level == priority && (one.tier == tier || one.tier == Tier::All);
            if !list.is_empty() && !split.iter().any(is_used) {
                let source = source(world, level, priority, tier, rng);
                standby.push(Part { end: 0, priority, tier, source });
            }
        }
    }
    standby
}

fn levels(world: &World<'_>, members: &[u32]) -> Vec<Level> {
    let mut levels: Vec<Level> = Vec::new();
    for index in members {
        let Some(host) = world.hosts.hosts.get(*index as usize) else { continue };
        let priority = host.priority as usize;
        if levels.len() <= priority {
            levels.resize_with(priority + 1, Level::default);
        }
        let level = &mut levels[priority];
        level.all.push(*index);
        match world.health.get(*index as usize) {
            Some(CoarseHealth::Healthy) => level.healthy.push(*index),
            Some(CoarseHealth::Degraded) => level.degraded.push(*index),
            _ => {}
        }
        if host.is_excluded() {
            level.excluded.push(*index);
        }
    }
    for level in &mut levels {
        level.availability = level.measure(world);
    }
    levels
}

impl Level {
    fn measure(&self, world: &World<'_>) -> Availability {
        let amount = |size: &dyn Fn(&[u32]) -> u64| Amount {
            healthy: size(&self.healthy),
            degraded: size(&self.degraded),
            total: size(&self.all).saturating_sub(size(&self.excluded)),
        };
        let hosts = amount(&|list| list.len() as u64);
        let measure = match world.hosts.policy.weighted_health {
            true => amount(&|list| list.iter().map(|index| u64::from(world.weight(*index))).sum()),
            false => hosts,
        };
        let overprovisioning = world.hosts.policy.overprovisioning;
        Availability { hosts, measure, all: self.all.len() as u64, overprovisioning }
    }
}

fn source(world: &World<'_>, level: &Level, priority: usize, tier: Tier, rng: &mut Rng) -> Source {
    let list = match tier {
        Tier::Healthy => &level.healthy,
        Tier::Degraded => &level.degraded,
        Tier::All if fails_on_panic(world) => return Source::Flat(Picker::Empty),
        Tier::All => &level.all,
    };
    let weights = locality_weights(world, level, list);
    if world.settings.policy.is_hash() {
        let shares = hash_shares(world, list, weights.as_deref());
        let picker = match shares.is_empty() {
            true => Picker::Empty,
            false => Picker::Hashed(Box::new(Hashed::new(world.settings, world.hosts, shares))),
        };
        return Source::Flat(picker);
    }
    match (tier, weights) {
        (Tier::Healthy | Tier::Degraded, Some(weights)) => weighted(world, level, &weights, rng),
        (Tier::Healthy, None) if priority == 0 => match Zones::new(world, level, rng) {
            Some(zones) => Source::Zones(Box::new(zones)),
            None => Source::Flat(Picker::new(world, list.clone(), rng)),
        },
        _ => Source::Flat(Picker::new(world, list.clone(), rng)),
    }
}

fn fails_on_panic(world: &World<'_>) -> bool {
    matches!(world.settings.locality, LocalityRouting::ZoneAware(zone) if zone.fail_on_panic)
}

/// One locality of a list.
struct Weighed {
    weight: f64,
    list: Vec<u32>,
}

/// The localities of a list that have a weight; `None`: weights decide nothing. Envoy without any weight would use
/// no host with hash policies; here they then do not count.
fn locality_weights(world: &World<'_>, level: &Level, list: &[u32]) -> Option<Vec<Weighed>> {
    if world.settings.locality != LocalityRouting::Weighted || !world.uses_locality_weights {
        return None;
    }
    let priority = level.all.first().and_then(|index| world.hosts.hosts.get(*index as usize))?.priority;
    let mut found = Vec::new();
    for (locality, list) in by_locality(world, list) {
        let weight = f64::from(world.hosts.policy.locality_weight(priority, locality));
        let weight = weight * world.part_of_locality(priority, locality, level);
        if weight > 0.0 {
            found.push(Weighed { weight, list });
        }
    }
    (!found.is_empty()).then_some(found)
}

/// The hosts of a list by locality, localities in their order.
pub(super) fn by_locality(world: &World<'_>, list: &[u32]) -> Vec<(u32, Vec<u32>)> {
    let mut groups: Vec<(u32, Vec<u32>)> = Vec::new();
    for index in list {
        let locality = world.locality(*index);
        match groups.binary_search_by_key(&locality, |(known, _)| *known) {
            Ok(at) => groups[at].1.push(*index),
            Err(at) => groups.insert(at, (locality, vec![*index])),
        }
    }
    groups
}

/// A schedule of localities: each by its weight as far as it is available.
fn weighted(world: &World<'_>, level: &Level, localities: &[Weighed], rng: &mut Rng) -> Source {
    let overprovisioning = f64::from(world.hosts.policy.overprovisioning) / 100.0;
    let effective = localities.iter().enumerate().map(|(at, locality)| {
        let here = locality.list.first().map(|index| world.locality(*index));
        let count = |list: &[u32]| list.iter().filter(|index| Some(world.locality(**index)) == here).count();
        let total = count(&level.all).saturating_sub(count(&level.excluded)).max(1);
        let available = (overprovisioning * locality.list.len() as f64 / total as f64).min(1.0);
        (at as u32, locality.weight * available)
    });
    Source::Weighted {
        localities: Edf::new(effective, rng),
        lists: localities.iter().map(|locality| Picker::new(world, locality.list.clone(), rng)).collect(),
    }
}

/// Every host's share of all weight, in the order that Envoy's tables are filled in.
fn hash_shares(world: &World<'_>, list: &[u32], localities: Option<&[Weighed]>) -> Vec<(u32, f64)> {
    let mut shares = Vec::with_capacity(list.len());
    let mut add = |list: &[u32], part: f64| {
        let sum: u64 = list.iter().map(|index| u64::from(world.weight(*index))).sum();
        let share = |index: &u32| (*index, f64::from(world.weight(*index)) * part / sum as f64);
        shares.extend(list.iter().map(share));
    };
    match localities {
        None => add(list, 1.0),
        Some(localities) => {
            let sum: f64 = localities.iter().map(|locality| locality.weight).sum();
            localities.iter().for_each(|locality| add(&locality.list, locality.weight / sum));
        }
    }
    shares
}
