//! The time of a task's turn.
//!
//! The steps of one turn take microseconds together, and reading the clock for each of them costs more than most of
//! the steps. Within a turn the clock is read once, when it is first asked; outside of one it is read every time.

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime};

/// How long one reading of the wall clock serves.
const WALL_LIFE: Duration = Duration::from_secs(1);

/// A worker's clock.
#[derive(Debug, Default)]
pub struct TurnClock {
    in_turn: Cell<bool>,
    read: Cell<Option<Instant>>,
    /// A moment by both clocks.
    wall: Cell<Option<(Instant, SystemTime)>>,
}

impl TurnClock {
    /// Runs one turn of a task.
    #[inline]
    pub fn turn<T>(&self, run: impl FnOnce() -> T) -> T {
        self.in_turn.set(true);
        // Also ends when the turn panics: the next task must not live in the past.
        let _end = End(self);
        run()
    }

    /// The time, not older than the turn.
    #[inline]
    pub fn now(&self) -> Instant {
        if let Some(read) = self.read.get() {
            return read;
        }
        let now = Instant::now();
        if self.in_turn.get() {
            self.read.set(Some(now));
        }
        now
    }

    /// The wall clock at `moment`, which is about now. It is read once a second; what lies between is told by the other.
    #[inline]
    pub fn wall(&self, moment: Instant) -> SystemTime {
        if let Some((read, wall)) = self.wall.get()
            && let Some(since) = moment.checked_duration_since(read)
            && since < WALL_LIFE
        {
            return wall + since;
        }
        let (read, wall) = (Instant::now(), SystemTime::now());
        self.wall.set(Some((read, wall)));
        wall - read.saturating_duration_since(moment)
    }
}

struct End<'a>(&'a TurnClock);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.in_turn.set(false);
        self.0.read.set(None);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn the_wall_clock_goes_on_between_its_readings() {
        let clock = TurnClock::default();
        let begun = SystemTime::now();
        let first = Instant::now();
        let at = clock.wall(first);
        assert!(at >= begun - Duration::from_secs(1) && at <= SystemTime::now(), "{at:?}");
        let read = clock.wall.get().unwrap();
        let half = Duration::from_millis(500);
        assert_eq!(clock.wall(read.0 + half), read.1 + half, "by the reading there is");
        let later = read.0 + Duration::from_secs(30);
        clock.wall(later);
        assert_ne!(clock.wall.get().unwrap(), read, "an old reading does not serve");
    }

    #[test]
    fn time_stands_within_a_turn_and_nowhere_else() {
        let clock = TurnClock::default();
        let before = clock.now();
        let (first, second) = clock.turn(|| {
            let first = clock.now();
            while Instant::now() == first {}
            (first, clock.now())
        });
        assert!(before <= first && first == second);
        assert!(clock.now() > second);
    }

    #[test]
    fn a_turn_that_panics_is_over() {
        let clock = TurnClock::default();
        let mut stood = None;
        let turn = AssertUnwindSafe(|| {
            clock.turn(|| {
                stood = Some(clock.now());
                panic!("within a turn")
            })
        });
        assert!(catch_unwind(turn).is_err());
        while Some(Instant::now()) == stood {}
        assert!(Some(clock.now()) > stood);
    }
}
