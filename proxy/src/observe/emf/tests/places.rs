//! What is published under which dimensions, and who has a place.

use super::*;
use crate::stats::tags::{StatsConfig, TagConfig};

fn sets(document: &Json) -> Vec<Vec<&str>> {
    let sets = document["_aws"]["CloudWatchMetrics"][0]["Dimensions"].as_array().unwrap();
    sets.iter()
        .map(|set| set.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect())
        .collect()
}

/// With `APPMESH_METRIC_EXTENSION_VERSION=1` every statistic has the node's dimensions as tags.
#[test]
fn a_tag_that_is_a_dimension_of_the_node_is_in_a_set_once() {
    let selection = Selection::parse("envoy_cluster_upstream_rq_total").unwrap();
    let mut scene = Scene::new(Settings { selection, ..settings() }, Platform::default());
    let tags = TagConfig::default().fixed("Mesh", "shop").fixed("VirtualNode", "cart");
    scene.gatherer.world.stats_config = Arc::new(StatsConfig { tags, ..StatsConfig::default() });
    let stats = scene.publish(&["stock"]);
    scene.request(&stats[0], 200);
    let documents = scene.flush();
    assert_eq!(documents.len(), 1, "{documents:?}");
    assert_eq!(sets(&documents[0]), [["Mesh", "VirtualNode", "envoy_cluster_name"]]);
}

/// Statistics take the places of statistics, not those of targets.
#[test]
fn a_target_that_comes_late_has_a_place_beside_statistics() {
    let wanted =
        Settings { selection: Selection::parse("default,envoy_*").unwrap(), max_series: 2, ..settings() };
    let mut scene = Scene::new(wanted, Platform::default());
    let stats = scene.publish(&["a", "b", "c"]);
    scene.request(&stats[0], 200);
    let first = scene.flush();
    assert!(of(&first, "envoy_cluster_name", "other").is_some(), "labels are capped");
    scene.request(&stats[1], 200);
    let second = scene.flush();
    assert_eq!(of(&second, "TargetVirtualNode", "b").unwrap()["RequestCountPerTarget"], 1);
    assert!(of(&second, "TargetVirtualNode", "other").is_none());
}

/// A statistic counts as told of when it changes, not when it is read.
#[test]
fn statistics_that_are_silent_for_an_hour_give_their_place_to_those_that_are_not() {
    let selection = Selection::parse("envoy_cluster_upstream_rq_total").unwrap();
    let mut scene = Scene::new(Settings { selection, max_series: 1, ..settings() }, Platform::default());
    let stats = scene.publish(&["a", "b"]);
    let at = |minutes: u64| START + Duration::from_secs(60 * minutes);
    scene.request(&stats[0], 200);
    scene.flush_at(at(0));
    for minute in 1..=60 {
        scene.request(&stats[1], 200);
        let documents = scene.flush_at(at(minute));
        let name = |node| format!("cds_egress_shop_{node}_http_8080");
        let of_b = of(&documents, "envoy_cluster_name", &name("b"));
        assert_eq!(of_b.is_some(), minute == 60, "{documents:#?}");
        // Of the silent one zeros are told while it has its place.
        assert_eq!(of(&documents, "envoy_cluster_name", &name("a")).is_some(), minute < 60);
    }
}

/// Places are given to others after an hour; what is held is of all who had one.
#[test]
fn what_waits_for_a_set_is_of_no_more_targets_than_there_are_places() {
    let dimensions = Dimensions::parse("container-insights").unwrap();
    let mut scene = Scene::new(Settings { dimensions, max_series: 2, ..settings() }, Platform::default());
    let nodes = ["a", "b", "c", "d", "e", "f"];
    let stats = scene.publish(&nodes);
    for (hour, stats) in stats.iter().enumerate() {
        scene.request(stats, 200);
        assert!(scene.flush_at(START + Duration::from_secs(3600 * hour as u64)).is_empty());
    }
    let platform =
        Platform { cluster_name: "prod".into(), task_family: "cart".into(), ..Platform::default() };
    scene.gatherer.world.place = Place::known(platform);
    let documents = scene.flush();
    let requests: Vec<_> =
        documents.iter().filter_map(|document| document["RequestCountPerTarget"].as_u64()).collect();
    assert_eq!(requests.iter().sum::<u64>(), 6);
    assert_eq!(requests.len(), 3, "two and the others: {documents:#?}");
}

/// On ECS nobody knows the cluster before the metadata endpoint has answered. Without any set all targets would be
/// one metric.
#[test]
fn metrics_wait_for_a_dimension_set_and_none_is_lost() {
    let dimensions = Dimensions::parse("container-insights").unwrap();
    let mut scene = Scene::new(Settings { dimensions, ..settings() }, Platform::default());
    let stats = scene.publish(&["a", "b"]);
    let told = logged(|| {
        for _ in 0..3 {
            scene.request(&stats[0], 200);
            scene.request(&stats[1], 503);
            assert!(scene.flush().is_empty());
        }
    });
    assert_eq!(told.matches("OUTRIGGER_EMF_DIMENSIONS").count(), 1, "{told}");
    let platform =
        Platform { cluster_name: "prod".into(), task_family: "cart".into(), ..Platform::default() };
    scene.gatherer.world.place = Place::known(platform);
    scene.request(&stats[0], 200);
    let documents = scene.flush();
    let sum = |metric: &str| documents.iter().filter_map(|document| document[metric].as_u64()).sum::<u64>();
    assert_eq!((sum("HTTPCode_Target_2XX_Count"), sum("HTTPCode_Target_5XX_Count")), (4, 3));
    assert_eq!(sum("ProxyStartCount"), 1);
    assert!(documents.iter().all(|document| sets(document) == [["ClusterName", "TaskDefinitionFamily"]]));
    let again = scene.flush();
    assert_eq!(again.len(), 1, "once: {again:?}");
}

/// App Mesh's `RequestCount` is of HTTP listeners, `GrpcRequestCount` of gRPC ones; Service Connect's has both.
#[test]
fn calls_are_requests_for_service_connect_and_calls_for_app_mesh() {
    let dimensions = Dimensions::parse("mesh,service-connect").unwrap();
    let mut scene = Scene::new(Settings { dimensions, ..settings() }, Platform::default());
    scene.publish_inbound(&[("ingress", 15000), ("ingress.grpc.8081", 15002)]);
    for (manager, port, requests) in [("ingress", 15000, 3), ("ingress.grpc.8081", 15002, 4)] {
        let stats = HttpStats::for_manager(&scene.registry, manager, ([0, 0, 0, 0], port).into());
        scene.shard.add(stats.downstream_rq_total, requests);
    }
    let documents = scene.flush();
    let requests = |first: &str| {
        let document = documents.iter().find(|document| sets(document)[0][0] == first).unwrap();
        (document["RequestCount"].as_u64(), document["GrpcRequestCount"].as_u64())
    };
    assert_eq!(requests("Mesh"), (Some(3), Some(4)));
    assert_eq!(requests("DiscoveryName"), (Some(7), Some(4)));
}
