//! The neutral tree that every input format is read into.
//!
//! Owns the shape: scalars as raw text, maps in source order, lists, tags, each with its place in the
//! source. It does not interpret: numbers, booleans and names are typed only when the model is built.
//! Invariant: a map has no key twice.

use std::sync::Arc;

use crate::diagnostics::Position;

/// A value with its place in the source.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where the value is written.
    pub at: Position,
    /// A local tag without its exclamation mark (`Ref`, `GetAtt`), if any.
    pub tag: Option<Arc<str>>,
    /// The value.
    pub value: Value,
}

/// The three shapes of a value, and nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// An empty value, `null` or `~`.
    Null,
    /// Raw text with how it came about.
    Scalar(Scalar),
    /// Items in order.
    List(Vec<Node>),
    /// Entries in source order, keys unique.
    Map(Vec<Entry>),
}

/// One key of a map.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key as written.
    pub key: String,
    /// Where the key is written.
    pub key_at: Position,
    /// Its value.
    pub value: Node,
}

/// Raw text of a scalar.
#[derive(Clone, Debug, PartialEq)]
pub struct Scalar {
    /// The text, unescaped, otherwise as written.
    pub text: String,
    /// Quotes or block style were used, so it can only be a string.
    pub quoted: bool,
    /// How the text came about.
    pub origin: Origin,
}

/// How the text of a scalar came about.
#[derive(Clone, Debug, PartialEq)]
pub enum Origin {
    /// Written as it is, or computed from known values.
    Known,
    /// `Ref` of the mesh resource with this logical id: the text is its ARN.
    Ref(String),
    /// Some part is known only outside the files; the text holds a placeholder for it.
    Missing(Arc<Missing>),
}

/// Something that the files do not say.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Missing {
    /// What it is ("parameter MeshName has no value").
    pub what: String,
    /// How the user can supply it ("give --parameter MeshName=VALUE").
    pub remedy: String,
}

impl Node {
    /// Changes every scalar in it.
    pub fn change_scalars(&mut self, change: &mut impl FnMut(&mut Scalar)) {
        match &mut self.value {
            Value::Null => {}
            Value::Scalar(scalar) => change(scalar),
            Value::List(items) => items.iter_mut().for_each(|item| item.change_scalars(change)),
            Value::Map(entries) => entries.iter_mut().for_each(|entry| entry.value.change_scalars(change)),
        }
    }

    /// A plain scalar.
    pub fn text(at: &Position, text: impl Into<String>) -> Self {
        Self::scalar(at, text, Origin::Known)
    }

    /// A quoted scalar of the given origin.
    pub fn scalar(at: &Position, text: impl Into<String>, origin: Origin) -> Self {
        let scalar = Scalar { text: text.into(), quoted: true, origin };
        Self { at: at.clone(), tag: None, value: Value::Scalar(scalar) }
    }

    /// The raw text of a scalar.
    pub fn as_text(&self) -> Option<&str> {
        self.as_scalar().map(|s| s.text.as_str())
    }

    /// The scalar, if it is one.
    pub fn as_scalar(&self) -> Option<&Scalar> {
        match &self.value {
            Value::Scalar(s) => Some(s),
            _ => None,
        }
    }

    /// The entries, if it is a map.
    pub fn as_map(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The items, if it is a list.
    pub fn as_list(&self) -> Option<&[Node]> {
        match &self.value {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// The value of a key, matched exactly.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.as_map()?.iter().find(|e| e.key == key).map(|e| &e.value)
    }

    /// The value of a key, matched without regard to ASCII case.
    pub fn get_ignore_case(&self, key: &str) -> Option<&Node> {
        self.as_map()?.iter().find(|e| e.key.eq_ignore_ascii_case(key)).map(|e| &e.value)
    }

    /// Nothing, `{}` or `[]`: what definitions write for "not set".
    pub fn is_empty(&self) -> bool {
        match &self.value {
            Value::Null => true,
            Value::Map(entries) => entries.is_empty(),
            Value::List(items) => items.is_empty(),
            Value::Scalar(_) => false,
        }
    }

    /// Whether both hold the same, wherever it is written. An empty text equals nothing.
    pub fn same(&self, other: &Node) -> bool {
        match (&self.value, &other.value) {
            (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(b)),
            (Value::Map(a), Value::Map(b)) => {
                a.len() == b.len()
                    && a.iter().all(|e| b.iter().any(|o| o.key == e.key && o.value.same(&e.value)))
            }
            (Value::List(_) | Value::Map(_), _) | (_, Value::List(_) | Value::Map(_)) => false,
            _ => self.tag == other.tag && self.as_text().unwrap_or("") == other.as_text().unwrap_or(""),
        }
    }

    /// The name of the shape, for messages.
    pub fn shape(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Scalar(_) => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}
