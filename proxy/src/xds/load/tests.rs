use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use outrigger_xds_protos::json;
use outrigger_xds_protos::load::{TIME_METRIC, encoded_len};
use outrigger_xds_protos::v3::bootstrap::Bootstrap;
use outrigger_xds_protos::v3::endpoint::{ClusterStats, EndpointLoadMetricStats, UpstreamLocalityStats};

use super::*;
use crate::config::Snapshot;
use crate::config::cluster::Host;
use crate::xds::engine::{Engine, Roots};
use crate::xds::testing::{Clock, PaperPorts};

/// Two clusters: `near` with a host in each of two zones, `far` with one host.
fn world() -> (Arc<Snapshot>, Registry) {
    let host = |port: u16| {
        format!("{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}}}")
    };
    let text = format!(
        "{{static_resources: {{clusters: [
            {{name: near, load_assignment: {{cluster_name: near, endpoints: [
                {{locality: {{zone: a}}, lb_endpoints: [{}]}}, {{locality: {{zone: b}}, lb_endpoints: [{}]}}]}}}},
            {{name: far, load_assignment: {{cluster_name: far, endpoints: [{{lb_endpoints: [{}]}}]}}}}]}}}}",
        host(1),
        host(2),
        host(3)
    );
    let bootstrap: Bootstrap = json::Document::parse(&text).unwrap().decode().unwrap();
    let registry = Registry::new();
    let mut engine = Engine::new(Roots::default(), None, Box::new(PaperPorts::default()), &registry, None);
    let clock = Clock::new();
    engine.load_static(&bootstrap.static_resources.unwrap(), clock.now()).unwrap();
    engine.start(clock.now().instant);
    (engine.settle(clock.now()).unwrap().into(), registry)
}

fn host(snapshot: &Snapshot, cluster: &str, at: usize) -> Arc<Host> {
    let slot = snapshot.clusters.iter().flatten().find(|slot| *slot.config.name == *cluster).unwrap();
    slot.hosts.hosts[at].clone()
}

fn serve(host: &Host, issued: u64, failed: u64) {
    host.live.rq_total.fetch_add(issued, Relaxed);
    host.live.rq_error.fetch_add(failed, Relaxed);
    host.live.rq_success.fetch_add(issued - failed, Relaxed);
}

fn all() -> Wanted {
    Wanted { all: true, ..Wanted::default() }
}

fn of<'a>(reports: &'a [ClusterStats], cluster: &str) -> &'a ClusterStats {
    reports.iter().find(|report| report.cluster_name == cluster).unwrap()
}

#[test]
fn only_what_came_after_the_last_report_is_told_by_zone() {
    let (snapshot, registry) = world();
    let mut tally = Tally::default();
    serve(&host(&snapshot, "near", 0), 100, 50);
    tally.begin(&snapshot, &registry);
    serve(&host(&snapshot, "near", 0), 7, 2);
    serve(&host(&snapshot, "near", 1), 3, 0);
    let reports = tally.report(&snapshot, &registry, &all(), Duration::from_millis(1500));
    let near = &of(&reports, "near").upstream_locality_stats;
    let zones: Vec<_> = near
        .iter()
        .map(|stats| {
            let zone = stats.locality.as_ref().unwrap().zone.as_str();
            (zone, stats.total_issued_requests, stats.total_successful_requests, stats.total_error_requests)
        })
        .collect();
    assert_eq!(zones, [("a", 7, 5, 2), ("b", 3, 3, 0)]);
    assert!(near[0].upstream_endpoint_stats.is_empty(), "not asked for");
    let interval = of(&reports, "near").load_report_interval.unwrap();
    assert_eq!((interval.seconds, interval.nanos), (1, 500_000_000));
    assert!(of(&reports, "far").upstream_locality_stats.is_empty(), "nothing went there");
    let again = tally.report(&snapshot, &registry, &all(), Duration::from_secs(1));
    assert!(of(&again, "near").upstream_locality_stats.is_empty(), "told once");
}

#[test]
fn clusters_and_endpoints_are_told_as_asked() {
    let (snapshot, registry) = world();
    let mut tally = Tally::default();
    serve(&host(&snapshot, "near", 1), 4, 1);
    serve(&host(&snapshot, "far", 0), 1, 0);
    let wanted = Wanted { all: false, clusters: vec!["near".into(), "gone".into()], endpoints: true };
    let reports = tally.report(&snapshot, &registry, &wanted, Duration::from_secs(1));
    let names: Vec<_> = reports.iter().map(|report| report.cluster_name.as_str()).collect();
    assert_eq!(names, ["near"]);
    let [endpoint] = &reports[0].upstream_locality_stats[0].upstream_endpoint_stats[..] else { panic!() };
    assert_eq!((endpoint.total_issued_requests, endpoint.total_error_requests), (4, 1));
}

#[test]
fn response_times_are_counts_per_bucket() {
    let (snapshot, registry) = world();
    let slot = snapshot.clusters.iter().flatten().find(|slot| *slot.config.name == *"far").unwrap();
    let shard = registry.shard();
    let mut tally = Tally::default();
    shard.record(slot.config.stats.upstream_rq_time, 3);
    tally.begin(&snapshot, &registry);
    [5, 5, 40].iter().for_each(|millis| shard.record(slot.config.stats.upstream_rq_time, *millis));
    let reports = tally.report(&snapshot, &registry, &all(), Duration::from_secs(1));
    let metrics = &of(&reports, "far").upstream_locality_stats[0].load_metric_stats;
    let counts: Vec<u64> = metrics.iter().map(|metric| metric.num_requests_finished_with_metric).collect();
    assert_eq!(counts, [2, 1]);
    assert!(metrics.iter().all(|metric| metric.metric_name.starts_with(TIME_METRIC)));
}

#[test]
fn the_pace_is_the_control_planes_within_reason() {
    let pace = |seconds, nanos| {
        asked(LoadStatsResponse {
            load_reporting_interval: Some(wkt::Duration { seconds, nanos }),
            ..LoadStatsResponse::default()
        })
        .1
    };
    assert_eq!(pace(5, 0), Duration::from_secs(5));
    assert_eq!(pace(0, 0), SHORTEST_INTERVAL);
    assert_eq!(pace(-5, -3), SHORTEST_INTERVAL);
    assert_eq!(asked(LoadStatsResponse::default()).1, DEFAULT_INTERVAL);
}

/// Busy clusters of a large mesh; the control plane takes no longer report than this.
#[test]
fn two_thousand_busy_clusters_are_told_within_the_limit() {
    const CLUSTERS: usize = 2000;
    let (snapshot, registry) = world();
    let slot = snapshot.clusters.iter().flatten().find(|slot| *slot.config.name == *"far").unwrap();
    let shard = registry.shard();
    // From 1 ms to 1 s, in every bucket.
    (1..1000).for_each(|millis| shard.record(slot.config.stats.upstream_rq_time, millis));
    serve(&host(&snapshot, "far", 0), 999, 9);
    let reports = Tally::default().report(&snapshot, &registry, &all(), Duration::from_secs(5));
    let busy = of(&reports, "far");
    let name = |at| format!("cds_egress_production_recommendations-{at}_http_8080");
    let mut report: Vec<_> =
        (0..CLUSTERS).map(|at| ClusterStats { cluster_name: name(at), ..busy.clone() }).collect();
    let before = encoded_len(&report);
    assert!(before > MAX_REPORT_BYTES, "{before} is no long report");
    shorten(&mut report, MAX_REPORT_BYTES);
    let len = encoded_len(&report);
    assert!((MAX_REPORT_BYTES / 4..=MAX_REPORT_BYTES).contains(&len), "{len} of {before}");
    for told in &report {
        let stats = &told.upstream_locality_stats[0];
        let sum =
            |counts: fn(&EndpointLoadMetricStats) -> f64| stats.load_metric_stats.iter().map(counts).sum();
        let responses: f64 = sum(|metric| metric.num_requests_finished_with_metric as f64);
        assert_eq!((stats.total_issued_requests, responses), (999, 999.0));
        let last = |stats: &ClusterStats| {
            stats.upstream_locality_stats[0].load_metric_stats.last().unwrap().metric_name.clone()
        };
        assert_eq!(last(told), last(busy), "the longest time stays below its bound");
        assert!(stats.load_metric_stats.len() >= 4, "{}", stats.load_metric_stats.len());
    }
}

#[test]
fn short_reports_are_as_fine_as_they_are_and_no_limit_is_too_small_to_end() {
    let metric = |upper: u64, count| EndpointLoadMetricStats {
        metric_name: format!("{TIME_METRIC}{upper}"),
        num_requests_finished_with_metric: count,
        total_metric_value: (upper * count) as f64,
    };
    let stats = UpstreamLocalityStats {
        load_metric_stats: vec![metric(1, 1), metric(2, 2), metric(3, 3)],
        ..UpstreamLocalityStats::default()
    };
    let fine = [ClusterStats { upstream_locality_stats: vec![stats], ..ClusterStats::default() }];
    let mut report = fine.clone();
    shorten(&mut report, encoded_len(&fine));
    assert_eq!(report, fine);
    shorten(&mut report, encoded_len(&fine) - 1);
    let merged = EndpointLoadMetricStats { total_metric_value: 5.0, ..metric(2, 3) };
    assert_eq!(report[0].upstream_locality_stats[0].load_metric_stats, [merged, metric(3, 3)]);
    shorten(&mut report, 0);
    let all = EndpointLoadMetricStats { total_metric_value: 14.0, ..metric(3, 6) };
    assert_eq!(report[0].upstream_locality_stats[0].load_metric_stats, [all]);
}
