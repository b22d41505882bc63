//! YAML and JSON text into node trees.
//!
//! Owns the limits (bytes, depth, nodes after alias expansion) and what the event parser leaves to its
//! user: duplicate keys (a warning when both values are the same), aliases, merge keys. Sources: YAML 1.2.2, the YAML 1.1 merge key.
//! Invariant: no input makes it recurse deeper than [`MAX_DEPTH`] or hold more than [`MAX_NODES`] nodes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use granit_parser::{Event, Marker, Parser, ScalarStyle, Span, Tag, options};

use super::node::{Entry, Node, Origin, Scalar, Value};
use crate::diagnostics::{Position, Report, Severity};

/// Deepest nesting of lists and maps.
pub const MAX_DEPTH: usize = 100;
/// Most nodes of one file, aliases expanded.
pub const MAX_NODES: usize = 500_000;

/// Parses all documents of a file. Findings go to the report; a document with an error is left out.
pub fn parse(file: &Arc<str>, text: &str, report: &mut Report) -> Vec<Node> {
    let options = options! {
        emit_comments: false,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder::new(file, report);
    for next in Parser::new_from_str_with_options(text, options) {
        let outcome = match next {
            Ok((event, span)) => builder.accept(event, span),
            Err(e) => {
                Err((builder.position(*e.marker()), "syntax", format!("{}; correct the syntax", e.info())))
            }
        };
        if let Err((at, code, message)) = outcome {
            builder.report.error(&at, code, message);
            return builder.documents;
        }
    }
    builder.documents
}

type Failure = (Position, &'static str, String);

/// A list or map whose end has not been seen.
struct Open {
    at: Position,
    tag: Option<Arc<str>>,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, seen: HashSet<String>, key: Option<(String, Position)>, merges: Vec<Node> },
}

/// An anchored value with its expanded measures, so that an alias costs one look.
struct Anchored {
    node: Node,
    size: usize,
    depth: usize,
}

struct Builder<'r> {
    file: Arc<str>,
    report: &'r mut Report,
    open: Vec<Open>,
    anchors: HashMap<usize, Anchored>,
    nodes: usize,
    documents: Vec<Node>,
}

impl<'r> Builder<'r> {
    fn new(file: &Arc<str>, report: &'r mut Report) -> Self {
        let file = Arc::clone(file);
        Self { file, report, open: Vec::new(), anchors: HashMap::new(), nodes: 0, documents: Vec::new() }
    }

    fn position(&self, mark: Marker) -> Position {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Position::new(&self.file, number(mark.line()), number(mark.col()).saturating_add(1))
    }

    fn accept(&mut self, event: Event<'_>, span: Span) -> Result<(), Failure> {
        let at = self.position(span.tag_start().unwrap_or(span.start));
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let tag = local_tag(tag.as_deref());
                let node = Node { at, tag, value: scalar(text.into_owned(), style) };
                self.complete(node, anchor, 1)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.begin(at, anchor, tag.as_deref(), Content::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => self.begin(at, anchor, tag.as_deref(), empty_map()),
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(id) => self.alias(at, id),
            Event::DocumentStart(..) => {
                self.anchors.clear();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn begin(
        &mut self,
        at: Position,
        anchor: usize,
        tag: Option<&Tag>,
        content: Content,
    ) -> Result<(), Failure> {
        if self.open.len() >= MAX_DEPTH {
            return Err(too_deep(at));
        }
        self.open.push(Open { at, tag: local_tag(tag), anchor, content });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Failure> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let value = match open.content {
            Content::List(items) => Value::List(items),
            Content::Map { entries, seen, merges, .. } => Value::Map(merge(entries, seen, merges)),
        };
        self.complete(Node { at: open.at, tag: open.tag, value }, open.anchor, 1)
    }

    fn alias(&mut self, at: Position, id: usize) -> Result<(), Failure> {
        let Some(anchored) = self.anchors.get(&id) else {
            return Err((
                at,
                "syntax",
                "alias of a value that is not finished; an anchor may not contain itself".into(),
            ));
        };
        if self.open.len() + anchored.depth > MAX_DEPTH {
            return Err(too_deep(at));
        }
        if self.nodes + anchored.size > MAX_NODES {
            return Err(too_large(at));
        }
        let (node, size) = (anchored.node.clone(), anchored.size);
        self.complete(node, 0, size)
    }

    /// Hands a finished value to whatever encloses it.
    fn complete(&mut self, node: Node, anchor: usize, size: usize) -> Result<(), Failure> {
        self.nodes += size;
        if anchor != 0 {
            let (size, depth) = measure(&node);
            self.nodes += size;
            self.anchors.insert(anchor, Anchored { node: node.clone(), size, depth });
        }
        if self.nodes > MAX_NODES {
            return Err(too_large(node.at));
        }
        match self.open.last_mut() {
            None => self.documents.push(node),
            Some(Open { content: Content::List(items), .. }) => items.push(node),
            Some(Open { content: Content::Map { entries, seen, key, merges }, .. }) => match key.take() {
                None => *key = Some(key_text(node)?),
                Some((name, key_at)) if name == "<<" => merges.push(Node { at: key_at, ..node }),
                Some((name, key_at)) => {
                    if seen.insert(name.clone()) {
                        entries.push(Entry { key: name, key_at, value: node });
                    } else {
                        let same = entries.iter().any(|e| e.key == name && e.value.same(&node));
                        let severity = if same { Severity::Warning } else { Severity::Error };
                        let message = format!("key \"{name}\" is written twice in one map; keep one of them");
                        self.report.add(&key_at, severity, "duplicate-key", message);
                    }
                }
            },
        }
        Ok(())
    }
}

fn empty_map() -> Content {
    Content::Map { entries: Vec::new(), seen: HashSet::new(), key: None, merges: Vec::new() }
}

fn key_text(node: Node) -> Result<(String, Position), Failure> {
    match node.value {
        Value::Scalar(s) => Ok((s.text, node.at)),
        Value::Null => Ok((String::new(), node.at)),
        _ => Err((node.at, "complex-key", "a list or map cannot be a key; write a plain name".into())),
    }
}

/// Applies `<<`: own keys win over merged ones, earlier merges over later ones.
fn merge(mut entries: Vec<Entry>, mut seen: HashSet<String>, merges: Vec<Node>) -> Vec<Entry> {
    for source in merges {
        let maps = match source.value {
            Value::List(items) => items,
            _ => vec![source],
        };
        for map in maps {
            let Value::Map(merged) = map.value else { continue };
            entries.extend(merged.into_iter().filter(|e| seen.insert(e.key.clone())));
        }
    }
    entries
}

/// Number of values in a tree and its depth; at most [`MAX_DEPTH`] deep by construction.
fn measure(node: &Node) -> (usize, usize) {
    let sum = |acc: (usize, usize), child: &Node| {
        let (size, depth) = measure(child);
        (acc.0 + size, acc.1.max(depth))
    };
    let (size, depth) = match &node.value {
        Value::List(items) => items.iter().fold((0, 0), sum),
        Value::Map(entries) => entries.iter().map(|e| &e.value).fold((0, 0), sum),
        _ => return (1, 0),
    };
    (size + 1, depth + 1)
}

fn too_deep(at: Position) -> Failure {
    (at, "too-deep", format!("nesting is deeper than {MAX_DEPTH} levels; flatten it"))
}

fn too_large(at: Position) -> Failure {
    (at, "too-large", format!("the file has more than {MAX_NODES} values with aliases expanded; split it"))
}

fn local_tag(tag: Option<&Tag>) -> Option<Arc<str>> {
    tag.filter(|t| t.handle() == "!" && !t.suffix().is_empty()).map(|t| Arc::from(t.suffix()))
}

fn scalar(text: String, style: ScalarStyle) -> Value {
    let quoted = style != ScalarStyle::Plain;
    if !quoted && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL") {
        return Value::Null;
    }
    Value::Scalar(Scalar { text, quoted, origin: Origin::Known })
}

#[cfg(test)]
#[path = "parse/tests.rs"]
mod tests;
