//! What expressions come to.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::rc::Rc;

use outrigger_grammar::cel::expr::{Kind, Literal};

use super::object::Object;

/// A value.
#[derive(Clone, Debug)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    /// Text; what came from a peer may be no UTF-8.
    Text(Cow<'a, [u8]>),
    Bytes(Cow<'a, [u8]>),
    /// Nanoseconds.
    Duration(i128),
    /// Nanoseconds since the epoch.
    Timestamp(i128),
    List(Rc<[Value<'a>]>),
    /// Keys are whole numbers, truth values and texts, each once.
    Map(Rc<[(Value<'a>, Value<'a>)]>),
    Type(Kind),
    /// A map or list of the record's.
    Object(Object<'a>),
}

impl<'a> Value<'a> {
    pub(super) fn text(text: &'a str) -> Self {
        Value::Text(Cow::Borrowed(text.as_bytes()))
    }

    pub(super) fn bytes_of(text: &'a [u8]) -> Self {
        Value::Text(Cow::Borrowed(text))
    }

    pub(super) fn made(text: impl Into<Vec<u8>>) -> Self {
        Value::Text(Cow::Owned(text.into()))
    }

    pub(super) fn constant(literal: &'a Literal) -> Self {
        match literal {
            Literal::Null => Value::Null,
            Literal::Bool(value) => Value::Bool(*value),
            Literal::Int(value) => Value::Int(*value),
            Literal::Uint(value) => Value::Uint(*value),
            Literal::Double(value) => Value::Double(*value),
            Literal::Text(text) => Value::text(text),
            Literal::Bytes(bytes) => Value::Bytes(Cow::Borrowed(bytes)),
        }
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            Value::Null => Kind::Null,
            Value::Bool(_) => Kind::Bool,
            Value::Int(_) => Kind::Int,
            Value::Uint(_) => Kind::Uint,
            Value::Double(_) => Kind::Double,
            Value::Text(_) => Kind::Text,
            Value::Bytes(_) => Kind::Bytes,
            Value::Duration(_) => Kind::Duration,
            Value::Timestamp(_) => Kind::Timestamp,
            Value::List(_) => Kind::List,
            Value::Map(_) => Kind::Map,
            Value::Type(_) => Kind::Type,
            Value::Object(object) => object.kind(),
        }
    }

    /// The entries of a list.
    pub(super) fn items(&self) -> Option<Vec<Value<'a>>> {
        match self {
            Value::List(items) => Some(items.to_vec()),
            Value::Object(object) => object.items(),
            _ => None,
        }
    }

    /// The entries of a map.
    pub(super) fn entries(&self) -> Option<Vec<(Value<'a>, Value<'a>)>> {
        match self {
            Value::Map(entries) => Some(entries.to_vec()),
            Value::Object(object) => object.entries(),
            _ => None,
        }
    }

    /// The entry of a map or list; `None` where there is none.
    pub(super) fn at(&self, key: &Value<'a>) -> Option<Value<'a>> {
        match self {
            Value::Map(entries) => {
                entries.iter().find(|(known, _)| known.equals(key)).map(|(_, value)| value.clone())
            }
            Value::List(items) => items.get(key.index()?).cloned(),
            Value::Object(object) => object.at(key),
            _ => None,
        }
    }

    /// A place in a list: whole numbers of any type.
    pub(super) fn index(&self) -> Option<usize> {
        match self {
            Value::Int(at) => usize::try_from(*at).ok(),
            Value::Uint(at) => usize::try_from(*at).ok(),
            Value::Double(at) if at.fract() == 0.0 && (0.0..1e9).contains(at) => Some(*at as usize),
            _ => None,
        }
    }

    /// Numbers are equal across their types, other values within one.
    pub(super) fn equals(&self, other: &Value<'_>) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Type(one), Value::Type(other)) => one == other,
            (Value::Object(one), Value::Object(other)) if one.kind() == Kind::Message => {
                other.kind() == Kind::Message && same_entries(one.entries(), other.entries())
            }
            (Value::List(_) | Value::Object(_), _) if self.kind() == Kind::List => {
                let (Some(one), Some(other)) = (self.items(), other.items()) else { return false };
                one.len() == other.len() && one.iter().zip(&other).all(|(one, other)| one.equals(other))
            }
            (Value::Map(_) | Value::Object(_), _) if [self.kind(), other.kind()] == [Kind::Map; 2] => {
                same_entries(self.entries(), other.entries())
            }
            _ => self.compare(other) == Some(Ordering::Equal),
        }
    }

    /// The order of two values; `None` for those that have none.
    pub(super) fn compare(&self, other: &Value<'_>) -> Option<Ordering> {
        Some(match (self, other) {
            (Value::Bool(one), Value::Bool(other)) => one.cmp(other),
            (Value::Text(one), Value::Text(other)) | (Value::Bytes(one), Value::Bytes(other)) => {
                one.cmp(other)
            }
            (Value::Duration(one), Value::Duration(other))
            | (Value::Timestamp(one), Value::Timestamp(other)) => one.cmp(other),
            (Value::Double(one), Value::Double(other)) => return one.partial_cmp(other),
            // As in Envoy without the digits that a double has no place for.
            (Value::Double(one), other) => return one.partial_cmp(&(other.whole()? as f64)),
            (one, Value::Double(other)) => return (one.whole()? as f64).partial_cmp(other),
            (one, other) => one.whole()?.cmp(&other.whole()?),
        })
    }

    /// A whole number of either type.
    fn whole(&self) -> Option<i128> {
        match self {
            Value::Int(number) => Some((*number).into()),
            Value::Uint(number) => Some((*number).into()),
            _ => None,
        }
    }

    /// Whether it may be the key of a map that is made.
    pub(super) fn is_key(&self) -> bool {
        matches!(self, Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::Text(_))
    }
}

type Entries<'v> = Option<Vec<(Value<'v>, Value<'v>)>>;

fn same_entries(one: Entries<'_>, other: Entries<'_>) -> bool {
    let (Some(one), Some(other)) = (one, other) else { return false };
    let is_in = |(key, value): &(Value<'_>, Value<'_>)| {
        other.iter().any(|(known, other)| known.equals(key) && value.equals(other))
    };
    one.len() == other.len() && one.iter().all(is_in)
}
