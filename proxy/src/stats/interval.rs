//! What happened between two readings: counters and histograms as differences, for those who push.
//!
//! `/reset_counters` does not show here: differences are taken of the cells, which are never reset. A set
//! whose owner is gone is kept by its [`Recorder`] until its last counts were told; one that came and went
//! within one interval is not told.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::histogram::Distribution;
use super::registry::{Gauge, Kind, Registry, StatSet, is_scalar};
use super::view::{Part, Stat, Value, View};

/// Reads the registry again and again; each reader that pushes has its own.
#[derive(Debug)]
pub struct Recorder {
    registry: Registry,
    /// What the last reading saw, by set.
    last: HashMap<usize, Mark>,
    /// Keeps the sets, so that their addresses mean the same until the next reading.
    kept: Vec<Arc<StatSet>>,
}

/// The cells of one set at one moment, or their difference to an earlier one.
#[derive(Clone, Debug, Default)]
struct Mark {
    scalars: Vec<u64>,
    codes: Vec<BTreeMap<u16, u64>>,
    histograms: Vec<Distribution>,
}

/// Everything that changed since the reading before.
#[derive(Debug)]
pub struct Interval {
    view: Arc<View>,
    /// By position of the set in the view.
    changes: Vec<Mark>,
}

/// What one statistic did.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Counted this much more.
    Counter(u64),
    /// Is this now.
    Gauge(u64),
    /// Recorded these values.
    Histogram(Distribution),
}

impl Change {
    /// Whether there is nothing to tell of it.
    pub fn is_silent(&self) -> bool {
        match self {
            Change::Counter(value) | Change::Gauge(value) => *value == 0,
            Change::Histogram(values) => values.is_empty(),
        }
    }

    /// Adds what another statistic of the same kind did.
    pub fn add(&mut self, other: &Change) {
        match (self, other) {
            (Change::Counter(sum), Change::Counter(count)) => *sum += count,
            (Change::Gauge(sum), Change::Gauge(value)) => *sum += value,
            (Change::Histogram(sum), Change::Histogram(values)) => sum.merge(values),
            _ => {}
        }
    }
}

impl Recorder {
    /// A recorder whose first interval begins with the process.
    pub fn new(registry: &Registry) -> Self {
        Self { registry: registry.clone(), last: HashMap::new(), kept: Vec::new() }
    }

    /// Ends the running interval and begins the next.
    pub fn advance(&mut self) -> Interval {
        let (mut view, owned) = self.registry.census();
        let living: HashSet<usize> = owned.iter().map(address).collect();
        // Without an owner it is there because some recorder keeps it, maybe another one.
        view.sets.retain(|set| living.contains(&address(set)) || self.last.contains_key(&address(set)));
        let now: Vec<Mark> = view.sets.iter().map(|set| Mark::read(&view, set)).collect();
        let nothing = Mark::default();
        let since =
            |(set, now): (&Arc<StatSet>, &Mark)| now.since(self.last.get(&address(set)).unwrap_or(&nothing));
        let changes = view.sets.iter().zip(&now).map(since).collect();
        self.last = view.sets.iter().map(address).zip(now).collect();
        self.last.retain(|at, _| living.contains(at));
        self.kept = owned;
        Interval { view: Arc::new(view), changes }
    }
}

fn address(set: &Arc<StatSet>) -> usize {
    Arc::as_ptr(set) as usize
}

impl Mark {
    fn read(view: &View, set: &StatSet) -> Self {
        Self {
            scalars: view.raw_scalars(set),
            codes: (0..set.codes.len).map(|family| view.codes(set, family)).collect(),
            histograms: (0..set.histograms.len).map(|position| view.cumulative(set, position)).collect(),
        }
    }

    fn since(&self, earlier: &Mark) -> Self {
        let scalar =
            |(at, now): (usize, &u64)| now.wrapping_sub(earlier.scalars.get(at).copied().unwrap_or_default());
        let codes = |(at, now): (usize, &BTreeMap<u16, u64>)| {
            let before = |code| earlier.codes.get(at).and_then(|codes| codes.get(code)).copied();
            now.iter().map(|(code, count)| (*code, count - before(code).unwrap_or(0).min(*count))).collect()
        };
        let histogram = |(at, now): (usize, &Distribution)| match earlier.histograms.get(at) {
            Some(before) => now.since(before),
            None => now.clone(),
        };
        Self {
            scalars: self.scalars.iter().enumerate().map(scalar).collect(),
            codes: self.codes.iter().enumerate().map(codes).collect(),
            histograms: self.histograms.iter().enumerate().map(histogram).collect(),
        }
    }
}

impl Interval {
    /// The statistics and their names.
    pub fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// Every counter, gauge and histogram, summed over workers, in no particular order.
    pub fn stats(&self) -> impl Iterator<Item = Stat> {
        let all = self.view.stats(|kind| kind != Kind::TextReadout);
        all.filter(|stat| !matches!(stat.part, Part::Worker(_)))
    }

    /// Those that nobody is shown, which others are computed from.
    pub fn unlisted(&self) -> impl Iterator<Item = Stat> {
        self.view.unlisted()
    }

    /// What a gauge is now; `None` when it was never set. Its bundle must be alive.
    pub fn gauge(&self, gauge: Gauge) -> Option<u64> {
        self.view.gauge_at(gauge)
    }

    /// What `stat` did.
    pub fn change(&self, stat: Stat) -> Change {
        match self.view.kind(stat) {
            Kind::Gauge => match self.view.value(stat) {
                Value::Gauge(now) => Change::Gauge(now),
                _ => Change::Gauge(0),
            },
            Kind::Histogram => Change::Histogram(self.histogram(stat)),
            _ => Change::Counter(self.counter(stat)),
        }
    }

    fn histogram(&self, stat: Stat) -> Distribution {
        let position = self.view.histogram_position(stat) as usize;
        let histograms = self.changes.get(stat.set as usize).map(|mark| &mark.histograms);
        histograms.and_then(|all| all.get(position)).cloned().unwrap_or_default()
    }

    fn counter(&self, stat: Stat) -> u64 {
        let Some(mark) = self.changes.get(stat.set as usize) else { return 0 };
        if self.view.is_family(stat) {
            let family = self.view.position(stat, |kind| kind == Kind::StatusCodes);
            let codes = mark.codes.get(family).into_iter().flatten();
            return codes.filter(|(code, _)| stat.part.has_code(**code)).map(|(_, count)| count).sum();
        }
        mark.scalars.get(self.view.position(stat, is_scalar)).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
