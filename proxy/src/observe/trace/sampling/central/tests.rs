use super::*;

fn rule(json: serde_json::Value) -> SamplingRule {
    let mut whole = serde_json::json!({"RuleName": "r", "Priority": 10, "FixedRate": 0.0, "ReservoirSize": 0,
        "ResourceARN": "*", "ServiceName": "*", "ServiceType": "*", "Host": "*", "HTTPMethod": "*", "URLPath": "*",
        "Version": 1, "Attributes": {}});
    for (name, value) in json.as_object().unwrap() {
        whole[name] = value.clone();
    }
    serde_json::from_value(whole).unwrap()
}

fn target(json: serde_json::Value) -> Target {
    serde_json::from_value(json).unwrap()
}

/// Rules of a process `shop/cart`, a worker, and a clock that starts at 1000 seconds since 1970.
struct Scene {
    rules: CentralRules,
    memory: Memory,
    random: Rng,
}

fn at(second: u32) -> Now {
    Now { second, wall: 1000.0 + f64::from(second) }
}

impl Scene {
    fn new(rules: Vec<SamplingRule>) -> Self {
        let central = CentralRules::new("shop/cart", "AWS::AppMesh::Proxy");
        central.replace(rules, at(0));
        Self { rules: central, memory: Memory::new(0), random: Rng::with_seed(5) }
    }

    fn sampled(&mut self, target: &str, second: u32, count: usize) -> usize {
        let request = Request { host: b"cart.local", method: b"GET", target: target.as_bytes() };
        let decide = |_: &usize| self.rules.decide(&request, second, &mut self.memory, &mut self.random).0;
        (0..count).filter(decide).count()
    }

    /// Requests, sampled and borrowed ones in the report of the only rule with any.
    fn counts(&self, second: u32) -> Option<(u64, u64, u64)> {
        let report = self.rules.report("client", at(second));
        assert!(report.len() <= 1);
        report
            .first()
            .map(|one| (one.counts.request_count, one.counts.sampled_count, one.counts.borrow_count))
    }
}

#[test]
fn a_rule_without_quota_borrows_one_in_a_second() {
    let mut scene = Scene::new(vec![rule(serde_json::json!({"ReservoirSize": 50}))]);
    assert_eq!((scene.sampled("/", 0, 20), scene.sampled("/", 1, 20)), (1, 1));
    assert_eq!(scene.counts(1), Some((40, 0, 2)), "what is borrowed does not count as sampled");
    let mut scene = Scene::new(vec![rule(serde_json::json!({}))]);
    assert_eq!(scene.sampled("/", 0, 20), 0, "an empty reservoir lends nothing");
}

#[test]
fn a_quota_holds_until_its_end() {
    let mut scene = Scene::new(vec![rule(serde_json::json!({"ReservoirSize": 50}))]);
    scene.rules.apply(
        &[target(serde_json::json!({"RuleName": "r", "ReservoirQuota": 7, "ReservoirQuotaTTL": 1003.0}))],
        at(0),
    );
    for second in 0..=3 {
        assert_eq!(scene.sampled("/", second, 20), 7, "second {second}");
    }
    assert_eq!(scene.sampled("/", 4, 20), 1, "then it borrows again");
    assert_eq!(scene.counts(4), Some((100, 28, 1)));
}

#[test]
fn the_services_share_replaces_that_of_the_rule() {
    let mut scene = Scene::new(vec![rule(serde_json::json!({"FixedRate": 1.0}))]);
    assert_eq!(scene.sampled("/", 0, 20), 20);
    scene.rules.apply(&[target(serde_json::json!({"RuleName": "r", "FixedRate": 0.0}))], at(0));
    assert_eq!(scene.sampled("/", 1, 20), 0);
    scene.rules.apply(
        &[
            target(serde_json::json!({"RuleName": "r"})),
            target(serde_json::json!({"RuleName": "x", "FixedRate": 1.0})),
        ],
        at(1),
    );
    assert_eq!(scene.sampled("/", 2, 20), 0, "what is missing stays");
    assert_eq!(scene.counts(2), Some((60, 20, 0)));
}

#[test]
fn rules_apply_by_priority_and_only_to_us() {
    let mut scene = Scene::new(vec![
        rule(serde_json::json!({"RuleName": "Default", "Priority": 1, "FixedRate": 1.0})),
        rule(serde_json::json!({"RuleName": "b", "Priority": 9, "URLPath": "/a*", "FixedRate": 1.0})),
        rule(serde_json::json!({"RuleName": "a", "Priority": 9, "URLPath": "/a", "HTTPMethod": "g?t"})),
        rule(serde_json::json!({"RuleName": "other", "Priority": 1, "ServiceName": "shop/other"})),
        rule(serde_json::json!({"RuleName": "kind", "Priority": 1, "ServiceType": "AWS::ECS::Container"})),
        rule(serde_json::json!({"RuleName": "attributes", "Priority": 1, "Attributes": {"a": "b"}})),
        rule(serde_json::json!({"RuleName": "version", "Priority": 1, "Version": 2})),
        rule(serde_json::json!({"RuleName": "resource", "Priority": 1, "ResourceARN": "arn:x"})),
    ]);
    assert_eq!(scene.sampled("/a?query", 0, 5), 0, "rule a; the query takes no part");
    assert_eq!((scene.sampled("/ab", 0, 5), scene.sampled("/z", 0, 5)), (5, 5), "rule b, then the default");
    let names: Vec<_> = scene.rules.report("c", at(0)).into_iter().map(|one| one.counts.rule_name).collect();
    assert_eq!(names, ["a", "b", "Default"]);
}

#[test]
fn reports_reset_counts_and_come_when_they_are_due() {
    let mut scene = Scene::new(vec![rule(serde_json::json!({}))]);
    assert_eq!(scene.counts(0), None, "nothing was seen");
    scene.sampled("/", 0, 3);
    assert_eq!(scene.counts(0), Some((3, 0, 0)));
    scene.sampled("/", 1, 2);
    assert_eq!((scene.counts(9), scene.counts(10)), (None, Some((2, 0, 0))));
    scene.rules.apply(&[target(serde_json::json!({"RuleName": "r", "Interval": 30}))], at(10));
    scene.sampled("/", 20, 1);
    assert_eq!(scene.counts(20), Some((1, 0, 0)));
    scene.sampled("/", 21, 1);
    assert_eq!((scene.counts(49), scene.counts(50)), (None, Some((1, 0, 0))));
    scene.sampled("/", 80, 4);
    let lost = scene.rules.report("c", at(80));
    scene.rules.take_back(&lost);
    scene.sampled("/", 81, 1);
    assert_eq!(scene.counts(81), Some((5, 0, 0)), "a report that did not arrive comes with the next");
}

#[test]
fn counts_and_quotas_survive_new_rules() {
    let mut scene = Scene::new(vec![rule(serde_json::json!({"ReservoirSize": 5}))]);
    let quota = serde_json::json!({"RuleName": "r", "ReservoirQuota": 2, "ReservoirQuotaTTL": 2000.0});
    scene.rules.apply(&[target(quota)], at(0));
    scene.sampled("/", 0, 4);
    let more = rule(serde_json::json!({"RuleName": "z", "Priority": 1, "URLPath": "/z"}));
    scene.rules.replace(vec![more, rule(serde_json::json!({"ReservoirSize": 6, "Priority": 3}))], at(1));
    assert_eq!(scene.sampled("/", 1, 4), 2);
    assert_eq!(scene.counts(1), Some((8, 4, 0)));
}

#[test]
fn without_rules_that_are_fresh_local_ones_hold() {
    let rules = CentralRules::new("n", "t");
    let mut scene = Scene { rules, memory: Memory::new(0), random: Rng::with_seed(5) };
    let share = scene.sampled("/", 0, 10_000);
    assert!((400..650).contains(&share), "one, and 5 %: {share}");
    scene.rules.replace(vec![rule(serde_json::json!({"FixedRate": 1.0}))], at(10));
    assert_eq!(scene.sampled("/", 3609, 10), 10);
    assert!(scene.sampled("/", 3610, 1000) < 200, "an hour later nobody knows");
}

#[test]
fn a_boost_raises_the_share_for_a_time() {
    let boosted =
        rule(serde_json::json!({"SamplingRateBoost": {"MaxRate": 1.0, "CooldownWindowMinutes": 10}}));
    let mut scene = Scene::new(vec![boosted]);
    assert_eq!(scene.sampled("/", 0, 10), 0);
    let request = Request { host: b"h", method: b"GET", target: b"/" };
    let (_, rule) = scene.rules.decide(&request, 0, &mut scene.memory, &mut scene.random);
    for (failed, sampled) in [(true, true), (true, false), (false, true)] {
        scene.rules.ended(rule.unwrap(), failed, sampled, &scene.memory);
    }
    let report = scene.rules.report("c", at(0)).remove(0).boost.unwrap();
    assert_eq!((report.total_count, report.anomaly_count, report.sampled_anomaly_count), (3, 2, 1));
    assert_eq!((&*report.service_name, report.timestamp), ("shop/cart", 1000));
    let boost =
        serde_json::json!({"RuleName": "r", "SamplingBoost": {"BoostRate": 1.0, "BoostRateTTL": 1060.0}});
    scene.rules.apply(&[target(boost)], at(0));
    assert_eq!((scene.sampled("/", 59, 10), scene.sampled("/", 60, 10)), (10, 0));
}

#[test]
fn workers_count_exactly_together() {
    let rules = CentralRules::new("n", "t");
    rules.replace(vec![rule(serde_json::json!({"ReservoirSize": 5}))], at(0));
    let quota = serde_json::json!({"RuleName": "r", "ReservoirQuota": 11, "ReservoirQuotaTTL": 2000.0});
    rules.apply(&[target(quota)], at(0));
    let sampled: usize = std::thread::scope(|scope| {
        let worker = |index| {
            let rules = &rules;
            scope.spawn(move || {
                let (mut memory, mut random) = (Memory::new(index), Rng::with_seed(1));
                let request = Request { host: b"h", method: b"GET", target: b"/" };
                (0..1000).filter(|_| rules.decide(&request, 3, &mut memory, &mut random).0).count()
            })
        };
        let workers: Vec<_> = (0..4).map(worker).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    let counts = &rules.report("c", at(3))[0].counts;
    assert_eq!((sampled, counts.request_count, counts.sampled_count, counts.borrow_count), (11, 4000, 11, 0));
}
