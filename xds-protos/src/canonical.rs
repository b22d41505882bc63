//! One encoding per message: what two processes may hash and compare.
//!
//! Protobuf leaves the order of map entries open, and prost writes them in the order of a randomly seeded hash map. The
//! canonical form has fields in the order of their numbers and map entries in the order of their bytes, which begin
//! with the key, down through every `Any` of a known type. Lists keep their order. It decodes to the same message.
//! Source: protobuf.dev, "Proto Serialization Is Not Canonical".

use crate::any::type_name;
use crate::schema::{self, Field, Form, Label, MessageType};
use crate::wire::{self, Entry, MAX_DEPTH, Raw};

pub use crate::wire::Malformed;

#[cfg(test)]
mod tests;

const ANY_URL: u32 = 1;
const ANY_VALUE: u32 = 2;

/// The canonical encoding of a message of the given type URL. A type that the schema does not have is opaque: its bytes
/// come back as they are.
///
/// # Errors
/// When the bytes are not an encoding of the type.
///
/// ```
/// use outrigger_xds_protos::{any::Typed, canonical, type_url, v3::cluster::Cluster};
/// let cluster = Cluster { name: "a".into(), ..Cluster::default() };
/// assert_eq!(canonical::encode(type_url::CLUSTER, &cluster.to_wire()), Ok(cluster.to_wire()));
/// ```
pub fn encode(type_url: &str, message: &[u8]) -> Result<Vec<u8>, Malformed> {
    match type_name(type_url).and_then(schema::find) {
        Some(ty) => rewrite(ty, message, 0),
        None => Ok(message.to_vec()),
    }
}

fn rewrite(ty: &'static MessageType, message: &[u8], depth: usize) -> Result<Vec<u8>, Malformed> {
    if depth >= MAX_DEPTH {
        return Err(Malformed("nested too deeply"));
    }
    let mut entries = wire::entries(message)?;
    // Stable: the values of a list stay in their order.
    entries.sort_by_key(|entry| entry.number);
    if ty.form == Form::Any {
        return rewrite_any(&entries, depth);
    }
    let mut out = Vec::with_capacity(message.len());
    for same in entries.chunk_by(|a, b| a.number == b.number) {
        let field = ty.field(same[0].number);
        let mut values: Vec<Vec<u8>> =
            same.iter().map(|entry| value(field, entry.raw, depth)).collect::<Result<_, _>>()?;
        if field.is_some_and(|f| f.label == Label::Map) {
            values.sort_unstable();
        }
        for (entry, value) in same.iter().zip(values) {
            put(&mut out, entry, &value);
        }
    }
    Ok(out)
}

/// The payload of one entry of a field, canonical inside.
fn value(field: Option<&'static Field>, raw: Raw<'_>, depth: usize) -> Result<Vec<u8>, Malformed> {
    let Raw::Bytes(bytes) = raw else { return Ok(Vec::new()) };
    match field.and_then(Field::message) {
        // Of a map, this is the message of an entry.
        Some(ty) => rewrite(ty, bytes, depth + 1),
        None => Ok(bytes.to_vec()),
    }
}

fn rewrite_any(entries: &[Entry<'_>], depth: usize) -> Result<Vec<u8>, Malformed> {
    let last = |number| {
        entries.iter().rev().find_map(|entry| match entry.raw {
            Raw::Bytes(bytes) if entry.number == number => Some(bytes),
            _ => None,
        })
    };
    let (url, inner) = (last(ANY_URL).unwrap_or_default(), last(ANY_VALUE).unwrap_or_default());
    let text = str::from_utf8(url).map_err(|_| Malformed("a string is not UTF-8"))?;
    let inner = match type_name(text).and_then(schema::find) {
        Some(ty) => rewrite(ty, inner, depth + 1)?,
        None => inner.to_vec(),
    };
    let mut out = Vec::with_capacity(url.len() + inner.len() + 8);
    for (number, bytes) in [(ANY_URL, url), (ANY_VALUE, &inner)] {
        if !bytes.is_empty() {
            wire::put_bytes(&mut out, number, bytes);
        }
    }
    Ok(out)
}

/// Appends an entry; `bytes` stand for its payload if that is length-delimited.
fn put(out: &mut Vec<u8>, entry: &Entry<'_>, bytes: &[u8]) {
    match entry.raw {
        Raw::Bytes(_) => wire::put_bytes(out, entry.number, bytes),
        Raw::Varint(n) => {
            wire::put_tag(out, entry.number, 0);
            wire::put_varint(out, n);
        }
        Raw::Fixed64(n) => {
            wire::put_tag(out, entry.number, 1);
            out.extend_from_slice(&n.to_le_bytes());
        }
        Raw::Fixed32(n) => {
            wire::put_tag(out, entry.number, 5);
            out.extend_from_slice(&n.to_le_bytes());
        }
        Raw::Group => {}
    }
}
