//! What holds for every policy, whatever the hosts and their health.

use std::time::Duration;

use fastrand::Rng;
use proptest::prelude::{Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::super::edf::Edf;
use super::*;
use crate::config::Locality;
use crate::config::balance::{Among, HashFunction, LbPolicy, PeakEwma};
use crate::config::cluster::{CoarseHealth, LocalityWeight};

fn policies() -> impl Strategy<Value = LbPolicy> {
    prop_oneof![
        Just(LbPolicy::RoundRobin),
        Just(LbPolicy::Random),
        Just(LbPolicy::LeastRequest { among: Among::Choices(2), bias: 1.0 }),
        Just(LbPolicy::LeastRequest { among: Among::All, bias: 0.5 }),
        Just(LbPolicy::RingHash { function: HashFunction::Xx, size: (64, 512) }),
        Just(LbPolicy::RingHash { function: HashFunction::Murmur2, size: (1, 16) }),
        Just(LbPolicy::Maglev(251)),
        Just(LbPolicy::PeakEwma(PeakEwma {
            decay: Duration::from_secs(10),
            default_latency: Duration::from_millis(10),
            penalty: 1e6,
        })),
    ]
}

/// Weight, priority, locality, health of a host.
type Shape = (u32, u32, u32, DiscoveryHealth);

fn shapes() -> impl Strategy<Value = Vec<Shape>> {
    let health = prop_oneof![
        Just(DiscoveryHealth::Healthy),
        Just(DiscoveryHealth::Degraded),
        Just(DiscoveryHealth::Unhealthy)
    ];
    prop::collection::vec((1u32..20, 0u32..3, 0u32..3, health), 0..12)
}

fn scene(policy: LbPolicy, shapes: &[Shape], weighted: bool, panic_threshold: u32, seed: u64) -> Scene {
    let mut set = hosts(shapes.len() as u64, |host| {
        (host.weight, host.priority, host.locality, host.health) = shapes[host.uid as usize - 1];
    });
    set.localities = vec![Locality::default(); 3];
    let entry = |at: u32| LocalityWeight { priority: at / 3, locality: at % 3, weight: at % 4 + 1 };
    set.policy.locality_weights = (0..9).map(entry).collect();
    let mut settings = Balancing { panic_threshold, ..Balancing::of(policy) };
    if weighted {
        settings.locality = LocalityRouting::Weighted;
    }
    Scene::seeded(settings, set, seed)
}

proptest! {
    #[test]
    fn an_unhealthy_host_is_picked_in_panic_only(
        policy in policies(), shapes in shapes(), weighted in any::<bool>(), threshold in 0u32..100, seed in any::<u64>(),
    ) {
        let mut scene = scene(policy, &shapes, weighted, threshold, seed);
        for _ in 0..50 {
            let (choice, notes) = scene.pick_with(PickContext::default());
            let Some(index) = choice else { continue };
            let is_well = scene.host(index).coarse_health() != CoarseHealth::Unhealthy;
            prop_assert!(is_well || (notes.has(Note::Panic) && threshold > 0));
        }
    }

    #[test]
    fn a_host_is_found_while_one_is_well(
        policy in policies(), shapes in shapes(), weighted in any::<bool>(), threshold in 0u32..100, seed in any::<u64>(),
    ) {
        let mut scene = scene(policy, &shapes, weighted, threshold, seed);
        let any_well = shapes.iter().any(|shape| shape.3 != DiscoveryHealth::Unhealthy);
        let any_used = if threshold > 0 { !shapes.is_empty() } else { any_well };
        for _ in 0..20 {
            prop_assert_eq!(scene.pick().is_some(), any_used);
        }
    }

    #[test]
    fn round_robin_is_exact_over_a_whole_turn(weights in prop::collection::vec(1u32..50, 1..10), seed in any::<u64>()) {
        let total: u32 = weights.iter().sum();
        let mut scene = Scene::seeded(Balancing::of(LbPolicy::RoundRobin), weighing(&weights), seed);
        // Pre-picks shift where a turn begins and ends, by one pick per host at most.
        let counts = scene.counts(20 * total as usize);
        for (count, weight) in counts.iter().zip(&weights) {
            prop_assert!(count.abs_diff(20 * *weight as usize) <= 1, "{:?} {:?}", counts, weights);
        }
    }

    #[test]
    fn a_schedule_never_starves_anyone(weights in prop::collection::vec(1u32..1000, 1..20), seed in any::<u64>()) {
        let mut rng = Rng::with_seed(seed);
        let entries = weights.iter().enumerate().map(|(at, weight)| (at as u32, f64::from(*weight)));
        let mut edf = Edf::new(entries, &mut rng);
        let (total, least) = (weights.iter().sum::<u32>(), *weights.iter().min().unwrap_or(&1));
        let turn = (total / least) as usize + weights.len() + 1;
        let mut seen = vec![false; weights.len()];
        (0..turn).for_each(|_| seen[edf.pick(|_, weight| weight).unwrap_or(0)] = true);
        prop_assert!(seen.iter().all(|seen| *seen), "{:?}", weights);
    }

    #[test]
    fn a_host_that_leaves_a_ring_moves_no_other_key(count in 2u64..9, gone in 0usize..9, seed in any::<u64>()) {
        let gone = gone % count as usize;
        let policy = LbPolicy::RingHash { function: HashFunction::Xx, size: (1024, 1 << 20) };
        let settings = Balancing { panic_threshold: 0, ..Balancing::of(policy) };
        let mut scene = Scene::seeded(settings, hosts(count, |_| ()), seed);
        let mut rng = Rng::with_seed(seed);
        let keys: Vec<u64> = (0..500).map(|_| rng.u64(..)).collect();
        let before: Vec<_> = keys.iter().map(|key| scene.hashed(*key)).collect();
        scene.host(gone).live.health.set(Health::FAILED_OUTLIER);
        scene.refresh();
        // Fewer hosts have more points each: some keys move to these, at most the share that points grew by.
        let moved = keys.iter().zip(&before).filter(|(key, old)| {
            let new = scene.hashed(**key);
            **old != Some(gone) && new != **old
        });
        prop_assert!(moved.count() <= 500 / count as usize * 2);
    }
}
