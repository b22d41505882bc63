use super::*;
use crate::stats::registry::Registry;

/// A controller at a clock of its own.
struct Rig {
    controller: Gradient,
    shard: Shard,
    rng: Rng,
    now: Instant,
}

fn settings() -> GradientSettings {
    GradientSettings {
        percentile: 0.5,
        max_limit: 100,
        min_limit: 3,
        measuring_limit: 3,
        update_interval: Duration::from_millis(100),
        min_rtt: MinRtt::Measured { interval: Duration::from_secs(30), requests: 5, jitter: 0.0 },
        buffer: 0.0,
    }
}

impl Rig {
    fn new(settings: GradientSettings) -> Self {
        let registry = Registry::new();
        let stats = GradientStats::for_manager(&registry, "test");
        let (now, shard) = (Instant::now(), registry.shard());
        Self { controller: Gradient::new(settings, stats, registry, now), shard, rng: Rng::with_seed(1), now }
    }

    fn begin(&mut self) -> bool {
        self.controller.begin(self.now, &self.shard)
    }

    fn end(&mut self, began: Instant, complete: bool) {
        self.controller.end(began, self.now, complete, &mut self.rng);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// One request of this latency.
    fn request(&mut self, latency: Duration) {
        let began = self.now;
        assert!(self.begin());
        self.pass(latency);
        self.end(began, true);
    }

    /// A window of requests of this latency, and the request that closes it.
    fn window(&mut self, latency: Duration) {
        for _ in 0..4 {
            self.request(latency);
        }
        self.pass(Duration::from_millis(100));
        assert!(self.begin());
        let now = self.now;
        self.end(now, false);
    }
}

const QUICK: Duration = Duration::from_millis(1);

#[test]
fn few_requests_pass_until_the_least_latency_is_known() {
    let mut rig = Rig::new(settings());
    let began = rig.now;
    assert!((0..3).all(|_| rig.begin()));
    assert!(!rig.begin(), "the smallest limit while measuring");
    rig.pass(QUICK);
    (0..3).for_each(|_| rig.end(began, true));
    (0..2).for_each(|_| rig.request(QUICK));
    assert_eq!(rig.controller.limit(), 3, "what it was before measuring");
    rig.window(QUICK);
    assert_eq!(rig.controller.limit(), 4, "3 times 1, and room for a burst of 1");
}

#[test]
fn the_limit_grows_while_latency_stays_and_falls_when_it_grows() {
    let mut rig = Rig::new(settings());
    (0..5).for_each(|_| rig.request(QUICK));
    for _ in 0..40 {
        rig.window(QUICK);
    }
    assert_eq!(rig.controller.limit(), 100, "at most the largest");
    rig.window(4 * QUICK);
    assert_eq!(rig.controller.limit(), 57, "half of it, as the gradient is at least 0.5, and a burst of 7");
    for _ in 0..4 {
        rig.window(4 * QUICK);
    }
    assert!(rig.controller.limit() < 10);
}

#[test]
fn a_buffer_forgives_that_share_of_latency() {
    let mut rig = Rig::new(GradientSettings { buffer: 1.0, ..settings() });
    (0..5).for_each(|_| rig.request(QUICK));
    rig.window(2 * QUICK);
    assert_eq!(rig.controller.limit(), 4);
}

#[test]
fn the_least_latency_is_measured_again() {
    let mut rig = Rig::new(settings());
    (0..5).for_each(|_| rig.request(QUICK));
    (0..10).for_each(|_| rig.window(QUICK));
    let before = rig.controller.limit();
    rig.pass(Duration::from_secs(30));
    let early = rig.now;
    rig.pass(Duration::from_micros(1));
    let began = rig.now;
    assert!((0..3).all(|_| rig.begin()));
    assert!(!rig.begin());
    assert_eq!(rig.controller.limit(), 3);
    rig.pass(QUICK);
    rig.end(early, true);
    (0..2).for_each(|_| rig.end(began, true));
    (0..2).for_each(|_| rig.request(QUICK));
    assert_eq!(rig.controller.limit(), 3, "a request from before the measurement does not count");
    rig.request(QUICK);
    assert_eq!(rig.controller.limit(), before);
}

#[test]
fn five_windows_at_the_smallest_limit_measure_again() {
    let mut rig = Rig::new(settings());
    (0..5).for_each(|_| rig.request(QUICK));
    (0..6).for_each(|_| rig.window(10 * QUICK));
    assert!(rig.controller.measuring.load(Ordering::Relaxed));
}

#[test]
fn a_configured_least_latency_is_never_measured() {
    let mut rig = Rig::new(GradientSettings { min_rtt: MinRtt::Fixed(QUICK), ..settings() });
    (0..20).for_each(|_| rig.window(20 * QUICK));
    assert_eq!(rig.controller.limit(), 3);
    assert!(!rig.controller.measuring.load(Ordering::Relaxed));
    rig.window(QUICK);
    assert_eq!(rig.controller.limit(), 4);
}

#[test]
fn permits_come_back_however_a_request_ends() {
    let mut rig = Rig::new(settings());
    for complete in [true, false, false, true, false] {
        let began = rig.now;
        assert!((0..3).all(|_| rig.begin()));
        (0..3).for_each(|_| rig.end(began, complete));
        assert_eq!(rig.controller.outstanding.load(Ordering::Relaxed), 0);
    }
}

#[test]
fn latencies_fall_into_buckets_next_to_each_other() {
    let mut last = 0;
    for micros in (0..70).chain((1..37).flat_map(|bit| [(1_u64 << bit) - 1, 1 << bit, (1 << bit) + 1])) {
        let bucket = bucket_of(micros);
        let middle = middle_of(bucket);
        assert!(middle.abs_diff(micros) <= micros / 32 + 1, "{micros} in {bucket} of {middle}");
        last = last.max(bucket);
    }
    assert!(last < BUCKETS);
    assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    assert_eq!((0..1000).map(bucket_of).filter(|bucket| *bucket == bucket_of(999)).count(), 8);
}
