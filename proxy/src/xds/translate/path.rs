//! Where in a message we are, and why it is refused.
//!
//! A [`Path`] is a list of borrowed steps on the stack: walking a valid resource allocates nothing, and only a
//! refusal or a warning renders the text. Texts are bounded because they travel in `error_detail` and in logs.

use std::fmt;

/// Longest path or message text kept.
const MAX_TEXT: usize = 512;

/// A place in a protobuf message: `filter_chains[0].filters[1].typed_config`.
#[derive(Clone, Copy, Debug)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Root,
    Field(&'a str),
    Index(usize),
    Key(&'a str),
}

/// Why a resource is not accepted: the field and the cause, for `error_detail` and for operators.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}{separator}{message}", separator = if path.is_empty() { "" } else { ": " })]
pub struct Rejection {
    /// Field path inside the resource, at most 512 bytes; empty when the resource as a whole is meant.
    pub path: String,
    /// What is wrong and what to do, at most 512 bytes. Holds names and numbers, never secret material.
    pub message: String,
}

impl Path<'static> {
    /// The message itself.
    pub const ROOT: Path<'static> = Path { parent: None, step: Step::Root };
}

impl<'a> Path<'a> {
    /// A field of the message at this place.
    pub fn field<'b>(&'b self, name: &'b str) -> Path<'b> {
        Path { parent: Some(self), step: Step::Field(name) }
    }

    /// An element of the list at this place.
    pub fn index<'b>(&'b self, index: usize) -> Path<'b> {
        Path { parent: Some(self), step: Step::Index(index) }
    }

    /// An entry of the map at this place.
    pub fn key<'b>(&'b self, key: &'b str) -> Path<'b> {
        Path { parent: Some(self), step: Step::Key(key) }
    }

    /// A refusal at this place.
    pub fn reject(&self, message: impl fmt::Display) -> Rejection {
        Rejection { path: bounded(self.to_string()), message: bounded(message.to_string()) }
    }

    /// The refusal of a field that is set and has no effect here.
    pub fn unsupported(&self) -> Rejection {
        self.reject("this field is not supported by Outrigger; remove it")
    }

    /// The refusal of a missing field.
    pub fn missing(&self) -> Rejection {
        self.reject("is required")
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Root => Ok(()),
            Step::Field(name) if self.parent.is_none_or(|p| matches!(p.step, Step::Root)) => {
                f.write_str(name)
            }
            Step::Field(name) => write!(f, ".{name}"),
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Key(key) => write!(f, "[{key:?}]"),
        }
    }
}

/// Cuts `text` at a character boundary.
fn bounded(mut text: String) -> String {
    if text.len() > MAX_TEXT {
        let cut = (0..=MAX_TEXT - 3).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(cut);
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_fields_indexes_and_keys() {
        let chain = Path::ROOT.field("filter_chains");
        let chain = chain.index(2);
        let options = chain.field("typed_per_filter_config");
        assert_eq!(options.key("a.b").to_string(), "filter_chains[2].typed_per_filter_config[\"a.b\"]");
        assert_eq!(Path::ROOT.to_string(), "");
    }

    #[test]
    fn a_rejection_reads_path_then_message() {
        assert_eq!(Path::ROOT.field("name").missing().to_string(), "name: is required");
        assert_eq!(Path::ROOT.reject("empty").to_string(), "empty");
    }

    #[test]
    fn texts_are_bounded_at_character_boundaries() {
        let long = "ä".repeat(2000);
        let rejection = Path::ROOT.field(&long).reject(&long);
        assert!(rejection.path.len() <= MAX_TEXT && rejection.path.ends_with("..."));
        assert!(rejection.message.len() <= MAX_TEXT);
    }
}
