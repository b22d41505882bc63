use super::super::tests::snapshot;
use super::super::{Identity, Metric, Side, metrics};
use super::*;
use crate::config::Snapshot;
use crate::stats::interval::Recorder;
use crate::stats::registry::{Registry, Shard};
use crate::stats::scope::ClusterStats;

/// `a_one` behind `a.local`, `b` behind `b.local` and `b2.local`.
struct Scene {
    registry: Registry,
    shard: Shard,
    recorder: Recorder,
    roles: Roles,
    /// Keeps what is counted in, and so does the snapshot.
    services: Vec<ServiceStats>,
    _snapshot: Snapshot,
}

const A: &str = "cds_egress_m_a_one_http_80";
const B: &str = "cds_egress_m_b_tcp_81";

impl Scene {
    fn new() -> Self {
        let registry = Registry::new();
        let snapshot = snapshot(&registry);
        let roles = Roles::new(&snapshot, Identity::parse("mesh/m/virtualNode/self").as_ref());
        let (shard, recorder) = (registry.shard(), Recorder::new(&registry));
        Self { registry, shard, recorder, roles, services: Vec::new(), _snapshot: snapshot }
    }

    fn requests(&mut self, cluster: &str, service: &str, status: u16, count: usize) {
        let stats = ClusterStats::for_cluster(&self.registry, cluster);
        let of_service = ServiceStats::for_service(&self.registry, cluster, service);
        for _ in 0..count {
            stats.count_response(&self.shard, status, true);
            stats.record_time(&self.shard, 7, true);
            self.shard.status(of_service.upstream_rq, status);
            self.shard.record(of_service.upstream_rq_time, 7);
            self.shard.add(stats.upstream_cx_tx_bytes_total, 10);
        }
        self.services.push(of_service);
    }

    /// Requests, answers with 5xx, times and bytes, by node and service.
    fn told(&mut self) -> Vec<(String, Option<String>, [u64; 4])> {
        let interval = self.recorder.advance();
        let told = metrics(&interval, &self.roles, &Roles::default());
        let row = |(side, metrics): (Side, BTreeMap<Metric, Change>)| {
            let Side::Target { node, service } = side else { return None };
            let value = |metric| match metrics.get(&metric) {
                Some(Change::Counter(value)) => *value,
                Some(Change::Histogram(values)) => values.count(),
                _ => 0,
            };
            use Metric::{RequestCountPerTarget, Target5xx, TargetProcessedBytes, TargetResponseTime};
            let values =
                [RequestCountPerTarget, Target5xx, TargetResponseTime, TargetProcessedBytes].map(value);
            values.iter().any(|value| *value > 0).then_some((node, service, values))
        };
        told.into_iter().filter_map(row).collect()
    }
}

fn row(node: &str, service: Option<&str>, values: [u64; 4]) -> (String, Option<String>, [u64; 4]) {
    (node.to_owned(), service.map(str::to_owned), values)
}

#[test]
fn requests_of_services_that_share_a_node_are_told_apart_and_once() {
    let mut scene = Scene::new();
    scene.requests(B, "b.local", 200, 3);
    scene.requests(B, "b2.local", 503, 2);
    assert_eq!(
        scene.told(),
        [
            row("b", None, [0, 0, 0, 50]),
            row("b", Some("b.local"), [3, 0, 3, 0]),
            row("b", Some("b2.local"), [2, 2, 2, 0]),
        ]
    );
    assert_eq!(scene.told(), [], "nothing since");
    scene.requests(B, "b.local", 500, 1);
    assert_eq!(scene.told(), [row("b", None, [0, 0, 0, 10]), row("b", Some("b.local"), [1, 1, 1, 0])]);
}

#[test]
fn a_service_with_a_node_of_its_own_has_all_of_its_clusters() {
    let mut scene = Scene::new();
    scene.requests(A, "a.local", 200, 4);
    assert_eq!(scene.told(), [row("a_one", Some("a.local"), [4, 0, 4, 40])]);
    // That of a listener that takes requests for the node itself is no service.
    scene.requests(A, "a.local", 200, 2);
    scene.requests(A, "app", 500, 1);
    assert_eq!(
        scene.told(),
        [row("a_one", None, [1, 1, 1, 0]), row("a_one", Some("a.local"), [2, 0, 2, 30])]
    );
    // Requests of no service are the node's.
    scene.requests(A, "", 200, 1);
    assert_eq!(
        scene.told(),
        [row("a_one", None, [1, 0, 1, 0]), row("a_one", Some("a.local"), [0, 0, 0, 10])]
    );
}

#[test]
fn what_is_counted_by_service_is_no_statistic_of_its_own() {
    let mut scene = Scene::new();
    scene.requests(B, "b\u{1f}.local", 200, 1);
    let view = std::sync::Arc::new(scene.registry.view());
    let listed = view.stats(|_| true).map(|stat| view.name(stat));
    let sorted = view.sorted(|_| true).map(|(name, _)| name);
    assert!(listed.chain(sorted).all(|name| ServiceStats::parts(&name).is_none()));
    assert_eq!(scene.told(), [row("b", None, [1, 0, 1, 10])], "no route is of such a service");
}
