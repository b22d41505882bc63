//! What is told about the process beside its traffic.

use super::*;
use crate::stats::scope::ServerStats;

#[test]
fn a_start_is_told_once_and_at_once() {
    let mut scene = Scene::new(settings(), Platform::default());
    let started = scene.gatherer.started(Duration::from_secs(1_700_000_000));
    let started: Vec<_> = started.iter().map(|document| check(document)).collect();
    assert_eq!(started.len(), 1);
    assert_eq!((&started[0]["ProxyStartCount"], started[0].get("RequestCount")), (&1.into(), None));
    for _ in 0..2 {
        assert_eq!(scene.flush()[0]["ProxyStartCount"], 0);
    }
}

#[test]
fn the_time_to_the_first_expiry_is_told_where_there_is_a_certificate() {
    let mut scene = Scene::new(settings(), Platform::default());
    assert!(scene.flush()[0].get("CertificateSecondsToExpiry").is_none(), "nobody has looked yet");
    let stats = ServerStats::register(&scene.registry);
    for (seconds, told) in [(u32::MAX.into(), None), (86_400, Some(86_400)), (0, Some(0))] {
        scene.registry.shared().gauge_set(stats.seconds_until_first_cert_expiring, seconds);
        let documents = scene.flush();
        assert_eq!(documents[0].get("CertificateSecondsToExpiry").and_then(Json::as_u64), told);
        let units = documents[0]["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().unwrap();
        let unit = units.iter().find(|metric| metric["Name"] == "CertificateSecondsToExpiry");
        assert_eq!(unit.and_then(|metric| metric["Unit"].as_str()), told.map(|_| "Seconds"));
    }
}
