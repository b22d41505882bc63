//! Load balancing: which host takes the next request. One balancer per cluster and worker.
//!
//! Pipeline as in Envoy: priority, then its healthy, degraded or (in panic) all hosts, then the policy.
//! Lists and shares are computed when the host set or the health of a host changes, so a pick is a few array reads.

mod edf;
mod priority;

use std::sync::Arc;

use fastrand::Rng;

use crate::config::cluster::{Cluster, CoarseHealth, Host, HostSet, LbPolicy};
use edf::Edf;
use priority::{Availability, Share, Tier};

/// What a pick may depend on.
#[derive(Debug, Default, Clone, Copy)]
pub struct PickContext<'a> {
    /// Hosts already tried by this request (by uid), to be avoided.
    pub avoid: &'a [u64],
    /// Re-picks while the choice is one to avoid.
    pub attempts: u32,
}

/// The balancer of one cluster.
#[derive(Debug)]
pub struct Balancer {
    hosts: Arc<HostSet>,
    policy: LbPolicy,
    panic_threshold: u32,
    lists: Lists,
}

/// What is computed from the hosts' health.
#[derive(Debug)]
struct Lists {
    /// The health changes that are taken into account.
    epoch: u64,
    /// By host index.
    health: Vec<CoarseHealth>,
    shares: Vec<Share>,
    levels: Vec<Level>,
}

/// Host lists of one priority.
#[derive(Debug)]
struct Level {
    healthy: Picker,
    degraded: Picker,
    all: Picker,
}

impl Balancer {
    /// Builds the lists for `hosts` under the cluster's policy.
    pub fn new(cluster: &Cluster, hosts: Arc<HostSet>, rng: &mut Rng) -> Self {
        let (policy, panic_threshold) = (cluster.lb, cluster.panic_threshold);
        let lists = Lists::new(&hosts, policy, panic_threshold, rng);
        Self { hosts, policy, panic_threshold, lists }
    }

    /// Takes changes of the hosts' health into account; to be called before a pick. When there was one: the
    /// indexes of the hosts that became unhealthy by it.
    #[inline]
    pub fn refresh(&mut self, rng: &mut Rng) -> Option<Vec<usize>> {
        (self.hosts.epoch.peek() != self.lists.epoch).then(|| self.rebuild(rng))
    }

    #[cold]
    fn rebuild(&mut self, rng: &mut Rng) -> Vec<usize> {
        let next = Lists::new(&self.hosts, self.policy, self.panic_threshold, rng);
        let before = std::mem::replace(&mut self.lists, next).health;
        let pairs = before.iter().zip(&self.lists.health).enumerate();
        let failed = |old, new| old != CoarseHealth::Unhealthy && new == CoarseHealth::Unhealthy;
        pairs.filter(|(_, (old, new))| failed(**old, **new)).map(|(index, _)| index).collect()
    }

    /// Picks a host: its index in the set. `None`: there is none to pick.
    pub fn pick(&mut self, context: PickContext<'_>, rng: &mut Rng) -> Option<usize> {
        let mut choice = self.pick_once(rng)?;
        for _ in 0..context.attempts {
            if !self.is_avoided(choice, context.avoid) {
                break;
            }
            choice = self.pick_once(rng)?;
        }
        Some(choice)
    }

    /// Whether the last resort of panic mode is in use for some priority.
    pub fn in_panic(&self) -> bool {
        self.lists.shares.iter().any(|share| share.tier == Tier::All)
    }

    /// The hosts indexes refer to.
    pub fn hosts(&self) -> &Arc<HostSet> {
        &self.hosts
    }

    fn is_avoided(&self, index: usize, avoid: &[u64]) -> bool {
        self.hosts.hosts.get(index).is_some_and(|host| avoid.contains(&host.uid))
    }

    fn pick_once(&mut self, rng: &mut Rng) -> Option<usize> {
        let share = match self.lists.shares.as_slice() {
            [] => return None,
            [only] => *only,
            shares => *choose_share(shares, rng.u32(0..100))?,
        };
        let level = self.lists.levels.get_mut(share.priority)?;
        let picker = match share.tier {
            Tier::Healthy => &mut level.healthy,
            Tier::Degraded => &mut level.degraded,
            Tier::All => &mut level.all,
        };
        picker.pick(&self.hosts, rng)
    }
}

impl Lists {
    fn new(hosts: &HostSet, policy: LbPolicy, panic_threshold: u32, rng: &mut Rng) -> Self {
        // Before the flags: a change after this is seen as one by the next pick.
        let epoch = hosts.epoch.read();
        let health: Vec<CoarseHealth> = hosts.hosts.iter().map(|host| host.coarse_health()).collect();
        let count = hosts.hosts.iter().map(|host| host.priority + 1).max().unwrap_or(0);
        let mut availability = Vec::with_capacity(count as usize);
        let mut levels = Vec::with_capacity(count as usize);
        for level in 0..count {
            let members = |want: Option<CoarseHealth>| -> Vec<u32> {
                let is_member = |host: &Host, health: CoarseHealth| {
                    host.priority == level && want.is_none_or(|want| health == want)
                };
                let all = hosts.hosts.iter().zip(&health).enumerate();
                let chosen = all.filter(|(_, (host, health))| is_member(host, **health));
                chosen.map(|(index, _)| index as u32).collect()
            };
            let (healthy, degraded, all) =
                (members(Some(CoarseHealth::Healthy)), members(Some(CoarseHealth::Degraded)), members(None));
            let excluded = hosts.hosts.iter().filter(|host| host.priority == level && host.is_excluded());
            availability.push(Availability {
                healthy: healthy.len(),
                degraded: degraded.len(),
                total: all.len() - excluded.count(),
                all: all.len(),
            });
            let mut picker = |list| Picker::new(policy, list, hosts, rng);
            levels.push(Level { healthy: picker(healthy), degraded: picker(degraded), all: picker(all) });
        }
        let shares = priority::shares(&availability, panic_threshold);
        Self { epoch, health, shares, levels }
    }
}

/// The share that covers `point` of 0..100.
fn choose_share(shares: &[Share], point: u32) -> Option<&Share> {
    let mut end = 0;
    shares.iter().find(|share| {
        end += share.percent;
        point < end
    })
}

/// The policy over one list of host indexes.
#[derive(Debug)]
enum Picker {
    /// No host.
    Empty,
    /// Equal weights: an index that starts at random.
    RoundRobin { list: Vec<u32>, next: usize },
    /// Unequal weights: earliest deadline first; `least_request` divides weights by load when picked.
    Weighted { edf: Edf, least_request: bool },
    /// Fewest active requests among `choices` samples with replacement.
    LeastRequest { list: Vec<u32>, choices: u32 },
    /// Uniform.
    Random { list: Vec<u32> },
}

impl Picker {
    fn new(policy: LbPolicy, list: Vec<u32>, hosts: &HostSet, rng: &mut Rng) -> Self {
        if list.is_empty() {
            return Picker::Empty;
        }
        let weight = |index: u32| hosts.hosts.get(index as usize).map_or(1, |host| host.weight);
        let unequal = list.windows(2).any(|pair| weight(pair[0]) != weight(pair[1]));
        match policy {
            LbPolicy::Random => Picker::Random { list },
            LbPolicy::LeastRequest { .. } | LbPolicy::RoundRobin | LbPolicy::ClusterProvided if unequal => {
                let least_request = matches!(policy, LbPolicy::LeastRequest { .. });
                Picker::Weighted {
                    edf: Edf::new(list.iter().map(|index| (*index, weight(*index))), rng),
                    least_request,
                }
            }
            LbPolicy::LeastRequest { choices } => Picker::LeastRequest { list, choices },
            LbPolicy::RoundRobin | LbPolicy::ClusterProvided => {
                let next = rng.usize(0..list.len());
                Picker::RoundRobin { list, next }
            }
        }
    }

    #[inline]
    fn pick(&mut self, hosts: &HostSet, rng: &mut Rng) -> Option<usize> {
        match self {
            Picker::Empty => None,
            Picker::RoundRobin { list, next } => {
                let index = *list.get(*next)?;
                *next = if *next + 1 == list.len() { 0 } else { *next + 1 };
                Some(index as usize)
            }
            Picker::Weighted { edf, least_request } => {
                let least_request = *least_request;
                edf.pick(
                    |index, weight| {
                        if least_request { weight / (active(hosts, index) + 1.0) } else { weight }
                    },
                )
            }
            Picker::LeastRequest { list, choices } => least_loaded(list, *choices, hosts, rng),
            Picker::Random { list } => list.get(rng.usize(0..list.len())).map(|index| *index as usize),
        }
    }
}

fn active(hosts: &HostSet, index: u32) -> f64 {
    let live = hosts.hosts.get(index as usize).map(|host| &host.live);
    live.map_or(0.0, |live| live.rq_active.load(std::sync::atomic::Ordering::Relaxed).max(0) as f64)
}

/// First sample wins ties, as in Envoy.
fn least_loaded(list: &[u32], choices: u32, hosts: &HostSet, rng: &mut Rng) -> Option<usize> {
    let mut best: Option<(u32, f64)> = None;
    for _ in 0..choices.max(1) {
        let index = *list.get(rng.usize(0..list.len()))?;
        let load = active(hosts, index);
        if best.is_none_or(|(_, least)| load < least) {
            best = Some((index, load));
        }
    }
    best.map(|(index, _)| index as usize)
}

#[cfg(test)]
mod tests;
