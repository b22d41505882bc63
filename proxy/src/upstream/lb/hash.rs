//! Consistent hashing: the host a request's hash belongs to, by ring or Maglev table; with `hash_balance_factor`
//! another one while that has more than its bound. Source: Envoy's `ThreadAwareLoadBalancerBase`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::mersenne::Mersenne;
use super::{maglev, ring};
use crate::config::balance::{Balancing, LbPolicy};
use crate::config::live::{HashTable, TableInput};
use crate::config::{Host, HostSet};

/// A table, and the bound on every host's load when there is one.
#[derive(Debug)]
pub struct Hashed {
    table: Arc<HashTable>,
    bound: Option<Bound>,
}

/// `hash_balance_factor`.
#[derive(Debug)]
struct Bound {
    /// Percent of the mean load.
    factor: u64,
    /// Hosts with their share of the weight.
    shares: Vec<(u32, f64)>,
    /// Positions in `shares`, to be shuffled.
    order: Vec<u32>,
}

impl Hashed {
    /// Over hosts with their share of all weight.
    pub fn new(settings: &Balancing, hosts: &HostSet, shares: Vec<(u32, f64)>) -> Self {
        let bound = settings.hashing.balance_factor.map(|factor| Bound {
            factor: factor.into(),
            shares: shares.clone(),
            order: Vec::with_capacity(shares.len()),
        });
        let input =
            TableInput { policy: settings.policy, use_hostname: settings.hashing.use_hostname, shares };
        Self { table: hosts.tables.table(input, |input| build(input, hosts)), bound }
    }

    /// The host for a hash, at the `attempt`th try.
    pub fn pick(&mut self, hosts: &HostSet, hash: u64, attempt: u32) -> Option<usize> {
        let found = match self.table.points.is_empty() {
            true => maglev::find(&self.table, hash, attempt),
            false => ring::find(&self.table, hash, attempt),
        }?;
        match &mut self.bound {
            Some(bound) => Some(bound.apply(hosts, found, hash) as usize),
            None => Some(found as usize),
        }
    }
}

fn build(input: &TableInput, hosts: &HostSet) -> HashTable {
    let keyed = input.shares.iter().filter_map(|(index, share)| {
        let host = hosts.hosts.get(*index as usize)?;
        Some((*index, *share, key(host, input.use_hostname)))
    });
    match input.policy {
        LbPolicy::RingHash { function, size } => {
            let least = input.shares.iter().map(|(_, share)| *share).fold(1.0, f64::min);
            ring::build(keyed, least, function, size)
        }
        LbPolicy::Maglev(size) => maglev::build(keyed, size),
        _ => HashTable::default(),
    }
}

/// What a host is known by: its `hash_key`, else its name where that is asked for, else its address.
fn key(host: &Host, use_hostname: bool) -> &str {
    let given = host.metadata.as_deref().and_then(|metadata| metadata.hash_key());
    match given {
        Some(key) => key,
        // Without a name Envoy would put every such host at the same points.
        None if use_hostname && !host.hostname.is_empty() => &host.hostname,
        None => &host.display,
    }
}

impl Bound {
    /// `found` if it is below its bound, else the first other host that is, else the least loaded one.
    fn apply(&mut self, hosts: &HostSet, found: u32, hash: u64) -> u32 {
        let active = |index: u32| {
            let live = hosts.hosts.get(index as usize).map(|host| &host.live.rq_active);
            live.map_or(0, |active| active.load(Ordering::Relaxed).max(0)) as u64
        };
        let all: u64 = (0..hosts.hosts.len() as u32).map(active).sum();
        let slots = ((all + 1) * self.factor).div_ceil(100) as f64;
        let load = |index: u32, share: f64| active(index) as f64 / (slots * share).ceil().max(1.0);
        let own = self.shares.iter().find(|(index, _)| *index == found).map_or(0.0, |(_, share)| *share);
        let mut best = (found, load(found, own));
        if best.1 <= 1.0 {
            return found;
        }
        self.order.clear();
        self.order.extend(0..self.shares.len() as u32);
        let mut random = Mersenne::new(hash);
        for at in 0..self.order.len() {
            let ahead = random.below((self.order.len() - at) as u32) as usize;
            self.order.swap(at, at + ahead);
            let (other, share) = self.shares[self.order[at] as usize];
            if other == found {
                continue;
            }
            let load = load(other, share);
            if load <= 1.0 {
                return other;
            }
            if load < best.1 {
                best = (other, load);
            }
        }
        best.0
    }
}
