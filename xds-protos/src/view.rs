//! Bytes of a message read by its schema: which fields are present, with which values, and what is unknown.
//!
//! The common ground of the printer, the checker and the search for unknown fields. Follows the merge rules of
//! protobuf: the last scalar wins, messages merge, the last member of a oneof clears the others. Strings are checked
//! to be UTF-8, wire types to fit the kind, as prost does when it decodes.

use std::borrow::Cow;

use crate::schema::{Field, Kind, Label, MessageType};
use crate::wire::{self, Malformed, Raw, Reader};

#[cfg(test)]
mod tests;

/// One value of a field.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scalar<'a> {
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    Double(f64),
    Float(f32),
    Text(&'a str),
    Bytes(&'a [u8]),
    Enum(i32),
    /// The encoding of an inner message. Owned when it was merged from several occurrences.
    Message(Cow<'a, [u8]>),
}

/// A field that occurs, with at least one value.
pub(crate) struct Present<'a> {
    pub(crate) field: &'static Field,
    pub(crate) values: Vec<Scalar<'a>>,
}

/// One message.
pub(crate) struct View<'a> {
    /// In the order of field numbers.
    pub(crate) fields: Vec<Present<'a>>,
    /// Numbers that the schema does not have, each once, ascending.
    pub(crate) unknown: Vec<u32>,
}

impl<'a> View<'a> {
    /// Reads one level of a message.
    pub(crate) fn read(ty: &'static MessageType, bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut entries = wire::entries(bytes)?;
        drop_overridden_members(ty, &mut entries);
        // Stable: the values of a field stay in their order.
        entries.sort_by_key(|entry| entry.number);
        let mut view = View { fields: Vec::new(), unknown: Vec::new() };
        for same in entries.chunk_by(|a, b| a.number == b.number) {
            match ty.field(same[0].number) {
                Some(field) => view.push(field, same)?,
                None => view.unknown.push(same[0].number),
            }
        }
        Ok(view)
    }

    fn push(&mut self, field: &'static Field, entries: &[wire::Entry<'a>]) -> Result<(), Malformed> {
        let values = match field.label {
            Label::Implicit | Label::Optional => vec![singular(field.kind, entries)?],
            Label::Repeated | Label::Packed | Label::Map => repeated(field.kind, entries)?,
        };
        if !values.is_empty() {
            self.fields.push(Present { field, values });
        }
        Ok(())
    }

    /// The values of a field; `None` when it is absent.
    pub(crate) fn get(&self, number: u32) -> Option<&[Scalar<'a>]> {
        let found = self.fields.binary_search_by_key(&number, |present| present.field.number).ok()?;
        Some(&self.fields[found].values)
    }
}

/// Of a oneof only the member set last counts.
fn drop_overridden_members(ty: &MessageType, entries: &mut Vec<wire::Entry<'_>>) {
    if ty.oneofs().is_empty() {
        return;
    }
    let oneof_of = |number| ty.field(number).map_or(0, |field| usize::from(field.oneof));
    let mut winners = vec![0; ty.oneofs().len() + 1];
    for entry in entries.iter() {
        winners[oneof_of(entry.number)] = entry.number;
    }
    entries.retain(|entry| match oneof_of(entry.number) {
        0 => true,
        oneof => winners[oneof] == entry.number,
    });
}

fn singular<'a>(kind: Kind, entries: &[wire::Entry<'a>]) -> Result<Scalar<'a>, Malformed> {
    if let (Kind::Message(_), [_, _, ..]) = (kind, entries) {
        // Concatenated encodings are the encoding of the merged message.
        let mut merged = Vec::new();
        for entry in entries {
            let Raw::Bytes(bytes) = entry.raw else { return Err(Malformed("wrong wire type")) };
            merged.extend_from_slice(bytes);
        }
        return Ok(Scalar::Message(Cow::Owned(merged)));
    }
    let last = entries.last().ok_or(Malformed("truncated"))?;
    scalar(kind, last.raw)
}

fn repeated<'a>(kind: Kind, entries: &[wire::Entry<'a>]) -> Result<Vec<Scalar<'a>>, Malformed> {
    let mut values = Vec::with_capacity(entries.len());
    for entry in entries {
        match entry.raw {
            Raw::Bytes(bytes) if is_packable(kind) => unpack(kind, bytes, &mut values)?,
            raw => values.push(scalar(kind, raw)?),
        }
    }
    Ok(values)
}

fn is_packable(kind: Kind) -> bool {
    !matches!(kind, Kind::String | Kind::Bytes | Kind::Message(_))
}

fn unpack<'a>(kind: Kind, bytes: &'a [u8], values: &mut Vec<Scalar<'a>>) -> Result<(), Malformed> {
    let mut reader = Reader { rest: bytes };
    while !reader.rest.is_empty() {
        let raw = match kind {
            Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => Raw::Fixed64(reader.fixed64()?),
            Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => Raw::Fixed32(reader.fixed32()?),
            _ => Raw::Varint(reader.varint()?),
        };
        values.push(scalar(kind, raw)?);
    }
    Ok(())
}

fn scalar<'a>(kind: Kind, raw: Raw<'a>) -> Result<Scalar<'a>, Malformed> {
    Ok(match (kind, raw) {
        (Kind::Bool, Raw::Varint(n)) => Scalar::Bool(n != 0),
        // Narrow integers keep the low 32 bits of the varint, as every implementation does.
        (Kind::Int32, Raw::Varint(n)) => Scalar::Signed(i64::from(n as i32)),
        (Kind::Uint32, Raw::Varint(n)) => Scalar::Unsigned(u64::from(n as u32)),
        (Kind::Enum(_), Raw::Varint(n)) => Scalar::Enum(n as i32),
        (Kind::Int64, Raw::Varint(n)) => Scalar::Signed(n as i64),
        (Kind::Uint64, Raw::Varint(n)) => Scalar::Unsigned(n),
        (Kind::Sint32, Raw::Varint(n)) => Scalar::Signed(zigzag(u64::from(n as u32))),
        (Kind::Sint64, Raw::Varint(n)) => Scalar::Signed(zigzag(n)),
        (Kind::Fixed64, Raw::Fixed64(n)) => Scalar::Unsigned(n),
        (Kind::Sfixed64, Raw::Fixed64(n)) => Scalar::Signed(n as i64),
        (Kind::Double, Raw::Fixed64(n)) => Scalar::Double(f64::from_bits(n)),
        (Kind::Fixed32, Raw::Fixed32(n)) => Scalar::Unsigned(u64::from(n)),
        (Kind::Sfixed32, Raw::Fixed32(n)) => Scalar::Signed(i64::from(n as i32)),
        (Kind::Float, Raw::Fixed32(n)) => Scalar::Float(f32::from_bits(n)),
        (Kind::String, Raw::Bytes(bytes)) => {
            Scalar::Text(str::from_utf8(bytes).map_err(|_| Malformed("a string is not UTF-8"))?)
        }
        (Kind::Bytes, Raw::Bytes(bytes)) => Scalar::Bytes(bytes),
        (Kind::Message(_), Raw::Bytes(bytes)) => Scalar::Message(Cow::Borrowed(bytes)),
        _ => return Err(Malformed("wrong wire type")),
    })
}

fn zigzag(n: u64) -> i64 {
    (n >> 1) as i64 ^ -((n & 1) as i64)
}

impl Scalar<'_> {
    /// The encoding of an inner message; empty for anything else.
    pub(crate) fn message(&self) -> &[u8] {
        match self {
            Scalar::Message(bytes) => bytes,
            _ => &[],
        }
    }

    /// Whether this is the value that an absent field stands for.
    pub(crate) fn is_default(&self) -> bool {
        match self {
            Scalar::Bool(value) => !value,
            Scalar::Signed(n) => *n == 0,
            Scalar::Unsigned(n) => *n == 0,
            // By bits: -0.0 is not the default.
            Scalar::Double(x) => x.to_bits() == 0,
            Scalar::Float(x) => x.to_bits() == 0,
            Scalar::Text(text) => text.is_empty(),
            Scalar::Bytes(bytes) => bytes.is_empty(),
            Scalar::Enum(n) => *n == 0,
            Scalar::Message(_) => false,
        }
    }
}

/// The two fields of an `Any`, or of any message with the same layout of a name and bytes.
pub(crate) fn any_parts<'v, 'a>(view: &'v View<'a>) -> (&'v str, &'v [u8]) {
    let url = match view.get(1) {
        Some([Scalar::Text(url), ..]) => url,
        _ => "",
    };
    let value: &[u8] = match view.get(2) {
        Some([Scalar::Bytes(value), ..]) => value,
        _ => &[],
    };
    (url, value)
}

/// The key of a map entry as the path writes it.
pub(crate) fn key_text(key: &Scalar<'_>) -> String {
    match key {
        Scalar::Text(text) => (*text).to_owned(),
        Scalar::Signed(n) => n.to_string(),
        Scalar::Unsigned(n) => n.to_string(),
        Scalar::Bool(value) => value.to_string(),
        _ => String::new(),
    }
}
