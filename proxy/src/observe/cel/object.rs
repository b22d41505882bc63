//! Maps and lists of a record: headers, and metadata from wherever it is kept.

use std::borrow::Cow;

use outrigger_grammar::cel::expr::Kind;
use serde_json::{Map, Value as Json};

use super::headers;
use super::value::Value;
use crate::base::metadata::DynamicMetadata;
use crate::config::Host;
use crate::config::metadata::Namespaces;
use crate::config::subset::{Metadata, MetadataValue};
use crate::observe::record::Record;

/// Which header block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Block {
    Request,
    Response,
    Trailers,
}

/// Where metadata is kept.
#[derive(Clone, Copy, Debug)]
pub(super) enum Space<'a> {
    /// What filters left.
    Dynamic(Option<&'a DynamicMetadata>),
    /// What the configuration says.
    Configured(Option<&'a Namespaces>),
    /// What discovery says of a host.
    Host(&'a Host),
}

/// A map or list that is not the expression's.
#[derive(Clone, Copy, Debug)]
pub(super) enum Object<'a> {
    Headers(Block, &'a Record<'a>),
    /// A map with nothing in it.
    Nothing,
    /// The message `Metadata`, of which there is `filter_metadata`.
    Message(Space<'a>),
    /// That field of it.
    Namespaces(Space<'a>),
    Namespace(&'a Metadata),
    Fields(&'a [(Box<str>, MetadataValue)]),
    Values(&'a [MetadataValue]),
    Json(&'a Map<String, Json>),
    JsonValues(&'a [Json]),
}

impl<'a> Object<'a> {
    pub(super) fn kind(self) -> Kind {
        match self {
            Object::Message(_) => Kind::Message,
            Object::Values(_) | Object::JsonValues(_) => Kind::List,
            _ => Kind::Map,
        }
    }

    /// The entry under a key or at a place.
    pub(super) fn at(self, key: &Value<'a>) -> Option<Value<'a>> {
        if self.kind() == Kind::List {
            let at = key.index()?;
            return match self {
                Object::Values(values) => values.get(at).map(value),
                Object::JsonValues(values) => values.get(at).map(json),
                _ => None,
            };
        }
        let Value::Text(name) = key else { return None };
        let name = std::str::from_utf8(name).ok()?;
        match self {
            Object::Headers(block, record) => headers::value(record, block, name).map(Value::Text),
            Object::Namespaces(space) => space.get(name).map(Value::Object),
            Object::Namespace(space) => space.get(name).map(value),
            Object::Fields(fields) => {
                fields.iter().find(|(key, _)| **key == *name).map(|(_, field)| value(field))
            }
            Object::Json(fields) => fields.get(name).map(json),
            _ => None,
        }
    }

    pub(super) fn items(self) -> Option<Vec<Value<'a>>> {
        match self {
            Object::Values(values) => Some(values.iter().map(value).collect()),
            Object::JsonValues(values) => Some(values.iter().map(json).collect()),
            _ => None,
        }
    }

    /// Entries in the order of their keys; of a message its fields.
    pub(super) fn entries(self) -> Option<Vec<(Value<'a>, Value<'a>)>> {
        let named = |name: &'a str, value| (Value::text(name), value);
        Some(match self {
            Object::Headers(block, record) => headers::all(record, block),
            Object::Nothing => Vec::new(),
            Object::Message(space) if space.is_empty() => Vec::new(),
            Object::Message(space) => {
                vec![named("filter_metadata", Value::Object(Object::Namespaces(space)))]
            }
            Object::Namespaces(space) => {
                let names = space.names();
                let found = |name| Some(named(name, Value::Object(space.get(name)?)));
                names.into_iter().filter_map(found).collect()
            }
            Object::Namespace(space) => {
                space.0.iter().map(|field| named(&field.key, value(&field.value))).collect()
            }
            Object::Fields(fields) => fields.iter().map(|(name, field)| named(name, value(field))).collect(),
            Object::Json(fields) => {
                let mut sorted: Vec<_> = fields.iter().collect();
                sorted.sort_by_key(|(name, _)| *name);
                sorted.into_iter().map(|(name, field)| named(name, json(field))).collect()
            }
            Object::Values(_) | Object::JsonValues(_) => return None,
        })
    }

    /// How many entries there are.
    pub(super) fn len(self) -> usize {
        match self {
            Object::Values(values) => values.len(),
            Object::JsonValues(values) => values.len(),
            other => other.entries().map_or(0, |entries| entries.len()),
        }
    }
}

impl<'a> Space<'a> {
    pub(super) fn is_empty(self) -> bool {
        self.names().is_empty()
    }

    fn get(self, name: &str) -> Option<Object<'a>> {
        match self {
            Space::Dynamic(known) => known?.namespace(name).map(Object::Json),
            Space::Configured(known) => known?.get(name).map(Object::Namespace),
            Space::Host(host) => host.namespace(name).map(Object::Namespace),
        }
    }

    /// Names of namespaces, sorted.
    fn names(self) -> Vec<&'a str> {
        match self {
            Space::Dynamic(known) => known.into_iter().flat_map(DynamicMetadata::names).collect(),
            Space::Configured(known) => known.into_iter().flat_map(Namespaces::names).collect(),
            Space::Host(host) => host.namespaces(),
        }
    }
}

fn value(of: &MetadataValue) -> Value<'_> {
    match of {
        MetadataValue::Null => Value::Null,
        MetadataValue::Bool(value) => Value::Bool(*value),
        MetadataValue::Number(bits) => Value::Double(f64::from_bits(*bits)),
        MetadataValue::Text(text) => Value::text(text),
        MetadataValue::Struct(fields) => Value::Object(Object::Fields(fields)),
        MetadataValue::List(values) => Value::Object(Object::Values(values)),
    }
}

/// Every number is a double, as in protobuf's structs.
fn json(of: &Json) -> Value<'_> {
    match of {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => Value::Double(number.as_f64().unwrap_or_default()),
        Json::String(text) => Value::Text(Cow::Borrowed(text.as_bytes())),
        Json::Array(values) => Value::Object(Object::JsonValues(values)),
        Json::Object(fields) => Value::Object(Object::Json(fields)),
    }
}
