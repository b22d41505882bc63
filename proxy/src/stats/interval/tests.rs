use super::*;
use crate::stats::registry::Shard;
use crate::stats::scope::ClusterStats;

fn change(interval: &Interval, name: &str) -> Option<Change> {
    let stat = interval.stats().find(|stat| interval.view().name(*stat) == name)?;
    Some(interval.change(stat))
}

fn request(stats: &ClusterStats, shard: &Shard, status: u16) {
    shard.inc(stats.upstream_rq_total);
    shard.record(stats.upstream_rq_time, 7);
    stats.count_response(shard, status, true);
}

#[test]
fn counters_and_histograms_are_differences_and_gauges_are_not() {
    let registry = Registry::new();
    let (one, two) = (registry.shard(), registry.shard());
    let stats = ClusterStats::for_cluster(&registry, "a");
    let mut recorder = Recorder::new(&registry);
    request(&stats, &one, 200);
    one.gauge_add(stats.upstream_rq_active, 4);
    let first = recorder.advance();
    assert_eq!(change(&first, "cluster.a.upstream_rq_total"), Some(Change::Counter(1)));
    request(&stats, &one, 503);
    request(&stats, &two, 200);
    two.gauge_add(stats.upstream_rq_active, -3);
    let second = recorder.advance();
    assert_eq!(change(&second, "cluster.a.upstream_rq_total"), Some(Change::Counter(2)));
    assert_eq!(change(&second, "cluster.a.upstream_rq_2xx"), Some(Change::Counter(1)));
    assert_eq!(change(&second, "cluster.a.upstream_rq_503"), Some(Change::Counter(1)));
    assert_eq!(change(&second, "cluster.a.upstream_rq_completed"), Some(Change::Counter(2)));
    assert_eq!(change(&second, "cluster.a.upstream_rq_active"), Some(Change::Gauge(1)));
    let Some(Change::Histogram(times)) = change(&second, "cluster.a.upstream_rq_time") else { panic!() };
    assert_eq!((times.count(), times.sum()), (2, 14));
    let third = recorder.advance();
    assert_eq!(change(&third, "cluster.a.upstream_rq_total"), Some(Change::Counter(0)));
    assert_eq!(change(&third, "cluster.a.upstream_rq_active"), Some(Change::Gauge(1)));
}

#[test]
fn a_reset_of_counters_is_no_change() {
    let registry = Registry::new();
    let shard = registry.shard();
    let stats = ClusterStats::for_cluster(&registry, "a");
    let mut recorder = Recorder::new(&registry);
    request(&stats, &shard, 200);
    recorder.advance();
    request(&stats, &shard, 200);
    registry.reset_counters();
    request(&stats, &shard, 200);
    let interval = recorder.advance();
    assert_eq!(change(&interval, "cluster.a.upstream_rq_total"), Some(Change::Counter(2)));
    assert_eq!(change(&interval, "cluster.a.upstream_rq_200"), Some(Change::Counter(2)));
}

#[test]
fn what_a_removed_cluster_counted_last_is_told_once_and_then_it_is_gone() {
    let registry = Registry::new();
    let shard = registry.shard();
    let stats = ClusterStats::for_cluster(&registry, "a");
    let (mut one, mut two) = (Recorder::new(&registry), Recorder::new(&registry));
    one.advance();
    two.advance();
    request(&stats, &shard, 200);
    drop(stats);
    assert!(registry.view().find("cluster.a.upstream_rq_total").is_none(), "readers do not see it");
    let told = |recorder: &mut Recorder| change(&recorder.advance(), "cluster.a.upstream_rq_total");
    assert_eq!(told(&mut one), Some(Change::Counter(1)));
    assert_eq!(told(&mut one), None, "although the other recorder keeps it");
    assert_eq!(told(&mut two), Some(Change::Counter(1)));
    assert_eq!(change(&one.advance(), "cluster.a.upstream_rq_total"), None);
    two.advance();
    let again = ClusterStats::for_cluster(&registry, "a");
    shard.inc(again.upstream_rq_total);
    assert_eq!(change(&one.advance(), "cluster.a.upstream_rq_total"), Some(Change::Counter(1)));
}

#[test]
fn a_cluster_that_comes_back_at_once_is_counted_once() {
    let registry = Registry::new();
    let shard = registry.shard();
    let stats = ClusterStats::for_cluster(&registry, "a");
    let mut recorder = Recorder::new(&registry);
    recorder.advance();
    request(&stats, &shard, 200);
    drop(stats);
    let stats = ClusterStats::for_cluster(&registry, "a");
    request(&stats, &shard, 200);
    let interval = recorder.advance();
    assert_eq!(change(&interval, "cluster.a.upstream_rq_total"), Some(Change::Counter(2)));
}
