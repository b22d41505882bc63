//! A YAML or JSON text as a tree that remembers lines and columns.
//!
//! Owns the limits on size, nesting and alias expansion, the refusal of duplicate keys, and Envoy's `!ignore` tag.
//! Scalars stay raw text with the way they were written: what they mean depends on the field they are for.

use std::collections::{HashMap, HashSet};

use granit_parser::{Event, Parser, ScalarStyle, Span, Tag};

use super::ConfigError;
use crate::path::{Path, Segment};

/// Nodes after alias expansion; above any real configuration, below what an alias bomb needs to hurt.
const MAX_NODES: usize = 2_000_000;
/// Nesting of lists and mappings: the limit of the wire format, and some for `Struct`.
const MAX_DEPTH: usize = 128;

/// A place in a text; both count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) at: Position,
    pub(super) value: Value,
}

/// What a node holds.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// `plain` when it was written without quotes and may be null, a boolean or a number.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Mapping(Vec<Member>),
}

/// A key and its value.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) key: String,
    pub(super) at: Position,
    pub(super) node: Node,
}

impl Node {
    /// An unquoted empty value, `~` or `null`.
    pub(super) fn is_null(&self) -> bool {
        match &self.value {
            Value::Scalar { text, plain } => *plain && super::scalar::is_null(text),
            _ => false,
        }
    }
}

/// Reads exactly one document.
pub(super) fn read(text: &str) -> Result<Node, ConfigError> {
    let mut options = granit_parser::options! {};
    options.set_emit_comments(false);
    let mut builder = Builder { open: Vec::new(), anchors: HashMap::new(), nodes: 0, root: None };
    for next in Parser::new_from_str_with_options(text, options) {
        let (event, span) = next.map_err(|e| {
            let at = position_of(e.marker().line(), e.marker().col());
            error(at, format!("not valid YAML or JSON: {}", e.info()))
        })?;
        builder.event(event, position(&span))?;
    }
    builder.root.ok_or_else(|| error(Position { line: 1, column: 1 }, "the document is empty"))
}

fn position(span: &Span) -> Position {
    position_of(span.start.line(), span.start.col())
}

fn position_of(line: usize, column_from_0: usize) -> Position {
    Position { line, column: column_from_0 + 1 }
}

fn error(position: Position, problem: impl Into<String>) -> ConfigError {
    ConfigError { path: String::new(), position, problem: problem.into() }
}

/// A list or mapping whose end has not been seen.
struct Open {
    node: Node,
    anchor: usize,
    /// In a mapping: the key that waits for its value.
    key: Option<Key>,
}

struct Key {
    text: String,
    at: Position,
    /// Envoy drops a member whose key is tagged `!ignore`: a place to keep anchors.
    ignored: bool,
}

struct Builder {
    open: Vec<Open>,
    /// Anchored nodes with their size.
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    root: Option<Node>,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, at: Position) -> Result<(), ConfigError> {
        match event {
            Event::DocumentStart(..) if self.root.is_some() => {
                Err(error(at, "a second YAML document; configuration is one document"))
            }
            Event::Scalar(text, style, anchor, tag) => {
                if self.waits_for_key() {
                    return self.key(text.into_owned(), tag.as_deref(), at);
                }
                self.known_tag(tag.as_deref(), at)?;
                let is_text = tag.is_some_and(|tag| is_non_specific(&tag) || tag.suffix() == "str");
                let plain = style == ScalarStyle::Plain && !is_text;
                self.finish(Node { at, value: Value::Scalar { text: text.into_owned(), plain } }, anchor, 1)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.known_tag(tag.as_deref(), at)?;
                self.start(Value::List(Vec::new()), anchor, at)
            }
            Event::MappingStart(_, anchor, tag) => {
                self.known_tag(tag.as_deref(), at)?;
                self.start(Value::Mapping(Vec::new()), anchor, at)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(at),
            Event::Alias(anchor) => self.alias(anchor, at),
            _ => Ok(()),
        }
    }

    fn waits_for_key(&self) -> bool {
        matches!(self.open.last(), Some(Open { node: Node { value: Value::Mapping(_), .. }, key: None, .. }))
    }

    fn key(&mut self, text: String, tag: Option<&Tag>, at: Position) -> Result<(), ConfigError> {
        let ignored = tag.is_some_and(|tag| tag.handle() == "!" && tag.suffix() == "ignore");
        if !ignored {
            self.known_tag(tag, at)?;
        }
        if let Some(open) = self.open.last_mut() {
            open.key = Some(Key { text, at, ignored });
        }
        Ok(())
    }

    fn start(&mut self, value: Value, anchor: usize, at: Position) -> Result<(), ConfigError> {
        if self.open.len() >= MAX_DEPTH {
            return Err(self.error(at, format!("nested more than {MAX_DEPTH} levels deep")));
        }
        if self.waits_for_key() {
            return Err(self.error(at, "a mapping key must be a string"));
        }
        self.open.push(Open { node: Node { at, value }, anchor, key: None });
        Ok(())
    }

    fn end(&mut self, at: Position) -> Result<(), ConfigError> {
        if let Some(Open { node: Node { value: Value::Mapping(members), .. }, .. }) = self.open.last() {
            self.no_duplicates(members)?;
        }
        let open = self.open.pop().ok_or_else(|| error(at, "not valid YAML or JSON"))?;
        self.finish(open.node, open.anchor, 1)
    }

    fn no_duplicates(&self, members: &[Member]) -> Result<(), ConfigError> {
        let mut seen = HashSet::with_capacity(members.len());
        match members.iter().find(|member| !seen.insert(member.key.as_str())) {
            None => Ok(()),
            Some(member) => {
                let mut path = self.path();
                path.0.push(segment(&member.key));
                let first =
                    members.iter().find(|other| other.key == member.key).map_or(0, |other| other.at.line);
                let problem = format!("duplicate key {:?}; it is already set in line {first}", member.key);
                Err(ConfigError { path: path.to_string(), position: member.at, problem })
            }
        }
    }

    fn alias(&mut self, anchor: usize, at: Position) -> Result<(), ConfigError> {
        if self.waits_for_key() {
            return Err(self.error(at, "a mapping key must be a string"));
        }
        let Some((node, size)) = self.anchors.get(&anchor) else {
            return Err(self.error(at, "an alias to a value that contains it"));
        };
        if self.nodes + size > MAX_NODES {
            return Err(self.error(at, format!("more than {MAX_NODES} values after expanding aliases")));
        }
        let (node, size) = (node.clone(), *size);
        self.finish(node, 0, size)
    }

    /// Attaches a finished node to its parent. `added`: how many nodes it brings that were not counted yet.
    fn finish(&mut self, node: Node, anchor: usize, added: usize) -> Result<(), ConfigError> {
        self.nodes += added;
        if self.nodes > MAX_NODES {
            return Err(self.error(node.at, format!("more than {MAX_NODES} values")));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), size(&node)));
        }
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match (&mut parent.node.value, parent.key.take()) {
            (Value::List(items), _) => items.push(node),
            (Value::Mapping(members), Some(key)) if !key.ignored => {
                members.push(Member { key: key.text, at: key.at, node });
            }
            _ => {}
        }
        Ok(())
    }

    /// Tags of YAML's core schema change nothing that the field's type does not say; others would silently be lost.
    fn known_tag(&self, tag: Option<&Tag>, at: Position) -> Result<(), ConfigError> {
        match tag {
            Some(tag) if !tag.is_yaml_core_schema() && !is_non_specific(tag) => {
                Err(self.error(at, format!("unknown YAML tag {}{}", tag.handle(), tag.suffix())))
            }
            _ => Ok(()),
        }
    }

    fn error(&self, at: Position, problem: impl Into<String>) -> ConfigError {
        ConfigError { path: self.path().to_string(), position: at, problem: problem.into() }
    }

    /// Where the parser stands: the keys and indices that are open.
    fn path(&self) -> Path {
        let segments = self.open.iter().filter_map(|open| match (&open.node.value, &open.key) {
            (Value::List(items), _) => Some(Segment::Index(items.len())),
            (_, key) => key.as_ref().map(|key| segment(&key.text)),
        });
        Path(segments.collect())
    }
}

/// `! 12`: whatever it looks like, it is a string.
fn is_non_specific(tag: &Tag) -> bool {
    tag.handle().len() + tag.suffix().len() <= 1
}

/// Without a schema the look of a key decides how it is written in a path.
fn segment(key: &str) -> Segment {
    match key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && !key.is_empty() {
        true => Segment::Name(key.to_owned().into()),
        false => Segment::Key(key.to_owned()),
    }
}

/// Nodes in a tree, itself included.
fn size(node: &Node) -> usize {
    1 + match &node.value {
        Value::Scalar { .. } => 0,
        Value::List(items) => items.iter().map(size).sum(),
        Value::Mapping(members) => members.iter().map(|member| size(&member.node)).sum(),
    }
}
