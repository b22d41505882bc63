use super::*;

const NEW: u32 = Health::FAILED_ACTIVE_HC | Health::PENDING_ACTIVE_HC | Health::IGNORED_UNTIL_FIRST_HC;
const FAILED: u32 = Health::FAILED_ACTIVE_HC;
const RETRIABLE: Outcome =
    Outcome::Failed { failure: Failure::Active, retriable: true, excluded: false, status: 500 };
const PLAIN: Failure = Failure::Active;

/// A host and its state, both thresholds at three.
struct Scene {
    state: State,
    flags: u32,
}

impl Scene {
    fn new(flags: u32) -> Self {
        Self { state: State::new(Thresholds { healthy: 3, unhealthy: 3 }), flags }
    }

    /// A host that passed its first check.
    fn healthy() -> Self {
        let mut scene = Self::new(NEW);
        scene.result(Outcome::PASSED);
        scene
    }

    fn result(&mut self, outcome: Outcome) -> (u32, Transition, Vec<Event>) {
        let verdict = self.state.judge(outcome, self.flags);
        self.flags = verdict.flags;
        (verdict.flags, verdict.transition, verdict.events)
    }
}

#[test]
fn the_first_success_makes_a_new_host_healthy_at_once() {
    let (flags, transition, events) = Scene::new(NEW).result(Outcome::PASSED);
    assert_eq!((flags, transition), (0, Transition::Changed));
    assert_eq!(events, [Event::Add { first: true }, Event::Success]);
}

#[test]
fn the_first_failure_ends_the_wait_and_is_told() {
    let mut scene = Scene::new(NEW);
    let (flags, transition, events) = scene.result(Outcome::NETWORK);
    assert_eq!((flags, transition), (FAILED, Transition::Changed));
    assert_eq!(events, [Event::Failure { failure: Failure::Network, status: 0, first: true }]);
    assert_eq!(scene.result(Outcome::PASSED).1, Transition::Pending, "only the first result decides at once");
}

#[test]
fn network_failures_and_retriable_statuses_need_the_threshold() {
    for outcome in [Outcome::NETWORK, Outcome::TIMEOUT, RETRIABLE] {
        let mut scene = Scene::healthy();
        for _ in 0..2 {
            assert_eq!(scene.result(outcome).1, Transition::Pending);
        }
        let (flags, transition, events) = scene.result(outcome);
        assert_eq!((flags & FAILED, transition), (FAILED, Transition::Changed));
        assert!(
            matches!(events[..], [Event::Eject { .. }, Event::Failure { first: false, .. }]),
            "{events:?}"
        );
    }
}

#[test]
fn an_answer_that_says_unhealthy_is_believed_at_once() {
    let (flags, transition, events) = Scene::healthy().result(Outcome::UNHEALTHY);
    assert_eq!((flags, transition), (FAILED, Transition::Changed));
    assert_eq!(
        events,
        [
            Event::Eject { failure: PLAIN, status: 0 },
            Event::Failure { failure: PLAIN, status: 0, first: false },
        ]
    );
}

#[test]
fn an_unhealthy_host_needs_the_healthy_threshold_without_a_break() {
    let mut scene = Scene::healthy();
    scene.result(Outcome::UNHEALTHY);
    for outcome in [Outcome::PASSED, Outcome::PASSED, Outcome::NETWORK, Outcome::PASSED, Outcome::PASSED] {
        assert_eq!(scene.result(outcome).0, FAILED);
    }
    let (flags, transition, events) = scene.result(Outcome::PASSED);
    assert_eq!((flags, transition), (0, Transition::Changed));
    assert_eq!(events, [Event::Add { first: false }, Event::Success]);
}

#[test]
fn a_success_forgets_earlier_failures() {
    let mut scene = Scene::healthy();
    for outcome in [Outcome::NETWORK, Outcome::NETWORK, Outcome::PASSED, Outcome::NETWORK, Outcome::NETWORK] {
        assert_eq!(scene.result(outcome).0, 0);
    }
}

#[test]
fn a_timeout_shows_while_it_is_the_last_failure() {
    let mut scene = Scene::healthy();
    for _ in 0..3 {
        scene.result(Outcome::TIMEOUT);
    }
    assert_eq!(scene.flags, FAILED | Health::ACTIVE_HC_TIMEOUT);
    scene.result(Outcome::NETWORK);
    assert_eq!(scene.flags, FAILED);
}

#[test]
fn degraded_comes_and_goes_with_the_answers() {
    let mut scene = Scene::healthy();
    let (flags, transition, events) = scene.result(Outcome::Passed { degraded: true });
    assert_eq!((flags, transition), (Health::DEGRADED_ACTIVE_HC, Transition::Changed));
    assert_eq!(events, [Event::Success, Event::Degraded]);
    let (flags, transition, events) = scene.result(Outcome::PASSED);
    assert_eq!((flags, transition), (0, Transition::Changed));
    assert_eq!(events, [Event::Success, Event::NoLongerDegraded]);
}

#[test]
fn a_host_that_asks_for_it_is_excluded_until_it_is_healthy() {
    let mut scene = Scene::healthy();
    scene.result(Outcome::Failed { failure: Failure::Active, retriable: false, excluded: true, status: 503 });
    assert_eq!(scene.flags, FAILED | Health::EXCLUDED_VIA_IMMEDIATE_HC_FAIL);
    for _ in 0..3 {
        scene.result(Outcome::PASSED);
    }
    assert_eq!(scene.flags, 0);
}

#[test]
fn flags_of_others_stay() {
    let (flags, ..) = Scene::new(NEW | Health::FAILED_OUTLIER).result(Outcome::PASSED);
    assert_eq!(flags, Health::FAILED_OUTLIER);
}

#[test]
fn pauses_follow_traffic_result_and_edge() {
    let seconds = Duration::from_secs;
    let intervals = Intervals {
        healthy: seconds(1),
        healthy_edge: seconds(2),
        unhealthy: seconds(3),
        unhealthy_edge: seconds(4),
        no_traffic: seconds(5),
        no_traffic_healthy: seconds(6),
    };
    for (passed, transition, traffic, expected) in [
        (true, Transition::Unchanged, true, 1),
        (true, Transition::Changed, true, 1),
        (true, Transition::Pending, true, 2),
        (false, Transition::Changed, true, 3),
        (false, Transition::Pending, true, 4),
        (false, Transition::Unchanged, false, 5),
        (true, Transition::Pending, false, 5),
        (true, Transition::Unchanged, false, 6),
    ] {
        assert_eq!(pause(&intervals, passed, transition, traffic), seconds(expected));
    }
}

#[test]
fn jitter_is_added_never_taken_away() {
    let (second, jitter) = (Duration::from_secs(1), Duration::from_millis(100));
    let most = |below: u64| below - 1;
    assert_eq!(jittered(10, jitter, second, most), Duration::from_millis(1000 + 99 + 99));
    assert_eq!(jittered(0, Duration::ZERO, second, most), second);
    assert_eq!(jittered(0, Duration::ZERO, Duration::ZERO, most), Duration::from_millis(1));
}
