//! From files to the model: which files, which format, one node tree, one model.
//!
//! Owns loading as a whole. Each format turns its documents into node trees in API terms; [`read`] makes the
//! model of them. It does not check references between resources (that is [`crate::graph`]).
//! Invariant: a file that holds mesh definitions is read or refused with a finding, never passed over.

pub mod app_mesh_json;
pub mod cloudformation;
pub mod ecs;
pub mod endpoints;
pub mod files;
mod format;
pub mod node;
pub mod parse;
pub mod read;
mod variable;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::diagnostics::{Position, Report, Severity};
use crate::model::Definitions;
use files::SourceFile;
use format::Format;
use node::Node;
use read::Reader;

/// Values from outside the files.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// CloudFormation parameters, pseudo parameters (`AWS::StackName`) and attributes of resources that the
    /// files do not define the value of (`LoadBalancer.DNSName`).
    pub parameters: BTreeMap<String, String>,
    /// Values of other stacks' exports.
    pub imports: BTreeMap<String, String>,
    /// Account that the definitions belong to.
    pub account: Option<String>,
    /// Region that the definitions belong to.
    pub region: Option<String>,
    /// Values of `$NAME` and `${NAME}` in formats that leave them to the shell.
    pub variables: BTreeMap<String, String>,
    /// How bad a value is that neither the files nor these options say.
    pub missing: Severity,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            parameters: BTreeMap::new(),
            imports: BTreeMap::new(),
            account: None,
            region: None,
            variables: BTreeMap::new(),
            missing: Severity::Warning,
        }
    }
}

/// What was read.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The mesh resources.
    pub definitions: Definitions,
    /// Proxies that ECS task definitions run.
    pub sidecars: Vec<ecs::Sidecar>,
    /// What was found on the way.
    pub report: Report,
}

/// Loads files. Pure: the same texts and options give the same result.
pub fn load(files: &[SourceFile], options: &LoadOptions) -> Loaded {
    let mut loaded = Loaded::default();
    let mut templates = Vec::new();
    let mut others = Vec::new();
    for file in files {
        for (format, document) in documents(file, &mut loaded.report) {
            match format {
                Format::CloudFormation => templates.push((file.name.as_str(), document)),
                other => others.push((other, variable::substitute(document, &options.variables))),
            }
        }
    }
    let mut cx = Reader::new(&mut loaded.report, options.missing);
    cloudformation::load(templates, options, &mut cx, &mut loaded.definitions, &mut loaded.sidecars);
    for (format, document) in &others {
        match format {
            Format::AppMeshJson => app_mesh_json::load(document, options, &mut cx, &mut loaded.definitions),
            Format::TaskDefinition => loaded.sidecars.extend(ecs::inspect(document, &mut cx)),
            Format::Endpoints => endpoints::load(document, &mut cx, &mut loaded.definitions),
            Format::CloudFormation => {}
        }
    }
    loaded
}

/// The documents of a file that some reader takes; what is refused is in the report.
fn documents(file: &SourceFile, report: &mut Report) -> Vec<(Format, Node)> {
    if let Some(refusal) = format::refuse_text(file) {
        report.error(&Position::start_of(&file.name), "unsupported-format", refusal);
        return Vec::new();
    }
    let before = report.count(Severity::Error);
    let name: Arc<str> = Arc::from(file.name.as_str());
    let documents = parse::parse(&name, &file.text, report);
    if documents.is_empty() && report.count(Severity::Error) == before {
        report.warn(
            &Position::start_of(&file.name),
            "empty-file",
            "the file holds nothing; remove it or fill it",
        );
    }
    let mut taken = Vec::new();
    for document in documents {
        match format::recognise(&document) {
            Ok(format) => taken.push((format, document)),
            Err(other) => other.report(&document.at, file.named, report),
        }
    }
    taken
}
