//! Arbitrary files of definitions: findings that lie in the file, and resources that a proxy takes.

#![allow(clippy::panic, reason = "what does not hold is a finding")]

use std::collections::BTreeMap;

use outrigger_xds_protos::validate::check;

use crate::diagnostics::{Report, to_json};
use crate::graph::Graph;
use crate::source::files::SourceFile;
use crate::source::{LoadOptions, load};
use crate::translate::{Resources, TranslateOptions, translate};

/// The text of a file.
pub fn definitions(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (report, served) = digest(text);
    let lines = text.lines().count() as u32 + 1;
    for finding in report.sorted() {
        let at = &finding.at;
        assert!(at.line >= 1 && at.column >= 1 && at.line <= lines, "{finding}, of {lines} lines");
        assert!(!finding.message.is_empty() && !finding.message.contains('\n'), "{:?}", finding.message);
    }
    // The same text says the same: replicas that read it serve the same.
    let (again, same) = digest(text);
    assert_eq!(to_json(&report, &BTreeMap::new()).ok(), to_json(&again, &BTreeMap::new()).ok());
    assert!(served == same, "other resources the second time");
    served.iter().for_each(taken);
}

/// What is found, and what each proxy would be served.
fn digest(text: &str) -> (Report, Vec<Resources>) {
    let file = SourceFile { name: "f".into(), text: text.into(), named: true };
    let loaded = load(&[file], &LoadOptions::default());
    let mut report = loaded.report;
    let graph = Graph::build(loaded.definitions, &loaded.sidecars, &mut report);
    let mut served = Vec::new();
    for id in graph.proxies() {
        let Ok(proxy) = graph.resolve(&id.to_string()) else { panic!("{id} is not known by its own name") };
        served.extend(translate(&graph, &proxy, &TranslateOptions::default(), &mut report));
    }
    (report, served)
}

/// Nothing that is served is against the constraints of the API, which proxies check.
fn taken(resources: &Resources) {
    let Resources { listeners, routes, clusters, endpoints } = resources;
    let verdicts = listeners.iter().map(|(name, one)| (name, check(one)));
    let verdicts = verdicts.chain(routes.iter().map(|(name, one)| (name, check(one))));
    let verdicts = verdicts.chain(clusters.iter().map(|(name, one)| (name, check(one))));
    let verdicts = verdicts.chain(endpoints.iter().map(|(name, one)| (name, check(one))));
    for (name, verdict) in verdicts {
        if let Err(violation) = verdict {
            panic!("{name:?} would be refused by proxies: {violation}");
        }
    }
}
