use super::space::FULL;
use super::*;
use crate::stats::scope::ClusterStats;
use crate::stats::view::Value;

fn value(registry: &Registry, name: &str) -> Option<Value> {
    let view = registry.view();
    view.find(name).map(|stat| view.value(stat))
}

#[test]
fn shards_are_summed() {
    let registry = Registry::new();
    let counter = registry.counter("a.b");
    assert_eq!(counter, registry.counter("a.b"));
    let (first, second) = (registry.shard(), registry.shard());
    first.inc(counter);
    second.add(counter, 5);
    registry.shared().inc(counter);
    assert_eq!(value(&registry, "a.b"), Some(Value::Counter(7)));
}

#[test]
fn gauges_fall_across_shards() {
    let registry = Registry::new();
    let gauge = registry.gauge("g");
    let (first, second) = (registry.shard(), registry.shard());
    first.gauge_add(gauge, 3);
    second.gauge_add(gauge, -1);
    assert_eq!(value(&registry, "g"), Some(Value::Gauge(2)));
}

#[test]
fn an_updated_cluster_goes_on_counting() {
    let registry = Registry::new();
    let shard = registry.shard();
    let old = ClusterStats::for_cluster(&registry, "a");
    shard.inc(old.upstream_rq_total);
    let new = ClusterStats::for_cluster(&registry, "a");
    drop(old);
    shard.inc(new.upstream_rq_total);
    assert_eq!(value(&registry, "cluster.a.upstream_rq_total"), Some(Value::Counter(2)));
}

#[test]
fn a_removed_cluster_leaves_nothing_behind() {
    let registry = Registry::new();
    let shard = registry.shard();
    let gone = ClusterStats::for_cluster(&registry, "gone");
    shard.inc(gone.upstream_rq_total);
    shard.gauge_add(gone.upstream_rq_active, 1);
    shard.record(gone.upstream_rq_time, 12);
    gone.count_response(&shard, 200, false);
    drop(gone);
    assert_eq!(value(&registry, "cluster.gone.upstream_rq_total"), None);
    let next = ClusterStats::for_cluster(&registry, "next");
    let view = registry.view();
    assert!(view.stats(|_| true).all(|stat| !view.is_used(stat)), "reused cells start at zero");
    shard.inc(next.upstream_rq_total);
    assert_eq!(value(&registry, "cluster.next.upstream_rq_total"), Some(Value::Counter(1)));
}

#[test]
fn churn_reuses_ids() {
    let registry = Registry::new();
    for round in 0..5000 {
        drop(ClusterStats::for_cluster(&registry, &format!("c{round}")));
    }
    let names = registry.names();
    assert!(names.spaces[0].bottom < 1000, "{:?}", names.spaces);
    assert!(SCALARS - names.spaces[0].top < 1000);
    assert!(names.sets.is_empty());
}

#[test]
fn a_reader_keeps_what_it_reads_alive() {
    let registry = Registry::new();
    let shard = registry.shard();
    let stats = ClusterStats::for_cluster(&registry, "a");
    shard.inc(stats.upstream_rq_total);
    let view = registry.view();
    drop(stats);
    let other = ClusterStats::for_cluster(&registry, "b");
    shard.add(other.upstream_rq_total, 100);
    let stat = view.find("cluster.a.upstream_rq_total").unwrap();
    assert_eq!(view.value(stat), Value::Counter(1));
}

#[test]
fn a_thousand_clusters_cost_less_than_a_megabyte_per_worker() {
    let registry = Registry::new();
    let clusters: Vec<_> =
        (0..1000).map(|at| ClusterStats::for_cluster(&registry, &format!("c{at}"))).collect();
    let names = registry.names();
    let [scalars, histograms, codes] = &names.spaces;
    let bytes = scalars.bottom as usize * 8 + (histograms.bottom + codes.bottom) as usize * 16;
    assert!(bytes < 800_000, "{bytes} bytes per worker");
    // Shared by all workers: handles, names and bookkeeping.
    let shared = clusters.len() * (size_of::<ClusterStats>() + 2 * size_of::<StatSet>());
    assert!(shared < 1_000_000, "{shared} bytes");
}

#[test]
fn a_full_space_refuses_without_harm() {
    let mut space = Space::new(10);
    assert_eq!(space.take(Home::Workers, 6).base, 0);
    assert_eq!(space.take(Home::Main, 4).base, 6);
    let full = space.take(Home::Main, 1);
    assert_eq!(full.base, FULL);
    space.give_back(Home::Main, full);
    assert_eq!(space.take(Home::Workers, 1).base, FULL);
}

#[test]
fn reset_makes_counters_start_again_and_leaves_gauges() {
    let registry = Registry::new();
    let (counter, gauge) = (registry.counter("c"), registry.gauge("g"));
    let stats = ClusterStats::for_cluster(&registry, "a");
    let shard = registry.shard();
    shard.add(counter, 5);
    shard.gauge_add(gauge, 2);
    stats.count_response(&shard, 503, true);
    registry.reset_counters();
    assert_eq!(value(&registry, "c"), Some(Value::Counter(0)));
    assert_eq!(value(&registry, "g"), Some(Value::Gauge(2)));
    assert_eq!(value(&registry, "cluster.a.upstream_rq_503"), Some(Value::Counter(0)));
    shard.inc(counter);
    stats.count_response(&shard, 503, true);
    let later = registry.shard();
    later.inc(counter);
    assert_eq!(value(&registry, "c"), Some(Value::Counter(2)));
    assert_eq!(value(&registry, "cluster.a.upstream_rq_5xx"), Some(Value::Counter(1)));
}
