//! How often somebody may have something that costs, and how many at a time: a token bucket and a count by key.
//!
//! Time is an argument. The number of keys is bounded: those that are at rest are forgotten first, and when none is,
//! newcomers wait until one is.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// How many keys are kept.
const KEYS: usize = 4096;

/// What one key may have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Terms {
    /// How many after a rest.
    pub burst: u32,
    /// How many per second from then on.
    pub per_second: f64,
    /// How many under way at the same time.
    pub at_once: u32,
}

/// Counts what each key has.
#[derive(Debug)]
pub struct Quota {
    terms: Terms,
    places: Mutex<HashMap<String, Place>>,
}

#[derive(Debug)]
struct Place {
    tokens: f64,
    at: Instant,
    under_way: u32,
}

/// One that is under way, until it is dropped.
#[derive(Debug)]
pub struct Pass<'q> {
    quota: &'q Quota,
    key: String,
}

impl Quota {
    /// With these terms for every key.
    pub fn new(terms: Terms) -> Self {
        Self { terms, places: Mutex::default() }
    }

    /// Takes one for a key. `None`: it has had enough for now.
    pub fn enter(&self, key: &str, now: Instant) -> Option<Pass<'_>> {
        let mut places = self.places();
        if places.len() >= KEYS && !places.contains_key(key) {
            places.retain(|_, place| !place.is_at_rest(self.terms, now));
            if places.len() >= KEYS {
                return None;
            }
        }
        let full = || Place { tokens: f64::from(self.terms.burst), at: now, under_way: 0 };
        let place = places.entry(key.to_owned()).or_insert_with(full);
        place.refill(self.terms, now);
        if place.tokens < 1.0 || place.under_way >= self.terms.at_once {
            return None;
        }
        place.tokens -= 1.0;
        place.under_way += 1;
        Some(Pass { quota: self, key: key.to_owned() })
    }

    fn places(&self) -> MutexGuard<'_, HashMap<String, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    fn refill(&mut self, terms: Terms, now: Instant) {
        self.tokens = self.tokens_at(terms, now);
        self.at = self.at.max(now);
    }

    fn tokens_at(&self, terms: Terms, now: Instant) -> f64 {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * terms.per_second;
        (self.tokens + gained).min(f64::from(terms.burst))
    }

    /// Whether forgetting it changes nothing.
    fn is_at_rest(&self, terms: Terms, now: Instant) -> bool {
        self.under_way == 0 && self.tokens_at(terms, now) >= f64::from(terms.burst)
    }
}

impl Pass<'_> {
    /// Gives the token back as well: it has cost nothing.
    pub fn give_back(self) {
        if let Some(place) = self.quota.places().get_mut(&self.key) {
            place.tokens = (place.tokens + 1.0).min(f64::from(self.quota.terms.burst));
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.quota.places().get_mut(&self.key) {
            place.under_way = place.under_way.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const TERMS: Terms = Terms { burst: 3, per_second: 2.0, at_once: 2 };

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let (quota, start) = (Quota::new(TERMS), Instant::now());
        let passed = |key: &str, after: u64| {
            let now = start + Duration::from_millis(after);
            (0..10).filter(|_| quota.enter(key, now).is_some()).count()
        };
        assert_eq!(passed("a", 0), 3);
        assert_eq!(passed("a", 400), 0);
        assert_eq!(passed("a", 1000), 2);
        assert_eq!(passed("b", 1000), 3, "another key has its own");
        assert_eq!(passed("a", 60_000), 3, "a rest fills it up and no further");
        assert_eq!(passed("a", 59_000), 0, "time that goes back gives nothing");
    }

    #[test]
    fn only_so_many_are_under_way() {
        let (quota, now) = (Quota::new(TERMS), Instant::now());
        let (one, two) = (quota.enter("a", now), quota.enter("a", now));
        assert!(one.is_some() && two.is_some() && quota.enter("a", now).is_none());
        drop(one);
        assert!(quota.enter("a", now).is_some());
        drop(two);
        assert!(quota.enter("a", now).is_none(), "the burst is used up");
    }

    #[test]
    fn what_has_cost_nothing_is_given_back() {
        let (quota, now) = (Quota::new(TERMS), Instant::now());
        for _ in 0..10 {
            quota.enter("a", now).unwrap().give_back();
        }
        assert_eq!((0..10).filter(|_| quota.enter("a", now).is_some()).count(), 3);
    }

    #[test]
    fn keys_do_not_pile_up() {
        let (quota, now) = (Quota::new(TERMS), Instant::now());
        let held: Vec<_> = (0..KEYS).map(|key| quota.enter(&key.to_string(), now).unwrap()).collect();
        assert!(quota.enter("another", now).is_none());
        drop(held);
        assert!(quota.enter("another", now).is_none(), "they are not full again");
        let later = now + Duration::from_secs(1);
        assert!(quota.enter("another", later).is_some());
        assert!(quota.places().len() < KEYS);
    }
}
