//! Tables of consistent hashing. Shared because they are large and the same for every worker: whoever needs one first
//! builds it, off the path of requests, and the others take it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::config::balance::LbPolicy;

/// What a table is made of; the same input makes the same table.
#[derive(Clone, Debug, PartialEq)]
pub struct TableInput {
    /// RING_HASH or MAGLEV with its sizes.
    pub policy: LbPolicy,
    /// Hosts are hashed by hostname.
    pub use_hostname: bool,
    /// Hosts, by index in their set, with their share of all weight. Shares add up to 1.
    pub shares: Vec<(u32, f64)>,
}

/// A table: entries that refer to hosts by their index in the set.
#[derive(Default)]
pub struct HashTable {
    /// Sorted hashes of a ring's entries; empty for Maglev, whose entries are found by number.
    pub points: Box<[u64]>,
    /// The host of every entry.
    pub hosts: Box<[u32]>,
    /// Fewest and most entries of one host.
    pub spread: (u64, u64),
}

impl fmt::Debug for HashTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} entries", self.hosts.len())
    }
}

/// The tables over one host set that are in use.
#[derive(Debug, Default)]
pub struct Shelf(Mutex<Vec<(TableInput, Weak<HashTable>)>>);

impl Shelf {
    /// The table of this input; `build` makes it unless it is there.
    pub fn table(&self, input: TableInput, build: impl FnOnce(&TableInput) -> HashTable) -> Arc<HashTable> {
        // Held while building: a second builder would only have the same work to do.
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tables.retain(|(_, table)| table.strong_count() > 0);
        let known = tables.iter().find(|(known, _)| *known == input).and_then(|(_, table)| table.upgrade());
        known.unwrap_or_else(|| {
            let table = Arc::new(build(&input));
            tables.push((input, Arc::downgrade(&table)));
            table
        })
    }

    /// Number of entries, fewest and most of one host, of the table that was built last.
    pub fn latest(&self) -> Option<(u64, (u64, u64))> {
        let tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let latest = tables.iter().rev().find_map(|(_, table)| table.upgrade())?;
        Some((latest.hosts.len() as u64, latest.spread))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_input_is_built_once_while_it_is_used() {
        let shelf = Shelf::default();
        let input =
            |share| TableInput { policy: LbPolicy::Maglev(7), use_hostname: false, shares: vec![(0, share)] };
        let build =
            |_: &TableInput| HashTable { hosts: [0; 7].into(), spread: (7, 7), ..HashTable::default() };
        let first = shelf.table(input(1.0), build);
        let again = shelf.table(input(1.0), |_| unreachable!());
        assert!(Arc::ptr_eq(&first, &again));
        let other = shelf.table(input(0.5), build);
        assert!(!Arc::ptr_eq(&first, &other));
        assert_eq!(shelf.latest(), Some((7, (7, 7))));
        drop((first, again, other));
        assert_eq!(shelf.latest(), None);
    }
}
