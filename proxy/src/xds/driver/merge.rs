//! The merge window: how long a change waits for others to share its snapshot.

use std::time::{Duration, Instant};

/// A snapshot is made once nothing has happened for this long ...
const QUIET: Duration = Duration::from_millis(5);
/// ... or a change has waited this long.
const LONGEST: Duration = Duration::from_millis(50);

/// Changes that wait.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Merge {
    window: Option<Window>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    first: Instant,
    last: Instant,
}

impl Merge {
    /// Something changed.
    pub(super) fn note(&mut self, now: Instant) {
        self.window.get_or_insert(Window { first: now, last: now }).last = now;
    }

    /// When the snapshot is to be made; `None` while nothing waits.
    pub(super) fn due(&self) -> Option<Instant> {
        self.window.map(|window| (window.last + QUIET).min(window.first + LONGEST))
    }

    /// The snapshot was made.
    pub(super) fn clear(&mut self) {
        self.window = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn a_lone_change_waits_five_milliseconds() {
        let start = Instant::now();
        let mut merge = Merge::default();
        assert_eq!(merge.due(), None);
        merge.note(start);
        assert_eq!(merge.due(), Some(at(start, 5)));
        merge.clear();
        assert_eq!(merge.due(), None);
    }

    #[test]
    fn a_burst_is_merged_but_not_for_ever() {
        let start = Instant::now();
        let mut merge = Merge::default();
        merge.note(start);
        merge.note(at(start, 4));
        assert_eq!(merge.due(), Some(at(start, 9)));
        for millis in 5..100 {
            merge.note(at(start, millis));
        }
        assert_eq!(merge.due(), Some(at(start, 50)));
    }
}
