use super::*;
use crate::snapshot::Audience::{GrpcClient as Grpc, Proxy as Sidecar};
use crate::snapshot::{Builder, TypeUrl};
use crate::source::files::SourceFile;
use crate::source::{LoadOptions, load};

const MESH: &str = include_str!("../../examples/mesh.yaml");

fn source(text: &str) -> (Option<MeshSource>, Report) {
    source_after(text, None)
}

fn source_after(text: &str, before: Option<&MeshSource>) -> (Option<MeshSource>, Report) {
    let file = SourceFile { name: "mesh.yaml".into(), text: text.into(), named: true };
    let loaded = load(&[file], &LoadOptions::default());
    let mut report = loaded.report;
    let graph = Graph::build(loaded.definitions, &loaded.sidecars, &mut report);
    let source = MeshSource::new(graph, |_| Some(TranslateOptions::default()), before, &mut report);
    (source, report)
}

#[test]
fn every_form_of_an_id_gives_the_same_resources() {
    let source = source(MESH).0.unwrap();
    let ids = [
        "mesh/cloud-native-mesh/virtualNode/microservice-a",
        "arn:aws:appmesh:eu-west-1:111122223333:mesh/cloud-native-mesh/virtualNode/microservice-a",
        "mesh/cloud-native-mesh@111122223333/virtualNode/microservice-a",
        "microservice-a",
    ];
    let all = ids.map(|id| source.resources(id, Sidecar).unwrap());
    assert!(all.iter().all(|r| *r == all[0]));
    let types: Vec<&str> = all[0].iter().map(|(type_url, _)| type_url.short()).collect();
    assert!(types.starts_with(&["CDS"]) && types.ends_with(&["LDS", "RDS"]), "{types:?}");
    let b = source.resources("microservice-b", Sidecar).unwrap();
    assert_ne!(b, all[0]);
}

#[test]
fn what_it_gives_is_whole() {
    let source = source(MESH).0.unwrap();
    for id in source.node_ids() {
        let snapshot = Builder::default().build(&source.resources(id, Sidecar).unwrap()).unwrap();
        assert!(snapshot.dangling().is_empty(), "{id}: {:?}", snapshot.dangling());
        assert!(!snapshot.get(&TypeUrl::LISTENER).is_empty());
    }
}

#[test]
fn strangers_are_told_why_and_who_is_known() {
    let source = source(MESH).0.unwrap();
    let text = source.resources("mesh/cloud-native-mesh/virtualNode/typo", Sidecar).unwrap_err().to_string();
    assert!(text.contains("no virtual node \"typo\""), "{text}");
    assert!(text.contains("mesh/cloud-native-mesh/virtualNode/microservice-a"), "{text}");
}

#[test]
fn definitions_with_errors_are_no_source() {
    let (none, report) = source(&MESH.replace("Port: 8080", "Port: 808000"));
    assert!(none.is_none() && report.has_errors());
}

/// The example, whose microservice-b wants a certificate that nobody can fetch.
fn with_acm() -> String {
    let tls = "Listeners:
          - TLS: {Mode: STRICT, Certificate: {ACM: {CertificateArn: 'arn:aws:acm:eu-west-1:111122223333:certificate/c'}}}
            PortMapping:";
    let at = MESH.rfind("VirtualNodeName: microservice-b\n").unwrap();
    let (before, after) = MESH.split_at(at);
    let broken = after.replacen("Listeners:\n          - PortMapping:", tls, 1);
    assert_ne!(broken, after);
    // The caller must not need it too.
    format!("{before}{broken}").replace("        Backends:\n          - VirtualService:\n", "").replace(
        "              VirtualServiceName: microservice-b.default.svc.cluster.local\n  VirtualNodeB:",
        "  VirtualNodeB:",
    )
}

#[test]
fn a_proxy_that_cannot_be_translated_is_refused_by_name_and_no_other() {
    let (source, report) = source(&with_acm());
    let source = source.unwrap();
    assert!(report.has_errors());
    let refused: Vec<&str> = source.refused().keys().map(String::as_str).collect();
    assert_eq!(refused, ["mesh/cloud-native-mesh/virtualNode/microservice-b"]);
    assert!(source.resources("microservice-a", Sidecar).is_ok());
    let text = source.resources("microservice-b", Sidecar).unwrap_err().to_string();
    assert!(text.contains("microservice-b cannot be given") && text.contains("error[tls-acm]"), "{text}");
}

#[test]
fn a_proxy_that_cannot_be_translated_keeps_what_it_had_through_every_further_state() {
    let good = source(MESH).0.unwrap();
    let first = source_after(&with_acm(), Some(&good)).0.unwrap();
    let second = source_after(&with_acm(), Some(&first)).0.unwrap();
    for source in [&first, &second] {
        assert!(source.refused().values().all(|refused| refused.kept));
        let kept = source.resources("microservice-b", Sidecar).unwrap();
        assert_eq!(kept, good.resources("microservice-b", Sidecar).unwrap());
        let moved = source.resources("microservice-a", Sidecar).unwrap();
        assert_ne!(moved, good.resources("microservice-a", Sidecar).unwrap(), "the others are not held back");
    }
}

#[test]
fn grpc_clients_get_targets_by_the_names_of_services() {
    let text = MESH.replace("Protocol: http", "Protocol: http2").replace("HttpRoute", "Http2Route");
    let source = source(&text).0.unwrap();
    let resources = source.resources("microservice-a", Grpc).unwrap();
    let listeners = resources.iter().find(|(kind, _)| **kind == TypeUrl::LISTENER).unwrap().1;
    let name = "microservice-b.default.svc.cluster.local";
    assert_eq!(listeners.keys().collect::<Vec<_>>(), [name, &format!("{name}:8080")]);
    let snapshot = Builder::default().build(&resources).unwrap();
    assert!(snapshot.dangling().is_empty(), "{:?}", snapshot.dangling());
}
