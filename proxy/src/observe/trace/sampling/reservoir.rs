//! So many per second, for the whole process.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts what was taken in the current second: `second << 32 | taken`. Workers that have found it empty know so for
/// the rest of the second ([`Empty`]), so a busy process touches the shared number about as often as it may take.
#[derive(Debug, Default)]
pub struct Reservoir {
    state: AtomicU64,
}

/// A worker's memory of the second in which a reservoir was empty.
#[derive(Debug)]
pub struct Empty(Cell<u32>);

impl Default for Empty {
    fn default() -> Self {
        Self(Cell::new(u32::MAX))
    }
}

impl Reservoir {
    /// Takes one of the `quota` of this second, if any is left. Exact over all workers.
    #[inline]
    pub fn take(&self, quota: u32, second: u32, empty: &Empty) -> bool {
        if quota == 0 || empty.0.get() == second {
            return false;
        }
        let taken = self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |state| {
            let (at, taken) = ((state >> 32) as u32, state as u32);
            // A worker that read the clock before another may come later: it counts in the newer second.
            let (at, taken) = if at < second { (second, 0) } else { (at, taken) };
            (taken < quota).then_some(u64::from(at) << 32 | u64::from(taken + 1))
        });
        if taken.is_err() {
            empty.0.set(second);
        }
        taken.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_second_has_its_quota() {
        let (reservoir, empty) = (Reservoir::default(), Empty::default());
        for second in [1, 2, 7] {
            let taken = (0..10).filter(|_| reservoir.take(3, second, &empty)).count();
            assert_eq!(taken, 3);
        }
        assert!(!reservoir.take(0, 9, &empty), "nothing of nothing");
        assert!(reservoir.take(1, 9, &empty), "and asking for nothing empties nothing");
    }

    #[test]
    fn workers_share_it_exactly() {
        let reservoir = Reservoir::default();
        let count = |second| {
            std::thread::scope(|scope| {
                let worker = || {
                    let empty = Empty::default();
                    (0..1000).filter(|_| reservoir.take(7, second, &empty)).count()
                };
                let workers: Vec<_> = (0..4).map(|_| scope.spawn(worker)).collect();
                workers.into_iter().map(|worker| worker.join().unwrap()).sum::<usize>()
            })
        };
        assert_eq!((count(1), count(2)), (7, 7));
    }
}
