//! Maglev hashing: a table whose size is a prime, filled by the hosts in turn, each by its own permutation of the
//! entries and as often as its weight says. Entry for entry as Envoy fills it (`MaglevTable`).

use crate::base::hash::xxhash64;
use crate::config::live::HashTable;

const EMPTY: u32 = u32::MAX;

/// One host while the table is filled.
struct Filler {
    host: u32,
    offset: u64,
    skip: u64,
    share: f64,
    /// What `round * share` must have reached for its next entry.
    due: f64,
    next: u64,
    count: u64,
}

impl Filler {
    fn entry(&self, size: u64) -> usize {
        ((self.offset + self.skip * self.next) % size) as usize
    }
}

/// The table over hosts with these keys and shares of the weight; `size` is a prime.
pub fn build<'a>(hosts: impl Iterator<Item = (u32, f64, &'a str)>, size: u32) -> HashTable {
    let mut hosts: Vec<(u32, f64, &str)> = hosts.collect();
    // The order of filling decides, so it must be the same everywhere.
    hosts.sort_by(|one, other| one.2.cmp(other.2));
    let wide = u64::from(size.max(2));
    let mut fillers: Vec<Filler> = hosts
        .iter()
        .map(|(host, share, key)| Filler {
            host: *host,
            offset: xxhash64(key.as_bytes(), 0) % wide,
            skip: xxhash64(key.as_bytes(), 1) % (wide - 1) + 1,
            share: *share,
            due: 0.0,
            next: 0,
            count: 0,
        })
        .collect();
    if fillers.is_empty() {
        return HashTable::default();
    }
    let heaviest = fillers.iter().map(|filler| filler.share).fold(0.0, f64::max);
    let mut table = vec![EMPTY; size as usize].into_boxed_slice();
    let mut filled = 0;
    for round in 1u32.. {
        for filler in &mut fillers {
            if filled == table.len() {
                break;
            }
            if f64::from(round) * filler.share < filler.due {
                continue;
            }
            filler.due += heaviest;
            let mut at = filler.entry(wide);
            while table[at] != EMPTY {
                filler.next += 1;
                at = filler.entry(wide);
            }
            table[at] = filler.host;
            filler.next += 1;
            filler.count += 1;
            filled += 1;
        }
        if filled == table.len() {
            break;
        }
    }
    let counts = || fillers.iter().map(|filler| filler.count);
    let spread = (counts().min().unwrap_or(0), counts().max().unwrap_or(0));
    HashTable { points: Box::default(), hosts: table, spread }
}

/// The host for a hash; every further attempt looks at another entry.
#[inline]
pub fn find(table: &HashTable, hash: u64, attempt: u32) -> Option<u32> {
    let hash = if attempt == 0 { hash } else { hash ^ u64::from(attempt).wrapping_neg() };
    table.hosts.get((hash % (table.hosts.len() as u64).max(1)) as usize).copied()
}
