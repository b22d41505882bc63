//! Rules about the source tree itself: who may import whom in the proxy, which crates exist once.

#![allow(clippy::unwrap_used, reason = "a tree that cannot be read fails the test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use outrigger_tests::workspace;

/// For each layer of the proxy, the layers it may import. `wire` is `http/{codec,head,header_id}`: the seam that
/// pools and log records need, below the rest of `http`.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("stats", &["base"]),
    ("observe", &["base", "stats", "config", "tls", "wire"]),
    ("config", &["base", "stats", "observe"]),
    ("net", &["base", "stats", "config"]),
    ("tls", &["base", "stats", "config", "net"]),
    ("wire", &["base", "stats", "config", "net"]),
    ("upstream", &["base", "stats", "config", "net", "tls", "wire", "observe"]),
    ("http", &["base", "stats", "config", "net", "tls", "upstream", "observe", "wire"]),
    ("tcp", &["base", "stats", "config", "net", "tls", "upstream", "observe"]),
    ("worker", &["base", "stats", "config", "net", "tls", "upstream", "observe", "wire", "http", "tcp"]),
    ("health", &["base", "stats", "config", "net", "upstream", "observe"]),
    ("xds", &["base", "stats", "config", "observe"]),
    ("admin", &["base", "stats", "config", "observe"]),
];

/// The layer of a path below `proxy/src`, or of a `crate::` path split at `::`.
fn layer(segments: &[&str]) -> String {
    match segments {
        ["http", "codec" | "head" | "header_id", ..] => "wire".to_owned(),
        [first, ..] => (*first).to_owned(),
        [] => String::new(),
    }
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// `crate::a::b` paths named in a file, tests aside.
fn imports(text: &str) -> Vec<Vec<&str>> {
    let production = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    let paths = production.match_indices("crate::").filter(|(at, _)| !production[..*at].ends_with('$'));
    let code = paths.filter(|(at, _)| {
        let line = &production[production[..*at].rfind('\n').map_or(0, |end| end + 1)..*at];
        !line.trim_start().starts_with("//")
    });
    code.map(|(at, _)| {
        let rest = &production[at + "crate::".len()..];
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
        rest[..end].split("::").filter(|segment| !segment.is_empty()).collect()
    })
    .collect()
}

#[test]
fn layers_import_only_what_lies_below_them() {
    let allowed: BTreeMap<&str, &[&str]> = MAY_IMPORT.iter().copied().collect();
    let root = workspace::root().join("proxy/src");
    let mut files = Vec::new();
    rust_files(&root, &mut files);
    let mut forbidden = Vec::new();
    for file in files {
        let relative = file.strip_prefix(&root).unwrap().with_extension("");
        let segments: Vec<&str> = relative.iter().map(|part| part.to_str().unwrap()).collect();
        let from = layer(&segments);
        let is_test = segments.iter().any(|part| part.starts_with("test"));
        let Some(below) = allowed.get(from.as_str()).filter(|_| !is_test) else { continue };
        let text = fs::read_to_string(&file).unwrap();
        for path in imports(&text) {
            let to = layer(&path);
            if to != from && allowed.contains_key(to.as_str()) && !below.contains(&to.as_str()) {
                forbidden.push(format!(
                    "{}: {from} must not import {to} (crate::{})",
                    relative.display(),
                    path.join("::")
                ));
            }
        }
    }
    assert!(forbidden.is_empty(), "{}", forbidden.join("\n"));
}

#[test]
fn protobuf_stops_at_the_translation_layer() {
    let root = workspace::root().join("proxy/src");
    let mut files = Vec::new();
    rust_files(&root, &mut files);
    let names_protobuf = |file: &&PathBuf| fs::read_to_string(file).unwrap().contains("outrigger_xds_protos");
    let outside: Vec<_> = files
        .iter()
        .filter(|file| !["xds", "server", "admin"].iter().any(|layer| file.starts_with(root.join(layer))))
        .filter(names_protobuf)
        .collect();
    assert!(outside.is_empty(), "protobuf types outside xds, server and admin: {outside:?}");
}

#[test]
fn core_crates_exist_once() {
    let lock = fs::read_to_string(workspace::root().join("Cargo.lock")).unwrap();
    for name in
        ["tokio", "hyper", "h2", "http", "rustls", "tonic", "prost", "tower", "tracing", "bytes", "aws-lc-rs"]
    {
        let count = lock.matches(&format!("name = \"{name}\"\n")).count();
        assert_eq!(count, 1, "{name} is in the dependency tree {count} times");
    }
}
