//! The registry: names on one side, per-worker cells on the other.
//!
//! Names are kept per bundle as one prefix plus a static [`Layout`], and a bundle's handles are
//! consecutive ids. So a cluster costs one short string and its cells, not a hundred strings.
//! A [`StatSet`] owns its ids: when the last bundle with them is dropped they are zeroed and reused.
//! Handles are plain numbers; whoever uses one must therefore hold the bundle (in practice the
//! `Arc` of the cluster, listener or connection manager it came with).

mod handle;
mod space;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::cells::{Cells, Range, SCALARS, TABLES};
pub use super::cells::{Shard, SharedShard};
use super::histogram::Distribution;
use super::view::{Readings, View};
pub use handle::{Counter, Cursor, Gauge, Handle, Histogram, StatusCodes, TextReadout};
use space::Space;

/// What a statistic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Monotonic.
    Counter,
    /// Up and down.
    Gauge,
    /// Distribution.
    Histogram,
    /// Family of counters by response status.
    StatusCodes,
    /// Text.
    TextReadout,
}

/// One statistic of a layout.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Name below the set's prefix; may have dots.
    pub name: &'static str,
    /// Kind.
    pub kind: Kind,
}

/// Which shards write a layout. Main-only sets live at the other end of the id space, in chunks that
/// workers never allocate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Home {
    /// Workers (and the main runtime).
    Workers,
    /// Only the main runtime's [`SharedShard`].
    Main,
}

/// The shape of a bundle.
#[derive(Debug)]
pub struct Layout {
    /// Name of the bundle type: tells sets with one prefix apart.
    pub name: &'static str,
    /// Statistics in handle order.
    pub fields: &'static [Field],
    /// Who writes.
    pub home: Home,
    /// Counters and gauges also appear per worker, as `worker_<n>.<name>`.
    pub per_worker: bool,
    /// Statistics appear once they were written, as those that Envoy creates on demand.
    pub on_demand: bool,
    /// Nobody is shown them: others are computed from them (`observe/mesh`).
    pub unlisted: bool,
}

impl Layout {
    pub(super) fn count(&self, wanted: impl Fn(Kind) -> bool) -> u32 {
        self.fields.iter().filter(|field| wanted(field.kind)).count() as u32
    }
}

pub(super) fn is_scalar(kind: Kind) -> bool {
    matches!(kind, Kind::Counter | Kind::Gauge)
}

/// The names and ids of one bundle. Dropping the last reference gives the ids back.
#[derive(Debug)]
pub struct StatSet {
    pub(super) prefix: Box<str>,
    pub(super) layout: &'static Layout,
    pub(super) scalars: Range,
    pub(super) histograms: Range,
    pub(super) codes: Range,
    texts: Box<[Mutex<Arc<str>>]>,
    pub(super) readings: Mutex<Readings>,
    /// Where the ids go back to.
    graveyard: Arc<Mutex<Vec<Grave>>>,
}

/// What bundles hold. Without an owner a set is gone for readers, but one who tells changes may keep it
/// until its last ones are told (`stats/interval`).
#[derive(Debug)]
pub struct Owned(Arc<StatSet>);

/// The ids of a dropped set, waiting to be reclaimed.
#[derive(Debug)]
struct Grave {
    key: Key,
    home: Home,
    ranges: [Range; 3],
}

/// Prefix and layout name.
type Key = (Box<str>, &'static str);

impl Drop for StatSet {
    fn drop(&mut self) {
        // This may run on a worker: only note the ids. Zeroing and bookkeeping are the registry's.
        let grave = Grave {
            key: (std::mem::take(&mut self.prefix), self.layout.name),
            home: self.layout.home,
            ranges: [self.scalars, self.histograms, self.codes],
        };
        lock(&self.graveyard).push(grave);
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl StatSet {
    pub(super) fn text(&self, index: usize) -> Arc<str> {
        self.texts.get(index).map_or_else(|| Arc::from(""), |text| lock(text).clone())
    }
}

/// All statistics of the process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Registry {
    names: Arc<Mutex<Names>>,
    graveyard: Arc<Mutex<Vec<Grave>>>,
    shared: SharedShard,
}

impl Default for Registry {
    fn default() -> Self {
        let shared = SharedShard { cells: Arc::new(Cells::new()) };
        let names = Names::new(shared.cells.clone());
        Self { names: Arc::new(Mutex::new(names)), graveyard: Arc::default(), shared }
    }
}

#[derive(Debug)]
struct Names {
    sets: HashMap<Key, Entry>,
    /// Sets of single statistics, which live as long as the registry.
    pinned: Vec<Arc<Owned>>,
    /// The main runtime's cells.
    shared: Arc<Cells>,
    /// The workers' cells, by worker index.
    workers: Vec<Arc<Cells>>,
    spaces: [Space; 3],
}

#[derive(Debug)]
struct Entry {
    set: Weak<StatSet>,
    owner: Weak<Owned>,
}

impl Names {
    fn new(shared: Arc<Cells>) -> Self {
        Self {
            sets: HashMap::new(),
            pinned: Vec::new(),
            shared,
            workers: Vec::new(),
            spaces: [Space::new(SCALARS), Space::new(TABLES), Space::new(TABLES)],
        }
    }
}

impl Registry {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// The counter called `name`, created at first sight; it lives as long as the registry.
    pub fn counter(&self, name: &str) -> Counter {
        static LAYOUT: Layout = single("counter", &[Field { name: "", kind: Kind::Counter }]);
        Counter(self.pin(name, &LAYOUT).0.scalars.base)
    }

    /// The gauge called `name`, created at first sight; it lives as long as the registry.
    pub fn gauge(&self, name: &str) -> Gauge {
        static LAYOUT: Layout = single("gauge", &[Field { name: "", kind: Kind::Gauge }]);
        Gauge(self.pin(name, &LAYOUT).0.scalars.base)
    }

    /// The histogram called `name`, created at first sight; it lives as long as the registry.
    pub fn histogram(&self, name: &str) -> Histogram {
        static LAYOUT: Layout = single("histogram", &[Field { name: "", kind: Kind::Histogram }]);
        Histogram(self.pin(name, &LAYOUT).0.histograms.base)
    }

    /// A new worker's shard. The first is worker 0's.
    pub fn shard(&self) -> Shard {
        let cells = Arc::new(Cells::new());
        lock(&self.names).workers.push(cells.clone());
        Shard::new(cells)
    }

    /// The main runtime's shard.
    pub fn shared(&self) -> &SharedShard {
        &self.shared
    }

    /// The set of this prefix and layout: the living one, so that an updated cluster goes on counting,
    /// or a new one at zero.
    pub fn set(&self, prefix: &str, layout: &'static Layout) -> Arc<Owned> {
        self.open(prefix, layout, |_, _| {})
    }

    fn pin(&self, name: &str, layout: &'static Layout) -> Arc<Owned> {
        self.open(name, layout, |names, set| {
            if !names.pinned.iter().any(|pinned| Arc::ptr_eq(pinned, set)) {
                names.pinned.push(set.clone());
            }
        })
    }

    fn open(
        &self,
        prefix: &str,
        layout: &'static Layout,
        then: impl FnOnce(&mut Names, &Arc<Owned>),
    ) -> Arc<Owned> {
        let mut names = self.names();
        let key = (Box::from(prefix), layout.name);
        let set = match names.sets.get(&key).and_then(|entry| entry.owner.upgrade()) {
            Some(set) => set,
            None => names.create(key, layout, &self.graveyard),
        };
        then(&mut names, &set);
        set
    }

    /// Everything as it is now, for a reader. Holding it keeps the sets in it alive.
    pub fn view(&self) -> View {
        let names = self.names();
        let owned = names.sets.values().filter(|entry| entry.owner.strong_count() > 0);
        names.view(owned.filter_map(|entry| entry.set.upgrade()).collect())
    }

    /// The same, with sets that only a reader still keeps; and those that have an owner.
    pub(super) fn census(&self) -> (View, Vec<Arc<StatSet>>) {
        let names = self.names();
        let all = names.sets.values().filter_map(|entry| entry.set.upgrade()).collect();
        let owned = names.sets.values().filter_map(|entry| Some(entry.owner.upgrade()?.0.clone()));
        (names.view(all), owned.collect())
    }

    /// Everything ever recorded in `histogram`, by all shards. Its bundle must be alive.
    pub fn distribution(&self, histogram: Histogram) -> Distribution {
        let names = self.names();
        let shards = names.workers.iter().chain([&names.shared]);
        Distribution::collect(shards.filter_map(|cells| cells.peek_buckets(histogram.0)))
    }

    /// Ends the current interval of every histogram and starts the next (Envoy's flush interval).
    pub fn flush(&self) {
        self.view().flush();
    }

    /// Counters read as zero from here on. Their cells go on counting: only their worker may write them.
    pub fn reset_counters(&self) {
        self.view().reset_counters();
    }

    /// The names, with dropped sets reclaimed.
    fn names(&self) -> MutexGuard<'_, Names> {
        let mut names = lock(&self.names);
        // Taken out first: a set dropped meanwhile must not wait for this.
        let graves = std::mem::take(&mut *lock(&self.graveyard));
        graves.into_iter().for_each(|grave| names.reclaim(grave));
        names
    }
}

const fn single(name: &'static str, fields: &'static [Field]) -> Layout {
    Layout { name, fields, home: Home::Workers, per_worker: false, on_demand: false, unlisted: false }
}

impl Names {
    fn view(&self, sets: Vec<Arc<StatSet>>) -> View {
        View::new(sets, self.shared.clone(), self.workers.clone())
    }

    /// A set that a reader still keeps goes on counting with its new owner.
    fn create(
        &mut self,
        key: Key,
        layout: &'static Layout,
        graveyard: &Arc<Mutex<Vec<Grave>>>,
    ) -> Arc<Owned> {
        let kept = self.sets.get(&key).and_then(|entry| entry.set.upgrade());
        let set = kept.unwrap_or_else(|| self.allocate(&key, layout, graveyard));
        let owner = Arc::new(Owned(set));
        let entry = Entry { set: Arc::downgrade(&owner.0), owner: Arc::downgrade(&owner) };
        self.sets.insert(key, entry);
        owner
    }

    fn allocate(
        &mut self,
        key: &Key,
        layout: &'static Layout,
        graveyard: &Arc<Mutex<Vec<Grave>>>,
    ) -> Arc<StatSet> {
        let [scalars, histograms, codes] = &mut self.spaces;
        Arc::new(StatSet {
            prefix: key.0.clone(),
            layout,
            scalars: scalars.take(layout.home, layout.count(is_scalar)),
            histograms: histograms.take(layout.home, layout.count(|kind| kind == Kind::Histogram)),
            codes: codes.take(layout.home, layout.count(|kind| kind == Kind::StatusCodes)),
            texts: (0..layout.count(|kind| kind == Kind::TextReadout))
                .map(|_| Mutex::new("".into()))
                .collect(),
            readings: Mutex::default(),
            graveyard: graveyard.clone(),
        })
    }

    fn reclaim(&mut self, grave: Grave) {
        if self.sets.get(&grave.key).is_some_and(|entry| entry.set.strong_count() == 0) {
            self.sets.remove(&grave.key);
        }
        let [scalars, histograms, codes] = grave.ranges;
        for cells in self.workers.iter().chain([&self.shared]) {
            cells.clear(scalars, histograms, codes);
        }
        for (space, range) in self.spaces.iter_mut().zip(grave.ranges) {
            space.give_back(grave.home, range);
        }
    }
}

#[cfg(test)]
mod tests;
