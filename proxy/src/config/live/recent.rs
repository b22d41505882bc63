//! How many requests began lately, counted without a lock.
//!
//! Time is cut into slots, and a slot's cell says which slot it counts for: the first request of a slot takes the cell
//! over from the one that has left the window. Workers count in places of their own; the few who want the sum add up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Slots that a window is cut into: a request leaves it at most this part of its length late.
const SLOTS: u64 = 16;
/// Cells of one place: those of a window and the slot under way.
const CELLS: usize = SLOTS as usize + 1;
/// Places of one window; workers share them beyond that number.
const PLACES: usize = 8;
/// Bits of a cell that count; the others number its slot.
const COUNT_BITS: u32 = 24;
const COUNT: u64 = (1 << COUNT_BITS) - 1;
/// A slot's number as far as a cell keeps it.
const NUMBER: u64 = u64::MAX >> COUNT_BITS;
/// Shortest slot, in nanoseconds, so that numbers last for days.
const SHORTEST: u64 = 1_000;

/// Beginnings within the last stretch of time.
#[derive(Debug)]
pub struct Recent {
    born: Instant,
    /// Nanoseconds of one slot.
    slot: u64,
    places: Box<[Place; PLACES]>,
}

/// The cells of one worker, on cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Place([AtomicU64; CELLS]);

impl Recent {
    /// A window of this length, empty as of `now`.
    pub fn new(length: Duration, now: Instant) -> Self {
        let nanos = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        Self { born: now, slot: (nanos / SLOTS).max(SHORTEST), places: Box::default() }
    }

    /// Counts a beginning on `worker`.
    pub fn note(&self, worker: usize, now: Instant) {
        let number = self.number(now);
        let cell = &self.places[worker % PLACES].0[(number % CELLS as u64) as usize];
        let one_more = |word: u64| {
            let known = word >> COUNT_BITS == number & NUMBER;
            let count = if known { (word & COUNT) + 1 } else { 1 };
            Some((number << COUNT_BITS) | count.min(COUNT))
        };
        let _ = cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
    }

    /// Beginnings within the window that ends `now`.
    pub fn count(&self, now: Instant) -> u64 {
        let number = self.number(now);
        let in_window = |word: &u64| (number.wrapping_sub(*word >> COUNT_BITS) & NUMBER) <= SLOTS;
        let cells = self.places.iter().flat_map(|place| &place.0);
        cells.map(|cell| cell.load(Ordering::Relaxed)).filter(in_window).map(|word| word & COUNT).sum()
    }

    fn number(&self, now: Instant) -> u64 {
        let nanos = now.saturating_duration_since(self.born).as_nanos();
        u64::try_from(nanos).unwrap_or(u64::MAX) / self.slot
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_began_counts_for_the_window_and_a_slot_at_most() {
        let born = Instant::now();
        let recent = Recent::new(SECOND, born);
        (0..10).for_each(|worker| recent.note(worker, born));
        for millis in [0, 1, 500, 999, 1000] {
            assert_eq!(recent.count(born + Duration::from_millis(millis)), 10, "{millis}");
        }
        assert_eq!(recent.count(born + SECOND + SECOND / 16), 0);
        recent.note(3, born + 10 * SECOND);
        assert_eq!(recent.count(born + 10 * SECOND), 1, "a cell taken over starts at one");
    }

    /// Against a list of the moments themselves.
    #[test]
    fn any_history_is_counted_as_the_moments_say() {
        for seed in 0..100 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let length = Duration::from_nanos(rng.u64(20_000..5_000_000_000));
            let late = length + length / 16;
            let mut now = Instant::now();
            let recent = Recent::new(length, now);
            let mut moments = VecDeque::new();
            for _ in 0..1_000 {
                now += length.mul_f64(if rng.u32(0..20) == 0 { rng.f64() * 3.0 } else { rng.f64() / 50.0 });
                if rng.bool() {
                    recent.note(rng.usize(0..20), now);
                    moments.push_back(now);
                }
                let within = |by: Duration| moments.iter().filter(|began| now - **began <= by).count() as u64;
                let counted = recent.count(now);
                assert!((within(length)..=within(late)).contains(&counted), "seed {seed}");
            }
        }
    }

    #[test]
    fn threads_together_count_exactly() {
        let born = Instant::now();
        let recent = Recent::new(SECOND, born);
        let note = |worker: usize| (0..5_000).for_each(|_| recent.note(worker, born));
        std::thread::scope(|scope| (0..4).for_each(|worker| drop(scope.spawn(move || note(worker * 8)))));
        assert_eq!(recent.count(born), 20_000);
    }
}
