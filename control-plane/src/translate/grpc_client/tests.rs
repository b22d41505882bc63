use outrigger_xds_protos::json::{self, Secrets};
use outrigger_xds_protos::{any, validate};
use serde_json::Value;

use super::*;
use crate::source::files::SourceFile;
use crate::source::{LoadOptions, load};

/// A caller of one service for each protocol, and of one with TLS; a gRPC service with two targets and a policy.
const MESH: &str = r#"[
  {"meshName": "m", "virtualNodeName": "caller", "spec": {"backends": [
    {"virtualService": {"virtualServiceName": "rpc.local"}},
    {"virtualService": {"virtualServiceName": "web.local"}},
    {"virtualService": {"virtualServiceName": "safe.local", "clientPolicy": {"tls": {
      "validation": {"trust": {"file": {"certificateChain": "/ca.pem"}}}}}}}]}},
  {"meshName": "m", "virtualServiceName": "rpc.local", "spec": {"provider": {"virtualRouter": {"virtualRouterName": "rpc"}}}},
  {"meshName": "m", "virtualServiceName": "web.local", "spec": {"provider": {"virtualNode": {"virtualNodeName": "web"}}}},
  {"meshName": "m", "virtualServiceName": "safe.local", "spec": {"provider": {"virtualNode": {"virtualNodeName": "one"}}}},
  {"meshName": "m", "virtualRouterName": "rpc", "spec": {"listeners": [{"portMapping": {"port": 9000, "protocol": "grpc"}}]}},
  {"meshName": "m", "virtualRouterName": "rpc", "routeName": "all", "spec": {"grpcRoute": {
    "match": {"serviceName": "pkg.Quotes"},
    "timeout": {"perRequest": {"unit": "s", "value": 3}},
    "retryPolicy": {"maxRetries": 0, "perRetryTimeout": {"unit": "s", "value": 1}, "grpcRetryEvents": ["unavailable"]},
    "action": {"weightedTargets": [{"virtualNode": "one", "weight": 3}, {"virtualNode": "two", "weight": 1}]}}}},
  {"meshName": "m", "virtualNodeName": "one", "spec": {
    "listeners": [{"portMapping": {"port": 9001, "protocol": "grpc"}}],
    "serviceDiscovery": {"dns": {"hostname": "one.local", "responseType": "ENDPOINTS"}}}},
  {"meshName": "m", "virtualNodeName": "two", "spec": {
    "listeners": [{"portMapping": {"port": 9001, "protocol": "grpc"}}],
    "serviceDiscovery": {"awsCloudMap": {"namespaceName": "local", "serviceName": "two"}}}},
  {"meshName": "m", "virtualNodeName": "web", "spec": {
    "listeners": [{"portMapping": {"port": 80, "protocol": "http"}}],
    "serviceDiscovery": {"dns": {"hostname": "web.local"}}}},
  {"cloudMapInstances": [{"namespaceName": "local", "serviceName": "two", "attributes": {"AWS_INSTANCE_IPV4": "10.0.0.2"}}]}
]"#;

fn client() -> GrpcClient {
    let documents: Vec<Value> = serde_json::from_str(MESH).unwrap();
    let files: Vec<SourceFile> = documents
        .iter()
        .enumerate()
        .map(|(i, d)| SourceFile { name: format!("{i}.json"), text: d.to_string(), named: true })
        .collect();
    let loaded = load(&files, &LoadOptions::default());
    let mut report = loaded.report;
    let graph = Graph::build(loaded.definitions, &loaded.sidecars, &mut report);
    assert!(!report.has_errors(), "{:?}", report.sorted());
    let mesh = graph.meshes.values().next().unwrap();
    translate(&graph, mesh, &mesh.nodes["caller"], &TranslateOptions::default())
}

#[test]
fn targets_are_named_after_the_service_with_and_without_port() {
    let client = client();
    assert_eq!(client.resources.listeners.keys().collect::<Vec<_>>(), ["rpc.local", "rpc.local:9000"]);
    for listener in client.resources.listeners.values() {
        assert!(listener.address.is_none() && listener.filter_chains.is_empty());
        let manager = listener.api_listener.as_ref().unwrap().api_listener.as_ref().unwrap();
        let manager = json::print_any(manager, Secrets::Show);
        assert_eq!(manager["rds"]["route_config_name"], "rds_grpc_client_rpc.local_grpc_9000");
        assert_eq!(manager["http_filters"].as_array().unwrap().len(), 1);
    }
    let all = client.resources.clusters.values();
    all.for_each(|cluster| validate::check(cluster).unwrap());
}

#[test]
fn routes_are_those_of_a_proxy_in_the_fields_that_libraries_read() {
    let client = client();
    let routes = client.resources.routes.values().next().unwrap();
    let routes = json::print_any(&any::pack(routes), Secrets::Show);
    let host = &routes["virtual_hosts"][0];
    assert_eq!(host["domains"][0], "*");
    let route = &host["routes"][0];
    assert_eq!(route["match"]["prefix"], "/pkg.Quotes/");
    let action = &route["route"];
    assert_eq!(action["max_stream_duration"]["max_stream_duration"], "3s");
    assert!(action.get("retry_policy").is_none(), "a policy without retries would be refused");
    let weights: Vec<_> = action["weighted_clusters"]["clusters"].as_array().unwrap().iter().collect();
    assert_eq!((&weights[0]["weight"], &weights[1]["weight"]), (&3.into(), &1.into()));
}

#[test]
fn clusters_are_of_the_two_kinds_that_libraries_take() {
    let client = client();
    let kind = |name: &str| match client.resources.clusters[name].cluster_discovery_type {
        Some(ClusterDiscoveryType::Type(kind)) => DiscoveryType::try_from(kind).unwrap(),
        _ => panic!("{name}"),
    };
    assert_eq!(client.resources.clusters.len(), 2);
    assert_eq!(kind("cds_egress_m_one_grpc_9001"), DiscoveryType::LogicalDns);
    assert_eq!(kind("cds_egress_m_two_grpc_9001"), DiscoveryType::Eds);
    let endpoints = &client.resources.endpoints["cds_egress_m_two_grpc_9001"];
    assert!(endpoints.endpoints.iter().all(|l| l.locality.is_some() && l.load_balancing_weight.is_some()));
    assert_eq!(endpoints.endpoints.len(), 1);
}

#[test]
fn what_a_library_cannot_do_is_left_out_and_named() {
    let left_out = client().left_out;
    assert_eq!(left_out.len(), 2, "{left_out:?}");
    assert!(left_out[0].contains("web.local:80: it speaks http"), "{left_out:?}");
    assert!(left_out[1].contains("safe.local:9001: it is reached with TLS"), "{left_out:?}");
}
