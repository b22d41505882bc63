//! The shape of every message that Outrigger may meet: names, numbers, kinds, validation rules.
//!
//! Owns the static tables that the build script writes from Envoy's descriptors, and the lookups in them. They are
//! constant data of the program: nothing is built at start, nothing is allocated, nothing has to be dropped.
//! Invariant: messages are sorted by full name, fields of a message by number, indices stay inside their table.

mod tables {
    use super::*;
    include!(concat!(env!("OUT_DIR"), "/schema_tables.rs"));
}

mod rule;

#[cfg(test)]
mod tests;

use rule::RuleSet;
pub(crate) use rule::{Cmp, Rule};

/// A piece of the common text table.
pub(crate) struct Text {
    start: u32,
    len: u16,
}

impl Text {
    pub(crate) fn get(&self) -> &'static str {
        let start = self.start as usize;
        &tables::TEXTS[start..start + usize::from(self.len)]
    }
}

/// Consecutive rows of another table.
pub(crate) struct Span {
    start: u16,
    len: u16,
}

impl Span {
    fn of<T>(&self, table: &'static [T]) -> &'static [T] {
        let start = usize::from(self.start);
        &table[start..start + usize::from(self.len)]
    }
}

/// How proto3 JSON writes a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    /// An object of its fields.
    Plain,
    /// An object with `@type`.
    Any,
    /// `"1.5s"`.
    Duration,
    /// RFC 3339.
    Timestamp,
    /// Any object.
    Struct,
    /// Any list.
    ListValue,
    /// Any value.
    Value,
    /// The value of its only field.
    Wrapper,
}

/// A message.
pub(crate) struct MessageType {
    name: Text,
    pub(crate) form: Form,
    /// False where Envoy's API switches validation off for the whole message.
    pub(crate) checked: bool,
    fields: Span,
    oneofs: Span,
}

/// A field of a message.
pub(crate) struct Field {
    name: Text,
    pub(crate) number: u32,
    pub(crate) kind: Kind,
    pub(crate) label: Label,
    /// 0, or one more than the index of its oneof in the message.
    pub(crate) oneof: u8,
    /// Marked as a secret in Envoy's API.
    pub(crate) sensitive: bool,
    rules: u16,
}

/// The type of a field, or of the elements of a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(dead_code)] // The generated tables use the kinds that occur; the set is the wire format's own.
pub(crate) enum Kind {
    Double,
    Float,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
    Bool,
    String,
    Bytes,
    Message(u16),
    Enum(u16),
}

/// How often a field occurs and whether its absence can be told from its default.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Label {
    /// Absent means default.
    Implicit,
    /// Absent is absent: messages, members of oneofs, `optional` scalars.
    Optional,
    /// A list, one tag per element.
    Repeated,
    /// A list of numbers under one tag.
    Packed,
    /// A list of entries with field 1 as key and field 2 as value.
    Map,
}

/// A group of fields of which at most one is set.
pub(crate) struct Oneof {
    name: Text,
    /// Envoy refuses the message when none is set.
    pub(crate) required: bool,
}

/// An enum.
pub(crate) struct EnumType {
    name: Text,
    values: Span,
}

/// A value of an enum.
pub(crate) struct EnumValue {
    name: Text,
    pub(crate) number: i32,
}

/// The message of that full name; `None` when it is not in the schema.
pub(crate) fn find(full_name: &str) -> Option<&'static MessageType> {
    let found = tables::MESSAGES.binary_search_by(|message| message.name().cmp(full_name));
    found.ok().map(|index| &tables::MESSAGES[index])
}

impl MessageType {
    pub(crate) fn name(&self) -> &'static str {
        self.name.get()
    }

    pub(crate) fn fields(&self) -> &'static [Field] {
        self.fields.of(&tables::FIELDS)
    }

    pub(crate) fn oneofs(&self) -> &'static [Oneof] {
        self.oneofs.of(&tables::ONEOFS)
    }

    pub(crate) fn field(&self, number: u32) -> Option<&'static Field> {
        let fields = self.fields();
        fields.binary_search_by_key(&number, |field| field.number).ok().map(|index| &fields[index])
    }

    /// The field of that name, spelt as in the `.proto` file or in lowerCamelCase.
    pub(crate) fn field_named(&self, key: &str) -> Option<&'static Field> {
        self.fields().iter().find(|field| is_spelling_of(key, field.name()))
    }
}

/// Whether `key` is `name` (snake_case) or its lowerCamelCase form.
pub(crate) fn is_spelling_of(key: &str, name: &str) -> bool {
    key == name || camel_case(name).eq(key.chars())
}

fn camel_case(name: &str) -> impl Iterator<Item = char> {
    let mut raise = false;
    name.chars().filter_map(move |c| {
        if c == '_' {
            raise = true;
            return None;
        }
        let c = if raise { c.to_ascii_uppercase() } else { c };
        raise = false;
        Some(c)
    })
}

impl Field {
    pub(crate) fn name(&self) -> &'static str {
        self.name.get()
    }

    /// The message type of a message field or of a list or map of messages.
    pub(crate) fn message(&self) -> Option<&'static MessageType> {
        self.kind.message()
    }

    /// Whether JSON's `null` is a value of the field; elsewhere it means absent.
    pub(crate) fn takes_null(&self) -> bool {
        match self.kind {
            Kind::Message(_) => self.message().is_some_and(|ty| ty.form == Form::Value),
            Kind::Enum(_) => self.kind.enumeration().is_some_and(EnumType::is_null),
            _ => false,
        }
    }

    /// Rules of the field as a whole.
    pub(crate) fn rules(&self) -> &'static [Rule] {
        tables::RULE_SETS[usize::from(self.rules)].own.of(&tables::RULES)
    }

    /// Rules of each element, or of each value of a map.
    pub(crate) fn element_rules(&self) -> &'static [Rule] {
        tables::RULE_SETS[usize::from(self.rules)].each.of(&tables::RULES)
    }

    /// Rules of each key of a map.
    pub(crate) fn key_rules(&self) -> &'static [Rule] {
        tables::RULE_SETS[usize::from(self.rules)].keys.of(&tables::RULES)
    }
}

impl Kind {
    pub(crate) fn message(self) -> Option<&'static MessageType> {
        match self {
            Kind::Message(index) => Some(&tables::MESSAGES[usize::from(index)]),
            _ => None,
        }
    }

    pub(crate) fn enumeration(self) -> Option<&'static EnumType> {
        match self {
            Kind::Enum(index) => Some(&tables::ENUMS[usize::from(index)]),
            _ => None,
        }
    }
}

impl Oneof {
    pub(crate) fn name(&self) -> &'static str {
        self.name.get()
    }
}

impl EnumType {
    pub(crate) fn name(&self) -> &'static str {
        self.name.get()
    }

    /// `google.protobuf.NullValue`, which JSON writes as `null`.
    pub(crate) fn is_null(&self) -> bool {
        self.name() == "google.protobuf.NullValue"
    }

    pub(crate) fn values(&self) -> &'static [EnumValue] {
        self.values.of(&tables::VALUES)
    }

    pub(crate) fn value(&self, number: i32) -> Option<&'static EnumValue> {
        self.values().iter().find(|value| value.number == number)
    }

    /// By name in any case, as Envoy reads it.
    pub(crate) fn value_named(&self, name: &str) -> Option<&'static EnumValue> {
        self.values().iter().find(|value| value.name().eq_ignore_ascii_case(name))
    }
}

impl EnumValue {
    pub(crate) fn name(&self) -> &'static str {
        self.name.get()
    }
}
