//! One policy over one list of hosts.

use std::sync::atomic::Ordering;
use std::time::Instant;

use fastrand::Rng;

use super::Draw;
use super::edf::Edf;
use super::hash::Hashed;
use super::peak_ewma;
use super::world::World;
use crate::config::HostSet;
use crate::config::balance::{Among, LbPolicy, PeakEwma, SlowStart};

/// Picks from a list of host indexes.
#[derive(Debug)]
pub enum Picker {
    /// No host.
    Empty,
    /// Equal weights: an index that starts at random.
    RoundRobin { list: Vec<u32>, next: usize },
    /// Unequal weights: earliest deadline first.
    Weighted(Box<Weighted>),
    /// Fewest active requests among this many samples with replacement.
    Sampled { list: Vec<u32>, choices: u32 },
    /// Fewest active requests of all.
    Scanned { list: Vec<u32> },
    /// Uniform.
    Random { list: Vec<u32> },
    /// Least cost of two.
    Fastest { list: Vec<u32>, settings: PeakEwma },
    /// By the request's hash.
    Hashed(Box<Hashed>),
}

/// A schedule, and what makes weights change from pick to pick.
#[derive(Debug)]
pub struct Weighted {
    edf: Edf,
    /// Weights are divided by active requests to this power.
    bias: Option<f64>,
    slow_start: Option<SlowStart>,
}

impl Picker {
    /// Over these hosts. Hash policies are [`Picker::Hashed`], whose tables are built elsewhere.
    pub fn new(world: &World<'_>, list: Vec<u32>, rng: &mut Rng) -> Self {
        if list.is_empty() {
            return Self::Empty;
        }
        let weight = |index: u32| world.hosts.hosts.get(index as usize).map_or(1, |host| host.weight);
        let slow_start = world.slow_start(&list);
        let unequal = list.windows(2).any(|pair| weight(pair[0]) != weight(pair[1]));
        let scheduled = list.len() > 1 && (unequal || slow_start.is_some());
        let bias = match world.settings.policy {
            LbPolicy::Random => return Self::Random { list },
            LbPolicy::PeakEwma(settings) => return Self::Fastest { list, settings },
            LbPolicy::LeastRequest { among, .. } if !scheduled => {
                return match among {
                    Among::Choices(choices) => Self::Sampled { list, choices },
                    Among::All => Self::Scanned { list },
                };
            }
            _ if !scheduled => {
                let next = rng.usize(0..list.len());
                return Self::RoundRobin { list, next };
            }
            LbPolicy::LeastRequest { bias, .. } => Some(bias).filter(|bias| *bias != 0.0),
            _ => None,
        };
        let weighted = Weighted { edf: Edf::new(std::iter::empty(), rng), bias, slow_start };
        let entries =
            list.iter().map(|index| (*index, weighted.weigh(world.hosts, *index, weight(*index), world.now)));
        let edf = Edf::new(entries, rng);
        Self::Weighted(Box::new(Weighted { edf, ..weighted }))
    }

    /// A host of the list.
    #[inline]
    pub fn pick(&mut self, draw: &mut Draw<'_>) -> Option<usize> {
        match self {
            Self::Empty => None,
            Self::RoundRobin { list, next } => {
                let index = *list.get(*next)?;
                *next = if *next + 1 == list.len() { 0 } else { *next + 1 };
                Some(index as usize)
            }
            Self::Weighted(weighted) => weighted.pick(draw),
            Self::Sampled { list, choices } => sample(list, *choices, draw),
            Self::Scanned { list } => scan(list, draw),
            Self::Random { list } => list.get(draw.rng.usize(0..list.len())).map(|index| *index as usize),
            Self::Fastest { list, settings } => peak_ewma::pick(list, settings, draw),
            Self::Hashed(hashed) => hashed.pick(draw.hosts, draw.hash, draw.attempt),
        }
    }
}

impl Weighted {
    fn pick(&mut self, draw: &mut Draw<'_>) -> Option<usize> {
        // The clock is read only while it matters.
        let now = if self.slow_start.is_some() { (draw.now)() } else { draw.started };
        let (bias, slow_start, hosts) = (self.bias, self.slow_start, draw.hosts);
        self.edf.pick(|index, _| {
            let weight = hosts.hosts.get(index as usize).map_or(1, |host| host.weight);
            effective(hosts, index, weight, bias, slow_start, now)
        })
    }

    fn weigh(&self, hosts: &HostSet, index: u32, weight: u32, now: Instant) -> f64 {
        effective(hosts, index, weight, self.bias, self.slow_start, now)
    }
}

/// The weight of a host as load and youth reduce it.
fn effective(
    hosts: &HostSet,
    index: u32,
    weight: u32,
    bias: Option<f64>,
    slow_start: Option<SlowStart>,
    now: Instant,
) -> f64 {
    let mut weight = f64::from(weight);
    if let Some(bias) = bias {
        let active = (active(hosts, index) + 1) as f64;
        weight /= if bias == 1.0 { active } else { active.powf(bias) };
    }
    if let (Some(slow), Some(host)) = (slow_start, hosts.hosts.get(index as usize)) {
        weight *= slow.factor(now.saturating_duration_since(host.live.health.healthy_since()));
    }
    weight
}

pub(super) fn active(hosts: &HostSet, index: u32) -> u64 {
    let live = hosts.hosts.get(index as usize).map(|host| &host.live);
    live.map_or(0, |live| live.rq_active.load(Ordering::Relaxed).max(0)) as u64
}

/// First sample wins ties, as in Envoy.
fn sample(list: &[u32], choices: u32, draw: &mut Draw<'_>) -> Option<usize> {
    let mut best: Option<(u32, u64)> = None;
    for _ in 0..choices.max(1) {
        let index = *list.get(draw.rng.usize(0..list.len()))?;
        let load = active(draw.hosts, index);
        if best.is_none_or(|(_, least)| load < least) {
            best = Some((index, load));
        }
    }
    best.map(|(index, _)| index as usize)
}

/// Of hosts with the same load each is as likely as the other.
fn scan(list: &[u32], draw: &mut Draw<'_>) -> Option<usize> {
    let mut best: Option<(u32, u64)> = None;
    let mut tied = 0;
    for index in list {
        let load = active(draw.hosts, *index);
        tied = match best {
            Some((_, least)) if load > least => continue,
            Some((_, least)) if load == least => tied + 1,
            _ => 1,
        };
        if tied == 1 || draw.rng.u32(0..tied) == 0 {
            best = Some((*index, load));
        }
    }
    best.map(|(index, _)| index as usize)
}
