//! The cap on distinct dimension values: each is a metric that CloudWatch bills for.

use std::collections::HashMap;
use std::time::Duration;

/// Value of a dimension beyond the cap.
pub const OTHER: &str = "other";
/// Folded series that are named in the log at a time; the rest is counted.
const NAMED: usize = 20;
/// One that was silent for so long gives its place to another when all are taken: CloudWatch bills a metric for the
/// hours in which it was written. Never less than two intervals, for nobody is told of in between.
const FORGOTTEN: Duration = Duration::from_secs(3600);

/// Combinations of dimension values that have a place, first come first served, with the time they were last told.
#[derive(Debug)]
pub struct Series {
    /// What they are, for the log.
    of: &'static str,
    max: usize,
    /// Who was silent for so long has lost its claim.
    forgotten: Duration,
    admitted: HashMap<String, Duration>,
    /// Those without a place that were told of; bounded like the admitted ones.
    folded: HashMap<String, Duration>,
    /// When places were last freed.
    freed: Option<Duration>,
}

impl Series {
    /// At most `max` combinations, told of every `interval`.
    pub fn new(of: &'static str, max: usize, interval: Duration) -> Self {
        let forgotten = FORGOTTEN.max(interval.saturating_mul(2));
        Self { of, max, forgotten, admitted: HashMap::new(), folded: HashMap::new(), freed: None }
    }

    /// Whether `values` may be published as they are at `now`, since the epoch. If not, they are to be published as
    /// [`OTHER`]; the first ones are named in the log.
    pub fn admit<'a>(&mut self, values: impl Iterator<Item = &'a str>, now: Duration) -> bool {
        let key = key(values);
        if let Some(told) = self.admitted.get_mut(&key) {
            *told = now;
            return true;
        }
        if self.admitted.len() >= self.max {
            self.free(now);
        }
        if self.admitted.len() < self.max {
            self.folded.remove(&key);
            self.admitted.insert(key, now);
            return true;
        }
        self.fold(key, now);
        false
    }

    /// Whether `values`, of which nothing is told but that they are silent, may be published as they are: when they
    /// have a place, or one is free. It goes to the first who tells something.
    pub fn lodge<'a>(&mut self, values: impl Iterator<Item = &'a str>) -> bool {
        let key = key(values);
        let has_place = self.admitted.contains_key(&key);
        if !has_place && self.admitted.len() < self.max {
            self.admitted.insert(key, Duration::ZERO);
            return true;
        }
        has_place
    }

    /// Distinct combinations that are folded, as far as they are counted.
    pub fn folded(&self) -> usize {
        self.folded.len()
    }

    /// Takes the places of those long gone; once per flush.
    fn free(&mut self, now: Duration) {
        if self.freed.replace(now) != Some(now) {
            let lives = |_: &String, told: &mut Duration| now.saturating_sub(*told) < self.forgotten;
            self.admitted.retain(lives);
            self.folded.retain(lives);
        }
    }

    fn fold(&mut self, key: String, now: Duration) {
        if let Some(told) = self.folded.get_mut(&key) {
            *told = now;
        } else if self.folded.len() < self.max.max(NAMED) {
            if self.folded.len() < NAMED {
                let series = key.replace('\u{1f}', " ");
                // Quoted: configuration and peers name it, and a newline in it would be a line of the log.
                tracing::warn!(
                    of = self.of,
                    ?series,
                    max = self.max,
                    "too many metric dimensions: published as \"other\""
                );
            }
            self.folded.insert(key, now);
        }
    }
}

fn key<'a>(values: impl Iterator<Item = &'a str>) -> String {
    values.collect::<Vec<_>>().join("\u{1f}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600;
    const MINUTE: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(1_700_000_000 + seconds)
    }

    #[test]
    fn the_first_are_kept_and_the_rest_is_folded() {
        let mut series = Series::new("targets", 2, MINUTE);
        let mut admit = |name, now| series.admit([name, "x"].into_iter(), at(now));
        assert!(admit("a", 0) && admit("b", 0));
        assert!(!admit("c", 0) && !admit("c", HOUR - 1));
        assert!(admit("a", HOUR - 1), "what has a name keeps it");
        assert_eq!(series.folded(), 1);
    }

    #[test]
    fn who_is_silent_for_an_hour_gives_the_place_to_who_is_not() {
        let mut series = Series::new("targets", 2, MINUTE);
        for now in [0, 1800, HOUR, HOUR + 60] {
            let mut admit = |name| series.admit([name].into_iter(), at(now));
            // Nobody told of b after the beginning.
            assert!(admit("a") && (now > 0 || admit("b")));
            assert_eq!(admit("c"), now >= HOUR, "{now}");
        }
        assert_eq!(series.folded(), 0);
        assert!(!series.admit(["b"].into_iter(), at(HOUR + 60)), "all places are taken again");
    }

    /// Intervals may be as long as a day.
    #[test]
    fn who_is_told_of_at_every_flush_keeps_the_place_however_rare_flushes_are() {
        const DAY: u64 = 24 * HOUR;
        let mut series = Series::new("targets", 2, Duration::from_secs(DAY));
        assert!(["y", "z"].into_iter().all(|name| series.admit([name].into_iter(), at(0))));
        for now in [DAY, 2 * DAY] {
            let told = ["a", "y", "z"].map(|name| series.admit([name].into_iter(), at(now)));
            assert_eq!(told, [false, true, true], "{now}");
        }
    }

    #[test]
    fn the_silent_have_places_that_nobody_needs() {
        let mut series = Series::new("statistics", 2, MINUTE);
        let name = |name| [name].into_iter();
        assert!(series.admit(name("a"), at(0)) && series.lodge(name("idle")) && !series.lodge(name("other")));
        assert!(series.admit(name("b"), at(60)), "at once");
        assert!(!series.lodge(name("idle")) && series.lodge(name("a")));
        // To be silent renews no claim.
        assert!(series.admit(name("b"), at(HOUR)) && series.admit(name("c"), at(HOUR)));
        assert!(!series.lodge(name("a")));
    }

    #[test]
    fn a_name_with_a_newline_is_no_line_of_the_log() {
        let told = crate::observe::emf::tests::logged(|| {
            let mut series = Series::new("targets", 1, MINUTE);
            assert!(series.admit(["a"].into_iter(), at(0)));
            assert!(!series.admit(["b\nERROR forged"].into_iter(), at(0)));
        });
        assert_eq!(told.lines().count(), 1, "{told}");
        assert!(told.contains(r#""b\nERROR forged""#), "{told}");
    }
}
