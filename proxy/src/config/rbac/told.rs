//! How often something that any caller can bring about is logged: each caller once in a while, and so many callers.

use std::collections::HashSet;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, TryLockError};
use std::time::{Duration, Instant};

/// A caller is told again after this time.
const INTERVAL: Duration = Duration::from_secs(60);
/// Callers that are told of in one interval, over all workers. Counters have the whole truth.
const MOST: usize = 128;

/// Whose lines were written lately. Only what is to be logged touches it.
#[derive(Debug, Default)]
pub struct Told {
    hasher: RandomState,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    begun: Option<Instant>,
    callers: HashSet<u64>,
    left_out: u64,
}

/// Whether there may be a line now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Not for this caller, or not for one more.
    No,
    /// Yes; so many lines of callers that were too many were left out in the interval before.
    Yes(u64),
}

impl Told {
    /// Whether there may be a line about this caller now.
    pub fn due(&self, caller: &impl Hash, now: Instant) -> Due {
        let mut seen = match self.seen.try_lock() {
            Ok(seen) => seen,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Somebody else is at it: who calls that often is told of a moment later.
            Err(TryLockError::WouldBlock) => return Due::No,
        };
        let mut before = 0;
        if seen.begun.is_none_or(|begun| now.saturating_duration_since(begun) >= INTERVAL) {
            before = seen.left_out;
            *seen = Seen { begun: Some(now), ..Seen::default() };
        }
        let caller = self.hasher.hash_one(caller);
        if seen.callers.contains(&caller) {
            return Due::No;
        }
        if seen.callers.len() == MOST {
            seen.left_out += 1;
            return Due::No;
        }
        seen.callers.insert(caller);
        Due::Yes(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_caller_is_told_once_a_minute() {
        let (told, start) = (Told::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(told.due(&("a", 1), at(0)), Due::Yes(0));
        assert_eq!(told.due(&("a", 1), at(1)), Due::No);
        assert_eq!(told.due(&("b", 1), at(1)), Due::Yes(0), "another one");
        assert_eq!(told.due(&("a", 1), at(59)), Due::No);
        assert_eq!(told.due(&("a", 1), at(60)), Due::Yes(0));
    }

    #[test]
    fn callers_are_bounded_and_the_rest_is_counted() {
        let (told, start) = (Told::default(), Instant::now());
        let due = (0..MOST + 10).filter(|caller| told.due(caller, start) != Due::No).count();
        assert_eq!(due, MOST);
        assert_eq!(told.due(&"one more", start + INTERVAL), Due::Yes(10));
    }
}
