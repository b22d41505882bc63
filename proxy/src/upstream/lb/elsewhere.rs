//! Priorities that a retry keeps away from because they were tried (`envoy.retry_priorities.previous_priorities`).
//! Source: Envoy's `PreviousPrioritiesRetryPriority`.

use super::priority::{self, Availability, Split};

/// What a request has tried.
#[derive(Debug, Default, Clone, Copy)]
pub struct Attempted<'a> {
    /// The priorities of its attempts, in order.
    pub priorities: &'a [u32],
    /// After every so many attempts those until then are kept away from; 0 never.
    pub every: u32,
}

impl Attempted<'_> {
    /// The split over the priorities that are left. `None`: the usual one holds, because there is nothing to keep away
    /// from yet, or nothing else is left, and then all begins anew.
    pub(super) fn split(&self, levels: &[Availability]) -> Option<Vec<Split>> {
        let every = usize::try_from(self.every).ok().filter(|every| *every > 0)?;
        let mut begin = 0;
        let mut split = None;
        for end in 1..=self.priorities.len() {
            if (end - begin) % every > 0 {
                continue;
            }
            let tried = self.priorities.get(begin..end).unwrap_or_default();
            let others = priority::split(&without(levels, tried), 0);
            if others.is_empty() {
                begin = end;
            }
            split = Some(others).filter(|others| !others.is_empty());
        }
        split
    }
}

/// The levels as if those that were tried had no hosts.
fn without(levels: &[Availability], tried: &[u32]) -> Vec<Availability> {
    let left = |(priority, level): (usize, &Availability)| match tried.contains(&(priority as u32)) {
        true => Availability { overprovisioning: level.overprovisioning, ..Availability::default() },
        false => *level,
    };
    levels.iter().enumerate().map(left).collect()
}

#[cfg(test)]
mod tests {
    use super::super::priority::{Amount, Tier};
    use super::*;

    fn level(healthy: u64, total: u64) -> Availability {
        let amount = Amount { healthy, degraded: 0, total };
        Availability { hosts: amount, measure: amount, all: total, overprovisioning: 140 }
    }

    fn shares(priorities: &[u32], every: u32, levels: &[Availability]) -> Option<Vec<(usize, u32)>> {
        let split = Attempted { priorities, every }.split(levels)?;
        Some(split.into_iter().map(|Split { level, percent, .. }| (level, percent)).collect())
    }

    #[test]
    fn what_was_tried_is_left_out() {
        let levels = [level(10, 10), level(10, 10), level(10, 10)];
        assert_eq!(shares(&[], 1, &levels), None);
        assert_eq!(shares(&[0], 1, &levels), Some(vec![(1, 100)]));
        assert_eq!(shares(&[0, 1], 1, &levels), Some(vec![(2, 100)]));
        assert_eq!(shares(&[1], 1, &levels), Some(vec![(0, 100)]));
        assert_eq!(shares(&[0], 0, &levels), None, "not asked for");
    }

    #[test]
    fn updates_come_at_their_frequency() {
        let levels = [level(10, 10), level(10, 10), level(10, 10)];
        assert_eq!(shares(&[0], 2, &levels), None);
        assert_eq!(shares(&[0, 0], 2, &levels), Some(vec![(1, 100)]));
        assert_eq!(shares(&[0, 0, 1], 2, &levels), Some(vec![(1, 100)]));
        assert_eq!(shares(&[0, 0, 1, 1], 2, &levels), Some(vec![(2, 100)]));
    }

    #[test]
    fn when_all_were_tried_it_begins_anew() {
        let levels = [level(10, 10), level(10, 10)];
        assert_eq!(shares(&[0, 1], 1, &levels), None);
        assert_eq!(shares(&[0, 1, 0], 1, &levels), Some(vec![(1, 100)]));
        assert_eq!(shares(&[0], 1, &levels[..1]), None);
        assert_eq!(shares(&[0], 1, &[level(10, 10), level(0, 10)]), None, "nobody is well elsewhere");
    }

    #[test]
    fn what_is_left_shares_by_availability() {
        let levels = [level(10, 10), level(5, 10), level(10, 10)];
        let split = Attempted { priorities: &[0], every: 1 }.split(&levels).unwrap();
        assert_eq!(
            split.iter().map(|share| (share.level, share.percent)).collect::<Vec<_>>(),
            [(1, 70), (2, 30)]
        );
        assert!(split.iter().all(|share| share.tier == Tier::Healthy));
    }
}
