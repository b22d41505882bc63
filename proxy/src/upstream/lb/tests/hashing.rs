//! Consistent hashing: proportions, disruption, re-picks and bounds. That results are Envoy's is for the end-to-end
//! tests.

use std::sync::atomic::Ordering;

use super::*;
use crate::base::hash::xxhash64;
use crate::config::balance::{HashFunction, Hashing};
use crate::config::subset::{Criterion, MetadataValue};

fn ring() -> LbPolicy {
    LbPolicy::RingHash { function: HashFunction::Xx, size: (1024, 8 << 20) }
}

fn both() -> [LbPolicy; 2] {
    [ring(), LbPolicy::Maglev(65_537)]
}

fn keys(count: u64) -> impl Iterator<Item = u64> {
    (0..count).map(|key| xxhash64(&key.to_le_bytes(), 0))
}

#[test]
fn a_key_keeps_its_host_on_every_worker() {
    for policy in both() {
        let mut scenes = [1, 2].map(|seed| Scene::seeded(Balancing::of(policy), weighing(&[1, 2, 3]), seed));
        for key in keys(1000) {
            let [one, other] = scenes.each_mut().map(|scene| scene.hashed(key));
            assert!(one.is_some());
            assert_eq!(one, other);
        }
    }
}

#[test]
fn keys_spread_by_weight() {
    for (policy, slack) in both().into_iter().zip([0.15, 0.02]) {
        let mut scene = Scene::new(Balancing::of(policy), weighing(&[1, 3, 4]));
        let mut counts = [0.0; 3];
        keys(80_000).for_each(|key| counts[scene.hashed(key).unwrap()] += 1.0);
        for (count, weight) in counts.iter().zip([1.0, 3.0, 4.0]) {
            let ratio = count / (10_000.0 * weight);
            assert!((ratio - 1.0f64).abs() < slack + 0.05, "{policy:?}: {counts:?}");
        }
    }
}

#[test]
fn a_host_that_leaves_moves_little_but_its_own_keys() {
    for (policy, others) in both().into_iter().zip([700, 400]) {
        let mut scene =
            Scene::new(Balancing { panic_threshold: 0, ..Balancing::of(policy) }, hosts(10, |_| ()));
        let before: Vec<_> = keys(10_000).map(|key| scene.hashed(key)).collect();
        scene.host(3).live.health.set(Health::FAILED_OUTLIER);
        scene.refresh();
        let after: Vec<_> = keys(10_000).map(|key| scene.hashed(key)).collect();
        assert!(after.iter().all(|host| *host != Some(3)));
        let moved = before.iter().zip(&after).filter(|(old, new)| **old != Some(3) && old != new).count();
        // With fewer hosts each has more points on a ring: up to a tenth of the keys move to these.
        assert!(moved <= others, "{policy:?}: {moved} keys of other hosts moved");
    }
}

#[test]
fn a_request_without_a_hash_goes_anywhere() {
    for policy in both() {
        assert_eq!(Scene::new(Balancing::of(policy), hosts(3, |_| ())).picked(), [0, 1, 2]);
    }
}

#[test]
fn a_retry_goes_elsewhere() {
    for policy in both() {
        let mut scene = Scene::new(Balancing::of(policy), hosts(3, |_| ()));
        let mut elsewhere = 0;
        for key in keys(100) {
            let first = scene.hashed(key).unwrap();
            let avoid = [scene.host(first).uid];
            let context =
                PickContext { avoid: &avoid, attempts: 20, hash: Some(key), ..PickContext::default() };
            elsewhere += usize::from(scene.pick_with(context).0 != Some(first));
        }
        // A few entries of a table may lie among others of the same host, further than re-picks look.
        assert!(elsewhere >= 90, "{policy:?}: {elsewhere}");
    }
}

#[test]
fn priorities_follow_the_hash() {
    let shape = |host: &mut Host| host.priority = u32::from(host.uid > 2);
    for policy in both() {
        let mut scene = Scene::new(Balancing::of(policy), hosts(4, shape));
        scene.host(0).live.health.set(Health::FAILED_OUTLIER);
        scene.refresh();
        // 70 percent of the keys stay, always the same ones.
        for key in keys(1000) {
            let first = scene.hashed(key).unwrap() < 2;
            assert_eq!(first, key % 100 < 70);
        }
    }
}

#[test]
fn hosts_are_known_by_key_or_name_when_they_have_one() {
    // The same identities in another order and at other addresses: every key finds the same identity.
    let named = |reversed: bool| {
        hosts(4, move |host| {
            let id = if reversed { 5 - host.uid } else { host.uid };
            match id {
                1 | 2 => host.hostname = format!("host-{id}").into(),
                _ => {
                    let key = MetadataValue::Text(format!("key-{id}").into());
                    host.metadata = Some(Arc::new(Metadata::new([Criterion::new("hash_key", key)])));
                }
            }
        })
    };
    for policy in both() {
        let hashing = Hashing { use_hostname: true, ..Hashing::default() };
        let settings = Balancing { hashing, ..Balancing::of(policy) };
        let mut scenes = [false, true].map(|reversed| Scene::new(settings.clone(), named(reversed)));
        for key in keys(500) {
            let [one, other] = scenes.each_mut().map(|scene| scene.hashed(key).unwrap());
            assert_eq!(one, 3 - other);
        }
    }
}

#[test]
fn a_host_at_its_bound_hands_over_always_to_the_same_one() {
    for policy in both() {
        let hashing = Hashing { balance_factor: Some(100), ..Hashing::default() };
        let mut scene = Scene::new(Balancing { hashing, ..Balancing::of(policy) }, hosts(4, |_| ()));
        for key in keys(50) {
            let own = scene.hashed(key).unwrap();
            // 9 of 9 requests: its bound is a quarter of them, rounded up.
            scene.host(own).live.rq_active.store(9, Ordering::Relaxed);
            let other = scene.hashed(key).unwrap();
            assert_ne!(other, own);
            assert_eq!(scene.hashed(key), Some(other));
            scene.host(own).live.rq_active.store(0, Ordering::Relaxed);
            assert_eq!(scene.hashed(key), Some(own));
        }
    }
}

#[test]
fn workers_share_tables() {
    let set = Arc::new(hosts(3, |_| ()));
    let settings = Arc::new(Balancing::of(LbPolicy::Maglev(65_537)));
    let mut rng = Rng::with_seed(1);
    let mut make = || Balancer::new(settings.clone(), set.clone(), None, Instant::now(), &mut rng);
    let (_one, _other) = (make(), make());
    let (entries, (least, most)) = set.tables.latest().unwrap();
    assert_eq!(entries, 65_537);
    assert!(most - least <= 1);
}

#[test]
fn degraded_hosts_have_a_table_of_their_own() {
    for policy in both() {
        let mut scene =
            Scene::new(Balancing { panic_threshold: 0, ..Balancing::of(policy) }, hosts(2, |_| ()));
        scene.host(0).live.health.set(Health::FAILED_OUTLIER);
        scene.host(1).live.health.set(Health::DEGRADED_ACTIVE_HC);
        scene.refresh();
        assert_eq!(scene.picked(), [1]);
    }
}
