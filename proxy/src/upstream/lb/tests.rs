use super::priority::{Availability, Share, Tier, shares};
use super::*;
use crate::config::cluster::{DiscoveryHealth, HostAddress};
use crate::config::live::{Health, HealthEpoch, HostLive};

fn host(uid: u64, weight: u32) -> Arc<Host> {
    Arc::new(plain(uid, weight))
}

fn plain(uid: u64, weight: u32) -> Host {
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], uid as u16));
    Host {
        uid,
        address: HostAddress::Ip(address),
        display: address.to_string().into(),
        hostname: "".into(),
        weight,
        priority: 0,
        locality: 0,
        health: DiscoveryHealth::Healthy,
        check: None,
        live: Arc::default(),
    }
}

fn picker(policy: LbPolicy, weights: &[u32]) -> (Picker, HostSet, Rng) {
    let mut rng = Rng::with_seed(7);
    let hosts = weights.iter().enumerate().map(|(index, weight)| host(index as u64 + 1, *weight)).collect();
    let set = HostSet { hosts, ..HostSet::default() };
    let list = (0..weights.len() as u32).collect();
    (Picker::new(policy, list, &set, &mut rng), set, rng)
}

fn counts(policy: LbPolicy, weights: &[u32], picks: usize) -> Vec<usize> {
    let (mut picker, set, mut rng) = picker(policy, weights);
    let mut counts = vec![0; weights.len()];
    for _ in 0..picks {
        counts[picker.pick(&set, &mut rng).unwrap()] += 1;
    }
    counts
}

#[test]
fn round_robin_is_exact() {
    assert_eq!(counts(LbPolicy::RoundRobin, &[1, 1, 1], 300), [100, 100, 100]);
}

#[test]
fn weighted_round_robin_is_exact() {
    assert_eq!(counts(LbPolicy::RoundRobin, &[1, 2, 7], 1000), [100, 200, 700]);
}

#[test]
fn random_is_even_within_five_sigma() {
    for count in counts(LbPolicy::Random, &[1, 1, 1, 1], 40_000) {
        assert!((9_560..10_440).contains(&count), "{count}");
    }
}

#[test]
fn least_request_prefers_the_idle_host() {
    let (mut picker, set, mut rng) = picker(LbPolicy::LeastRequest { choices: 2 }, &[1, 1]);
    set.hosts[0].live.rq_active.store(100, std::sync::atomic::Ordering::Relaxed);
    let busy = (0..1000).filter(|_| picker.pick(&set, &mut rng) == Some(0)).count();
    // Both samples must hit the busy host: one in four.
    assert!((170..330).contains(&busy), "{busy}");
}

#[test]
fn priorities_split_as_documented() {
    let level = |healthy| Availability { healthy, degraded: 0, total: 100, all: 100 };
    let split = |first, second| {
        let out = shares(&[level(first), level(second)], 50);
        out.iter().map(|share| share.percent).collect::<Vec<_>>()
    };
    assert_eq!(split(72, 100), [100]);
    assert_eq!(split(71, 100), [99, 1]);
    assert_eq!(split(50, 100), [70, 30]);
    assert_eq!(split(25, 25), [50, 50]);
}

#[test]
fn panic_only_below_full_availability() {
    let level = |healthy| Availability { healthy, degraded: 0, total: 10, all: 10 };
    assert_eq!(
        shares(&[level(1), level(10)], 50)[0],
        Share { priority: 0, tier: Tier::Healthy, percent: 14 }
    );
    assert_eq!(shares(&[level(1)], 50), [Share { priority: 0, tier: Tier::All, percent: 100 }]);
    assert_eq!(shares(&[level(1)], 0), [Share { priority: 0, tier: Tier::Healthy, percent: 100 }]);
    assert_eq!(shares(&[level(0), level(0)], 50).len(), 2);
    assert_eq!(shares(&[level(0)], 0), [], "panic is off");
    assert_eq!(shares(&[], 50), []);
}

fn balancer(hosts: u64, panic_threshold: u32, rng: &mut Rng) -> Balancer {
    let epoch = Arc::new(HealthEpoch::default());
    let fresh = |uid| Host { live: Arc::new(HostLive::new(&epoch)), ..plain(uid, 1) };
    let hosts = (1..=hosts).map(|uid| Arc::new(fresh(uid))).collect();
    let hosts = Arc::new(HostSet { hosts, localities: Vec::new(), epoch });
    let lists = Lists::new(&hosts, LbPolicy::RoundRobin, panic_threshold, rng);
    Balancer { hosts, policy: LbPolicy::RoundRobin, panic_threshold, lists }
}

fn picked(balancer: &mut Balancer, rng: &mut Rng) -> Vec<usize> {
    let mut seen: Vec<usize> = (0..100).filter_map(|_| balancer.pick(PickContext::default(), rng)).collect();
    seen.sort_unstable();
    seen.dedup();
    seen
}

#[test]
fn failed_hosts_are_left_out_until_they_recover() {
    let mut rng = Rng::with_seed(7);
    let mut balancer = balancer(3, 50, &mut rng);
    let health = |balancer: &Balancer, index: usize| balancer.hosts.hosts[index].live.clone();
    assert_eq!(balancer.refresh(&mut rng), None);
    assert_eq!(picked(&mut balancer, &mut rng), [0, 1, 2]);

    health(&balancer, 1).health.set(Health::FAILED_OUTLIER);
    assert_eq!(balancer.refresh(&mut rng), Some(vec![1]));
    assert_eq!(picked(&mut balancer, &mut rng), [0, 2]);
    assert!(!balancer.in_panic());

    health(&balancer, 1).health.clear(Health::FAILED_OUTLIER);
    assert_eq!(balancer.refresh(&mut rng), Some(vec![]));
    assert_eq!(picked(&mut balancer, &mut rng), [0, 1, 2]);
}

#[test]
fn too_many_failed_hosts_are_a_panic() {
    let mut rng = Rng::with_seed(7);
    let mut balancer = balancer(3, 50, &mut rng);
    for index in [0, 1] {
        balancer.hosts.hosts[index].live.health.set(Health::FAILED_ACTIVE_HC);
    }
    assert_eq!(balancer.refresh(&mut rng), Some(vec![0, 1]));
    assert!(balancer.in_panic());
    assert_eq!(picked(&mut balancer, &mut rng), [0, 1, 2]);
}

#[test]
fn degraded_hosts_wait_for_the_healthy_ones_to_fail() {
    let mut rng = Rng::with_seed(7);
    let mut balancer = balancer(2, 0, &mut rng);
    balancer.hosts.hosts[1].live.health.set(Health::DEGRADED_ACTIVE_HC);
    assert_eq!(balancer.refresh(&mut rng), Some(vec![]));
    // 1 of 2 is 70 percent available with overprovisioning, so the degraded host takes the other 30.
    assert_eq!(picked(&mut balancer, &mut rng), [0, 1]);
    balancer.hosts.hosts[0].live.health.set(Health::FAILED_ACTIVE_HC);
    balancer.refresh(&mut rng);
    assert_eq!(picked(&mut balancer, &mut rng), [1]);
}

#[test]
fn excluded_hosts_do_not_count() {
    let mut rng = Rng::with_seed(7);
    let mut balancer = balancer(4, 50, &mut rng);
    for index in [0, 1, 2] {
        let flags = Health::FAILED_ACTIVE_HC | Health::IGNORED_UNTIL_FIRST_HC;
        balancer.hosts.hosts[index].live.health.set(flags);
    }
    balancer.refresh(&mut rng);
    assert!(!balancer.in_panic());
    assert_eq!(picked(&mut balancer, &mut rng), [3]);
}
