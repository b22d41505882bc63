//! How often somebody may have something that costs, and how many at a time: a token bucket and a count by key. Who finds
//! all turns of its key taken is refused, or waits in a line whose length is bounded.
//!
//! The number of keys is bounded: those that are at rest are forgotten first, then the one that is nearest to it. Who fills
//! the table with keys of its own displaces those: one that has cost nothing loses nothing when it is forgotten.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

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
    turns: Arc<Semaphore>,
    /// How many have a turn or wait for one.
    users: u32,
}

/// One that is under way, until it is dropped.
#[derive(Debug)]
pub struct Pass<'q> {
    // Before the seat: who looks at a place without users finds all its turns free.
    _turn: OwnedSemaphorePermit,
    seat: Seat<'q>,
}

/// One that has a turn or waits for one.
#[derive(Debug)]
struct Seat<'q> {
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
        let (seat, turns) = self.sit(key, 0, now)?;
        seat.spend(turns.try_acquire_owned().ok()?, now)
    }

    /// The same after as long as it takes until it is this one's turn. `None`: it has had enough for now, or as many as
    /// `line` wait already.
    pub async fn enter_in_turn(&self, key: &str, line: u32) -> Option<Pass<'_>> {
        let (seat, turns) = self.sit(key, line, Instant::now())?;
        seat.spend(turns.acquire_owned().await.ok()?, Instant::now())
    }

    fn sit(&self, key: &str, line: u32, now: Instant) -> Option<(Seat<'_>, Arc<Semaphore>)> {
        let mut places = self.places();
        if places.len() >= KEYS && !places.contains_key(key) {
            make_room(&mut places, self.terms, now)?;
        }
        let place = places.entry(key.to_owned()).or_insert_with(|| Place::new(self.terms, now));
        place.refill(self.terms, now);
        if place.tokens < 1.0 || place.users >= self.terms.at_once.saturating_add(line) {
            return None;
        }
        place.users += 1;
        Some((Seat { quota: self, key: key.to_owned() }, Arc::clone(&place.turns)))
    }

    fn places(&self) -> MutexGuard<'_, HashMap<String, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets what is at rest, or else what is nearest to it and unused. `None`: all are in use.
fn make_room(places: &mut HashMap<String, Place>, terms: Terms, now: Instant) -> Option<()> {
    places.retain(|_, place| place.users > 0 || place.tokens_at(terms, now) < f64::from(terms.burst));
    if places.len() < KEYS {
        return Some(());
    }
    let idle = places.iter().filter(|(_, place)| place.users == 0);
    let by_tokens =
        |one: &Place, other: &Place| one.tokens_at(terms, now).total_cmp(&other.tokens_at(terms, now));
    let fullest = idle.max_by(|(_, one), (_, other)| by_tokens(one, other)).map(|(key, _)| key.clone())?;
    places.remove(&fullest).map(drop)
}

impl Place {
    fn new(terms: Terms, now: Instant) -> Self {
        let turns = Arc::new(Semaphore::new(terms.at_once as usize));
        Self { tokens: f64::from(terms.burst), at: now, turns, users: 0 }
    }

    fn refill(&mut self, terms: Terms, now: Instant) {
        self.tokens = self.tokens_at(terms, now);
        self.at = self.at.max(now);
    }

    fn tokens_at(&self, terms: Terms, now: Instant) -> f64 {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * terms.per_second;
        (self.tokens + gained).min(f64::from(terms.burst))
    }
}

impl<'q> Seat<'q> {
    fn spend(self, turn: OwnedSemaphorePermit, now: Instant) -> Option<Pass<'q>> {
        let quota = self.quota;
        let mut places = quota.places();
        let place = places.get_mut(&self.key)?;
        place.refill(quota.terms, now);
        let has_one = place.tokens >= 1.0;
        place.tokens -= if has_one { 1.0 } else { 0.0 };
        // Dropping the seat takes the lock as well.
        drop(places);
        has_one.then_some(Pass { _turn: turn, seat: self })
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.quota.places().get_mut(&self.key) {
            place.users = place.users.saturating_sub(1);
        }
    }
}

impl Pass<'_> {
    /// Gives the token back as well: it has cost nothing.
    pub fn give_back(self) {
        let Seat { quota, key } = &self.seat;
        if let Some(place) = quota.places().get_mut(key) {
            place.tokens = (place.tokens + 1.0).min(f64::from(quota.terms.burst));
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
        assert!(quota.enter("another", now).is_none(), "all are in use");
        drop(held);
        assert!(quota.enter("another", now).is_some(), "one that is in nobody's use makes room");
        assert_eq!(quota.places().len(), KEYS);
        let later = now + Duration::from_secs(1);
        assert!(quota.enter("yet another", later).is_some());
        assert!(quota.places().len() < KEYS, "those that are full again are forgotten");
    }

    #[test]
    fn who_fills_the_table_displaces_what_has_cost_least() {
        let (quota, now) = (Quota::new(TERMS), Instant::now());
        for _ in 0..3 {
            drop(quota.enter("spent", now));
        }
        let busy = quota.enter("busy", now);
        for key in 0..3 * KEYS {
            assert!(quota.enter(&key.to_string(), now).is_some());
        }
        assert!(quota.enter("newcomer", now).is_some());
        assert!(quota.enter("spent", now).is_none(), "it is known still");
        assert!(quota.enter("busy", now).is_some() && quota.places()["busy"].users == 1);
        drop(busy);
        assert!(quota.places().len() <= KEYS);
    }

    #[tokio::test]
    async fn who_waits_has_a_turn_and_the_line_has_an_end() {
        let quota = Quota::new(Terms { burst: 100, ..TERMS });
        let held = [quota.enter_in_turn("a", 3).await.unwrap(), quota.enter_in_turn("a", 3).await.unwrap()];
        let mut line: Vec<_> = (0..3).map(|_| Box::pin(quota.enter_in_turn("a", 3))).collect();
        for one in &mut line {
            assert!(futures_util::poll!(one).is_pending());
        }
        assert!(quota.enter_in_turn("a", 3).await.is_none(), "the line is full");
        assert!(quota.enter_in_turn("b", 3).await.is_some(), "another key has its own");
        line.pop();
        let mut late = Box::pin(quota.enter_in_turn("a", 3));
        assert!(futures_util::poll!(&mut late).is_pending(), "who left has made room");
        drop(held);
        for one in line {
            assert!(one.await.is_some());
        }
        assert!(late.await.is_some());
        assert_eq!(quota.places()["a"].users, 0);
    }

    #[tokio::test]
    async fn who_has_waited_is_refused_when_nothing_is_left() {
        let quota = Quota::new(Terms { burst: 2, per_second: 0.0, at_once: 1 });
        let first = quota.enter_in_turn("a", 5).await.unwrap();
        let (second, third) = (quota.enter_in_turn("a", 5), quota.enter_in_turn("a", 5));
        drop(first);
        assert!(second.await.is_some());
        assert!(third.await.is_none());
    }
}
