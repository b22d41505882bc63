use outrigger_xds_protos::v3::endpoint::{EndpointLoadMetricStats, UpstreamLocalityStats};

use super::*;

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
    one.put(&[stats("c", 2, 20, 2, &[("1", 9), ("50", 1)])]);
    two.put(&[stats("c", 1, 5, 0, &[("1", 5)]), stats("d", 1, 1, 0, &[])]);
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
    report.put(&[stats("c", 1, 9, 0, &[])]);
    report.put(&[stats("d", 1, 9, 0, &[])]);
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
