//! `Fn::Sub`, `Fn::Join`, `Fn::Split`, `Fn::Select`, `Fn::Length`, `Fn::ToJsonString`.

use super::evaluate::{Evaluator, MAX_TEXT};
use crate::diagnostics::Position;
use crate::source::node::{Node, Origin, Value};

/// A piece of a `Fn::Sub` text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'t> {
    /// Text as it is.
    Literal(&'t str),
    /// `${!text}`, which means `${text}`.
    Escaped(&'t str),
    /// `${name}`.
    Variable(&'t str),
}

/// Takes a `Fn::Sub` text apart. A `${` without its end is text.
pub(super) fn pieces(mut text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    while let Some(start) = text.find("${") {
        let Some(length) = text[start..].find('}') else { break };
        if start > 0 {
            pieces.push(Piece::Literal(&text[..start]));
        }
        let name = text[start + 2..start + length].trim();
        pieces.push(match name.strip_prefix('!') {
            Some(literal) => Piece::Escaped(literal),
            None => Piece::Variable(name),
        });
        text = &text[start + length + 1..];
    }
    if !text.is_empty() {
        pieces.push(Piece::Literal(text));
    }
    pieces
}

/// Text under construction: what is unknown in a part is unknown in the whole.
struct Building {
    text: String,
    origin: Origin,
}

impl Building {
    fn new() -> Self {
        Self { text: String::new(), origin: Origin::Known }
    }

    fn push(&mut self, text: &str) {
        if self.text.len() + text.len() <= MAX_TEXT {
            self.text.push_str(text);
        }
    }

    fn push_node(&mut self, node: &Node) {
        if let Some(scalar) = node.as_scalar() {
            self.push(&scalar.text);
            if matches!(self.origin, Origin::Known) && matches!(scalar.origin, Origin::Missing(_)) {
                self.origin = scalar.origin.clone();
            }
        }
    }

    fn finish(self, at: &Position) -> Option<Node> {
        Some(Node::scalar(at, self.text, self.origin))
    }
}

impl Evaluator<'_, '_> {
    /// `Fn::Sub`, as text and as `[text, variables]`.
    pub(super) fn sub(&mut self, argument: &Node, at: &Position) -> Option<Node> {
        let wants = "a text, or a text and a map of variables";
        let (text, variables) = match &argument.value {
            Value::Scalar(s) => (s.text.as_str(), None),
            Value::List(items) if (1..=2).contains(&items.len()) => match items[0].as_text() {
                Some(text) => (text, items.get(1)),
                None => return self.misuse(at, "Fn::Sub", wants),
            },
            _ => return self.misuse(at, "Fn::Sub", wants),
        };
        let pieces = pieces(text);
        if let [Piece::Variable(name)] = pieces.as_slice() {
            return self.variable(name, variables, at);
        }
        let mut building = Building::new();
        for piece in pieces {
            match piece {
                Piece::Literal(text) => building.push(text),
                Piece::Escaped(text) => building.push(&format!("${{{text}}}")),
                Piece::Variable(name) => {
                    let value = self.variable(name, variables, at);
                    match value {
                        Some(node) if node.as_map().is_some() || node.as_list().is_some() => {
                            return self.misuse(at, &format!("${{{name}}} in Fn::Sub"), "a single value");
                        }
                        Some(node) => building.push_node(&node),
                        None => {}
                    }
                }
            }
        }
        building.finish(at)
    }

    fn variable(&mut self, name: &str, variables: Option<&Node>, at: &Position) -> Option<Node> {
        if let Some(value) = variables.and_then(|v| v.get(name)) {
            return self.eval(value).map(|v| Node { at: at.clone(), ..v });
        }
        match name.split_once('.') {
            Some((id, attribute)) => Some(self.attribute(id, attribute, at)),
            None => self.reference_to(name, at),
        }
    }

    /// `Fn::Join`: `[delimiter, list]`.
    pub(super) fn join(&mut self, argument: &Node, at: &Position) -> Option<Node> {
        let wants = "a delimiter and a list";
        let Some([delimiter, list]) = argument.as_list() else { return self.misuse(at, "Fn::Join", wants) };
        let (delimiter, list) = (self.eval(delimiter), self.eval(list));
        let delimiter = delimiter.as_ref().and_then(|d| if d.is_empty() { Some("") } else { d.as_text() });
        let (Some(delimiter), Some(list)) = (delimiter, list) else {
            return self.misuse(at, "Fn::Join", wants);
        };
        let items = match &list.value {
            Value::List(items) => items.as_slice(),
            Value::Scalar(s) if matches!(s.origin, Origin::Missing(_)) => std::slice::from_ref(&list),
            _ => return self.misuse(at, "Fn::Join", wants),
        };
        let mut building = Building::new();
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                building.push(delimiter);
            }
            building.push_node(item);
        }
        building.finish(at)
    }

    /// `Fn::Split`: `[delimiter, text]`.
    pub(super) fn split(&mut self, argument: &Node, at: &Position) -> Option<Node> {
        let parts = self.arguments(argument).unwrap_or_default();
        let [delimiter, text] = parts.as_slice() else {
            return self.misuse(at, "Fn::Split", "a delimiter and a text");
        };
        let (Some(delimiter), Some(scalar)) = (delimiter.as_text(), text.as_scalar()) else {
            return self.misuse(at, "Fn::Split", "a delimiter and a text");
        };
        if matches!(scalar.origin, Origin::Missing(_)) || delimiter.is_empty() {
            return Some(text.clone());
        }
        let items = scalar.text.split(delimiter).map(|t| Node::text(at, t)).collect();
        Some(Node { at: at.clone(), tag: None, value: Value::List(items) })
    }

    /// `Fn::Select`: `[index, list]`.
    pub(super) fn select(&mut self, argument: &Node, at: &Position) -> Option<Node> {
        let wants = "an index and a list that is long enough";
        let parts = self.arguments(argument).unwrap_or_default();
        let [index, list] = parts.as_slice() else { return self.misuse(at, "Fn::Select", wants) };
        let unknown = [index, list]
            .into_iter()
            .find(|n| n.as_scalar().is_some_and(|s| matches!(s.origin, Origin::Missing(_))));
        if let Some(unknown) = unknown {
            return Some(unknown.clone());
        }
        let index = index.as_text().and_then(|t| t.trim().parse::<usize>().ok());
        match index.and_then(|i| list.as_list().unwrap_or_default().get(i)) {
            Some(item) => Some(Node { at: at.clone(), ..item.clone() }),
            None => self.misuse(at, "Fn::Select", wants),
        }
    }

    /// `Fn::Length` of the language extensions.
    pub(super) fn length(&mut self, argument: &Node, at: &Position) -> Option<Node> {
        let list = self.eval(argument)?;
        match &list.value {
            Value::List(items) => Some(Node::text(at, items.len().to_string())),
            Value::Scalar(s) if matches!(s.origin, Origin::Missing(_)) => Some(list),
            _ => self.misuse(at, "Fn::Length", "a list"),
        }
    }

    /// `Fn::ToJsonString` of the language extensions.
    pub(super) fn json_string(&mut self, argument: &Node, at: &Position) -> Option<Node> {
        let value = self.eval(argument)?;
        Some(Node::text(at, to_json(&value).to_string()))
    }
}

fn to_json(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Null => serde_json::Value::Null,
        Value::Scalar(s) => serde_json::Value::String(s.text.clone()),
        Value::List(items) => items.iter().map(to_json).collect(),
        Value::Map(entries) => {
            serde_json::Value::Object(entries.iter().map(|e| (e.key.clone(), to_json(&e.value))).collect())
        }
    }
}
