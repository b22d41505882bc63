//! Priorities, panic, degraded hosts.

use super::super::priority::{self, Amount};
use super::*;

fn level(healthy: u64, degraded: u64, total: u64) -> Availability {
    let amount = Amount { healthy, degraded, total };
    Availability { hosts: amount, measure: amount, all: total, overprovisioning: 140 }
}

fn split(levels: &[Availability], panic_threshold: u32) -> Vec<(usize, Tier, u32)> {
    let found = priority::split(levels, panic_threshold);
    found.into_iter().map(|Split { level, tier, percent }| (level, tier, percent)).collect()
}

#[test]
fn priorities_split_as_documented() {
    use Tier::{All, Degraded, Healthy};
    let two = |first, second| split(&[level(first, 0, 100), level(second, 0, 100)], 50);
    assert_eq!(two(72, 100), [(0, Healthy, 100)]);
    assert_eq!(two(71, 100), [(0, Healthy, 99), (1, Healthy, 1)]);
    assert_eq!(two(50, 100), [(0, Healthy, 70), (1, Healthy, 30)]);
    assert_eq!(two(25, 25), [(0, All, 50), (1, All, 50)]);
    // Envoy's example of degraded hosts: 10, 20 and 10 percent available and 20, 10 and 0 percent degraded.
    let measured = |healthy, degraded| level(healthy, degraded, 140);
    let three = [measured(10, 20), measured(20, 10), measured(10, 0)];
    let found = split(&three, 0);
    assert_eq!(
        found,
        [(0, Healthy, 16), (1, Healthy, 28), (2, Healthy, 14), (0, Degraded, 28), (1, Degraded, 14)]
    );
}

#[test]
fn panic_is_only_below_full_availability() {
    use Tier::{All, Healthy};
    assert_eq!(split(&[level(1, 0, 10), level(10, 0, 10)], 50), [(0, Healthy, 14), (1, Healthy, 86)]);
    assert_eq!(split(&[level(1, 0, 10)], 50), [(0, All, 100)]);
    assert_eq!(split(&[level(1, 0, 10)], 0), [(0, Healthy, 100)]);
    assert_eq!(split(&[level(0, 0, 10), level(0, 0, 30)], 50), [(0, All, 25), (1, All, 75)]);
    // All in panic although some are well: load goes by the number of hosts.
    assert_eq!(split(&[level(1, 0, 10), level(3, 0, 30)], 50), [(0, All, 25), (1, All, 75)]);
    // One is not: the others' hosts are used by their availability.
    assert_eq!(split(&[level(1, 0, 10), level(4, 0, 8)], 50), [(0, All, 17), (1, Healthy, 83)]);
    assert_eq!(split(&[level(0, 0, 10)], 0), [], "panic is off");
    assert_eq!(split(&[], 50), []);
}

#[test]
fn overprovisioning_is_what_the_assignment_says() {
    let of = |overprovisioning| {
        let first = Availability { overprovisioning, ..level(50, 0, 100) };
        priority::split(&[first, level(100, 0, 100)], 50)[0].percent
    };
    assert_eq!([of(100), of(140), of(200)], [50, 70, 100]);
}

fn round_robin(panic_threshold: u32) -> Balancing {
    Balancing { panic_threshold, ..Balancing::of(LbPolicy::RoundRobin) }
}

#[test]
fn failed_hosts_are_left_out_until_they_recover() {
    let mut scene = Scene::new(round_robin(50), hosts(3, |_| ()));
    assert_eq!(scene.refresh(), None);
    assert_eq!(scene.picked(), [0, 1, 2]);

    scene.host(1).live.health.set(Health::FAILED_OUTLIER);
    assert_eq!(scene.refresh(), Some(vec![1]));
    assert_eq!(scene.picked(), [0, 2]);
    assert!(!scene.pick_with(PickContext::default()).1.has(Note::Panic));

    scene.host(1).live.health.clear(Health::FAILED_OUTLIER);
    assert_eq!(scene.refresh(), Some(vec![]));
    assert_eq!(scene.picked(), [0, 1, 2]);
}

#[test]
fn too_many_failed_hosts_are_a_panic() {
    let mut scene = Scene::new(round_robin(50), hosts(3, |_| ()));
    for index in [0, 1] {
        scene.host(index).live.health.set(Health::FAILED_ACTIVE_HC);
    }
    assert_eq!(scene.refresh(), Some(vec![0, 1]));
    assert!(scene.pick_with(PickContext::default()).1.has(Note::Panic));
    assert_eq!(scene.picked(), [0, 1, 2]);
}

#[test]
fn degraded_hosts_wait_for_the_healthy_ones_to_fail() {
    let mut scene = Scene::new(round_robin(0), hosts(2, |_| ()));
    scene.host(1).live.health.set(Health::DEGRADED_ACTIVE_HC);
    assert_eq!(scene.refresh(), Some(vec![]));
    // 1 of 2 is 70 percent available with overprovisioning, so the degraded host takes the other 30.
    let counts = scene.counts(1000);
    assert!((640..760).contains(&counts[0]), "{counts:?}");
    scene.host(0).live.health.set(Health::FAILED_ACTIVE_HC);
    scene.refresh();
    assert_eq!(scene.picked(), [1]);
}

#[test]
fn excluded_hosts_do_not_count() {
    let mut scene = Scene::new(round_robin(50), hosts(4, |_| ()));
    for index in [0, 1, 2] {
        let flags = Health::FAILED_ACTIVE_HC | Health::IGNORED_UNTIL_FIRST_HC;
        scene.host(index).live.health.set(flags);
    }
    scene.refresh();
    assert!(!scene.pick_with(PickContext::default()).1.has(Note::Panic));
    assert_eq!(scene.picked(), [3]);
}

#[test]
fn availability_can_go_by_weight() {
    let shape = |host: &mut Host| {
        host.priority = u32::from(host.uid > 2);
        host.weight = if host.uid == 1 { 9 } else { 1 };
    };
    let first = |weighted_health| {
        let mut set = hosts(4, shape);
        set.policy.weighted_health = weighted_health;
        let mut scene = Scene::new(round_robin(50), set);
        scene.host(1).live.health.set(Health::FAILED_ACTIVE_HC);
        scene.refresh();
        scene.counts(1000)[0]
    };
    // Half of the hosts, but nine tenths of the weight.
    assert_eq!(first(true), 1000);
    assert!((640..760).contains(&first(false)));
}
