use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::monitor::{Monitor, Scene};
use super::rates::{Sample, by_failures, by_success_rate};
use super::*;
use crate::config::HostSet;
use crate::config::live::{Health, HealthEpoch, HostLive};
use crate::config::outlier::Volume;
use crate::stats::registry::Registry;
use crate::stats::scope::OutlierStats;
use crate::stats::view::Value;

const INTERVAL: Duration = Duration::from_secs(10);

fn settings(registry: &Registry) -> Outlier {
    Outlier {
        consecutive: [5, 5, 5],
        enforcing: [100; 7],
        interval: INTERVAL,
        base_ejection_time: Duration::from_secs(30),
        max_ejection_time: Duration::from_secs(300),
        max_ejection_time_jitter: Duration::ZERO,
        max_ejection_percent: 100,
        always_eject_one_host: false,
        success_rate: Volume { minimum_hosts: 5, requests: 100 },
        success_rate_stdev_factor: 1900,
        failure_percentage: Volume { minimum_hosts: 5, requests: 50 },
        failure_percentage_threshold: 85,
        split_errors: false,
        detect_degraded: true,
        check_takes_back: true,
        found: Default::default(),
        stats: OutlierStats::for_cluster(registry, "c"),
    }
}

/// A cluster of hosts 1 and up under an artificial clock.
struct World {
    registry: Registry,
    outlier: Arc<Outlier>,
    hosts: HostSet,
    monitor: Monitor,
    now: Instant,
    rng: Rng,
}

impl World {
    fn new(hosts: u64, change: impl FnOnce(&mut Outlier)) -> Self {
        let registry = Registry::new();
        let mut outlier = settings(&registry);
        change(&mut outlier);
        let (outlier, hosts) = (Arc::new(outlier), hosts_of(hosts));
        let (now, mut rng) = (Instant::now(), Rng::with_seed(7));
        let scene = Scene { now, log: None, shard: registry.shared(), rng: &mut rng };
        let monitor = Monitor::new("c", &hosts, &outlier, &scene);
        Self { registry, outlier, hosts, monitor, now, rng }
    }

    fn answer(&self, host: usize, status: u16, times: usize) {
        for _ in 0..times {
            judge(&self.outlier, &self.hosts.hosts[host], status);
        }
    }

    fn step(&mut self, step: impl FnOnce(&mut Monitor, &mut Scene<'_>)) {
        let mut scene = Scene { now: self.now, log: None, shard: self.registry.shared(), rng: &mut self.rng };
        step(&mut self.monitor, &mut scene);
    }

    fn reached(&mut self) {
        self.step(Monitor::reached);
    }

    /// Lets this many intervals pass.
    fn intervals(&mut self, count: u32) {
        for _ in 0..count {
            self.now += INTERVAL;
            assert!(self.monitor.due() <= self.now);
            self.step(Monitor::sweep);
        }
    }

    fn ejected(&self) -> Vec<usize> {
        let hosts = self.hosts.hosts.iter().enumerate();
        hosts.filter(|(_, h)| h.live.health.has(Health::FAILED_OUTLIER)).map(|(index, _)| index).collect()
    }

    fn stat(&self, name: &str) -> u64 {
        let view = self.registry.view();
        let stat = view.find(&format!("cluster.c.outlier_detection.{name}")).unwrap();
        match view.value(stat) {
            Value::Counter(value) => value,
            Value::Gauge(value) => value,
            _ => panic!("{name}"),
        }
    }
}

fn hosts_of(count: u64) -> HostSet {
    let epoch = Arc::new(HealthEpoch::default());
    let host = |uid: u64| {
        Arc::new(Host {
            live: Arc::new(HostLive::new(&epoch)),
            ..Host::at(uid, ([127, 0, 0, 1], uid as u16).into())
        })
    };
    HostSet { hosts: (1..=count).map(host).collect(), epoch, ..HostSet::default() }
}

#[test]
fn five_server_errors_in_a_row_eject() {
    let mut world = World::new(3, |_| ());
    world.answer(0, 500, 4);
    world.answer(0, 200, 1);
    world.answer(0, 500, 4);
    world.reached();
    assert_eq!(world.ejected(), [0usize; 0]);
    world.answer(0, 500, 1);
    world.reached();
    assert_eq!(world.ejected(), [0]);
    for name in [
        "ejections_active",
        "ejections_total",
        "ejections_enforced_total",
        "ejections_consecutive_5xx",
        "ejections_detected_consecutive_5xx",
        "ejections_enforced_consecutive_5xx",
    ] {
        assert_eq!(world.stat(name), 1, "{name}");
    }
    // Requests that were under way say nothing new.
    world.answer(0, 500, 20);
    world.reached();
    assert_eq!(world.stat("ejections_detected_consecutive_5xx"), 1);
}

#[test]
fn ejections_grow_with_their_number_and_are_forgiven() {
    let mut world = World::new(3, |_| ());
    for intervals in [3, 6, 9] {
        world.answer(1, 503, 5);
        world.reached();
        world.intervals(intervals - 1);
        assert_eq!(world.ejected(), [1], "{intervals}");
        world.intervals(1);
        assert_eq!(world.ejected(), [0usize; 0], "{intervals}");
        assert_eq!(world.stat("ejections_active"), 0);
        // A few new failures are not enough: the row starts anew.
        world.answer(1, 503, 4);
        world.answer(1, 200, 1);
        world.reached();
    }
    world.intervals(3);
    world.answer(1, 503, 5);
    world.reached();
    world.intervals(3);
    assert_eq!(world.ejected(), [0usize; 0]);
}

#[test]
fn no_ejection_is_longer_than_the_longest() {
    let mut world = World::new(3, |outlier| outlier.max_ejection_time = Duration::from_secs(40));
    for intervals in [3, 4, 4, 4] {
        world.answer(1, 500, 5);
        world.reached();
        world.intervals(intervals - 1);
        assert_eq!(world.ejected(), [1]);
        world.intervals(1);
        assert_eq!(world.ejected(), [0usize; 0]);
    }
}

#[test]
fn jitter_prolongs_an_ejection() {
    let mut world = World::new(3, |outlier| outlier.max_ejection_time_jitter = Duration::from_secs(3600));
    world.answer(1, 500, 5);
    world.reached();
    world.intervals(3);
    assert_eq!(world.ejected(), [1]);
    world.intervals(360);
    assert_eq!(world.ejected(), [0usize; 0]);
}

#[test]
fn the_share_of_ejected_hosts_is_bounded() {
    let mut world = World::new(3, |outlier| outlier.max_ejection_percent = 50);
    world.answer(0, 500, 5);
    world.answer(1, 500, 5);
    world.reached();
    assert_eq!(world.ejected().len(), 1);
    assert_eq!(world.stat("ejections_overflow"), 1);
    assert_eq!(world.stat("ejections_detected_consecutive_5xx"), 2);
}

#[test]
fn ten_percent_of_three_hosts_is_none_unless_one_always_may() {
    for (always, expected) in [(false, 0), (true, 1)] {
        let mut world = World::new(3, |outlier| {
            outlier.max_ejection_percent = 10;
            outlier.always_eject_one_host = always;
        });
        world.answer(0, 500, 5);
        world.answer(1, 500, 5);
        world.reached();
        assert_eq!(world.ejected().len(), expected);
        assert_eq!(world.stat("ejections_overflow"), 2 - expected as u64);
    }
}

#[test]
fn what_is_not_enforced_is_only_counted() {
    let mut world = World::new(3, |outlier| outlier.enforcing = [0; 7]);
    world.answer(0, 500, 10);
    world.reached();
    assert_eq!(world.ejected(), [0usize; 0]);
    assert_eq!(world.stat("ejections_detected_consecutive_5xx"), 1);
    assert_eq!(world.stat("ejections_enforced_total"), 0);
}

#[test]
fn gateway_failures_are_a_row_of_their_own() {
    let mut world = World::new(3, |outlier| outlier.consecutive = [0, 3, 0]);
    world.answer(0, 502, 2);
    world.answer(0, 500, 1);
    world.answer(0, 504, 2);
    world.reached();
    assert_eq!(world.ejected(), [0usize; 0]);
    world.answer(0, 503, 1);
    world.reached();
    assert_eq!(world.ejected(), [0]);
    assert_eq!(world.stat("ejections_enforced_consecutive_gateway_failure"), 1);
}

#[test]
fn failures_of_our_own_count_with_responses_or_apart() {
    let fail = |world: &World| judge_failure(&world.outlier, &world.hosts.hosts[0], LocalFailure::Connect);
    let mut together = World::new(3, |_| ());
    together.answer(0, 500, 4);
    assert!(fail(&together));
    together.reached();
    assert_eq!(together.stat("ejections_enforced_consecutive_5xx"), 1);

    let mut apart = World::new(3, |outlier| outlier.split_errors = true);
    apart.answer(0, 500, 4);
    assert!(!fail(&apart));
    apart.reached();
    assert_eq!(apart.ejected(), [0usize; 0]);
    let reached = (0..4).filter(|_| fail(&apart)).count();
    assert_eq!(reached, 1);
    apart.reached();
    assert_eq!(apart.ejected(), [0]);
    assert_eq!(apart.stat("ejections_enforced_consecutive_local_origin_failure"), 1);
}

#[test]
fn a_low_success_rate_ejects_at_the_end_of_the_interval() {
    let mut world = World::new(6, |outlier| outlier.consecutive = [0; 3]);
    for host in 0..6 {
        world.answer(host, 200, if host == 5 { 50 } else { 100 });
    }
    world.answer(5, 500, 50);
    world.intervals(1);
    assert_eq!(world.ejected(), [5]);
    assert_eq!(world.stat("ejections_enforced_success_rate"), 1);
    assert_eq!(world.stat("ejections_success_rate"), 1);
    assert_eq!(world.hosts.hosts[5].live.outlier.external.rate(), Some(50.0));
    let [mean, threshold] = world.outlier.found[0].rates();
    assert!((mean - 91.666).abs() < 0.01 && threshold > 50.0 && threshold < mean);
    world.intervals(1);
    assert_eq!(world.outlier.found[0].rates(), [-1.0, -1.0]);
    assert_eq!(world.hosts.hosts[0].live.outlier.external.rate(), None);
}

#[test]
fn failure_percentage_ejects_when_enforced() {
    let mut world = World::new(5, |outlier| outlier.consecutive = [0; 3]);
    for host in 0..5 {
        world.answer(host, if host < 2 { 500 } else { 200 }, 60);
    }
    world.intervals(1);
    assert_eq!(world.ejected(), [0, 1]);
    assert_eq!(world.stat("ejections_enforced_failure_percentage"), 2);
}

#[test]
fn rates_need_hosts_and_volume() {
    let sample = |host, requests, rate| Sample { host, requests, rate };
    let volume = Volume { minimum_hosts: 3, requests: 10 };
    let enough = [sample(1, 10, 100.0), sample(2, 10, 100.0), sample(3, 10, 10.0)];
    assert_eq!(by_success_rate(&enough, volume, 1000).unwrap().hosts, [3]);
    assert_eq!(by_success_rate(&enough, volume, 1900).unwrap().hosts, [0u64; 0]);
    assert_eq!(by_failures(&enough, volume, 90), [3]);
    let few = [sample(1, 10, 100.0), sample(2, 9, 100.0), sample(3, 10, 10.0)];
    assert_eq!(by_success_rate(&few, volume, 1000), None);
    assert_eq!(by_failures(&few, volume, 90), [0u64; 0]);
}

#[test]
fn updates_keep_the_state_of_hosts_that_stay() {
    let mut world = World::new(3, |_| ());
    world.answer(0, 500, 5);
    world.answer(1, 500, 5);
    world.reached();
    let (outlier, first) = (world.outlier.clone(), world.hosts.hosts.remove(0));
    let left = HostSet { hosts: world.hosts.hosts.clone(), ..HostSet::default() };
    world.step(|monitor, scene| monitor.adopt(&left, &outlier, scene));
    assert_eq!((world.stat("ejections_active"), world.ejected()), (1, vec![0]));
    assert!(first.live.health.has(Health::FAILED_OUTLIER));
}

#[test]
fn without_detection_nothing_stays_ejected() {
    let mut world = World::new(3, |_| ());
    world.answer(0, 500, 5);
    world.reached();
    let spare = Monitor::new(
        "c",
        &HostSet::default(),
        &world.outlier,
        &Scene { now: world.now, log: None, shard: world.registry.shared(), rng: &mut Rng::new() },
    );
    let monitor = std::mem::replace(&mut world.monitor, spare);
    world.step(|_, scene| monitor.end(scene));
    assert_eq!((world.stat("ejections_active"), world.ejected().len()), (0, 0));
}

#[test]
fn a_host_that_a_check_took_back_is_no_longer_counted() {
    let mut world = World::new(3, |_| ());
    world.answer(0, 500, 5);
    world.reached();
    world.hosts.hosts[0].live.health.clear(Health::FAILED_OUTLIER);
    world.intervals(1);
    assert_eq!(world.stat("ejections_active"), 0);
}

#[test]
fn hosts_that_call_themselves_degraded_are_until_their_time_is_over() {
    let mut world = World::new(3, |_| {});
    let is_degraded = |world: &World| world.hosts.hosts[1].live.health.has(Health::DEGRADED_OUTLIER);
    for (times, intervals) in [(1, 3), (2, 6)] {
        assert!(world.hosts.hosts[1].live.outlier.degrade());
        assert!(!world.hosts.hosts[1].live.outlier.degrade(), "told once");
        world.reached();
        assert!(is_degraded(&world));
        world.intervals(intervals - 1);
        assert!(is_degraded(&world), "{times} times: longer every time");
        world.intervals(1);
        assert!(!is_degraded(&world), "{times}");
    }
    assert_eq!(world.stat("ejections_detected_degradation"), 2);
    assert_eq!(world.ejected(), [0; 0]);
}
