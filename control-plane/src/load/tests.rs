use outrigger_xds_protos::v3::endpoint::{EndpointLoadMetricStats, UpstreamLocalityStats};

use super::*;

const KNOWN: [&str; 2] = ["c", "d"];

fn known() -> BTreeSet<&'static str> {
    KNOWN.into_iter().collect()
}

fn stats(cluster: &str, seconds: i64, issued: u64, errors: u64, times: &[(&str, u64)]) -> ClusterStats {
    let metric = |(bound, count): &(&str, u64)| EndpointLoadMetricStats {
        metric_name: format!("{TIME_METRIC}{bound}"),
        num_requests_finished_with_metric: *count,
        ..EndpointLoadMetricStats::default()
    };
    ClusterStats {
        cluster_name: cluster.into(),
        upstream_locality_stats: vec![UpstreamLocalityStats {
            total_issued_requests: issued,
            total_error_requests: errors,
            total_requests_in_progress: 1,
            load_metric_stats: times.iter().map(metric).collect(),
            ..UpstreamLocalityStats::default()
        }],
        load_report_interval: Some(wkt::Duration { seconds, nanos: 0 }),
        ..ClusterStats::default()
    }
}

#[test]
fn sidecars_of_one_node_add_up_and_leave_with_their_streams() {
    let loads = Arc::new(Loads::default());
    let (one, two) = (loads.open("n".into()), loads.open("n".into()));
    one.put(&[stats("c", 2, 20, 2, &[("1", 9), ("50", 1)])], &known());
    two.put(&[stats("c", 1, 5, 0, &[("1", 5)]), stats("d", 1, 1, 0, &[])], &known());
    let key = ("n".to_owned(), "c".to_owned());
    let sum = loads.traffic(Instant::now());
    assert_eq!((sum[&key].requests, sum[&key].errors, sum[&key].active), (15.0, 1.0, 2));
    assert_eq!((sum[&key].quantile(0.5), sum[&key].quantile(0.99)), (Some(1.0), Some(50.0)));
    drop(one);
    assert_eq!(loads.traffic(Instant::now())[&key].requests, 5.0);
    drop(two);
    assert!(loads.traffic(Instant::now()).is_empty() && loads.streams() == 0);
}

#[test]
fn a_report_replaces_the_one_before_and_grows_old() {
    let loads = Arc::new(Loads::default());
    let report = loads.open("n".into());
    report.put(&[stats("c", 1, 9, 0, &[])], &known());
    report.put(&[stats("d", 1, 9, 0, &[])], &known());
    let clusters: Vec<_> = loads.traffic(Instant::now()).into_keys().map(|(_, cluster)| cluster).collect();
    assert_eq!(clusters, ["d"]);
    assert!(loads.traffic(Instant::now() + STALE).is_empty());
}

#[test]
fn nonsense_is_no_traffic() {
    let odd = stats("c", 0, 9, 9, &[("NaN", 1), ("-1", 1), ("x", 1), ("1e30", 1)]);
    let traffic = Traffic::of(&odd);
    assert_eq!((traffic.requests, traffic.errors, traffic.quantile(0.5)), (0.0, 0.0, None));
}

#[test]
fn of_a_report_only_what_the_definitions_know_is_kept() {
    let loads = Arc::new(Loads::default());
    let report = loads.open("n".into());
    let names: Vec<_> = (0..10_000).map(|at| format!("c{at}")).collect();
    let mut all: Vec<_> = names.iter().map(|name| stats(name, 1, 1, 0, &[])).collect();
    let bounds: Vec<_> = (0..10_000).map(|at| at.to_string()).collect();
    let times: Vec<_> = bounds.iter().map(|bound| (bound.as_str(), 1)).collect();
    // As many localities as it likes, each with other times.
    let mut many = stats("c", 1, 1, 0, &times[..500]);
    many.upstream_locality_stats.extend(stats("c", 1, 1, 0, &times).upstream_locality_stats);
    all.push(many);
    report.put(&all, &known());
    let kept = loads.traffic(Instant::now());
    assert_eq!(kept.len(), 1);
    let traffic = &kept[&("n".to_owned(), "c".to_owned())];
    assert_eq!((traffic.requests, traffic.times.len()), (2.0, MAX_BUCKETS));
    // Sums of several sidecars have no more.
    let mut sum = traffic.clone();
    sum.add(&Traffic::of(&stats("c", 1, 1, 0, &times[5000..])));
    assert_eq!(sum.times.len(), MAX_BUCKETS);
}
