//! What was found in the definitions: severity, stable code, position, text.
//!
//! Owns the rendering of both forms that users and scripts read (`file:line:column: error[code]: ...`
//! and the JSON object of `outrigger check --format json`). It does not decide what is wrong.
//! Invariant: many findings are collected in one run, never only the first.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::Serialize;

/// A place in an input file. Lines and columns count from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// The file as the user named it, or the flag a value came from.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl Position {
    /// A position in `file`.
    pub fn new(file: &Arc<str>, line: u32, column: u32) -> Self {
        Self { file: Arc::clone(file), line, column }
    }

    /// The beginning of a file, for findings about the file as a whole.
    pub fn start_of(file: &str) -> Self {
        Self { file: Arc::from(file), line: 1, column: 1 }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// The position of a part of a value. Where something is written does not count when values are compared.
#[derive(Clone, Debug)]
pub struct Place(Position);

impl PartialEq for Place {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Place {}

impl From<Position> for Place {
    fn from(at: Position) -> Self {
        Self(at)
    }
}

impl Deref for Place {
    type Target = Position;

    fn deref(&self) -> &Position {
        &self.0
    }
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The definitions cannot be served.
    Error,
    /// Served, but probably not what its author meant.
    Warning,
    /// Worth knowing; nothing to do.
    Info,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        })
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Diagnostic {
    /// Where.
    pub at: Position,
    /// How bad.
    pub severity: Severity,
    /// Stable, kebab-case; scripts may match on it.
    pub code: &'static str,
    /// "what is wrong; what to do", one line.
    pub message: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}[{}]: {}", self.at, self.severity, self.code, self.message)
    }
}

/// All findings of one run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    findings: HashSet<Diagnostic>,
}

impl Report {
    /// Adds a finding; an identical one is kept once.
    pub fn add(&mut self, at: &Position, severity: Severity, code: &'static str, message: impl Into<String>) {
        let finding = Diagnostic { at: at.clone(), severity, code, message: message.into() };
        self.findings.insert(finding);
    }

    /// Adds an error.
    pub fn error(&mut self, at: &Position, code: &'static str, message: impl Into<String>) {
        self.add(at, Severity::Error, code, message);
    }

    /// Adds a warning.
    pub fn warn(&mut self, at: &Position, code: &'static str, message: impl Into<String>) {
        self.add(at, Severity::Warning, code, message);
    }

    /// Adds a note.
    pub fn info(&mut self, at: &Position, code: &'static str, message: impl Into<String>) {
        self.add(at, Severity::Info, code, message);
    }

    /// Takes over the findings of another report.
    pub fn append(&mut self, other: Report) {
        self.findings.extend(other.findings);
    }

    /// Whether any finding is an error.
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// Number of findings of one severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|d| d.severity == severity).count()
    }

    /// The findings in the order of files, lines and columns.
    pub fn sorted(&self) -> Vec<&Diagnostic> {
        let mut all: Vec<&Diagnostic> = self.findings.iter().collect();
        all.sort_by_key(|d| (&d.at, d.severity, d.code, &d.message));
        all
    }
}

#[derive(Serialize)]
struct JsonDiagnostic<'a> {
    file: &'a str,
    line: u32,
    column: u32,
    severity: Severity,
    code: &'a str,
    message: &'a str,
}

#[derive(Serialize)]
struct JsonReport<'a> {
    resources: &'a BTreeMap<&'static str, usize>,
    diagnostics: Vec<JsonDiagnostic<'a>>,
}

/// Renders the object that `outrigger check --format json` prints.
pub fn to_json(report: &Report, resources: &BTreeMap<&'static str, usize>) -> serde_json::Result<String> {
    let diagnostics = report
        .sorted()
        .into_iter()
        .map(|d| JsonDiagnostic {
            file: &d.at.file,
            line: d.at.line,
            column: d.at.column,
            severity: d.severity,
            code: d.code,
            message: &d.message,
        })
        .collect();
    serde_json::to_string_pretty(&JsonReport { resources, diagnostics })
}

/// Renders the lines that `outrigger check` prints, a summary line last.
pub fn to_text(report: &Report, resources: &BTreeMap<&'static str, usize>) -> String {
    let mut text = String::new();
    for d in report.sorted() {
        text.push_str(&format!("{d}\n"));
    }
    let found: Vec<String> =
        resources.iter().filter(|(_, n)| **n > 0).map(|(kind, n)| format!("{kind} {n}")).collect();
    let found = if found.is_empty() { "no mesh resources".to_owned() } else { found.join(", ") };
    let counts = [(Severity::Error, "error"), (Severity::Warning, "warning"), (Severity::Info, "note")]
        .map(|(s, word)| plural(report.count(s), word));
    text.push_str(&format!("{found}: {}\n", counts.join(", ")));
    text
}

fn plural(n: usize, word: &str) -> String {
    format!("{n} {word}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Report {
        let mut report = Report::default();
        let file: Arc<str> = Arc::from("mesh.yaml");
        report.warn(&Position::new(&file, 9, 3), "late", "second; do nothing");
        report.error(&Position::new(&file, 2, 1), "early", "first; fix it");
        report.error(&Position::new(&file, 2, 1), "early", "first; fix it");
        report
    }

    #[test]
    fn text_is_sorted_deduplicated_and_summed_up() {
        let kinds = BTreeMap::from([("Mesh", 1), ("Route", 0)]);
        assert_eq!(
            to_text(&sample(), &kinds),
            "mesh.yaml:2:1: error[early]: first; fix it\n\
             mesh.yaml:9:3: warning[late]: second; do nothing\n\
             Mesh 1: 1 error, 1 warning, 0 notes\n"
        );
    }

    #[test]
    fn json_has_the_contract_shape() {
        let json: serde_json::Value =
            serde_json::from_str(&to_json(&sample(), &BTreeMap::from([("Mesh", 1)])).unwrap()).unwrap();
        assert_eq!(json["resources"]["Mesh"], 1);
        assert_eq!(
            json["diagnostics"][0],
            serde_json::json!({"file": "mesh.yaml", "line": 2, "column": 1, "severity": "error",
                               "code": "early", "message": "first; fix it"})
        );
    }
}
