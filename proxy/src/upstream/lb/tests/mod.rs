//! Balancers over hosts that a test makes up, with its own random numbers and clock.

mod hashing;
mod priorities;
mod properties;
mod subsets;
mod weights;
mod zones;

use super::notes::Note;
use super::*;
use crate::config::Host;
use crate::config::balance::LbPolicy;
use crate::config::cluster::DiscoveryHealth;
use crate::config::live::{Health, HealthEpoch, HostLive};

/// A host of weight 1 in priority 0 and locality 0, at port `uid` of 127.0.0.1.
fn plain(uid: u64, epoch: &Arc<HealthEpoch>) -> Host {
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], uid as u16));
    Host { live: Arc::new(HostLive::new(epoch)), ..Host::at(uid, address) }
}

/// `count` hosts, as `shape` makes them.
fn hosts(count: u64, shape: impl Fn(&mut Host)) -> HostSet {
    let epoch = Arc::new(HealthEpoch::default());
    let make = |uid| {
        let mut host = plain(uid, &epoch);
        shape(&mut host);
        Arc::new(host)
    };
    HostSet { hosts: (1..=count).map(make).collect(), epoch, ..HostSet::default() }
}

/// Hosts of these weights.
fn weighing(weights: &[u32]) -> HostSet {
    hosts(weights.len() as u64, |host| host.weight = weights[host.uid as usize - 1])
}

/// A balancer with what it needs.
struct Scene {
    balancer: Balancer,
    rng: Rng,
    now: Instant,
}

impl Scene {
    fn new(settings: Balancing, hosts: HostSet) -> Self {
        Self::seeded(settings, hosts, 7)
    }

    fn seeded(settings: Balancing, hosts: HostSet, seed: u64) -> Self {
        let (mut rng, now) = (Rng::with_seed(seed), hosts.epoch.origin());
        let balancer = Balancer::new(Arc::new(settings), Arc::new(hosts), None, now, &mut rng);
        Self { balancer, rng, now }
    }

    fn host(&self, index: usize) -> &Host {
        &self.balancer.hosts.hosts[index]
    }

    fn refresh(&mut self) -> Option<Vec<usize>> {
        let now = self.now;
        self.balancer.refresh(|| now, &mut self.rng)
    }

    fn pick_with(&mut self, context: PickContext<'_>) -> (Option<usize>, Notes) {
        let now = self.now;
        self.balancer.pick(context, &|| now, &mut self.rng)
    }

    fn pick(&mut self) -> Option<usize> {
        self.pick_with(PickContext::default()).0
    }

    fn hashed(&mut self, hash: u64) -> Option<usize> {
        self.pick_with(PickContext { hash: Some(hash), ..PickContext::default() }).0
    }

    /// How often each host is picked.
    fn counts(&mut self, picks: usize) -> Vec<usize> {
        let mut counts = vec![0; self.balancer.hosts.hosts.len()];
        for index in (0..picks).filter_map(|_| self.pick()) {
            counts[index] += 1;
        }
        counts
    }

    /// Which hosts are picked at all.
    fn picked(&mut self) -> Vec<usize> {
        let counts = self.counts(400);
        (0..counts.len()).filter(|index| counts[*index] > 0).collect()
    }
}

fn counts(policy: LbPolicy, weights: &[u32], picks: usize) -> Vec<usize> {
    Scene::new(Balancing::of(policy), weighing(weights)).counts(picks)
}
