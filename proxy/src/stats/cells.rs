//! The cells that writers bump: chunks of atomics, allocated when first written.
//!
//! A [`Shard`] belongs to one worker thread, which adds with a plain load and store: no locked
//! instruction and no shared cache line. The main runtime's threads share one [`SharedShard`] and add
//! atomically. Readers sum all shards and may be a few instructions behind.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::histogram::Buckets;
use super::registry::{Counter, Gauge, Histogram, StatusCodes};

/// Scalar cells per chunk and chunks per shard: their product bounds the scalars of the process.
const SCALAR_CHUNK: usize = 2048;
const SCALAR_CHUNKS: usize = 1024;
/// The same for histograms and for status-code tables.
const TABLE_CHUNK: usize = 256;
const TABLE_CHUNKS: usize = 512;

/// Ids in a shard's scalar space.
pub(super) const SCALARS: u32 = (SCALAR_CHUNK * SCALAR_CHUNKS) as u32;
/// Ids in a shard's histogram space, and in its status-code space.
pub(super) const TABLES: u32 = (TABLE_CHUNK * TABLE_CHUNKS) as u32;

/// A growing array that can be read while one thread writes: chunks appear, nothing moves.
#[derive(Debug)]
struct Chunks<T, const LEN: usize> {
    chunks: Box<[OnceLock<Box<[T]>>]>,
}

impl<T: Default, const LEN: usize> Chunks<T, LEN> {
    fn new(count: usize) -> Self {
        Self { chunks: (0..count).map(|_| OnceLock::new()).collect() }
    }

    /// The element, its chunk allocated when needed. `None` past the end.
    #[inline]
    fn get(&self, id: u32) -> Option<&T> {
        let slot = self.chunks.get(id as usize / LEN)?;
        let chunk = match slot.get() {
            Some(chunk) => chunk,
            None => Self::grow(slot),
        };
        chunk.get(id as usize % LEN)
    }

    #[cold]
    fn grow(slot: &OnceLock<Box<[T]>>) -> &[T] {
        slot.get_or_init(|| (0..LEN).map(|_| T::default()).collect())
    }

    /// The element if its chunk was ever written.
    fn peek(&self, id: u32) -> Option<&T> {
        self.chunks.get(id as usize / LEN)?.get()?.get(id as usize % LEN)
    }
}

/// All cells of one shard.
#[derive(Debug)]
pub(super) struct Cells {
    scalars: Chunks<AtomicU64, SCALAR_CHUNK>,
    histograms: Chunks<OnceLock<Box<Buckets>>, TABLE_CHUNK>,
    codes: Chunks<OnceLock<Box<CodeTable>>, TABLE_CHUNK>,
}

impl Cells {
    pub(super) fn new() -> Self {
        Self {
            scalars: Chunks::new(SCALAR_CHUNKS),
            histograms: Chunks::new(TABLE_CHUNKS),
            codes: Chunks::new(TABLE_CHUNKS),
        }
    }

    #[inline]
    fn buckets(&self, id: u32) -> Option<&Buckets> {
        Some(self.histograms.get(id)?.get_or_init(Box::default))
    }

    #[inline]
    fn codes(&self, id: u32) -> Option<&CodeTable> {
        Some(self.codes.get(id)?.get_or_init(Box::default))
    }

    pub(super) fn scalar(&self, id: u32) -> u64 {
        self.scalars.peek(id).map_or(0, |cell| cell.load(Ordering::Relaxed))
    }

    pub(super) fn peek_buckets(&self, id: u32) -> Option<&Buckets> {
        self.histograms.peek(id)?.get().map(|buckets| &**buckets)
    }

    pub(super) fn peek_codes(&self, id: u32) -> impl Iterator<Item = (u16, u64)> {
        self.codes.peek(id).and_then(|table| table.get()).into_iter().flat_map(|table| table.iter())
    }

    /// Zeroes cells that no handle refers to any more.
    pub(super) fn clear(&self, scalars: Range, histograms: Range, codes: Range) {
        for id in scalars.ids() {
            if let Some(cell) = self.scalars.peek(id) {
                cell.store(0, Ordering::Relaxed);
            }
        }
        histograms.ids().filter_map(|id| self.peek_buckets(id)).for_each(Buckets::clear);
        codes.ids().filter_map(|id| self.codes.peek(id)?.get()).for_each(|table| table.clear());
    }
}

/// Ids `base..base + len` of one space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) base: u32,
    pub(super) len: u32,
}

impl Range {
    fn ids(self) -> std::ops::Range<u32> {
        self.base..self.base.saturating_add(self.len)
    }
}

/// Distinct statuses counted one by one per family and shard: most see only a few, so the rest of the
/// table is allocated when needed. More are counted by class only: a hostile upstream cannot make
/// statistics grow.
const FIRST_CODES: usize = 6;
const MORE_CODES: usize = 26;
/// Classes 0 to 9 for statuses without a cell of their own.
const CLASSES: usize = 10;

/// Status counts, each cell packed as `status << 48 | count`.
#[derive(Debug, Default)]
pub(super) struct CodeTable {
    first: [AtomicU64; FIRST_CODES],
    more: OnceLock<Box<MoreCodes>>,
}

#[derive(Debug, Default)]
struct MoreCodes {
    cells: [AtomicU64; MORE_CODES],
    classes: [AtomicU64; CLASSES],
}

const COUNT_BITS: u32 = 48;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;

/// Counts `status` in its cell or a free one; false when there is neither. Single writer.
#[inline]
fn count_in(cells: &[AtomicU64], status: u16) -> bool {
    for cell in cells {
        let packed = cell.load(Ordering::Relaxed);
        if packed >> COUNT_BITS == u64::from(status) {
            cell.store(packed + 1, Ordering::Relaxed);
            return true;
        }
        if packed == 0 {
            cell.store(u64::from(status) << COUNT_BITS | 1, Ordering::Relaxed);
            return true;
        }
    }
    false
}

impl CodeTable {
    #[inline]
    fn record(&self, status: u16) {
        if !count_in(&self.first, status) {
            self.record_more(status);
        }
    }

    #[cold]
    fn record_more(&self, status: u16) {
        let more = self.more.get_or_init(Box::default);
        if !count_in(&more.cells, status) {
            bump(&more.classes[usize::from(status / 100).min(CLASSES - 1)], 1);
        }
    }

    /// `(status, count)`; statuses below 10 are classes whose statuses had no cell of their own.
    fn iter(&self) -> impl Iterator<Item = (u16, u64)> {
        let more = self.more.get();
        let codes = self.first.iter().chain(more.into_iter().flat_map(|more| &more.cells));
        let codes = codes.map(|cell| cell.load(Ordering::Relaxed));
        let codes = codes.map(|packed| ((packed >> COUNT_BITS) as u16, packed & COUNT_MASK));
        let classes = more.into_iter().flat_map(|more| more.classes.iter().enumerate());
        let classes = classes.map(|(at, cell)| (at as u16, cell.load(Ordering::Relaxed)));
        codes.chain(classes).filter(|(_, count)| *count > 0)
    }

    fn clear(&self) {
        let more = self.more.get().into_iter().flat_map(|more| more.cells.iter().chain(&more.classes));
        self.first.iter().chain(more).for_each(|cell| cell.store(0, Ordering::Relaxed));
    }
}

/// A gauge cell holds its value in the upper 63 bits; the lowest bit says it was ever written, so that
/// `usedonly` knows a gauge that came back to zero from one that nothing ever touched.
const GAUGE_TOUCHED: u64 = 1;

/// Value and touched mark of one gauge cell.
pub(super) fn unpack_gauge(cell: u64) -> (i64, bool) {
    (cell as i64 >> 1, cell & GAUGE_TOUCHED != 0)
}

fn pack_gauge(value: i64) -> u64 {
    (value as u64) << 1 | GAUGE_TOUCHED
}

/// One worker's cells. Exactly one thread may write a shard: it is `Send` but not `Sync`, and not `Clone`.
#[derive(Debug)]
pub struct Shard {
    cells: Arc<Cells>,
    single_writer: std::marker::PhantomData<std::cell::Cell<()>>,
}

impl Shard {
    pub(super) fn new(cells: Arc<Cells>) -> Self {
        Self { cells, single_writer: std::marker::PhantomData }
    }

    /// Adds one.
    #[inline]
    pub fn inc(&self, counter: Counter) {
        self.add(counter, 1);
    }

    /// Adds `count`.
    #[inline]
    pub fn add(&self, counter: Counter, count: u64) {
        if let Some(cell) = self.cells.scalars.get(counter.0) {
            bump(cell, count);
        }
    }

    /// Adds `delta` to a gauge; the sum over all shards is its value.
    #[inline]
    pub fn gauge_add(&self, gauge: Gauge, delta: i64) {
        if let Some(cell) = self.cells.scalars.get(gauge.0) {
            let (value, _) = unpack_gauge(cell.load(Ordering::Relaxed));
            cell.store(pack_gauge(value.wrapping_add(delta)), Ordering::Relaxed);
        }
    }

    /// Records one value (milliseconds, bytes or a count, as the name says).
    #[inline]
    pub fn record(&self, histogram: Histogram, value: u64) {
        if let Some(buckets) = self.cells.buckets(histogram.0) {
            buckets.record(value, bump);
        }
    }

    /// Counts one response in a status family: its code, its class and the total.
    #[inline]
    pub fn status(&self, family: StatusCodes, status: u16) {
        if let Some(table) = self.cells.codes(family.0) {
            table.record(status);
        }
    }
}

/// Single writer: a plain load and store, no locked instruction.
#[inline]
fn bump(cell: &AtomicU64, count: u64) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
}

/// The cells of the main runtime, whose threads write them together.
#[derive(Clone, Debug)]
pub struct SharedShard {
    pub(super) cells: Arc<Cells>,
}

impl SharedShard {
    /// Adds one.
    pub fn inc(&self, counter: Counter) {
        self.add(counter, 1);
    }

    /// Adds `count`.
    pub fn add(&self, counter: Counter, count: u64) {
        if let Some(cell) = self.cells.scalars.get(counter.0) {
            cell.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Adds `delta` to a gauge.
    pub fn gauge_add(&self, gauge: Gauge, delta: i64) {
        self.update_gauge(gauge, |value| value.wrapping_add(delta));
    }

    /// Sets a gauge. Only for gauges that no worker writes: their value is the sum over all shards.
    pub fn gauge_set(&self, gauge: Gauge, value: i64) {
        self.update_gauge(gauge, |_| value);
    }

    /// Records one value.
    pub fn record(&self, histogram: Histogram, value: u64) {
        if let Some(buckets) = self.cells.buckets(histogram.0) {
            buckets.record(value, |cell, count| {
                cell.fetch_add(count, Ordering::Relaxed);
            });
        }
    }

    fn update_gauge(&self, gauge: Gauge, change: impl Fn(i64) -> i64) {
        if let Some(cell) = self.cells.scalars.get(gauge.0) {
            let next = |packed| Some(pack_gauge(change(unpack_gauge(packed).0)));
            // The closure never refuses, so this cannot fail.
            let _ = cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        }
    }
}

#[cfg(test)]
mod tests;
