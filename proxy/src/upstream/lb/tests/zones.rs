//! Localities: by weight, and the own zone first.

use super::*;
use crate::config::Locality;
use crate::config::balance::ZoneAware;
use crate::config::cluster::LocalityWeight;

fn locality(zone: &str) -> Locality {
    Locality { zone: zone.into(), ..Locality::default() }
}

/// Hosts in zones a, b, ... so many in each.
fn zoned(counts: &[u64]) -> HostSet {
    let ends: Vec<u64> = counts
        .iter()
        .scan(0, |end, count| {
            *end += count;
            Some(*end)
        })
        .collect();
    let mut set = hosts(counts.iter().sum(), |host| {
        host.locality = ends.partition_point(|end| *end < host.uid) as u32;
    });
    set.localities = ["a", "b", "c"][..counts.len()].iter().map(|zone| locality(zone)).collect();
    set
}

fn weigh(set: &mut HostSet, weights: &[u32]) {
    let entry = |(locality, weight): (usize, &u32)| LocalityWeight {
        priority: 0,
        locality: locality as u32,
        weight: *weight,
    };
    set.policy.locality_weights = weights.iter().enumerate().map(entry).collect();
}

fn weighted() -> Balancing {
    Balancing { locality: LocalityRouting::Weighted, ..Balancing::of(LbPolicy::RoundRobin) }
}

/// Picks per zone.
fn by_zone(scene: &mut Scene, picks: usize) -> Vec<usize> {
    let mut zones = vec![0; scene.balancer.hosts.localities.len()];
    for (index, count) in scene.counts(picks).into_iter().enumerate() {
        zones[scene.host(index).locality as usize] += count;
    }
    zones
}

#[test]
fn localities_share_by_weight_and_hosts_within_them_alike() {
    let mut set = zoned(&[1, 3]);
    weigh(&mut set, &[2, 1]);
    let mut scene = Scene::new(weighted(), set);
    let counts = scene.counts(900);
    assert_eq!(counts, [600, 100, 100, 100]);
}

#[test]
fn a_locality_without_weight_takes_nothing_and_without_any_weight_all_do() {
    let mut set = zoned(&[1, 1, 1]);
    set.policy.locality_weights = vec![LocalityWeight { priority: 0, locality: 1, weight: 5 }];
    assert_eq!(Scene::new(weighted(), set).counts(90), [0, 90, 0]);
    assert_eq!(Scene::new(weighted(), zoned(&[1, 1, 1])).counts(90), [30, 30, 30]);
    let mut set = zoned(&[1, 1, 1]);
    weigh(&mut set, &[1, 2, 3]);
    assert_eq!(Scene::new(Balancing::of(LbPolicy::RoundRobin), set).counts(90), [30, 30, 30]);
}

#[test]
fn an_unwell_locality_gives_up_what_overprovisioning_does_not_cover() {
    let mut set = zoned(&[10, 10]);
    weigh(&mut set, &[1, 1]);
    let mut scene = Scene::new(weighted(), set);
    for index in 0..5 {
        scene.host(index).live.health.set(Health::FAILED_OUTLIER);
    }
    scene.refresh();
    // 70 percent of its weight is left, against all of the other's.
    let zones = by_zone(&mut scene, 1700);
    assert!((690..=710).contains(&zones[0]), "{zones:?}");
}

#[test]
fn hash_tables_know_the_weights_of_localities() {
    let mut set = zoned(&[1, 1]);
    weigh(&mut set, &[3, 1]);
    let settings = Balancing { policy: LbPolicy::Maglev(65_537), ..weighted() };
    let mut scene = Scene::new(settings, set);
    let zones = by_zone(&mut scene, 8000);
    assert!((5800..6200).contains(&zones[0]), "{zones:?}");
}

/// A balancer in zone a, whose own cluster has so many hosts per zone.
fn at_home(settings: ZoneAware, upstream: HostSet, own: HostSet) -> Scene {
    let locality_routing = LocalityRouting::ZoneAware(settings);
    let settings = Balancing { locality: locality_routing, ..Balancing::of(LbPolicy::RoundRobin) };
    let mut scene = Scene::new(settings, upstream);
    let origin = Origin { locality: locality("a"), hosts: Arc::new(own) };
    scene.balancer.move_to(Some(Rc::new(origin)), scene.now, &mut scene.rng);
    scene
}

fn default() -> ZoneAware {
    ZoneAware::default()
}

#[test]
fn requests_stay_in_a_zone_that_has_its_share() {
    let mut scene = at_home(default(), zoned(&[4, 4]), zoned(&[2, 2]));
    assert_eq!(by_zone(&mut scene, 100), [100, 0]);
    let (_, notes) = scene.pick_with(PickContext::default());
    assert!(notes.has(Note::ZoneAllDirectly));
}

#[test]
fn a_zone_with_less_than_its_share_sends_the_rest_where_there_is_room() {
    // The own cluster: 40, 40 and 20 percent. Upstream: 25, 50 and 25 percent.
    let mut scene = at_home(default(), zoned(&[2, 4, 2]), zoned(&[4, 4, 2]));
    let zones = by_zone(&mut scene, 30_000);
    // 25/40 stays; the rest goes where 10 and 5 percent are left.
    for (zone, want) in zones.iter().zip([18_750, 7_500, 3_750]) {
        assert!(zone.abs_diff(want) < 400, "{zones:?}");
    }
}

#[test]
fn zones_do_not_count_where_they_cannot() {
    let spread = |scene: &mut Scene| by_zone(scene, 400);
    let small = &mut at_home(default(), zoned(&[2, 2]), zoned(&[1, 1]));
    assert_eq!(spread(small), [200, 200], "fewer than six hosts");
    let lonely = &mut at_home(default(), zoned(&[4, 4]), HostSet::default());
    assert_eq!(spread(lonely), [200, 200], "nobody knows where requests come from");
    let off = ZoneAware { routing_enabled: 0, ..default() };
    assert_eq!(spread(&mut at_home(off, zoned(&[4, 4]), zoned(&[1, 1]))), [200, 200]);
}

fn fail(hosts: &[Arc<Host>]) {
    for host in hosts {
        host.live.health.set(Health::FAILED_ACTIVE_HC);
    }
}

#[test]
fn the_own_cluster_in_panic_tells_nothing() {
    let own = zoned(&[2, 2]);
    fail(&own.hosts[..3]);
    let mut scene = at_home(default(), zoned(&[4, 4]), own);
    assert_eq!(by_zone(&mut scene, 400), [200, 200]);
    let own = zoned(&[2, 2]);
    fail(&own.hosts[..3]);
    let strict = ZoneAware { fail_on_panic: true, ..default() };
    assert_eq!(at_home(strict, zoned(&[4, 4]), own).pick(), None);
}

#[test]
fn no_host_instead_of_all_in_panic() {
    let strict = LocalityRouting::ZoneAware(ZoneAware { fail_on_panic: true, ..default() });
    let settings = Balancing { locality: strict, ..Balancing::of(LbPolicy::RoundRobin) };
    let mut scene = Scene::new(settings, hosts(3, |_| ()));
    assert!(scene.pick().is_some());
    for index in 0..2 {
        scene.host(index).live.health.set(Health::FAILED_OUTLIER);
    }
    scene.refresh();
    assert_eq!(scene.pick(), None);
}

#[test]
fn the_own_zone_can_be_forced_and_hosts_can_weigh() {
    let forced = ZoneAware { force_local: Some(2), ..default() };
    assert_eq!(by_zone(&mut at_home(forced, zoned(&[2, 6]), zoned(&[4, 1])), 100), [100, 0]);
    let heavy = || {
        let mut set = zoned(&[2, 6]);
        let hosts = set.hosts.iter().map(|host| {
            let weight = if host.locality == 0 { 3 } else { 1 };
            let old = plain(host.uid, &set.epoch);
            Arc::new(Host { weight, locality: host.locality, ..old })
        });
        set.hosts = hosts.collect();
        set
    };
    let by_weight = ZoneAware { by_weight: true, ..default() };
    assert_eq!(by_zone(&mut at_home(by_weight, heavy(), zoned(&[1, 1])), 100), [100, 0]);
    assert_ne!(by_zone(&mut at_home(default(), heavy(), zoned(&[1, 1])), 100), [100, 0]);
}

#[test]
fn changes_of_the_own_cluster_are_followed() {
    let own = zoned(&[2, 2]);
    let failing = own.hosts[2].live.clone();
    let mut scene = at_home(default(), zoned(&[4, 4]), own);
    assert_eq!(scene.refresh(), None);
    failing.health.set(Health::FAILED_OUTLIER);
    assert_eq!(scene.refresh(), Some(vec![]));
    // Two of three proxies are here now: half of the upstream does not do for them.
    assert!(by_zone(&mut scene, 100)[1] > 0);
}
