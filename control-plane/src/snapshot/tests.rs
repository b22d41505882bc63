//! Snapshots from sources, and the resources that other tests build them from.

use outrigger_xds_protos::any::{self, Typed};
use outrigger_xds_protos::v3::{self, wkt};
use v3::core::config_source::ConfigSourceSpecifier;

use super::*;

pub(crate) fn ads() -> Option<v3::core::ConfigSource> {
    let specifier = Some(ConfigSourceSpecifier::Ads(v3::core::AggregatedConfigSource {}));
    Some(v3::core::ConfigSource { config_source_specifier: specifier, ..Default::default() })
}

pub(crate) fn eds_cluster(name: &str, service: &str) -> v3::cluster::Cluster {
    let eds = v3::cluster::cluster::EdsClusterConfig { eds_config: ads(), service_name: service.into() };
    let kind = v3::cluster::cluster::DiscoveryType::Eds as i32;
    v3::cluster::Cluster {
        name: name.into(),
        cluster_discovery_type: Some(v3::cluster::cluster::ClusterDiscoveryType::Type(kind)),
        eds_cluster_config: Some(eds),
        ..Default::default()
    }
}

fn listener(name: &str, route: v3::hcm::http_connection_manager::RouteSpecifier) -> v3::listener::Listener {
    let manager = v3::hcm::HttpConnectionManager { route_specifier: Some(route), ..Default::default() };
    let config = Some(v3::listener::filter::ConfigType::TypedConfig(any::pack(&manager)));
    let filter = v3::listener::Filter { name: "http".into(), config_type: config };
    let chain = v3::listener::FilterChain { filters: vec![filter], ..Default::default() };
    v3::listener::Listener { name: name.into(), filter_chains: vec![chain], ..Default::default() }
}

fn rds(
    name: &str,
    source: Option<v3::core::ConfigSource>,
) -> v3::hcm::http_connection_manager::RouteSpecifier {
    let rds = v3::hcm::Rds { config_source: source, route_config_name: name.into() };
    v3::hcm::http_connection_manager::RouteSpecifier::Rds(rds)
}

fn build(resources: &NodeResources) -> NodeSnapshot {
    Builder::default().build(resources).unwrap()
}

fn children(snapshot: &NodeSnapshot, type_url: &TypeUrl, name: &str) -> Vec<String> {
    snapshot.get(type_url).get(name).unwrap().children.iter().map(ToString::to_string).collect()
}

/// A cluster with many map entries, in the order of a fresh hash map.
fn cluster_with_metadata() -> v3::cluster::Cluster {
    let entry = |i: usize| (format!("filter{i}"), wkt::Struct::default());
    let metadata = v3::core::Metadata { filter_metadata: (0..30).map(entry).collect(), ..Default::default() };
    v3::cluster::Cluster { metadata: Some(metadata), ..eds_cluster("a", "") }
}

#[test]
fn replicas_give_equal_content_equal_versions_and_bytes() {
    let replica = || {
        let mut resources = NodeResources::default();
        resources.insert("a", &cluster_with_metadata());
        build(&resources)
    };
    let first = replica();
    for _ in 0..10 {
        let other = replica();
        assert!(first.same_content(&other));
        assert_eq!(first.get(&TypeUrl::CLUSTER).get("a"), other.get(&TypeUrl::CLUSTER).get("a"));
    }
}

#[test]
fn versions_differ_by_content_and_by_name() {
    let version = |name: &str, cluster: &v3::cluster::Cluster| {
        let mut resources = NodeResources::default();
        resources.insert(name, cluster);
        build(&resources).get(&TypeUrl::CLUSTER).version()
    };
    let one = version("a", &eds_cluster("a", ""));
    assert_ne!(one, version("a", &eds_cluster("a", "other")));
    assert_ne!(one, version("b", &eds_cluster("a", "")));
    assert_eq!(one, version("a", &eds_cluster("a", "")));
    assert_ne!(one, TypeSnapshot::new([]).version());
}

#[test]
fn versions_are_read_back_and_strangers_are_not() {
    let version = Version::of(b"content");
    let text = version.to_string();
    assert_eq!(text.len(), 32);
    assert_eq!(Version::parse(&text), Some(version));
    for stranger in
        ["", "1", "v1:2:3", &text.to_uppercase(), &text[1..], &format!("{text}0"), "+".repeat(32).as_str()]
    {
        assert_eq!(Version::parse(stranger), None, "{stranger}");
    }
}

#[test]
fn resources_carry_their_message_and_type() {
    let mut resources = NodeResources::default();
    resources.insert("a", &eds_cluster("a", ""));
    let snapshot = build(&resources);
    let resource = snapshot.get(&TypeUrl::CLUSTER).get("a").unwrap();
    let any: wkt::Any = prost::Message::decode(resource.any.clone()).unwrap();
    assert_eq!(any::unpack(&any), Ok(eds_cluster("a", "")));
}

#[test]
fn unchanged_resources_are_shared_between_nodes_and_states() {
    let builder = Builder::default();
    let mut resources = NodeResources::default();
    resources.insert("a", &eds_cluster("a", ""));
    let first = builder.build(&resources).unwrap();
    resources.insert("b", &eds_cluster("b", ""));
    let second = builder.build(&resources).unwrap();
    let get = |snapshot: &NodeSnapshot| Arc::clone(snapshot.get(&TypeUrl::CLUSTER).get("a").unwrap());
    assert!(Arc::ptr_eq(&get(&first), &get(&second)));
    drop((first, second));
    builder.sweep();
    builder.build(&resources).unwrap();
}

#[test]
fn references_follow_eds_and_rds_over_ads_only() {
    let mut resources = NodeResources::default();
    resources.insert("own-name", &eds_cluster("own-name", ""));
    resources.insert("service", &eds_cluster("service", "endpoints"));
    let file = v3::cluster::cluster::EdsClusterConfig { eds_config: None, service_name: "x".into() };
    resources
        .insert("file", &v3::cluster::Cluster { eds_cluster_config: Some(file), ..eds_cluster("file", "") });
    resources.insert("static", &v3::cluster::Cluster { name: "static".into(), ..Default::default() });
    resources.insert("by-name", &listener("by-name", rds("routes", ads())));
    resources.insert("elsewhere", &listener("elsewhere", rds("routes", None)));
    let snapshot = build(&resources);
    assert_eq!(children(&snapshot, &TypeUrl::CLUSTER, "own-name"), ["EDS \"own-name\""]);
    assert_eq!(children(&snapshot, &TypeUrl::CLUSTER, "service"), ["EDS \"endpoints\""]);
    assert!(children(&snapshot, &TypeUrl::CLUSTER, "file").is_empty());
    assert!(children(&snapshot, &TypeUrl::CLUSTER, "static").is_empty());
    assert_eq!(children(&snapshot, &TypeUrl::LISTENER, "by-name"), ["RDS \"routes\""]);
    assert!(children(&snapshot, &TypeUrl::LISTENER, "elsewhere").is_empty());
}

#[test]
fn dangling_references_are_found() {
    let mut resources = NodeResources::default();
    resources.insert("a", &eds_cluster("a", ""));
    resources.insert("in", &listener("in", rds("routes", ads())));
    let dangling: Vec<String> = build(&resources).dangling().iter().map(ToString::to_string).collect();
    assert_eq!(dangling, ["EDS \"a\"", "RDS \"routes\""]);
    let endpoints = v3::endpoint::ClusterLoadAssignment { cluster_name: "a".into(), ..Default::default() };
    resources.insert("a", &endpoints);
    resources
        .insert("routes", &v3::route::RouteConfiguration { name: "routes".into(), ..Default::default() });
    assert!(build(&resources).dangling().is_empty());
}

#[test]
fn what_is_not_a_message_of_its_type_is_refused_by_name() {
    let mut resources = NodeResources::default();
    resources.insert_encoded(TypeUrl::CLUSTER, "broken", b"\x0a\xff".to_vec());
    let error = Builder::default().build(&resources).unwrap_err().to_string();
    assert!(error.contains("CDS \"broken\": "), "{error}");
}

#[test]
fn types_are_ordered_as_they_are_pushed() {
    let mut types = [
        "type.googleapis.com/z.Unknown",
        v3::route::RouteConfiguration::TYPE_URL,
        v3::listener::Listener::TYPE_URL,
        "type.googleapis.com/a.Unknown",
        v3::tls::Secret::TYPE_URL,
        v3::endpoint::ClusterLoadAssignment::TYPE_URL,
        v3::cluster::Cluster::TYPE_URL,
    ]
    .map(TypeUrl::new);
    types.sort();
    assert_eq!(types.each_ref().map(TypeUrl::short), ["CDS", "EDS", "SDS", "LDS", "RDS", "other", "other"]);
    assert_eq!(types.each_ref().map(TypeUrl::label)[5..], ["Unknown", "Unknown"]);
}

#[test]
fn an_unknown_node_is_told_which_nodes_there_are() {
    let refuse = |known: &[&str]| UnknownNode::new("typo", "why", known.iter().copied()).to_string();
    assert_eq!(refuse(&[]), "unknown node id \"typo\": why; no nodes are defined");
    assert_eq!(refuse(&["a", "b"]), "unknown node id \"typo\": why; the nodes are a, b");
    let many: Vec<String> = (0..1000).map(|i| format!("n{i}")).collect();
    let text = UnknownNode::new(&"x".repeat(10_000), &"y".repeat(10_000), many).to_string();
    assert!(text.ends_with("n8, n9 and 990 more"), "{text}");
    assert!(text.len() < 800);
}
