//! What is told about the process beside its traffic.

use super::*;
use crate::stats::scope::ServerStats;

#[test]
fn a_start_is_told_once_and_at_once() {
    let mut scene = Scene::new(settings(), Platform::default());
    let started = &scene.started;
    assert_eq!(started.len(), 1);
    assert_eq!((&started[0]["ProxyStartCount"], started[0].get("RequestCount")), (&1.into(), None));
    for _ in 0..2 {
        assert_eq!(scene.flush()[0]["ProxyStartCount"], 0);
    }
}

/// ECS answers after the start of the process: that is no reason to warn, and alarms on its names see the start, too.
#[test]
fn a_start_is_told_under_each_family_once_its_names_are_known() {
    let sets = |document: &Json| document["_aws"]["CloudWatchMetrics"][0]["Dimensions"].clone();
    let container = serde_json::json!([["ClusterName", "TaskDefinitionFamily"]]);
    for (families, at_once) in [("container-insights", 0), ("mesh,container-insights", 1)] {
        let settings = Settings { dimensions: Dimensions::parse(families).unwrap(), ..settings() };
        let mut scene = None;
        let told = logged(|| scene = Some(Scene::new(settings, Platform::default())));
        assert_eq!(told, "", "{families}");
        let mut scene = scene.unwrap();
        assert_eq!(scene.started.len(), at_once);
        assert!(
            scene
                .started
                .iter()
                .all(|document| sets(document) == serde_json::json!([["Mesh", "VirtualNode"]]))
        );
        let told =
            logged(|| scene.flush().iter().for_each(|document| assert_eq!(document["ProxyStartCount"], 0)));
        assert_eq!(told.contains("OUTRIGGER_EMF_DIMENSIONS"), at_once == 0, "{told}");
        let platform =
            Platform { cluster_name: "prod".into(), task_family: "cart".into(), ..Platform::default() };
        scene.gatherer.world.place = Place::known(platform);
        let documents = scene.flush();
        let starts: Vec<_> =
            documents.iter().filter(|document| document["ProxyStartCount"] == 1).map(sets).collect();
        assert_eq!(starts, std::slice::from_ref(&container), "{families}");
        assert!(scene.flush().iter().all(|document| document["ProxyStartCount"] == 0));
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
