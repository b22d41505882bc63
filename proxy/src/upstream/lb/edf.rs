//! Earliest-deadline-first schedule for unequal weights: an entry of weight `w` comes due every `1/w`.
//! Ties go to the entry that was inserted first.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use fastrand::Rng;

/// The schedule.
#[derive(Debug)]
pub struct Edf {
    queue: BinaryHeap<Entry>,
    sequence: u64,
}

#[derive(Debug)]
struct Entry {
    deadline: f64,
    sequence: u64,
    index: u32,
    weight: f64,
}

impl Edf {
    /// A schedule over `(index, weight)`, advanced by a random number of picks so that workers and
    /// proxies that start together do not all begin with the same host.
    pub fn new(entries: impl Iterator<Item = (u32, f64)>, rng: &mut Rng) -> Self {
        let mut edf = Self { queue: BinaryHeap::new(), sequence: 0 };
        for (index, weight) in entries {
            edf.insert_at(index, weight, 1.0 / weight.max(f64::MIN_POSITIVE));
        }
        for _ in 0..rng.usize(0..edf.queue.len().max(1)) {
            edf.pick(|_, weight| weight);
        }
        edf
    }

    /// Takes the next entry and schedules it again with the weight that `weigh(index, weight)` says.
    pub fn pick(&mut self, weigh: impl Fn(u32, f64) -> f64) -> Option<usize> {
        // In place: the entry sinks to where its new deadline belongs when it is let go.
        let mut next = self.queue.peek_mut()?;
        self.sequence += 1;
        next.deadline += 1.0 / weigh(next.index, next.weight).max(f64::MIN_POSITIVE);
        next.sequence = self.sequence;
        Some(next.index as usize)
    }

    fn insert_at(&mut self, index: u32, weight: f64, deadline: f64) {
        self.sequence += 1;
        self.queue.push(Entry { deadline, sequence: self.sequence, index, weight });
    }
}

impl Ord for Entry {
    /// Reversed: the heap's greatest entry is the one due first.
    fn cmp(&self, other: &Self) -> Ordering {
        other.deadline.total_cmp(&self.deadline).then(other.sequence.cmp(&self.sequence))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}
