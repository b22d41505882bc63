use super::priority::{Availability, Share, Tier, shares};
use super::*;
use crate::config::cluster::HostAddress;

fn host(uid: u64, weight: u32) -> Arc<Host> {
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], uid as u16));
    Arc::new(Host {
        uid,
        address: HostAddress::Ip(address),
        display: address.to_string().into(),
        hostname: "".into(),
        weight,
        priority: 0,
        locality: 0,
        health: DiscoveryHealth::Healthy,
        live: Arc::default(),
    })
}

fn picker(policy: LbPolicy, weights: &[u32]) -> (Picker, HostSet, Rng) {
    let mut rng = Rng::with_seed(7);
    let hosts = weights.iter().enumerate().map(|(index, weight)| host(index as u64 + 1, *weight)).collect();
    let set = HostSet { hosts, localities: Vec::new() };
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
    let level = |healthy| Availability { healthy, degraded: 0, total: 100 };
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
    let level = |healthy| Availability { healthy, degraded: 0, total: 10 };
    assert_eq!(
        shares(&[level(1), level(10)], 50)[0],
        Share { priority: 0, tier: Tier::Healthy, percent: 14 }
    );
    assert_eq!(shares(&[level(1)], 50), [Share { priority: 0, tier: Tier::All, percent: 100 }]);
    assert_eq!(shares(&[level(1)], 0), [Share { priority: 0, tier: Tier::Healthy, percent: 100 }]);
    assert_eq!(shares(&[level(0), level(0)], 50).len(), 2);
    assert_eq!(shares(&[], 50), []);
}
