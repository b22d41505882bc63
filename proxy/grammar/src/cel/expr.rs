//! Expressions whose names are found.

use ::regex::bytes::Regex;

use super::attribute::Attribute;
use super::function::Function;

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// A constant.
    Literal(Literal),
    /// A type, as `type()` returns it.
    Type(Kind),
    /// What Envoy calls an attribute.
    Attribute(Attribute),
    /// Whether there is the attribute.
    HasAttribute(Attribute),
    /// A field of a map.
    Select(Box<Expr>, Box<str>),
    /// Whether there is the field.
    Has(Box<Expr>, Box<str>),
    /// An entry of a map or list.
    Index(Box<Expr>, Box<Expr>),
    /// A function or operator with its operands, the target first.
    Call(Function, Vec<Expr>),
    /// Whether a text matches an RE2 expression.
    Matches(Box<Expr>, Pattern),
    /// `&&`
    All(Vec<Expr>),
    /// `||`
    Any(Vec<Expr>),
    /// `[0] ? [1] : [2]`
    Choose(Box<[Expr; 3]>),
    /// `[a, b]`
    List(Vec<Expr>),
    /// `{a: b}`
    Map(Vec<(Expr, Expr)>),
}

/// A compiled RE2 expression; equal when written alike.
#[derive(Clone, Debug)]
pub struct Pattern(pub(super) Regex);

impl Pattern {
    /// Whether some part of `text` matches.
    pub fn is_match(&self, text: &[u8]) -> bool {
        self.0.is_match(text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

/// A constant.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// `-1`, `0x1f`
    Int(i64),
    /// `1u`
    Uint(u64),
    /// `1.0`
    Double(f64),
    /// `'a'`
    Text(Box<str>),
    /// `b'a'`
    Bytes(Box<[u8]>),
}

/// Types of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `null_type`
    Null,
    /// `bool`
    Bool,
    /// `int`
    Int,
    /// `uint`
    Uint,
    /// `double`
    Double,
    /// `string`
    Text,
    /// `bytes`
    Bytes,
    /// `list`
    List,
    /// `map`
    Map,
    /// `type`
    Type,
    /// Has no name of its own here.
    Duration,
    /// Likewise.
    Timestamp,
    /// A protobuf message.
    Message,
}

impl Kind {
    /// The type called `name`.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "null_type" => Kind::Null,
            "bool" => Kind::Bool,
            "int" => Kind::Int,
            "uint" => Kind::Uint,
            "double" => Kind::Double,
            "string" => Kind::Text,
            "bytes" => Kind::Bytes,
            "list" => Kind::List,
            "map" => Kind::Map,
            "type" => Kind::Type,
            _ => return None,
        })
    }
}
