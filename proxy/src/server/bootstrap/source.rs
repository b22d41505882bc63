//! Where the bootstrap comes from, and where in it a field stands.

use std::path::Path as FilePath;

use outrigger_xds_protos::any::Typed;
use outrigger_xds_protos::json::{ConfigError, Document, Position};
use outrigger_xds_protos::v3::bootstrap::Bootstrap;
use outrigger_xds_protos::validate;

use super::BootstrapError;
use crate::server::args::ServeArgs;
use crate::server::environment::{self, Variables};

/// A bootstrap with its texts.
pub(super) struct Loaded {
    pub(super) bootstrap: Bootstrap,
    pub(super) source: Source,
    pub(super) warnings: Vec<String>,
    /// Made from the App Mesh image's environment.
    pub(super) app_mesh: bool,
}

/// The texts of a bootstrap: the file, and `--config-yaml` over it.
pub struct Source {
    texts: Vec<Text>,
}

struct Text {
    name: String,
    document: Document,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.texts.iter().map(|text| &text.name)).finish()
    }
}

impl Source {
    /// `file:line:column` of a field, or of the nearest thing around it that is written.
    pub fn place(&self, path: &str) -> String {
        // The overlay is the smaller text; a field that is not in it stands at its root.
        let located = self.texts.iter().rev().map(|text| (text, text.document.locate(path)));
        let mut found = located.clone().filter(|(text, at)| *at != text.document.locate(""));
        let first = self.texts.first().map(|text| (text, text.document.locate(path)));
        match found.next().or(first) {
            Some((text, at)) => place_in(&text.name, at),
            None => String::new(),
        }
    }

    /// `file:line:column` of a field of a listed resource. `None` where lists of several texts were joined, so that an
    /// index says nothing of either text, and where nobody wrote the text.
    pub fn resource_place(&self, path: &str) -> Option<String> {
        match self.texts.as_slice() {
            [text] if text.name != environment::GENERATED => {
                Some(place_in(&text.name, text.document.locate(path)))
            }
            _ => None,
        }
    }

    /// An error at the place of a field.
    pub fn error(&self, path: &str, message: impl ToString) -> BootstrapError {
        BootstrapError::Field { place: self.place(path), path: path.to_owned(), message: message.to_string() }
    }
}

/// Finds, reads and merges what arguments and environment say.
pub(super) fn load(args: &ServeArgs, variables: &dyn Variables) -> Result<Loaded, BootstrapError> {
    let mut texts = Vec::new();
    let mut warnings = Vec::new();
    let mut app_mesh = false;
    if let Some(path) = &args.config_path {
        texts.push((path.display().to_string(), read(path)?));
    }
    if let Some(text) = &args.config_yaml {
        texts.push(("--config-yaml".to_owned(), text.clone()));
    }
    if texts.is_empty() {
        let found = environment::bootstrap_text(variables)?;
        app_mesh = found.generated;
        warnings = found.warnings;
        texts.push((found.name, found.text));
    }
    let texts = texts.into_iter().map(|(name, text)| parse(name, &text)).collect::<Result<Vec<_>, _>>()?;
    let source = Source { texts };
    let bootstrap = merged(&source, args.tolerates_unknown_fields(), &mut warnings)?;
    Ok(Loaded { bootstrap, source, warnings, app_mesh })
}

fn read(path: &FilePath) -> Result<String, BootstrapError> {
    std::fs::read_to_string(path).map_err(|error| BootstrapError::Read { path: path.to_owned(), error })
}

fn parse(name: String, text: &str) -> Result<Text, BootstrapError> {
    match Document::parse(text) {
        Ok(document) => Ok(Text { name, document }),
        Err(error) => Err(at(&name, error)),
    }
}

/// Nobody wrote the generated text, so its lines say nothing.
fn place_in(name: &str, at: Position) -> String {
    match name {
        environment::GENERATED => name.to_owned(),
        _ => format!("{name}:{}:{}", at.line, at.column),
    }
}

fn at(name: &str, error: ConfigError) -> BootstrapError {
    BootstrapError::Field { place: place_in(name, error.position), path: error.path, message: error.problem }
}

/// The texts as one message: concatenated encodings merge as protobuf messages do, which is what Envoy does with
/// `--config-yaml`: objects merge, lists append, single values are replaced. `tolerant`: unknown fields are warnings.
fn merged(source: &Source, tolerant: bool, warnings: &mut Vec<String>) -> Result<Bootstrap, BootstrapError> {
    let mut wire = Vec::new();
    for Text { name, document } in &source.texts {
        let part =
            if tolerant { document.decode_known() } else { document.decode().map(|part| (part, vec![])) };
        let (part, unknown): (Bootstrap, _) = part.map_err(|error| at(name, error))?;
        warnings.extend(unknown.into_iter().map(|error| at(name, error).to_string()));
        wire.extend(part.to_wire());
    }
    let bootstrap = Bootstrap::from_wire(&wire).map_err(|error| source.error("", error))?;
    validate::check(&bootstrap).map_err(|violation| source.error(&violation.path, violation.problem))?;
    Ok(bootstrap)
}
