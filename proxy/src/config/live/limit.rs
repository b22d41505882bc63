//! A counted limit that holds for the process without every request touching one cache line.
//!
//! The permits of a large limit are spread over a few seats, and a worker takes from and gives back to its own.
//! An empty seat fetches a batch from the common store, and when that is empty one permit from another seat: so the
//! limit is exact, and refuses only while every permit is out. Small limits live in the common store alone.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};

/// Seats of one limit; workers share them beyond that number.
const SEATS: usize = 8;
/// Permits that move between the common store and a seat at once.
const BATCH: i64 = 16;
/// Limits below this have no seats: a batch would be a large part of them.
const SPREAD: u32 = 4 * SEATS as u32 * BATCH as u32;

/// A counted limit. Unlimited ones skip the atomics, so a mesh without limits pays nothing.
#[derive(Debug)]
pub struct Limit {
    max: u32,
    /// Permits are counted however large the limit is.
    counted: bool,
    /// Free permits that no seat holds.
    free: AtomicI64,
    /// Permits handed out beyond the limit: the next ones given back pay for them.
    over: AtomicI64,
    /// Made when first used: most clusters have limits that no request ever meets.
    seats: OnceLock<Box<[Seat; SEATS]>>,
}

/// Free permits at hand for one worker, on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Seat(AtomicI64);

impl Limit {
    /// At or above this a limit counts as absent: App Mesh and Istio send these values for "none".
    pub const UNLIMITED: u32 = i32::MAX as u32;

    /// A limit of `max`.
    pub fn new(max: u32) -> Self {
        Self {
            max,
            counted: max < Self::UNLIMITED,
            free: AtomicI64::new(max.into()),
            over: AtomicI64::new(0),
            seats: OnceLock::new(),
        }
    }

    /// A limit of `max` that knows how much of it is in use even when it counts as absent.
    pub fn counted(max: u32) -> Self {
        Self { counted: true, ..Self::new(max) }
    }

    /// Permits out now; 0 for an absent limit that does not count.
    pub fn in_use(&self) -> u64 {
        let over = self.over.load(Ordering::Relaxed);
        u64::try_from(i64::from(self.max) - self.free() + over).unwrap_or(0)
    }

    /// Permits left.
    pub fn remaining(&self) -> u64 {
        u64::try_from(self.free()).unwrap_or(0)
    }

    fn free(&self) -> i64 {
        let seats = self.seats.get().into_iter().flat_map(|seats| seats.iter()).map(|seat| &seat.0);
        seats.chain([&self.free]).map(|permits| permits.load(Ordering::Relaxed)).sum()
    }

    /// Takes one permit for `worker`, or says no.
    #[inline]
    pub fn try_acquire(&self, worker: usize) -> bool {
        if !self.counted {
            return true;
        }
        match self.seat(worker) {
            Some(seat) => take(&seat.0, 1) == 1 || self.fetch(seat),
            None => take(&self.free, 1) == 1,
        }
    }

    /// Takes a permit although the limit is reached; to be released like any other.
    pub fn acquire_over(&self) {
        if self.counted {
            self.over.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Gives one permit of `worker` back.
    #[inline]
    pub fn release(&self, worker: usize) {
        if !self.counted || (self.over.load(Ordering::Relaxed) > 0 && take(&self.over, 1) == 1) {
            return;
        }
        let Some(seat) = self.seat(worker) else {
            self.free.fetch_add(1, Ordering::Relaxed);
            return;
        };
        if seat.0.fetch_add(1, Ordering::Relaxed) >= 2 * BATCH {
            self.free.fetch_add(take(&seat.0, BATCH), Ordering::Relaxed);
        }
    }

    /// Whether the next [`Limit::try_acquire`] would fail.
    pub fn is_open(&self) -> bool {
        self.counted && self.free() <= 0
    }

    /// The configured limit.
    pub fn max(&self) -> u32 {
        self.max
    }

    #[inline]
    fn seat(&self, worker: usize) -> Option<&Seat> {
        (self.max >= SPREAD).then(|| &self.seats.get_or_init(Box::default)[worker % SEATS])
    }

    /// One permit for a worker whose seat is empty: with a batch from the common store, else from another seat.
    #[cold]
    fn fetch(&self, seat: &Seat) -> bool {
        let batch = take(&self.free, BATCH);
        if batch > 0 {
            seat.0.fetch_add(batch - 1, Ordering::Relaxed);
            return true;
        }
        let seats = self.seats.get().into_iter().flat_map(|seats| seats.iter());
        seats.map(|other| take(&other.0, 1)).any(|taken| taken == 1)
    }
}

/// Takes up to `wanted` from a count that never falls below zero: how much it took.
#[inline]
fn take(permits: &AtomicI64, wanted: i64) -> i64 {
    let mut now = permits.load(Ordering::Relaxed);
    loop {
        let taken = wanted.min(now);
        if taken <= 0 {
            return 0;
        }
        match permits.compare_exchange_weak(now, now - taken, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return taken,
            Err(other) => now = other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_permit_can_be_had_by_any_worker() {
        for max in [1, 5, SPREAD - 1, SPREAD, 1024] {
            let limit = Limit::new(max);
            // Permits given back by one worker are there for another.
            assert!((0..max).all(|_| limit.try_acquire(0)), "{max}");
            (0..max).for_each(|_| limit.release(0));
            assert!(!limit.is_open());
            assert!((0..max).all(|at| limit.try_acquire(at as usize % 3)), "{max}");
            assert!(limit.is_open());
            assert!((0..20).all(|worker| !limit.try_acquire(worker)), "{max}");
            limit.release(2);
            assert!(limit.try_acquire(11) && !limit.try_acquire(2), "{max}");
        }
    }

    #[test]
    fn a_permit_beyond_the_limit_is_paid_for_first() {
        for max in [2, 1024] {
            let limit = Limit::new(max);
            (0..max).for_each(|_| assert!(limit.try_acquire(0)));
            limit.acquire_over();
            limit.release(0);
            assert!(!limit.try_acquire(0) && limit.is_open());
            limit.release(0);
            assert!(limit.try_acquire(0));
        }
    }

    #[test]
    fn threads_never_hold_more_than_the_limit() {
        use std::sync::atomic::AtomicU32;
        for max in [3, SPREAD] {
            let (limit, held) = (Limit::new(max), AtomicU32::new(0));
            let work = |worker: usize| {
                for round in 0..2_000 {
                    let wanted = 1 + round % (max as usize);
                    let got = (0..wanted).filter(|_| limit.try_acquire(worker)).count();
                    let now = held.fetch_add(got as u32, Ordering::SeqCst) + got as u32;
                    assert!(now <= max, "{now} of {max}");
                    held.fetch_sub(got as u32, Ordering::SeqCst);
                    (0..got).for_each(|_| limit.release(worker));
                }
            };
            std::thread::scope(|scope| (0..4).for_each(|worker| drop(scope.spawn(move || work(worker)))));
            assert!((0..max).all(|_| limit.try_acquire(1)) && limit.is_open());
        }
    }

    #[test]
    fn an_absent_limit_never_refuses() {
        let limit = Limit::new(u32::MAX);
        assert!((0..10_000).all(|_| limit.try_acquire(0)) && !limit.is_open());
        limit.release(0);
    }
}
