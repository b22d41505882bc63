use super::*;
use crate::stats::registry::Registry;
use crate::stats::scope::{ClusterStats, ControlPlaneStats, ListenerStats};

fn names(registry: &Registry) -> Vec<String> {
    Arc::new(registry.view()).sorted(|_| true).map(|(name, _)| name).collect()
}

#[test]
fn names_come_in_order_across_interleaving_sets() {
    let registry = Registry::new();
    let _clusters: Vec<_> =
        ["b", "a", "a.b", "aa"].map(|name| ClusterStats::for_cluster(&registry, name)).into();
    registry.counter("cluster.a.zzz");
    registry.counter("cluster.a");
    let found = names(&registry);
    let mut sorted = found.clone();
    sorted.sort();
    assert_eq!(found, sorted);
    assert!(found.contains(&"cluster.a.b.circuit_breakers.default.cx_open".to_owned()));
}

#[test]
fn responses_appear_by_code_class_and_total_once_counted() {
    let registry = Registry::new();
    let stats = ClusterStats::for_cluster(&registry, "a");
    assert!(!names(&registry).iter().any(|name| name.contains("_completed")));
    let (first, second) = (registry.shard(), registry.shard());
    stats.count_response(&first, 200, true);
    stats.count_response(&second, 204, true);
    stats.count_response(&second, 503, false);
    let view = registry.view();
    let read = |name: &str| view.find(name).map(|stat| view.value(stat));
    assert_eq!(read("cluster.a.upstream_rq_200"), Some(Value::Counter(1)));
    assert_eq!(read("cluster.a.upstream_rq_2xx"), Some(Value::Counter(2)));
    assert_eq!(read("cluster.a.upstream_rq_completed"), Some(Value::Counter(3)));
    assert_eq!(read("cluster.a.internal.upstream_rq_2xx"), Some(Value::Counter(2)));
    assert_eq!(read("cluster.a.external.upstream_rq_503"), Some(Value::Counter(1)));
    assert_eq!(read("cluster.a.external.upstream_rq_2xx"), None);
}

#[test]
fn listeners_show_accepts_per_worker() {
    let registry = Registry::new();
    let stats = ListenerStats::for_address(&registry, "0.0.0.0:15000".parse().unwrap());
    let (first, second) = (registry.shard(), registry.shard());
    first.inc(stats.downstream_cx_total);
    second.add(stats.downstream_cx_total, 2);
    let view = registry.view();
    let read = |name: &str| view.find(name).map(|stat| view.value(stat));
    assert_eq!(read("listener.0.0.0.0_15000.downstream_cx_total"), Some(Value::Counter(3)));
    assert_eq!(read("listener.0.0.0.0_15000.worker_0.downstream_cx_total"), Some(Value::Counter(1)));
    assert_eq!(read("listener.0.0.0.0_15000.worker_1.downstream_cx_total"), Some(Value::Counter(2)));
    assert_eq!(read("listener.0.0.0.0_15000.worker_2.downstream_cx_total"), None);
}

#[test]
fn a_gauge_that_came_back_to_zero_is_used() {
    let registry = Registry::new();
    let (touched, never) = (registry.gauge("touched"), registry.gauge("never"));
    let shard = registry.shard();
    shard.gauge_add(touched, 1);
    shard.gauge_add(touched, -1);
    let view = registry.view();
    assert!(view.is_used(view.find("touched").unwrap()));
    assert!(!view.is_used(view.find("never").unwrap()));
    let _ = never;
}

#[test]
fn histograms_have_an_interval_and_a_life() {
    let registry = Registry::new();
    let histogram = registry.histogram("h");
    let shard = registry.shard();
    let read = || {
        let view = registry.view();
        match view.value(view.find("h").unwrap()) {
            Value::Histogram(value) => (value.interval.count(), value.cumulative.count()),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(read(), (0, 0));
    shard.record(histogram, 10);
    assert_eq!(read(), (0, 1), "the interval has not ended");
    registry.flush();
    assert_eq!(read(), (1, 1));
    shard.record(histogram, 20);
    shard.record(histogram, 20);
    registry.flush();
    assert_eq!(read(), (2, 3));
    registry.flush();
    assert_eq!(read(), (0, 3));
}

#[test]
fn text_is_what_was_set_last() {
    let registry = Registry::new();
    let stats = ControlPlaneStats::register(&registry);
    let view = registry.view();
    let stat = view.find("control_plane.identifier").unwrap();
    assert!(!view.is_used(stat));
    stats.identifier.set("cp-1");
    assert_eq!(view.value(stat), Value::Text("cp-1".into()));
    assert!(view.is_used(stat));
}
