//! How many retries may be under way at a time: a fixed number, or a share of the requests.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::Limit;
use super::recent::Recent;

/// The limit on retries of one cluster and priority.
#[derive(Debug)]
pub enum RetryLimit {
    /// `max_retries`.
    Fixed(Limit),
    /// `retry_budget`, which takes the place of `max_retries`.
    Budget(RetryBudget),
}

impl RetryLimit {
    /// Takes one permit, or says no. `requests`: counts the requests in flight now.
    pub fn try_acquire(&self, worker: usize, requests: &Limit, now: Instant) -> bool {
        match self {
            Self::Fixed(limit) => limit.try_acquire(worker),
            Self::Budget(budget) => budget.try_acquire(budget.requests(requests, now)),
        }
    }

    /// An attempt of a request begins, the first or another one. The time is asked for only where it matters.
    #[inline]
    pub fn request_begins(&self, worker: usize, now: impl FnOnce() -> Instant) {
        if let Self::Budget(RetryBudget { recent: Some(recent), .. }) = self {
            recent.note(worker, now());
        }
    }

    /// Gives one permit back.
    pub fn release(&self, worker: usize) {
        match self {
            Self::Fixed(limit) => limit.release(worker),
            Self::Budget(budget) => budget.release(),
        }
    }

    /// The limit now, and how many retries it leaves.
    pub fn max_and_remaining(&self, requests: &Limit, now: Instant) -> (u64, u64) {
        match self {
            Self::Fixed(limit) => (limit.max().into(), limit.remaining()),
            Self::Budget(budget) => {
                let max = budget.allowed(budget.requests(requests, now));
                (max, max.saturating_sub(budget.active.load(Ordering::Relaxed).into()))
            }
        }
    }

    /// Whether the next [`RetryLimit::try_acquire`] would fail.
    pub fn is_open(&self, requests: &Limit, now: Instant) -> bool {
        match self {
            Self::Fixed(limit) => limit.is_open(),
            Self::Budget(_) => self.max_and_remaining(requests, now).1 == 0,
        }
    }
}

/// A share of the requests in flight, or of those that began lately. Exact for the process: retries are counted in one
/// place, and only requests that failed come here.
#[derive(Debug)]
pub struct RetryBudget {
    percent: f64,
    min: u32,
    active: AtomicU32,
    recent: Option<Recent>,
}

impl RetryBudget {
    /// `percent` of the requests in flight, and never fewer than `min`.
    pub fn new(percent: f64, min: u32) -> Self {
        Self { percent, min, active: AtomicU32::new(0), recent: None }
    }

    /// Of the attempts that began within `interval`, in place of the requests in flight: those that are over count, and
    /// those under way for longer do not (`budget_interval`).
    pub fn over(self, interval: Duration, now: Instant) -> Self {
        Self { recent: Some(Recent::new(interval, now)), ..self }
    }

    /// What the budget is a share of.
    fn requests(&self, in_flight: &Limit, now: Instant) -> u64 {
        self.recent.as_ref().map_or_else(|| in_flight.in_use(), |recent| recent.count(now))
    }

    /// Retries allowed beside this many requests.
    pub fn allowed(&self, requests: u64) -> u64 {
        ((requests as f64 * self.percent / 100.0) as u64).max(self.min.into())
    }

    /// Takes one permit while there are `requests` in flight, or says no.
    pub fn try_acquire(&self, requests: u64) -> bool {
        let allowed = self.allowed(requests);
        let more = |active: u32| (u64::from(active) < allowed).then(|| active + 1);
        self.active.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Gives one permit back.
    pub fn release(&self) {
        self.active.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_a_share_with_a_floor() {
        let budget = RetryBudget::new(20.0, 3);
        assert_eq!(
            (budget.allowed(0), budget.allowed(19), budget.allowed(20), budget.allowed(104)),
            (3, 3, 4, 20)
        );
        assert!((0..3).all(|_| budget.try_acquire(0)) && !budget.try_acquire(15));
        assert!(budget.try_acquire(20) && !budget.try_acquire(20));
        budget.release();
        assert!(!budget.try_acquire(0), "the requests it was a share of are gone");
        assert!(budget.try_acquire(20));
    }

    /// Random requests, retries and ends: what is held is what was taken, and never more than allowed when taken.
    #[test]
    fn whatever_ends_when_the_books_balance() {
        for seed in 0..200 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let requests = Limit::counted(rng.u32(1..400));
            let limit = RetryLimit::Budget(RetryBudget::new(rng.f64() * 100.0, rng.u32(0..5)));
            let RetryLimit::Budget(budget) = &limit else { unreachable!() };
            let now = Instant::now();
            let (mut in_flight, mut retries) = (Vec::new(), 0_u64);
            for _ in 0..500 {
                let worker = rng.usize(0..4);
                match rng.u32(0..5) {
                    0 | 1 => in_flight.extend(requests.try_acquire(worker).then_some(worker)),
                    2 if !in_flight.is_empty() => {
                        let at = rng.usize(0..in_flight.len());
                        requests.release(in_flight.swap_remove(at));
                    }
                    3 => {
                        let allowed = budget.allowed(in_flight.len() as u64);
                        assert_eq!(
                            limit.try_acquire(worker, &requests, now),
                            retries < allowed,
                            "seed {seed}"
                        );
                        retries += u64::from(retries < allowed);
                    }
                    4 if retries > 0 => {
                        limit.release(worker);
                        retries -= 1;
                    }
                    _ => {}
                }
                assert_eq!(requests.in_use(), in_flight.len() as u64, "seed {seed}");
                assert_eq!(u64::from(budget.active.load(Ordering::Relaxed)), retries, "seed {seed}");
            }
        }
    }

    #[test]
    fn a_budget_over_an_interval_is_a_share_of_what_began_within() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let in_flight = Limit::counted(100);
        assert!((0..50).all(|_| in_flight.try_acquire(0)));
        let limit = RetryLimit::Budget(RetryBudget::new(20.0, 0).over(second, start));
        assert!(limit.is_open(&in_flight, start), "requests that began before it count for nothing");
        (0..10).for_each(|worker| limit.request_begins(worker, || start));
        (0..50).for_each(|_| in_flight.release(0));
        assert_eq!(limit.max_and_remaining(&in_flight, start + second), (2, 2), "over, but recent");
        assert!(limit.try_acquire(0, &in_flight, start + second));
        assert_eq!(limit.max_and_remaining(&in_flight, start + second), (2, 1));
        assert!(limit.is_open(&in_flight, start + 2 * second));
        limit.release(0);
        assert_eq!(limit.max_and_remaining(&in_flight, start + 2 * second), (0, 0));
    }

    /// Over any history at most the share of what began lately is under way, and every permit comes back.
    #[test]
    fn retries_never_exceed_the_share_of_the_interval() {
        for seed in 0..100 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let requests = Limit::counted(1_000);
            let (percent, min, interval) =
                (rng.f64() * 100.0, rng.u32(0..3), Duration::from_millis(rng.u64(1..2_000)));
            let mut now = Instant::now();
            let limit = RetryLimit::Budget(RetryBudget::new(percent, min).over(interval, now));
            let (mut begun, mut retries) = (Vec::new(), 0_u64);
            for _ in 0..1_000 {
                now += interval.mul_f64(rng.f64() / 20.0);
                if rng.u32(0..3) < 2 {
                    limit.request_begins(rng.usize(0..9), || now);
                    begun.push(now);
                }
                let lately = begun.iter().filter(|at| now - **at <= interval + interval / 16).count();
                let most = ((lately as f64 * percent / 100.0) as u64).max(min.into());
                if rng.bool() && limit.try_acquire(0, &requests, now) {
                    retries += 1;
                    assert!(retries <= most, "seed {seed}: {retries} of {most}");
                }
                if retries > 0 && rng.u32(0..3) == 0 {
                    limit.release(0);
                    retries -= 1;
                }
            }
            (0..retries).for_each(|_| limit.release(0));
            let RetryLimit::Budget(budget) = &limit else { unreachable!() };
            assert_eq!(budget.active.load(Ordering::Relaxed), 0, "seed {seed}");
        }
    }
}
