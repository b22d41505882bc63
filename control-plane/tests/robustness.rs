//! Whatever a file holds, loading ends with findings, never with a panic, and in bounded time.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use outrigger::diagnostics::Report;
use outrigger::graph::Graph;
use outrigger::source::files::SourceFile;
use outrigger::source::{LoadOptions, load};
use outrigger::translate::{TranslateOptions, translate};
use proptest::prelude::*;

const SEEDS: [&str; 3] = [
    include_str!("../examples/mesh.yaml"),
    include_str!("../examples/task-definition.json"),
    include_str!("golden/shop.yaml"),
];

/// Loads, checks and translates for every proxy.
fn digest(text: &str) -> Report {
    let file = SourceFile { name: "f".into(), text: text.into(), named: true };
    let loaded = load(&[file], &LoadOptions::default());
    let mut report = loaded.report;
    let graph = Graph::build(loaded.definitions, &loaded.sidecars, &mut report);
    for id in graph.proxies() {
        if let Ok(proxy) = graph.resolve(&id.to_string()) {
            translate(&graph, &proxy, &TranslateOptions::default(), &mut report);
        }
    }
    report
}

/// Words that steer a random text into the loader's corners.
const WORDS: &[&str] = &[
    "Resources:",
    "Type:",
    "AWS::AppMesh::Mesh",
    "Properties:",
    "!Ref",
    "!Sub",
    "!GetAtt",
    "!If",
    "${",
    "}",
    "[",
    "]",
    "{",
    "\n",
    "\n  ",
    "\n    ",
    "- ",
    "&a",
    "*a",
    "<<:",
    "'",
    "\"",
    "MeshName:",
    "x",
    ",",
    ": ",
    "spec:",
    "apiVersion:",
];

fn word() -> impl Strategy<Value = String> {
    prop_oneof![proptest::sample::select(WORDS).prop_map(str::to_owned), "\\PC{0,4}"]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_text(words in prop::collection::vec(word(), 0..60)) {
        digest(&words.concat());
    }

    #[test]
    fn damaged_definitions(seed in 0..SEEDS.len(), at in any::<prop::sample::Index>(), with in word(), cut in 0usize..40) {
        let text: Vec<char> = SEEDS[seed].chars().collect();
        let start = at.index(text.len());
        let end = (start + cut).min(text.len());
        let damaged: String = text[..start].iter().copied().chain(with.chars()).chain(text[end..].iter().copied()).collect();
        digest(&damaged);
    }
}
