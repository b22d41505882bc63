mod places;
mod process;

use std::sync::{Arc, Mutex};

use serde_json::Value as Json;

use super::document::tests::check;
use super::*;
use crate::config::cluster::HostSet;
use crate::config::publish::{self, Publisher};
use crate::config::{ClusterSlot, ListenerSlot, Snapshot};
use crate::observe::mesh::tests::{cluster, listener};
use crate::observe::mesh::{Identity, Reader};
use crate::observe::platform::{Place, Platform};
use crate::stats::registry::{Registry, Shard};
use crate::stats::scope::{ClusterStats, HttpStats, ListenerStats};

/// A virtual node `cart` of mesh `shop` that calls `stock` and others.
struct Scene {
    registry: Registry,
    shard: Shard,
    publisher: Publisher,
    gatherer: Gatherer,
    clusters: Vec<Arc<ClusterSlot>>,
    /// What was told at the start.
    started: Vec<Json>,
}

const START: Duration = Duration::from_secs(1_700_000_000);

fn settings() -> Settings {
    Settings {
        target: Target::Stdout,
        namespace: "Outrigger".into(),
        interval: Duration::from_secs(60),
        resolution: 60,
        selection: Selection::default(),
        dimensions: Dimensions::MESH,
        prefix: String::new(),
        max_series: 200,
        log_group: None,
    }
}

impl Scene {
    fn new(settings: Settings, platform: Platform) -> Self {
        let registry = Registry::new();
        let (publisher, snapshots) = publish::channel();
        let world = World {
            registry: registry.clone(),
            mesh: Reader::new(snapshots, Identity::parse("mesh/shop/virtualNode/cart")),
            stats_config: Arc::default(),
            node_cluster: "cart".into(),
            place: Place::known(platform),
        };
        let outcome = Outcome { stats: EmfStats::register(&registry), shard: registry.shared().clone() };
        let mut gatherer = Gatherer::new(world, settings, outcome);
        let started = gatherer.started(START).iter().map(|document| check(document)).collect();
        Self { shard: registry.shard(), registry, publisher, gatherer, clusters: Vec::new(), started }
    }

    /// Publishes clusters to these nodes behind the service `<node>.local`, and an inbound listener.
    fn publish(&mut self, nodes: &[&str]) -> Vec<ClusterStats> {
        let slot = |node: &&str| {
            let name = format!("cds_egress_shop_{node}_http_8080");
            let config = Arc::new(cluster(&self.registry, &name));
            Arc::new(ClusterSlot { config, hosts: Arc::new(HostSet::default()) })
        };
        self.clusters = nodes.iter().map(slot).collect();
        self.publish_inbound(&[("ingress", 15000)]);
        self.clusters.iter().map(|slot| slot.config.stats.clone()).collect()
    }

    /// Publishes listeners on these ports, with connection managers of these prefixes.
    fn publish_inbound(&mut self, managers: &[(&str, u16)]) {
        let slot = |(stat_prefix, port): &(&str, u16)| {
            let config = Arc::new(listener(&self.registry, stat_prefix, *port));
            Some(Arc::new(ListenerSlot { config, sockets: None }))
        };
        self.publisher.publish(Snapshot {
            clusters: self.clusters.iter().cloned().map(Some).collect(),
            listeners: managers.iter().map(slot).collect(),
            ..Snapshot::default()
        });
    }

    fn flush(&mut self) -> Vec<Json> {
        self.flush_at(START)
    }

    fn flush_at(&mut self, timestamp: Duration) -> Vec<Json> {
        let documents = self.gatherer.documents(timestamp);
        documents.iter().map(|document| check(document)).collect()
    }

    fn request(&self, to: &ClusterStats, status: u16) {
        self.shard.inc(to.upstream_rq_total);
        self.shard.record(to.upstream_rq_time, 12);
        to.count_response(&self.shard, status, true);
    }
}

/// What is logged meanwhile, as text.
pub(super) fn logged(run: impl FnOnce()) -> String {
    struct Page(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let page = Arc::new(Mutex::new(Vec::new()));
    let writer = page.clone();
    let subscriber =
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || Page(writer.clone())).finish();
    tracing::subscriber::with_default(subscriber, run);
    let told = page.lock().unwrap().clone();
    String::from_utf8(told).unwrap()
}

fn of<'d>(documents: &'d [Json], dimension: &str, value: &str) -> Option<&'d Json> {
    documents.iter().find(|document| document.get(dimension).and_then(Json::as_str) == Some(value))
}

#[test]
fn a_minute_of_traffic_is_told_with_the_names_of_the_dashboards() {
    let mut scene = Scene::new(settings(), Platform { task_id: "0123".into(), ..Platform::default() });
    let stats = scene.publish(&["stock", "idle"]);
    let address = "0.0.0.0:15000".parse().unwrap();
    let inbound = ListenerStats::for_address(&scene.registry, address);
    let manager = HttpStats::for_manager(&scene.registry, "ingress", address);
    scene.shard.inc(inbound.downstream_cx_total);
    scene.shard.gauge_add(inbound.downstream_cx_active, 1);
    scene.shard.add(manager.downstream_cx_rx_bytes_total, 100);
    scene.shard.add(manager.downstream_cx_tx_bytes_total, 23);
    scene.shard.add(manager.downstream_rq_total, 4);
    // The manager's own count of connections is not the listener's.
    scene.shard.inc(manager.downstream_cx_total);
    [200, 200, 204, 503].iter().for_each(|status| scene.request(&stats[0], *status));
    let documents = scene.flush();
    assert_eq!(documents.len(), 2, "what was not called is silent");
    let node = documents.iter().find(|document| document.get("RequestCount").is_some()).unwrap();
    assert_eq!(
        (&node["Mesh"], &node["VirtualNode"], &node["TaskId"]),
        (&"shop".into(), &"cart".into(), &"0123".into())
    );
    for (metric, value) in [
        ("RequestCount", 4),
        ("NewConnectionCount", 1),
        ("ActiveConnectionCount", 1),
        ("ProcessedBytes", 123),
    ] {
        assert_eq!(node[metric], value, "{metric}");
    }
    let target = of(&documents, "TargetVirtualNode", "stock").unwrap();
    assert_eq!(target["RequestCountPerTarget"], 4);
    assert_eq!(
        (&target["HTTPCode_Target_2XX_Count"], &target["HTTPCode_Target_5XX_Count"]),
        (&3.into(), &1.into())
    );
    assert_eq!(
        (&target["TargetResponseTime"]["Values"][0], &target["TargetResponseTime"]["Counts"][0]),
        (&12.into(), &4.into())
    );
    let sets = &target["_aws"]["CloudWatchMetrics"][0]["Dimensions"];
    assert_eq!(sets[0], serde_json::json!(["Mesh", "VirtualNode"]));
    assert_eq!(sets[1], serde_json::json!(["Mesh", "VirtualNode", "TargetVirtualNode"]));
    let next = scene.flush();
    assert_eq!(next.len(), 1, "then only the node's own zeros are told");
    assert_eq!((&next[0]["RequestCount"], &next[0]["ActiveConnectionCount"]), (&0.into(), &1.into()));
}

#[test]
fn a_removed_cluster_is_told_to_its_end_and_a_reset_changes_nothing() {
    let mut scene = Scene::new(settings(), Platform::default());
    let stats = scene.publish(&["stock"]);
    scene.request(&stats[0], 200);
    scene.flush();
    scene.request(&stats[0], 200);
    scene.registry.reset_counters();
    drop(stats);
    scene.publish(&[]);
    let documents = scene.flush();
    assert_eq!(of(&documents, "TargetVirtualNode", "stock").unwrap()["RequestCountPerTarget"], 1);
    assert!(of(&scene.flush(), "TargetVirtualNode", "stock").is_none());
}

#[test]
fn a_target_that_is_silent_takes_no_place_of_anothers() {
    let mut scene = Scene::new(Settings { max_series: 2, ..settings() }, Platform::default());
    let stats = scene.publish(&["a", "b", "c", "d"]);
    for node in [2, 3] {
        scene.request(&stats[node], 200);
        scene.flush();
    }
    scene.request(&stats[0], 200);
    [2, 3].into_iter().for_each(|node| scene.request(&stats[node], 200));
    let documents = scene.flush();
    let requests =
        |node| of(&documents, "TargetVirtualNode", node).map(|document| &document["RequestCountPerTarget"]);
    assert_eq!((requests("c"), requests("d")), (Some(&1.into()), Some(&1.into())));
    assert_eq!((requests("a"), requests("other")), (None, Some(&1.into())));
}

#[test]
fn targets_beyond_the_cap_are_one() {
    let mut scene = Scene::new(Settings { max_series: 2, ..settings() }, Platform::default());
    let stats = scene.publish(&["a", "b", "c", "d"]);
    stats.iter().for_each(|stats| scene.request(stats, 200));
    let documents = scene.flush();
    let requests =
        |node| of(&documents, "TargetVirtualNode", node).map(|document| &document["RequestCountPerTarget"]);
    assert_eq!((requests("a"), requests("b"), requests("c")), (Some(&1.into()), Some(&1.into()), None));
    assert_eq!(requests("other"), Some(&2.into()));
    let view = scene.registry.view();
    let folded = view.value(view.find("emf.series_folded").unwrap());
    assert_eq!(folded, crate::stats::view::Value::Gauge(2));
}

#[test]
fn families_of_dimensions_and_statistics_are_added_on_request() {
    let wanted = Settings {
        dimensions: Dimensions::parse("mesh,service-connect,container-insights").unwrap(),
        selection: Selection::parse("default,envoy_cluster_upstream_rq_xx").unwrap(),
        prefix: "envoy_appmesh_".into(),
        resolution: 1,
        ..settings()
    };
    let platform = Platform {
        cluster_name: "prod".into(),
        service_name: "cart-service".into(),
        task_family: "cart-task".into(),
        ..Platform::default()
    };
    let mut scene = Scene::new(wanted, platform);
    let stats = scene.publish(&["stock"]);
    scene.request(&stats[0], 404);
    let documents = scene.flush();
    let target = of(&documents, "TargetDiscoveryName", "stock").unwrap();
    assert_eq!(target["envoy_appmesh_HTTPCode_Target_4XX_Count"], 1);
    let directive = &target["_aws"]["CloudWatchMetrics"][0];
    assert_eq!(directive["Metrics"][0]["StorageResolution"], 1);
    let sets = directive["Dimensions"].to_string();
    assert!(sets.contains(r#"["TargetDiscoveryName","ServiceName","ClusterName"]"#), "{sets}");
    assert!(sets.contains(r#"["ClusterName","TaskDefinitionFamily"]"#), "{sets}");
    let raw =
        documents.iter().find(|document| document.get("envoy_cluster_upstream_rq_xx").is_some()).unwrap();
    assert_eq!(raw["envoy_cluster_name"], "cds_egress_shop_stock_http_8080");
    assert_eq!(raw["envoy_response_code_class"], "4");
}

#[test]
fn flushes_fall_on_whole_intervals() {
    let boundary =
        |now: u64, interval| next_boundary(Duration::from_millis(now), Duration::from_secs(interval));
    assert_eq!(boundary(1_700_000_000_123, 60), Duration::from_millis(1_700_000_040_000));
    assert_eq!(boundary(1_700_000_040_000, 60), Duration::from_millis(1_700_000_100_000));
    assert_eq!(boundary(999, 1), Duration::from_secs(1));
}
