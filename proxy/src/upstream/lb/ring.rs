//! Ketama ring: every host has points on it in proportion to its weight, and a hash goes to the first point that is
//! not below it. Entry for entry as Envoy builds it (`RingHashLoadBalancer::Ring`), floating point included, so that
//! both send the same key to the same host.

use std::fmt::Write;

use crate::base::hash::{MURMUR_SEED, murmur2, xxhash64};
use crate::config::balance::HashFunction;
use crate::config::live::HashTable;

/// The ring over hosts with these keys and shares of the weight, of at least and at most `size` entries.
pub fn build<'a>(
    hosts: impl Iterator<Item = (u32, f64, &'a str)>,
    least: f64,
    function: HashFunction,
    size: (u64, u64),
) -> HashTable {
    // The lightest host gets a whole number of points, as long as the ring may be that large.
    let scale = ((least * size.0 as f64).ceil() / least).min(size.1 as f64);
    let mut entries: Vec<(u64, u32)> = Vec::with_capacity(scale.ceil() as usize);
    let mut spread = (scale.ceil() as u64, 0);
    let (mut current, mut target) = (0.0, 0.0);
    let mut text = String::new();
    for (host, share, key) in hosts {
        // Running sums: parts of points that hosts are owed add up from host to host.
        target += scale * share;
        let mut count = 0;
        while current < target {
            text.clear();
            let _ = write!(text, "{key}_{count}");
            let hash = match function {
                HashFunction::Xx => xxhash64(text.as_bytes(), 0),
                HashFunction::Murmur2 => murmur2(text.as_bytes(), MURMUR_SEED),
            };
            entries.push((hash, host));
            count += 1;
            current += 1.0;
        }
        spread = (spread.0.min(count), spread.1.max(count));
    }
    entries.sort_by_key(|(hash, _)| *hash);
    HashTable {
        points: entries.iter().map(|(hash, _)| *hash).collect(),
        hosts: entries.iter().map(|(_, host)| *host).collect(),
        spread,
    }
}

/// The host for a hash; every further attempt moves on by its number of entries.
#[inline]
pub fn find(ring: &HashTable, hash: u64, attempt: u32) -> Option<u32> {
    let at = ring.points.partition_point(|point| *point < hash);
    let at = if at == ring.points.len() { 0 } else { at };
    let at = if attempt == 0 { at } else { (at + attempt as usize) % ring.points.len().max(1) };
    ring.hosts.get(at).copied()
}
