use serde_json::Value as Json;

use super::*;
use crate::admin::test_world::{World, text};
use crate::stats::scope::ControlPlaneStats;
use crate::stats::tags::StatsMatcher;

fn get(world: &World, query: &str) -> (StatusCode, String) {
    text(stats(&world.state, &Query::parse(query)))
}

#[test]
fn text_is_sorted_with_histograms_last_and_text_first() {
    let world = World::new();
    let up = world.publish();
    let shard = world.state.registry.shard();
    shard.record(up.config.stats.upstream_rq_time, 4);
    up.config.stats.count_response(&shard, 200, false);
    let stats = ControlPlaneStats::register(&world.state.registry);
    stats.identifier.set("cp");
    let (_, text) = get(&world, "");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "control_plane.identifier: \"cp\"");
    assert!(lines.contains(&"cluster.up_1.external.upstream_rq_2xx: 1"));
    assert!(lines.contains(&"server.live: 1") && lines.contains(&"server.total_connections: 3"));
    assert!(lines.contains(&"cluster.dead.upstream_cx_connect_ms: No recorded values"));
    let quantiles = "cluster.up_1.upstream_rq_time: P0(nan,4) P25(nan,4) P50(nan,4) P75(nan,4) P90(nan,4) \
                     P95(nan,4) P99(nan,4) P99.5(nan,4) P99.9(nan,4) P100(nan,4)";
    assert!(lines.contains(&quantiles));
    let is_histogram = |line: &&str| line.contains(": P0(") || line.ends_with(": No recorded values");
    let first_histogram = lines.iter().position(is_histogram).unwrap();
    assert!(lines[1..first_histogram].is_sorted() && lines[first_histogram..].is_sorted());
}

#[test]
fn filters_types_and_used_only_narrow() {
    let world = World::new();
    let up = world.publish();
    let shard = world.state.registry.shard();
    shard.inc(up.config.stats.upstream_cx_total);
    assert_eq!(get(&world, "filter=up_1.*cx_total$").1, "cluster.up_1.upstream_cx_total: 1\n");
    assert_eq!(get(&world, "usedonly&type=Counters").1, "cluster.up_1.upstream_cx_total: 1\n");
    assert!(get(&world, "type=Gauges").1.lines().all(|line| !line.contains("cx_total")));
    assert!(get(&world, "type=Histograms").1.lines().all(|line| line.ends_with("No recorded values")));
    assert!(get(&world, "filter=cx_total&invert_filter").1.lines().all(|line| !line.contains("cx_total")));
}

#[test]
fn the_matcher_hides_statistics_everywhere() {
    let mut world = World::new();
    let config = StatsConfig { matcher: StatsMatcher::None, ..StatsConfig::default() };
    Arc::get_mut(&mut world.state).unwrap().stats_config = Arc::new(config);
    world.publish();
    assert_eq!(get(&world, "").1, "");
    assert_eq!(get(&world, "format=prometheus").1, "");
    assert_eq!(get(&world, "format=json").1, "{\"stats\":[]}\n");
}

#[test]
fn bucket_forms() {
    let world = World::new();
    let up = world.publish();
    let shard = world.state.registry.shard();
    [4, 5, 6].iter().for_each(|value| shard.record(up.config.stats.upstream_rq_time, *value));
    world.state.collector.flush();
    let base = "usedonly&filter=upstream_rq_time&histogram_buckets=";
    let (_, cumulative) = get(&world, &format!("{base}cumulative"));
    assert!(
        cumulative.starts_with("cluster.up_1.upstream_rq_time: B0.5(0,0) B1(0,0) B5(2,2) B10(3,3) B25(3,3)")
    );
    assert!(cumulative.ends_with("B600000(3,3) B1.8e+06(3,3) B3.6e+06(3,3)\n"), "{cumulative}");
    let (_, disjoint) = get(&world, &format!("{base}disjoint"));
    assert!(disjoint.contains(" B5(2,2) B10(1,1) B25(0,0)"), "{disjoint}");
    let (_, detailed) = get(&world, &format!("{base}detailed"));
    assert!(detailed.contains("\n  totals=3,1:1, 4,1:1, 5,1:1\n  intervals=3,1:1"), "{detailed}");
    for form in ["cumulative", "disjoint", "detailed", "summary"] {
        let (_, json) = get(&world, &format!("{base}{form}&format=json"));
        let json: Json = serde_json::from_str(&json).unwrap();
        assert_eq!(json["stats"].as_array().unwrap().len(), 1, "{json}");
    }
}

#[test]
fn json_has_envoys_shape() {
    let world = World::new();
    let up = world.publish();
    let shard = world.state.registry.shard();
    shard.record(up.config.stats.upstream_rq_time, 4);
    let (_, text) = get(&world, "format=json&filter=up_1");
    let json: Json = serde_json::from_str(&text).unwrap();
    let stats = json["stats"].as_array().unwrap();
    assert!(
        stats
            .iter()
            .any(|stat| *stat == serde_json::json!({"name": "cluster.up_1.upstream_rq_total", "value": 0}))
    );
    let histograms = &stats.last().unwrap()["histograms"];
    assert_eq!(histograms["supported_quantiles"][7], 99.5);
    let computed = histograms["computed_quantiles"].as_array().unwrap();
    let time = computed.iter().find(|h| h["name"] == "cluster.up_1.upstream_rq_time").unwrap();
    assert_eq!(time["values"][0], serde_json::json!({"cumulative": 4.0, "interval": null}));
    let only_histograms: Json = serde_json::from_str(&get(&world, "format=json&type=Histograms").1).unwrap();
    assert_eq!(only_histograms["stats"].as_array().unwrap().len(), 1);
}

#[test]
fn prometheus_by_either_path() {
    let world = World::new();
    world.publish();
    let (_, text) = get(&world, "format=prometheus");
    assert!(text.contains("# TYPE envoy_server_live gauge\nenvoy_server_live{} 1\n"), "{text}");
    let reply = prometheus(&world.state, &Query::parse("usedonly"));
    assert_eq!(reply.content_type, "text/plain; version=0.0.4; charset=utf-8");
}

#[test]
fn open_breakers_show() {
    let world = World::new();
    let up = world.publish();
    let breaker = up.config.breakers[0].connections.limit();
    (0..5).for_each(|_| assert!(breaker.try_acquire(0)));
    let line = "cluster.up_1.circuit_breakers.default.cx_open: 1\n";
    assert_eq!(get(&world, "filter=up_1.circuit_breakers.default.cx_open").1, line);
}

#[test]
fn wrong_parameters_say_what_is_right() {
    let world = World::new();
    for (query, part) in [
        ("type=Bad", "invalid &type= param"),
        ("format=bad", "usage: /stats?format=("),
        ("histogram_buckets=bad", "usage: /stats?histogram_buckets=("),
        ("filter=(", "Invalid regex"),
        ("format=prometheus&histogram_buckets=disjoint", "usage: /stats/prometheus"),
    ] {
        let (status, text) = get(&world, query);
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(text.contains(part), "{text}");
    }
}
