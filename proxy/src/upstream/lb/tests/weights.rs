//! Round robin, least request and random: proportions, load, and hosts that start slowly.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::*;
use crate::config::balance::{Among, PeakEwma, SlowStart};

fn least_request(among: Among, bias: f64) -> LbPolicy {
    LbPolicy::LeastRequest { among, bias }
}

fn busy(scene: &Scene, index: usize, requests: i64) {
    scene.host(index).live.rq_active.store(requests, Ordering::Relaxed);
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
    let settings = Balancing::of(least_request(Among::Choices(2), 1.0));
    let mut scene = Scene::new(settings, weighing(&[1, 1]));
    busy(&scene, 0, 100);
    let busy = scene.counts(1000)[0];
    // Both samples must hit the busy host: one in four.
    assert!((170..330).contains(&busy), "{busy}");
}

#[test]
fn a_full_scan_never_takes_a_busier_host_and_spreads_ties() {
    let mut scene = Scene::new(Balancing::of(least_request(Among::All, 1.0)), weighing(&[1; 4]));
    busy(&scene, 2, 1);
    let counts = scene.counts(3000);
    assert_eq!(counts[2], 0);
    for index in [0, 1, 3] {
        assert!((850..1150).contains(&counts[index]), "{counts:?}");
    }
}

#[test]
fn weighted_least_request_divides_weights_by_load() {
    let share = |bias| {
        let mut scene = Scene::new(Balancing::of(least_request(Among::Choices(2), bias)), weighing(&[2, 1]));
        busy(&scene, 0, 3);
        scene.counts(3000)[0]
    };
    // 2/4 against 1/1.
    assert!((950..1050).contains(&share(1.0)), "{}", share(1.0));
    // 2/2 against 1.
    assert!((1450..1550).contains(&share(0.5)), "{}", share(0.5));
    assert!((1990..=2010).contains(&share(0.0)), "{}", share(0.0));
}

#[test]
fn the_faster_of_two_hosts_is_preferred_and_the_slow_one_is_not_forgotten() {
    let settings = PeakEwma {
        decay: Duration::from_secs(10),
        default_latency: Duration::from_millis(10),
        penalty: 1_000_000.0,
    };
    let mut scene = Scene::new(Balancing::of(LbPolicy::PeakEwma(settings)), weighing(&[1, 1]));
    for (index, millis) in [(0, 100), (1, 5)] {
        let live = &scene.host(index).live;
        live.latency.observe(Duration::from_millis(millis), Duration::ZERO, settings.decay);
    }
    assert_eq!(scene.counts(100), [0, 100]);
    // Twenty requests there weigh as much as one here.
    busy(&scene, 1, 20);
    assert_eq!(scene.counts(100), [100, 0]);
    busy(&scene, 1, 0);
    // Asked again and again the fast one stays at its latency, while the slow one's fades.
    scene.now += Duration::from_secs(40);
    let live = &scene.host(1).live;
    live.latency.observe(Duration::from_millis(5), Duration::from_secs(40), settings.decay);
    assert_eq!(scene.counts(100), [100, 0]);
}

fn slowly(window: u64) -> Balancing {
    let window = Duration::from_secs(window);
    let slow_start = Some(SlowStart { window, aggression: 1.0, min_weight: 0.1 });
    Balancing { slow_start, ..Balancing::of(LbPolicy::RoundRobin) }
}

#[test]
fn a_host_that_just_passed_its_checks_starts_slowly() {
    let mut scene = Scene::new(slowly(100), weighing(&[1, 1]));
    scene.now += Duration::from_secs(1000);
    let now = scene.now;
    scene.host(1).live.health.set_healthy_since(now);
    scene.balancer.move_to(None, now, &mut scene.rng);
    // A tenth of the weight of the other one, then a half, then all of it.
    let counts = scene.counts(1100);
    assert!((80..120).contains(&counts[1]), "{counts:?}");
    scene.now += Duration::from_secs(50);
    assert_eq!(scene.refresh(), None);
    let counts = scene.counts(1500);
    assert!((480..520).contains(&counts[1]), "{counts:?}");
    scene.now += Duration::from_secs(50);
    assert_eq!(scene.refresh(), Some(vec![]), "equal weights need no schedule any more");
    assert_eq!(scene.refresh(), None);
    assert_eq!(scene.counts(1000), [500, 500]);
}

#[test]
fn hosts_that_start_together_share_alike() {
    let mut scene = Scene::new(slowly(100), weighing(&[1, 1, 1]));
    scene.now += Duration::from_secs(10);
    for count in scene.counts(3000) {
        assert!((990..=1010).contains(&count), "{count}");
    }
}
