use super::*;
use crate::snapshot::{Builder, TypeUrl};
use crate::source::files::SourceFile;
use crate::source::{LoadOptions, load};

const MESH: &str = include_str!("../../examples/mesh.yaml");

fn source(text: &str) -> (Option<MeshSource>, Report) {
    let file = SourceFile { name: "mesh.yaml".into(), text: text.into(), named: true };
    let loaded = load(&[file], &LoadOptions::default());
    let mut report = loaded.report;
    let graph = Graph::build(loaded.definitions, &loaded.sidecars, &mut report);
    let source = MeshSource::new(graph, |_| TranslateOptions::default(), &mut report);
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
    let all = ids.map(|id| source.resources(id).unwrap());
    assert!(all.iter().all(|r| *r == all[0]));
    let types: Vec<&str> = all[0].iter().map(|(type_url, _)| type_url.short()).collect();
    assert!(types.starts_with(&["CDS"]) && types.ends_with(&["LDS", "RDS"]), "{types:?}");
    let b = source.resources("microservice-b").unwrap();
    assert_ne!(b, all[0]);
}

#[test]
fn what_it_gives_is_whole() {
    let source = source(MESH).0.unwrap();
    for id in source.node_ids() {
        let snapshot = Builder::default().build(&source.resources(id).unwrap()).unwrap();
        assert!(snapshot.dangling().is_empty(), "{id}: {:?}", snapshot.dangling());
        assert!(!snapshot.get(&TypeUrl::LISTENER).is_empty());
    }
}

#[test]
fn strangers_are_told_why_and_who_is_known() {
    let source = source(MESH).0.unwrap();
    let text = source.resources("mesh/cloud-native-mesh/virtualNode/typo").unwrap_err().to_string();
    assert!(text.contains("no virtual node \"typo\""), "{text}");
    assert!(text.contains("mesh/cloud-native-mesh/virtualNode/microservice-a"), "{text}");
}

#[test]
fn definitions_with_errors_are_no_source() {
    let (none, report) = source(&MESH.replace("Port: 8080", "Port: 808000"));
    assert!(none.is_none() && report.has_errors());
}
