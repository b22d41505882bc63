//! The sections of a template, and the exports of a set of templates.

use std::collections::BTreeMap;
use std::path::Path;

use super::Evaluator;
use crate::model::Kind;
use crate::source::LoadOptions;
use crate::source::node::{Entry, Node};
use crate::source::read::Reader;

/// One template.
pub struct Template {
    /// The template itself.
    pub root: Node,
    /// Stack name unless the user gives one: the file's name without its ending.
    pub stack: String,
}

/// All templates of a run.
pub struct Stacks {
    /// In the order of the files.
    pub templates: Vec<Template>,
    /// Export name to the template that has it and its value there.
    pub exports: BTreeMap<String, (usize, Node)>,
}

impl Template {
    /// Wraps a parsed document.
    pub fn new(file: &str, root: Node) -> Self {
        let stem = Path::new(file).file_stem().and_then(|s| s.to_str()).unwrap_or("stack");
        Self { root, stack: stem.to_owned() }
    }

    /// The entries of a section.
    pub fn section(&self, name: &str) -> &[Entry] {
        self.root.get(name).and_then(Node::as_map).unwrap_or_default()
    }

    /// One entry of a section.
    pub fn find(&self, section: &str, name: &str) -> Option<&Node> {
        self.section(section).iter().find(|e| e.key == name).map(|e| &e.value)
    }
}

/// The type of a resource, as written.
pub fn type_of(resource: &Node) -> &str {
    resource.get("Type").and_then(Node::as_text).unwrap_or_default()
}

/// The mesh kind of a resource, if it is one.
pub fn kind_of(resource: &Node) -> Option<Kind> {
    let name = type_of(resource).strip_prefix("AWS::AppMesh::")?;
    Kind::ALL.into_iter().find(|k| k.name() == name)
}

/// Finds what templates export, so that others may import it in any order.
pub fn collect_exports(stacks: &mut Stacks, options: &LoadOptions, cx: &mut Reader<'_>) {
    let mut exports = BTreeMap::new();
    for (index, template) in stacks.templates.iter().enumerate() {
        for output in template.section("Outputs") {
            let name = output.value.get("Export").and_then(|e| e.get("Name"));
            let (Some(name), Some(value)) = (name, output.value.get("Value")) else { continue };
            let name = Evaluator::new(stacks, index, options, cx).eval(name);
            if let Some(name) = name.as_ref().and_then(Node::as_text) {
                exports.insert(name.to_owned(), (index, value.clone()));
            }
        }
    }
    stacks.exports = exports;
}
