//! Typed reading of node trees into the model.
//!
//! Owns key matching without regard to case, unknown keys, wrong types, ranges, unions, and what to do with
//! values that the files do not say. One file per resource builds on it. It does not follow references.
//! Invariant: `None` means that a finding about the value is already in the report.

mod fields;
mod gateway;
mod listener;
mod matching;
mod mesh;
mod meta;
mod node;
mod route;
mod scalar;
mod service;
mod syntax;
mod tls;

pub use fields::Fields;
pub use meta::{Identity, read_resource};

use std::collections::HashSet;
use std::sync::Arc;

use super::node::{Missing, Node};
use crate::diagnostics::{Position, Report, Severity};

/// A model value that can be read from a node.
pub trait FromNode: Sized {
    /// Reads the value; findings go to the reader's report.
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self>;
}

/// What all readers share.
pub struct Reader<'r> {
    /// Where findings go.
    pub report: &'r mut Report,
    /// How bad a value is that the files do not say.
    pub missing: Severity,
    told: HashSet<Arc<Missing>>,
    noted: HashSet<String>,
}

impl<'r> Reader<'r> {
    /// A reader that reports to `report`.
    pub fn new(report: &'r mut Report, missing: Severity) -> Self {
        Self { report, missing, told: HashSet::new(), noted: HashSet::new() }
    }

    /// Reports a value that the files do not say, once per cause.
    pub fn tell_missing(&mut self, at: &Position, missing: &Arc<Missing>) {
        if self.told.insert(Arc::clone(missing)) {
            let message = format!("{}; {}", missing.what, missing.remedy);
            self.report.add(at, self.missing, "unknown-value", message);
        }
    }

    /// Adds a note unless the same was noted before, anywhere.
    pub fn note_once(&mut self, at: &Position, code: &'static str, message: String) {
        if self.noted.insert(message.clone()) {
            self.report.info(at, code, message);
        }
    }
}

/// The closest of `known` to what was written, if it is close.
pub fn suggest<'k>(written: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let written = written.to_ascii_lowercase();
    known
        .into_iter()
        .map(|k| (strsim::damerau_levenshtein(&written, &k.to_ascii_lowercase()), k))
        .filter(|(distance, k)| *distance <= (k.len() / 3).clamp(1, 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, k)| k)
}

#[cfg(test)]
mod tests;
