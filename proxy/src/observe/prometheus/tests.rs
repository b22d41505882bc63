use super::*;
use crate::stats::registry::Registry;
use crate::stats::scope::{ClusterStats, ControlPlaneStats, HttpStats};
use crate::stats::tags::TagConfig;

fn expose(registry: &Registry, options: Options) -> String {
    let config =
        StatsConfig { tags: TagConfig::default().fixed("appmesh.mesh", "m"), ..StatsConfig::default() };
    Exposition::new(Arc::new(registry.view()), Arc::new(config), options).collect()
}

#[test]
fn metrics_of_one_name_stand_together_under_one_type_line() {
    let registry = Registry::new();
    let shard = registry.shard();
    let clusters = ["b", "a"].map(|name| ClusterStats::for_cluster(&registry, name));
    clusters.iter().for_each(|stats| stats.count_response(&shard, 200, true));
    let text = expose(&registry, Options { used_only: true, ..Options::default() });
    let expected = "# TYPE envoy_cluster_internal_upstream_rq counter
envoy_cluster_internal_upstream_rq{envoy_response_code=\"200\",appmesh_mesh=\"m\",envoy_cluster_name=\"a\"} 1
envoy_cluster_internal_upstream_rq{envoy_response_code=\"200\",appmesh_mesh=\"m\",envoy_cluster_name=\"b\"} 1
# TYPE envoy_cluster_internal_upstream_rq_completed counter
";
    assert!(text.starts_with(expected), "{text}");
    assert_eq!(text.matches("# TYPE envoy_cluster_upstream_rq_xx counter").count(), 1);
}

#[test]
fn counters_gauges_and_histograms_come_in_this_order() {
    let registry = Registry::new();
    let _stats = HttpStats::for_manager(&registry, "p", "1.2.3.4:5".parse().unwrap());
    let text = expose(&registry, Options::default());
    let kinds: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .map(|line| line.split_once(' ').unwrap())
        .map(|(name, kind)| (["counter", "gauge", "histogram"].iter().position(|known| *known == kind), name))
        .collect();
    assert!(kinds.is_sorted());
    let mut names: Vec<_> = kinds.iter().map(|(_, name)| name).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), kinds.len(), "one TYPE line per name");
}

#[test]
fn histograms_are_cumulative_with_le_last() {
    let registry = Registry::new();
    let shard = registry.shard();
    let histogram = registry.histogram("h.x");
    [1, 4, 30, 9_999_999].iter().for_each(|value| shard.record(histogram, *value));
    let text = expose(&registry, Options::default());
    for line in [
        "# TYPE envoy_h_x histogram",
        "envoy_h_x_bucket{appmesh_mesh=\"m\",le=\"0.5\"} 0",
        "envoy_h_x_bucket{appmesh_mesh=\"m\",le=\"1\"} 1",
        "envoy_h_x_bucket{appmesh_mesh=\"m\",le=\"5\"} 2",
        "envoy_h_x_bucket{appmesh_mesh=\"m\",le=\"50\"} 3",
        "envoy_h_x_bucket{appmesh_mesh=\"m\",le=\"3600000\"} 3",
        "envoy_h_x_bucket{appmesh_mesh=\"m\",le=\"+Inf\"} 4",
        "envoy_h_x_sum{appmesh_mesh=\"m\"} 10000034",
        "envoy_h_x_count{appmesh_mesh=\"m\"} 4",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    let text = expose(&registry, Options { summaries: true, ..Options::default() });
    assert!(text.contains("# TYPE envoy_h_x summary\n"));
    assert!(text.contains("envoy_h_x{appmesh_mesh=\"m\",quantile=\"0.5\"} 4\n"), "{text}");
}

#[test]
fn filters_matchers_and_text() {
    let registry = Registry::new();
    let stats = ControlPlaneStats::register(&registry);
    stats.identifier.set("cp \"1\"\n");
    registry.counter("other");
    let filter = Some(regex::Regex::new("plane").unwrap());
    let text =
        expose(&registry, Options { filter: filter.clone(), text_readouts: true, ..Options::default() });
    assert!(!text.contains("other"));
    let line = "envoy_control_plane_identifier{appmesh_mesh=\"m\",text_value=\"cp \\\"1\\\"\\n\"} 0\n";
    assert!(text.contains(line), "{text}");
    let inverted = expose(&registry, Options { filter, invert_filter: true, ..Options::default() });
    assert_eq!(inverted, "# TYPE envoy_other counter\nenvoy_other{appmesh_mesh=\"m\"} 0\n");
}

#[test]
fn large_registries_come_in_bounded_pieces() {
    let registry = Registry::new();
    let _clusters: Vec<_> =
        (0..300).map(|at| ClusterStats::for_cluster(&registry, &format!("c{at}"))).collect();
    let config = Arc::new(StatsConfig::default());
    let pieces: Vec<_> = Exposition::new(Arc::new(registry.view()), config, Options::default())
        .map(|piece| piece.len())
        .collect();
    assert!(pieces.len() > 20 && pieces.iter().all(|len| *len < 2 * PIECE), "{pieces:?}");
}
