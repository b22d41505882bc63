use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::ads::registry::Client;
use crate::ads::service::Variant;
use crate::diagnostics::Report;
use crate::graph::Graph;
use crate::mesh_source::MeshSource;
use crate::metrics::Metrics;
use crate::snapshot::{TypeUrl, Version};
use crate::source::files::SourceFile;
use crate::source::{LoadOptions, load};
use crate::translate::TranslateOptions;

const MESH: &str = include_str!("../../examples/mesh.yaml");
const A: &str = "mesh/cloud-native-mesh/virtualNode/microservice-a";

fn source() -> MeshSource {
    let file = SourceFile { name: "mesh.yaml".into(), text: MESH.into(), named: true };
    let loaded = load(&[file], &LoadOptions::default());
    let mut report = Report::default();
    let graph = Graph::build(loaded.definitions, &loaded.sidecars, &mut report);
    MeshSource::new(graph, |_| Some(TranslateOptions::default()), None, &mut report).unwrap()
}

fn registry() -> Arc<Registry> {
    Arc::new(Registry::new(Arc::new(Metrics::default())))
}

fn taken(source: &MeshSource, registry: &Registry, loads: &Loads) -> Value {
    serde_json::to_value(Picture::take(source, registry, loads, Instant::now())).unwrap()
}

fn node<'v>(picture: &'v Value, id: &str) -> &'v Value {
    picture["nodes"].as_array().unwrap().iter().find(|node| node["id"] == id).unwrap()
}

#[test]
fn definitions_alone_draw_nodes_and_calls() {
    let picture = taken(&source(), &registry(), &Loads::default());
    let a = node(&picture, A);
    assert_eq!((&a["state"], &a["sidecars"]), (&json!("absent"), &json!(0)));
    let edges = picture["edges"].as_array().unwrap();
    assert!(!edges.is_empty());
    for edge in edges {
        assert!(edge.get("traffic").is_none(), "nobody reports");
        let called = node(&picture, edge["to"].as_str().unwrap());
        assert!(!called["services"].as_array().unwrap().is_empty(), "{called}");
    }
}

#[test]
fn sidecars_show_what_they_have_and_refusals_stay_after_they_left() {
    let (source, registry) = (source(), registry());
    let loads = Loads::default();
    // The full ARN: another form of the same id.
    let arn = "arn:aws:appmesh:eu-west-1:111122223333:mesh/cloud-native-mesh/virtualNode/microservice-a";
    let stream = registry.register(Client {
        node_id: arn.into(),
        user_agent: String::new(),
        peer: "p".into(),
        variant: Variant::Delta,
        service: "ADS",
    });
    let state = |picture: &Value| node(picture, A)["state"].clone();
    stream.sent(&TypeUrl::CLUSTER, Version::of(b"1"));
    assert_eq!(state(&taken(&source, &registry, &loads)), "updating");
    stream.acked(&TypeUrl::CLUSTER);
    assert_eq!(state(&taken(&source, &registry, &loads)), "current");
    stream.sent(&TypeUrl::CLUSTER, Version::of(b"2"));
    stream.nacked(&TypeUrl::CLUSTER, "<b>no</b>".into());
    let picture = taken(&source, &registry, &loads);
    assert_eq!((state(&picture), &node(&picture, A)["reason"]), (json!("refused"), &json!("<b>no</b>")));
    drop(stream);
    let picture = taken(&source, &registry, &loads);
    assert_eq!((state(&picture), &picture["nacks"][0]["error"]), (json!("absent"), &json!("<b>no</b>")));
}

#[test]
fn refusals_are_bounded() {
    let registry = registry();
    let stream = registry.register(Client {
        node_id: "n".into(),
        user_agent: String::new(),
        peer: "p".into(),
        variant: Variant::Delta,
        service: "ADS",
    });
    stream.sent(&TypeUrl::CLUSTER, Version::of(b"1"));
    (0..200).for_each(|turn| stream.nacked(&TypeUrl::CLUSTER, format!("{turn}")));
    let nacks = registry.nacks();
    assert_eq!((nacks.len(), nacks[0].text.as_str()), (50, "199"));
}

#[test]
fn many_sidecars_with_long_refusals_are_a_short_list() {
    let (source, registry) = (source(), registry());
    let streams: Vec<_> = (0..100)
        .map(|_| {
            let stream = registry.register(Client {
                node_id: A.into(),
                user_agent: String::new(),
                peer: "p".into(),
                variant: Variant::Delta,
                service: "ADS",
            });
            stream.sent(&TypeUrl::CLUSTER, Version::of(b"1"));
            stream.nacked(&TypeUrl::CLUSTER, "\u{fc}".repeat(2000));
            stream
        })
        .collect();
    let picture = taken(&source, &registry, &Loads::default());
    let a = node(&picture, A);
    let listed = a["streams"].as_array().unwrap();
    assert_eq!((&a["sidecars"], listed.len()), (&json!(streams.len()), LISTED));
    assert_eq!(listed[0]["reason"].as_str().unwrap().len(), MAX_REASON);
}
