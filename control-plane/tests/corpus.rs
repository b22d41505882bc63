//! Definitions that other people wrote for App Mesh must load as they are.
//!
//! The collection is not part of this project: it is looked for at `../shared/corpus` beside the workspace, or
//! at `OUTRIGGER_CORPUS`. Without it the test says so and passes, except in CI, where it must be there.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use outrigger::diagnostics::{Report, Severity};
use outrigger::graph::Graph;
use outrigger::source::files::{SourceFile, gather};
use outrigger::source::{LoadOptions, load};

fn corpus() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    let path = std::env::var_os("OUTRIGGER_CORPUS").map_or(beside, PathBuf::from);
    if path.join("index.json").is_file() {
        return Some(path);
    }
    assert!(std::env::var_os("CI").is_none(), "no corpus at {}; set OUTRIGGER_CORPUS", path.display());
    eprintln!("NOT RUN: no corpus at {}", path.display());
    None
}

#[derive(serde::Deserialize)]
struct Index {
    files: Vec<Entry>,
}

#[derive(serde::Deserialize)]
struct Entry {
    path: String,
    role: String,
    features: Features,
}

#[derive(serde::Deserialize)]
struct Features {
    kinds: BTreeMap<String, usize>,
}

fn templates(root: &Path) -> Vec<Entry> {
    let text = std::fs::read_to_string(root.join("index.json")).unwrap();
    let index: Index = serde_json::from_str(&text).unwrap();
    index.files.into_iter().filter(|f| f.path.starts_with("cloudformation/")).collect()
}

fn check(files: &[SourceFile]) -> (BTreeMap<&'static str, usize>, Report) {
    let loaded = load(files, &LoadOptions::default());
    let counts = loaded.definitions.counts();
    let mut report = loaded.report;
    Graph::build(loaded.definitions, &loaded.sidecars, &mut report);
    (counts, report)
}

fn errors(report: &Report) -> Vec<String> {
    report.sorted().iter().filter(|d| d.severity == Severity::Error).map(ToString::to_string).collect()
}

#[test]
fn every_template_loads_on_its_own() {
    let Some(root) = corpus() else { return };
    let mut failures = Vec::new();
    for entry in templates(&root) {
        let (counts, report) = check(&gather(&[root.join(&entry.path)]).unwrap());
        failures.extend(errors(&report));
        let found: BTreeMap<String, usize> =
            counts.into_iter().filter(|(_, n)| *n > 0).map(|(k, n)| (k.to_owned(), n)).collect();
        if found != entry.features.kinds {
            failures.push(format!("{}: found {found:?}, wanted {:?}", entry.path, entry.features.kinds));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_template_loads_with_the_stacks_that_it_imports_from() {
    let Some(root) = corpus() else { return };
    let entries = templates(&root);
    let project = |path: &str| path.split('/').nth(1).map(str::to_owned);
    let mut failures = Vec::new();
    for entry in entries.iter().filter(|e| e.role == "definition") {
        let support =
            entries.iter().filter(|e| e.role == "support" && project(&e.path) == project(&entry.path));
        let paths: Vec<PathBuf> = std::iter::once(entry).chain(support).map(|e| root.join(&e.path)).collect();
        failures.extend(errors(&check(&gather(&paths).unwrap()).1));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn formats_that_are_not_read_are_refused_by_name() {
    let Some(root) = corpus() else { return };
    for (folder, name) in [("kubernetes/howto-k8s-http2", "Kubernetes"), ("terraform", "Terraform")] {
        let (_, report) = check(&gather(&[root.join(folder)]).unwrap());
        let found = errors(&report);
        assert!(
            found.iter().any(|e| e.contains("unsupported-format") && e.contains(name)),
            "{folder}: {found:?}"
        );
    }
}

/// Namespace and metric of each alarm of a template, from its lines.
fn alarms(template: &str) -> Vec<(String, String)> {
    let value = |alarm: &str, name: &str| {
        let line = alarm.lines().find_map(|line| line.trim().trim_start_matches('"').strip_prefix(name));
        let text = line.unwrap_or_default().trim_start_matches(['"', ':', ' ']);
        text.trim_end_matches([',', ' ']).trim_matches('"').to_owned()
    };
    let alarms = template.split("AWS::CloudWatch::Alarm").skip(1);
    alarms.map(|alarm| (value(alarm, "Namespace"), value(alarm, "MetricName"))).collect()
}

/// What alarms of those who move watch goes on: AWS's own services publish it, or our sidecar does. And our template has
/// an alarm on it as well.
#[test]
fn metrics_of_the_alarms_go_on() {
    let Some(corpus) = corpus() else { return };
    let theirs = alarms(&std::fs::read_to_string(corpus.join("seed/alarms.yaml")).unwrap());
    assert!(!theirs.is_empty() && theirs.iter().all(|(_, metric)| !metric.is_empty()), "{theirs:?}");
    let docker = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docker");
    let ours = alarms(&std::fs::read_to_string(docker.join("dashboards/cloudwatch-alarms.json")).unwrap());
    let published = std::fs::read_to_string(docker.join("METRICS.md")).unwrap();
    for alarm in &theirs {
        let (namespace, metric) = alarm;
        assert!(namespace.starts_with("AWS/") || published.contains(&format!("`{metric}`")), "{alarm:?}");
        assert!(ours.contains(alarm), "{alarm:?} is not in {ours:?}");
    }
}
