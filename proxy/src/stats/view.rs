//! The reading side: every statistic by name and value, in name order, without copying the registry.
//!
//! A [`View`] holds the sets alive while it is read, so ids cannot be reused under a reader. Values are
//! sums over shards, taken when asked for.

use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use super::cells::{Cells, unpack_gauge};
use super::histogram::Distribution;
use super::registry::{Gauge, Kind, StatSet, is_scalar, lock};

/// What readers remember of one set.
#[derive(Debug, Default)]
pub(super) struct Readings {
    /// Scalars at the last counter reset, by shard and position; empty before the first.
    zero: Vec<Vec<u64>>,
    /// Status counts at the last reset.
    zero_codes: BTreeMap<(u32, u16), u64>,
    /// Histograms at the last flush; empty before the first.
    intervals: Vec<Interval>,
}

#[derive(Debug, Default)]
struct Interval {
    at_flush: Distribution,
    finished: Distribution,
}

/// Address of one statistic in a [`View`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stat {
    pub(super) set: u32,
    field: u16,
    pub(super) part: Part,
}

/// Which member of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Whole,
    Worker(u16),
    Code(u16),
    Class(u16),
    Completed,
}

/// Value of one statistic.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Since start or the last reset.
    Counter(u64),
    /// Now; negative sums of racing shards read as zero.
    Gauge(u64),
    /// Text.
    Text(Arc<str>),
    /// Distribution.
    Histogram(Box<HistogramValue>),
}

/// The two views Envoy prints of a histogram.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HistogramValue {
    /// The last finished flush interval.
    pub interval: Distribution,
    /// Since start.
    pub cumulative: Distribution,
}

/// All statistics at one moment.
#[derive(Debug)]
pub struct View {
    /// Sorted by prefix.
    pub(super) sets: Vec<Arc<StatSet>>,
    /// Workers' cells, then the main runtime's.
    shards: Vec<Arc<Cells>>,
}

impl View {
    pub(super) fn new(mut sets: Vec<Arc<StatSet>>, main: Arc<Cells>, workers: Vec<Arc<Cells>>) -> Self {
        sets.sort_unstable_by(|a, b| (&a.prefix, a.layout.name).cmp(&(&b.prefix, b.layout.name)));
        let mut shards = workers;
        shards.push(main);
        Self { sets, shards }
    }

    /// Workers whose shards are in this view.
    fn workers(&self) -> usize {
        self.shards.len() - 1
    }

    /// Every statistic of the kinds that `wanted` says, in no particular order.
    pub fn stats(&self, wanted: impl Fn(Kind) -> bool) -> impl Iterator<Item = Stat> {
        let listed = (0..self.sets.len()).filter(|set| !self.sets[*set].layout.unlisted);
        listed.flat_map(move |set| self.members(set, &wanted))
    }

    /// Those that nobody is shown.
    pub(super) fn unlisted(&self) -> impl Iterator<Item = Stat> {
        let sets = (0..self.sets.len()).filter(|set| self.sets[*set].layout.unlisted);
        sets.flat_map(|set| self.members(set, &|_| true))
    }

    /// Every statistic of the kinds that `wanted` says, with its name, in the order of names.
    pub fn sorted(self: &Arc<Self>, wanted: fn(Kind) -> bool) -> Sorted {
        Sorted { view: self.clone(), wanted, next_set: 0, ready: BinaryHeap::new() }
    }

    /// Kind of a statistic; members of a status family are counters.
    pub fn kind(&self, stat: Stat) -> Kind {
        match self.field(stat).kind {
            Kind::StatusCodes => Kind::Counter,
            kind => kind,
        }
    }

    /// Whether it is a member of a status family.
    pub(super) fn is_family(&self, stat: Stat) -> bool {
        self.field(stat).kind == Kind::StatusCodes
    }

    /// Appends the full name.
    pub fn write_name(&self, stat: Stat, out: &mut String) {
        out.push_str(&self.set(stat).prefix);
        let name = self.field(stat).name;
        match stat.part {
            Part::Whole => out.push_str(name),
            Part::Worker(worker) => out.push_str(&format!("worker_{worker}.{name}")),
            Part::Code(code) => out.push_str(&format!("{name}_{code}")),
            Part::Class(class) => out.push_str(&format!("{name}_{class}xx")),
            Part::Completed => out.push_str(&format!("{name}_completed")),
        }
    }

    /// The full name.
    pub fn name(&self, stat: Stat) -> String {
        let mut name = String::new();
        self.write_name(stat, &mut name);
        name
    }

    /// The statistic called `name`, when it exists. For tests and single look-ups: walks everything.
    pub fn find(&self, name: &str) -> Option<Stat> {
        self.stats(|_| true).find(|stat| self.name(*stat) == name)
    }

    /// The value now.
    pub fn value(&self, stat: Stat) -> Value {
        let set = self.set(stat);
        match self.field(stat).kind {
            Kind::Counter => Value::Counter(self.counter(stat)),
            Kind::Gauge => Value::Gauge(self.gauge(stat).0.max(0) as u64),
            Kind::StatusCodes => Value::Counter(self.responses(stat)),
            Kind::TextReadout => Value::Text(set.text(self.position(stat, |kind| kind == Kind::TextReadout))),
            Kind::Histogram => Value::Histogram(Box::new(self.histogram(stat))),
        }
    }

    /// Whether anything was ever written to it.
    pub fn is_used(&self, stat: Stat) -> bool {
        match self.field(stat).kind {
            Kind::Counter => self.cells(stat).any(|cell| cell != 0),
            Kind::Gauge => self.gauge(stat).1,
            Kind::StatusCodes => true,
            Kind::TextReadout => !matches!(self.value(stat), Value::Text(text) if text.is_empty()),
            Kind::Histogram => !self.cumulative(self.set(stat), self.histogram_position(stat)).is_empty(),
        }
    }

    /// Ends the running interval of every histogram.
    pub(super) fn flush(&self) {
        for set in self.sets.iter().filter(|set| set.histograms.len > 0) {
            let mut readings = lock(&set.readings);
            let current: Vec<_> = (0..set.histograms.len).map(|at| self.cumulative(set, at)).collect();
            if readings.intervals.is_empty() && current.iter().all(Distribution::is_empty) {
                continue;
            }
            readings.intervals.resize_with(current.len(), Interval::default);
            for (interval, current) in readings.intervals.iter_mut().zip(current) {
                interval.finished = current.since(&interval.at_flush);
                interval.at_flush = current;
            }
        }
    }

    pub(super) fn reset_counters(&self) {
        for set in &self.sets {
            let scalars = set.scalars.base..set.scalars.base.saturating_add(set.scalars.len);
            let read = |cells: &Arc<Cells>| scalars.clone().map(|id| cells.scalar(id)).collect();
            let zero = self.shards.iter().map(read).collect();
            let zero_codes = (0..set.codes.len).flat_map(|family| {
                let codes = self.codes(set, family);
                codes.into_iter().map(move |(code, count)| ((family, code), count))
            });
            let zero_codes = zero_codes.collect();
            let mut readings = lock(&set.readings);
            readings.zero = zero;
            readings.zero_codes = zero_codes;
        }
    }

    fn set(&self, stat: Stat) -> &StatSet {
        &self.sets[stat.set as usize]
    }

    fn field(&self, stat: Stat) -> &'static super::registry::Field {
        &self.set(stat).layout.fields[usize::from(stat.field)]
    }

    /// How many fields that satisfy `of` stand before this one: its offset in that id space.
    pub(super) fn position(&self, stat: Stat, of: impl Fn(Kind) -> bool) -> usize {
        let before = &self.set(stat).layout.fields[..usize::from(stat.field)];
        before.iter().filter(|field| of(field.kind)).count()
    }

    pub(super) fn histogram_position(&self, stat: Stat) -> u32 {
        self.position(stat, |kind| kind == Kind::Histogram) as u32
    }

    /// Raw scalar cells that make up this statistic.
    fn cells(&self, stat: Stat) -> impl Iterator<Item = u64> {
        let id = self.set(stat).scalars.base.saturating_add(self.position(stat, is_scalar) as u32);
        self.shards
            .iter()
            .enumerate()
            .filter(move |(at, _)| stat.part.covers(*at))
            .map(move |(_, c)| c.scalar(id))
    }

    /// Every scalar of a set as its cells have it: never reset, gauges packed per shard and so left out.
    pub(super) fn raw_scalars(&self, set: &StatSet) -> Vec<u64> {
        let ids = set.scalars.base..set.scalars.base.saturating_add(set.scalars.len);
        let sum = |id| self.shards.iter().fold(0u64, |sum, cells| sum.wrapping_add(cells.scalar(id)));
        ids.map(sum).collect()
    }

    fn counter(&self, stat: Stat) -> u64 {
        let readings = lock(&self.set(stat).readings);
        let position = self.position(stat, is_scalar);
        let zero = readings.zero.iter().enumerate().filter(|(at, _)| stat.part.covers(*at));
        let zero = zero.filter_map(|(_, scalars)| scalars.get(position));
        let sum = self.cells(stat).fold(0u64, u64::wrapping_add);
        zero.fold(sum, |sum, zero| sum.wrapping_sub(*zero))
    }

    fn gauge(&self, stat: Stat) -> (i64, bool) {
        let cells = self.cells(stat).map(unpack_gauge);
        cells.fold((0, false), |(sum, used), (value, touched)| (sum.wrapping_add(value), used | touched))
    }

    /// A gauge by its handle; `None` when it was never written.
    pub(super) fn gauge_at(&self, gauge: Gauge) -> Option<u64> {
        let cells = self.shards.iter().map(|cells| unpack_gauge(cells.scalar(gauge.0)));
        let (sum, used) = cells
            .fold((0i64, false), |(sum, used), (value, touched)| (sum.wrapping_add(value), used | touched));
        used.then(|| u64::try_from(sum).unwrap_or(0))
    }

    /// Counts of one status family over all shards.
    pub(super) fn codes(&self, set: &StatSet, family: u32) -> BTreeMap<u16, u64> {
        let id = set.codes.base.saturating_add(family);
        let mut sum = BTreeMap::new();
        for (code, count) in self.shards.iter().flat_map(|cells| cells.peek_codes(id)) {
            *sum.entry(code).or_default() += count;
        }
        sum
    }

    fn responses(&self, stat: Stat) -> u64 {
        let set = self.set(stat);
        let family = self.position(stat, |kind| kind == Kind::StatusCodes) as u32;
        let readings = lock(&set.readings);
        let since_reset = |(code, count): (u16, u64)| {
            count - readings.zero_codes.get(&(family, code)).copied().unwrap_or(0).min(count)
        };
        let codes = self.codes(set, family).into_iter().filter(|(code, _)| stat.part.has_code(*code));
        codes.map(since_reset).sum()
    }

    pub(super) fn cumulative(&self, set: &StatSet, position: u32) -> Distribution {
        let id = set.histograms.base.saturating_add(position);
        Distribution::collect(self.shards.iter().filter_map(|cells| cells.peek_buckets(id)))
    }

    fn histogram(&self, stat: Stat) -> HistogramValue {
        let set = self.set(stat);
        let position = self.histogram_position(stat);
        let readings = lock(&set.readings);
        let interval = readings.intervals.get(position as usize).map(|interval| interval.finished.clone());
        HistogramValue { interval: interval.unwrap_or_default(), cumulative: self.cumulative(set, position) }
    }

    /// Every member of one set, of the kinds wanted.
    fn members(&self, at: usize, wanted: &impl Fn(Kind) -> bool) -> Vec<Stat> {
        let set = &self.sets[at];
        let mut found = Vec::with_capacity(set.layout.fields.len());
        let mut family = 0;
        for (field, described) in set.layout.fields.iter().enumerate() {
            let stat = |part| Stat { set: at as u32, field: field as u16, part };
            let counter = if described.kind == Kind::StatusCodes { Kind::Counter } else { described.kind };
            if described.kind == Kind::StatusCodes {
                if wanted(counter) {
                    found.extend(family_parts(&self.codes(set, family)).into_iter().map(stat));
                }
                family += 1;
            } else if wanted(counter) && (!set.layout.on_demand || self.is_used(stat(Part::Whole))) {
                found.push(stat(Part::Whole));
                if set.layout.per_worker && is_scalar(described.kind) {
                    found.extend((0..self.workers()).map(|worker| stat(Part::Worker(worker as u16))));
                }
            }
        }
        found
    }
}

/// Members of a status family: its codes, their classes and the total.
fn family_parts(codes: &BTreeMap<u16, u64>) -> Vec<Part> {
    let mut parts: Vec<Part> =
        codes.keys().filter(|code| **code >= 10).map(|code| Part::Code(*code)).collect();
    let mut classes: Vec<Part> = codes.keys().map(|code| Part::Class(class_of(*code))).collect();
    classes.dedup();
    classes.sort_unstable();
    classes.dedup();
    parts.extend(classes);
    if !codes.is_empty() {
        parts.push(Part::Completed);
    }
    parts
}

/// Statuses below 10 are classes already (see `cells::CodeTable`).
fn class_of(code: u16) -> u16 {
    if code < 10 { code } else { code / 100 }
}

impl Part {
    /// Whether shard `at` belongs to this member.
    fn covers(self, at: usize) -> bool {
        match self {
            Part::Worker(worker) => usize::from(worker) == at,
            _ => true,
        }
    }

    pub(super) fn has_code(self, code: u16) -> bool {
        match self {
            Part::Code(wanted) => wanted == code,
            Part::Class(class) => class_of(code) == class,
            _ => true,
        }
    }
}

/// Statistics in name order; see [`View::sorted`]. Holds the members of the few sets whose names
/// interleave at the moment, not all of them.
#[derive(Debug)]
pub struct Sorted {
    view: Arc<View>,
    wanted: fn(Kind) -> bool,
    next_set: usize,
    /// Smallest name on top.
    ready: BinaryHeap<std::cmp::Reverse<(String, Stat)>>,
}

impl Iterator for Sorted {
    type Item = (String, Stat);

    fn next(&mut self) -> Option<Self::Item> {
        // A set may hold the next name as soon as its prefix is not greater than the smallest one waiting.
        while let Some(set) = self.view.sets.get(self.next_set) {
            if self.ready.peek().is_some_and(|top| *top.0.0 < *set.prefix) {
                break;
            }
            if !set.layout.unlisted {
                for stat in self.view.members(self.next_set, &self.wanted) {
                    self.ready.push(std::cmp::Reverse((self.view.name(stat), stat)));
                }
            }
            self.next_set += 1;
        }
        self.ready.pop().map(|entry| entry.0)
    }
}

#[cfg(test)]
mod tests;
