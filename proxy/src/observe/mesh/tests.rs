use std::sync::Arc;

use super::*;
use crate::base::ids::ClusterId;
use crate::config::cluster::{Cluster, HostSet};
use crate::config::listener::{Direction, Listener, ListenerSlot, RouteSource};
use crate::config::route::{ClusterChoice, Forward, RouteTable, VirtualHost};
use crate::config::service::Service;
use crate::config::{ClusterSlot, Snapshot, test_world};
use crate::http::test_heads::{forward, settings};
use crate::stats::interval::Recorder;
use crate::stats::registry::Registry;
use crate::stats::scope::HttpStats;

pub(in crate::observe) fn cluster(registry: &Registry, name: &str) -> Cluster {
    test_world::cluster(registry, name, [1024; 4])
}

/// A listener on all addresses with one connection manager of this `stat_prefix`.
pub(in crate::observe) fn listener(registry: &Registry, stat_prefix: &str, port: u16) -> Listener {
    with_routes(registry, stat_prefix, port, RouteTable::default())
}

fn with_routes(registry: &Registry, stat_prefix: &str, port: u16, routes: RouteTable) -> Listener {
    let address = ([0, 0, 0, 0], port).into();
    let mut http = settings();
    http.stat_prefix = stat_prefix.into();
    http.stats = HttpStats::for_manager(registry, stat_prefix, address);
    http.routes = RouteSource::Inline(Arc::new(routes));
    Listener { address, chains: vec![test_world::chain(http)], ..test_world::listener(registry, address) }
}

fn host(name: &str, cluster: u32) -> VirtualHost {
    let service = Service { name: name.trim_matches('*').into(), ..Service::default() };
    let clusters = ClusterChoice::One(ClusterId(cluster));
    let route = test_world::route(Forward { clusters, service, ..forward() });
    VirtualHost { name: name.into(), routes: vec![route], ..VirtualHost::default() }
}

/// A node with a gRPC listener that calls `a` by one service, `b` by two, and something outside the mesh.
pub(super) fn snapshot(registry: &Registry) -> Snapshot {
    let ingress = RouteTable { name: "rds_ingress_grpc_8080".into(), ..RouteTable::default() };
    let egress = RouteTable {
        virtual_hosts: vec![host("a.local", 1), host("b.local", 2), host("b2.local", 2), host("*", 3)],
        ..RouteTable::default()
    };
    let mut outbound = with_routes(registry, "egress", 15001, egress);
    outbound.direction = Direction::Outbound;
    let names = [
        "cds_ingress_m_self_grpc_8080",
        "cds_egress_m_a_one_http_80",
        "cds_egress_m_b_tcp_81",
        "cds_egress_m_mesh-allow-all",
    ];
    let cluster = |name: &str| {
        let config = Arc::new(cluster(registry, name));
        Some(Arc::new(ClusterSlot { config, hosts: Arc::new(HostSet::default()) }))
    };
    let listeners = [with_routes(registry, "ingress", 15000, ingress), outbound];
    let slot = |config| Some(Arc::new(ListenerSlot { config: Arc::new(config), sockets: None }));
    Snapshot {
        clusters: names.into_iter().map(cluster).collect(),
        listeners: listeners.into_iter().map(slot).collect(),
        ..Snapshot::default()
    }
}

#[test]
fn identities_are_read_from_every_form() {
    let node = |id| Identity::parse(id).map(|own| (own.mesh, own.kind.dimension(), own.name));
    let cart = Some(("shop".to_owned(), "VirtualNode", "cart".to_owned()));
    assert_eq!(node("mesh/shop/virtualNode/cart"), cart);
    assert_eq!(node("mesh/shop@123456789012/virtualNode/cart"), cart);
    assert_eq!(node("arn:aws:appmesh:eu-west-1:123456789012:mesh/shop/virtualNode/cart"), cart);
    let gateway = node("mesh/shop/virtualGateway/edge").unwrap();
    assert_eq!(gateway.1, "VirtualGateway");
    assert_eq!((node("cart"), node("mesh/shop"), node("mesh/shop/route/r")), (None, None, None));
}

#[test]
fn every_statistic_counts_on_its_side_and_once() {
    let registry = Registry::new();
    let snapshot = snapshot(&registry);
    let identity = Identity::parse("mesh/m/virtualNode/self").unwrap();
    let roles = Roles::new(&snapshot, Some(&identity));
    let side = |name: &str| roles.find(name).map(|(side, metrics)| (side.clone(), metrics.to_vec()));
    let target = |node: &str, service: Option<&str>| Side::Target {
        node: node.to_owned(),
        service: service.map(str::to_owned),
    };
    use Metric::*;
    for (name, expected) in [
        ("listener.0.0.0.0_15000.downstream_cx_total", Some((Side::Inbound, vec![NewConnectionCount]))),
        (
            "listener.0.0.0.0_15000.ssl.fail_verify_san",
            Some((Side::Inbound, vec![ClientTlsNegotiationErrorCount])),
        ),
        ("http.ingress.downstream_rq_total", Some((Side::Inbound, vec![GrpcRequestCount]))),
        ("http.ingress.downstream_cx_tx_bytes_total", Some((Side::Inbound, vec![ProcessedBytes]))),
        ("http.ingress.downstream_cx_total", None),
        ("http.egress.downstream_rq_total", None),
        ("listener.0.0.0.0_15001.downstream_cx_total", None),
        ("cluster.cds_egress_m_a_one_http_80.upstream_rq_total", None),
        ("cluster.cds_ingress_m_self_grpc_8080.upstream_rq_completed", None),
        (
            "cluster.cds_egress_m_a_one_http_80.upstream_rq_completed",
            Some((target("a_one", Some("a.local")), vec![RequestCountPerTarget])),
        ),
        ("cluster.cds_egress_m_b_tcp_81.upstream_rq_5xx", Some((target("b", None), vec![Target5xx]))),
        ("cluster.cds_egress_m_b_tcp_81.external.upstream_rq_5xx", None),
        (
            "cluster.cds_egress_m_mesh-allow-all.upstream_cx_rx_bytes_total",
            Some((target("mesh-allow-all", None), vec![TargetProcessedBytes])),
        ),
    ] {
        assert_eq!(side(name), expected, "{name}");
    }
}

#[test]
fn a_listener_with_a_name_of_its_own_counts_its_connections() {
    let registry = Registry::new();
    let named = Listener { stats_prefix: "listener.edge.".into(), ..listener(&registry, "ingress", 15000) };
    let slot = ListenerSlot { config: Arc::new(named), sockets: None };
    let snapshot = Snapshot { listeners: vec![Some(Arc::new(slot))], ..Snapshot::default() };
    let roles = Roles::new(&snapshot, None);
    let found =
        roles.find("listener.edge.downstream_cx_total").map(|(side, metrics)| (side.clone(), metrics));
    assert_eq!(found, Some((Side::Inbound, &[Metric::NewConnectionCount][..])));
}

#[test]
fn clusters_of_one_node_are_one_target() {
    let registry = Registry::new();
    let snapshot = Snapshot {
        clusters: ["cds_egress_m_a_http_80", "cds_egress_m_a_grpc_81"]
            .map(|name| {
                let config = Arc::new(cluster(&registry, name));
                Some(Arc::new(ClusterSlot { config, hosts: Arc::new(HostSet::default()) }))
            })
            .into(),
        ..Snapshot::default()
    };
    let identity = Identity::parse("mesh/m/virtualNode/self").unwrap();
    let roles = Roles::new(&snapshot, Some(&identity));
    let shard = registry.shard();
    for slot in snapshot.clusters.iter().flatten() {
        slot.config.stats.count_response(&shard, 200, true);
        shard.record(slot.config.stats.upstream_rq_time, 5);
    }
    let told = metrics(&Recorder::new(&registry).advance(), &roles, &Roles::default());
    let target = &told[&Side::Target { node: "a".into(), service: None }];
    assert_eq!(target[&Metric::RequestCountPerTarget], Change::Counter(2));
    assert!(matches!(&target[&Metric::TargetResponseTime], Change::Histogram(times) if times.count() == 2));
    assert_eq!(told[&Side::Inbound][&Metric::RequestCount], Change::Counter(0));
}

/// Every `MetricName` in a shipped template that is not CloudWatch's own.
fn names_in(template: &str) -> Vec<String> {
    let quoted = template.replace("\\\\\"", "\"").replace("\\\"", "\"");
    let name = |found: &str| {
        let rest = found.trim_start_matches([' ', ':', '=', '"', '\\']);
        let end = rest.find(|char: char| !char.is_ascii_alphanumeric() && char != '_').unwrap_or(rest.len());
        rest[..end].to_owned()
    };
    quoted.split("MetricName").skip(1).map(name).collect()
}

#[test]
fn every_metric_of_the_shipped_templates_is_one_of_ours() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docker/dashboards");
    for (file, least) in
        [("cloudwatch-dashboard.json", 12), ("cloudwatch-alarms.json", 7), ("ecs-cpu-alarm.yaml", 1)]
    {
        let text = std::fs::read_to_string(folder.join(file)).unwrap();
        let names = names_in(&text);
        assert!(names.len() >= least, "{names:?}");
        for name in names {
            let ours = Metric::ALL.iter().any(|metric| metric.name() == name);
            let of_others = ["EMFValidationErrors", "CPUUtilization"].contains(&&*name);
            assert!(ours || of_others, "{file}: {name}");
        }
    }
}
