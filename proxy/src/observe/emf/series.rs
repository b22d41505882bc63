//! The cap on distinct dimension values: each is a metric that CloudWatch bills for.

use std::collections::HashSet;

/// Value of a dimension beyond the cap.
pub const OTHER: &str = "other";
/// Folded series that are named in the log; the rest is counted.
const NAMED: usize = 20;

/// Combinations of dimension values that were admitted since the process started, first come first served.
#[derive(Debug)]
pub struct Series {
    max: usize,
    admitted: HashSet<String>,
    /// Those told of, and how many there were; bounded like the admitted ones.
    folded: HashSet<String>,
}

impl Series {
    /// At most `max` combinations.
    pub fn new(max: usize) -> Self {
        Self { max, admitted: HashSet::new(), folded: HashSet::new() }
    }

    /// Whether `values` may be published as they are. If not, they are to be published as [`OTHER`]; the first
    /// ones are named in the log.
    pub fn admit<'a>(&mut self, values: impl Iterator<Item = &'a str>) -> bool {
        let key = values.collect::<Vec<_>>().join("\u{1f}");
        if self.admitted.contains(&key) {
            return true;
        }
        if self.admitted.len() < self.max {
            return self.admitted.insert(key);
        }
        if self.folded.len() < self.max.max(NAMED) && !self.folded.contains(&key) {
            if self.folded.len() < NAMED {
                let series = key.replace('\u{1f}', " ");
                tracing::warn!(%series, max = self.max, "too many metric dimensions: published as \"other\"");
            }
            self.folded.insert(key);
        }
        false
    }

    /// Distinct combinations that were folded, as far as they are counted.
    pub fn folded(&self) -> usize {
        self.folded.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_kept_and_the_rest_is_folded_for_good() {
        let mut series = Series::new(2);
        assert!(series.admit(["a", "x"].into_iter()) && series.admit(["b", "x"].into_iter()));
        assert!(!series.admit(["c", "x"].into_iter()) && !series.admit(["c", "x"].into_iter()));
        assert!(series.admit(["a", "x"].into_iter()), "what has a name keeps it");
        assert_eq!(series.folded(), 1);
    }
}
