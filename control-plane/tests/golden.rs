//! Translation against golden files: what each proxy of a mesh receives, as `outrigger show` prints it.
//!
//! `UPDATE_GOLDEN=1 cargo test -p outrigger --test golden` writes the files anew; read the difference.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use outrigger::cli::show::to_json;
use outrigger::diagnostics::Report;
use outrigger::graph::Graph;
use outrigger::source::files::gather;
use outrigger::source::{LoadOptions, load};
use outrigger::translate::{Listening, Resources, TranslateOptions, grpc_client, translate};
use outrigger_xds_protos::{json, validate};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn graph(files: &[&str]) -> Graph {
    let paths: Vec<PathBuf> = files.iter().map(|f| directory().join(f)).collect();
    let loaded = load(&gather(&paths).unwrap(), &LoadOptions::default());
    let mut report = loaded.report;
    let graph = Graph::build(loaded.definitions, &loaded.sidecars, &mut report);
    assert!(!report.has_errors(), "{:?}", report.sorted());
    graph
}

fn resources(graph: &Graph, node: &str, options: &TranslateOptions) -> Resources {
    let mut report = Report::default();
    let proxy = graph.resolve(node).unwrap();
    let resources = translate(graph, &proxy, options, &mut report);
    let resources = resources.unwrap_or_else(|| panic!("{node}: {:?}", report.sorted()));
    check(&resources);
    resources
}

/// What Envoy's own constraints say, and whether every name that is referred to exists.
fn check(resources: &Resources) {
    for r in resources.listeners.values() {
        validate::check(r).unwrap();
    }
    for r in resources.routes.values() {
        validate::check(r).unwrap();
    }
    for r in resources.clusters.values() {
        validate::check(r).unwrap();
    }
    for r in resources.endpoints.values() {
        validate::check(r).unwrap();
    }
    let all = to_json(resources);
    let (mut clusters, mut routes) = (Vec::new(), Vec::new());
    references(&all, &mut clusters, &mut routes);
    for name in clusters {
        assert!(resources.clusters.contains_key(&name), "no cluster {name}");
    }
    for name in routes {
        assert!(resources.routes.contains_key(&name), "no routes {name}");
    }
}

fn references(value: &serde_json::Value, clusters: &mut Vec<String>, routes: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(map) => {
            for (key, value) in map {
                match (key.as_str(), value.as_str()) {
                    ("cluster", Some(name)) => clusters.push(name.to_owned()),
                    ("route_config_name", Some(name)) => routes.push(name.to_owned()),
                    ("weighted_clusters", _) => {
                        let list = value["clusters"].as_array().unwrap();
                        clusters.extend(list.iter().map(|c| c["name"].as_str().unwrap().to_owned()));
                    }
                    _ => references(value, clusters, routes),
                }
            }
        }
        serde_json::Value::Array(list) => list.iter().for_each(|v| references(v, clusters, routes)),
        _ => {}
    }
}

fn compare(name: &str, resources: &Resources) {
    let path = directory().join(format!("{name}.golden.yaml"));
    let found = json::to_yaml(&to_json(resources));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    let line = found.lines().zip(wanted.lines()).position(|(a, b)| a != b).unwrap_or(wanted.lines().count());
    assert!(found == wanted, "{} differs from line {}; see UPDATE_GOLDEN", path.display(), line + 1);
}

#[test]
fn the_example_mesh() {
    let graph = graph(&["../../examples/mesh.yaml"]);
    for node in ["microservice-a", "microservice-b"] {
        compare(&format!("example.{node}"), &resources(&graph, node, &TranslateOptions::default()));
    }
}

#[test]
fn a_mesh_with_one_of_everything() {
    let graph = graph(&["shop.yaml", "shop-endpoints.yaml"]);
    for node in ["front", "secure", "rpc", "db", "edge"] {
        compare(&format!("shop.{node}"), &resources(&graph, node, &TranslateOptions::default()));
    }
}

#[test]
fn a_node_without_a_proxy() {
    let graph = graph(&["shop.yaml", "shop-endpoints.yaml"]);
    let mesh = graph.meshes.values().next().unwrap();
    let client = grpc_client(&graph, mesh, &mesh.nodes["front"], &TranslateOptions::default());
    check(&client.resources);
    compare("shop.front.grpc-client", &client.resources);
}

#[test]
fn dialled_directly_on_other_addresses() {
    let graph = graph(&["shop.yaml", "shop-endpoints.yaml"]);
    let options = TranslateOptions {
        listening: Listening::Explicit {
            ports: BTreeMap::from([(8080, 18080), (9090, 19090), (5433, 15433)]),
        },
        egress_port: 18001,
        bind_address: Some("127.0.0.1".parse().unwrap()),
        applications: BTreeMap::from([(8080, "127.0.0.1:28080".parse().unwrap())]),
        mesh_ca: false,
        private_ca: false,
        endpoints: BTreeMap::from([(("back-v1".to_owned(), 8081), vec!["127.0.0.1:38081".parse().unwrap()])]),
    };
    compare("shop.front.explicit", &resources(&graph, "front", &options));
}

#[test]
fn translation_is_repeatable() {
    let graph = graph(&["shop.yaml", "shop-endpoints.yaml"]);
    let once = resources(&graph, "edge", &TranslateOptions::default());
    assert_eq!(once, resources(&graph, "edge", &TranslateOptions::default()));
}

#[test]
fn what_cannot_be_provided_refuses_the_proxies_that_need_it_and_no_other() {
    let text = std::fs::read_to_string(directory().join("shop.yaml")).unwrap();
    let acm = "Certificate: {ACM: {CertificateArn: arn:aws:acm:r:1:certificate/c}}";
    let text = text.replace("Certificate: {SDS: {SecretName: secure-cert}}", acm);
    let file = outrigger::source::files::SourceFile { name: "m.yaml".into(), text, named: true };
    let loaded = load(&[file], &LoadOptions::default());
    let mut report = loaded.report;
    let graph = Graph::build(loaded.definitions, &loaded.sidecars, &mut report);
    assert!(!report.has_errors(), "a refused proxy is no error of the mesh");
    for (node, served) in [("secure", false), ("front", true), ("db", true)] {
        let mut report = Report::default();
        let resources =
            translate(&graph, &graph.resolve(node).unwrap(), &TranslateOptions::default(), &mut report);
        assert_eq!((resources.is_some(), report.has_errors()), (served, !served), "{node}");
    }
    let options = TranslateOptions { mesh_ca: true, ..TranslateOptions::default() };
    let mut report = Report::default();
    let issued = translate(&graph, &graph.resolve("secure").unwrap(), &options, &mut report).unwrap();
    check(&issued);
    assert!(to_json(&issued).to_string().contains("outrigger:identity"));
    assert!(report.sorted().iter().any(|finding| finding.code == "tls-mesh-ca"), "{:?}", report.sorted());
}

#[test]
fn addresses_follow_the_preference_of_node_and_mesh() {
    let mesh = |mesh: &str, node: &str| {
        let text = format!(
            "[{{meshName: m, spec: {{serviceDiscovery: {{ipPreference: {mesh}}}}}}},
              {{meshName: m, virtualNodeName: n, spec: {{
                listeners: [{{portMapping: {{port: 80, protocol: http}}}}],
                serviceDiscovery: {{dns: {{hostname: n.local{node}}}}},
                backends: [{{virtualService: {{virtualServiceName: s}}}}]}}}},
              {{meshName: m, virtualServiceName: s, spec: {{provider: {{virtualNode: {{virtualNodeName: n}}}}}}}}]"
        );
        let file = outrigger::source::files::SourceFile { name: "m.yaml".into(), text, named: true };
        let loaded = load(&[file], &LoadOptions::default());
        let mut report = loaded.report;
        let graph = Graph::build(loaded.definitions, &loaded.sidecars, &mut report);
        let all = to_json(&resources(&graph, "n", &TranslateOptions::default()));
        let socket = &all["listeners"][0]["address"]["socket_address"];
        let cluster = |prefix: &str| {
            let list = all["clusters"].as_array().unwrap();
            list.iter().find(|c| c["name"].as_str().unwrap().starts_with(prefix)).unwrap().clone()
        };
        let family = cluster("cds_egress_m_n")["dns_lookup_family"].as_str().unwrap_or("AUTO").to_owned();
        let local = &cluster("cds_ingress")["load_assignment"]["endpoints"][0]["lb_endpoints"][0];
        let local = local["endpoint"]["address"]["socket_address"]["address"].as_str().unwrap().to_owned();
        (socket["address"].as_str().unwrap().to_owned(), socket["ipv4_compat"] == true, family, local)
    };
    let wanted =
        |bind: &str, both, family: &str, local: &str| (bind.into(), both, family.into(), local.into());
    let v4 = ", ipPreference: IPv4_PREFERRED";
    assert_eq!(mesh("IPv6_ONLY", ""), wanted("::", true, "V6_ONLY", "::1"));
    assert_eq!(mesh("IPv6_PREFERRED", ""), wanted("::", true, "AUTO", "::1"));
    assert_eq!(mesh("IPv4_ONLY", ""), wanted("::", true, "V4_ONLY", "127.0.0.1"));
    assert_eq!(
        mesh("IPv6_ONLY", v4),
        wanted("::", true, "V4_PREFERRED", "127.0.0.1"),
        "the node's own counts"
    );
}

#[test]
fn a_route_whose_targets_are_defined_elsewhere_answers_unavailable() {
    let text =
        "[{meshName: m, virtualNodeName: n, spec: {backends: [{virtualService: {virtualServiceName: s}}]}},
        {meshName: m, virtualServiceName: s, spec: {provider: {virtualRouter: {virtualRouterName: r}}}},
        {meshName: m, virtualRouterName: r, spec: {listeners: [{portMapping: {port: 80, protocol: http}}]}},
        {meshName: m, virtualRouterName: r, routeName: x, spec: {httpRoute: {match: {prefix: /},
          action: {weightedTargets: [{virtualNode: gone, weight: 1}]}}}}]";
    let file = outrigger::source::files::SourceFile { name: "m.yaml".into(), text: text.into(), named: true };
    let loaded = load(&[file], &LoadOptions::default());
    let mut report = loaded.report;
    let graph = Graph::build(loaded.definitions, &loaded.sidecars, &mut report);
    let all = to_json(&resources(&graph, "n", &TranslateOptions::default()));
    assert_eq!(all["routes"][0]["virtual_hosts"][0]["routes"][0]["direct_response"]["status"], 503);
}
