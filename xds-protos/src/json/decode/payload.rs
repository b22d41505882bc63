//! Numbers, booleans and enum words as wire payloads, each within the range of its kind.

use super::{Decoder, Result, explain};
use crate::json::scalar;
use crate::json::tree::{Node, Value};
use crate::schema::Kind;
use crate::wire::put_varint;

impl Decoder {
    /// The payload of a number, boolean or enum, without a tag.
    pub(super) fn payload(&self, kind: Kind, node: &Node, out: &mut Vec<u8>) -> Result<()> {
        let Value::Scalar { text, plain } = &node.value else {
            return Err(self.expected(node, &explain::kind(kind)));
        };
        let encoded = match kind {
            Kind::Bool => scalar::boolean_field(text, *plain).map(|b| put_varint(out, u64::from(b))),
            Kind::Enum(_) => enum_number(kind, text, *plain).map(|n| put_varint(out, n as u64)),
            Kind::Double => scalar::float(text, *plain).map(|x| out.extend(x.to_le_bytes())),
            Kind::Float => scalar::float(text, *plain)
                .map(|x| (x, x as f32))
                .filter(|(wide, narrow)| narrow.is_finite() || !wide.is_finite())
                .map(|(_, x)| out.extend(x.to_le_bytes())),
            _ => scalar::integer(text, *plain).and_then(|n| put_integer(kind, n, out)),
        };
        encoded.ok_or_else(|| self.expected(node, &explain::kind(kind)))
    }
}

fn enum_number(kind: Kind, text: &str, plain: bool) -> Option<i32> {
    let ty = kind.enumeration()?;
    if plain && ty.is_null() && scalar::is_null(text) {
        return Some(0);
    }
    let named = ty.value_named(text).map(|value| value.number);
    let number = || match plain {
        true => i32::try_from(scalar::yaml_integer(text)?).ok(),
        false => text.parse().ok(),
    };
    named.or_else(number)
}

/// How a value of this kind is delimited on the wire.
pub(super) fn wire_type(kind: Kind) -> u8 {
    match kind {
        Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => 1,
        Kind::String | Kind::Bytes | Kind::Message(_) => 2,
        Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => 5,
        _ => 0,
    }
}

/// Writes `n` if it is in the range of `kind`.
fn put_integer(kind: Kind, n: i128, out: &mut Vec<u8>) -> Option<()> {
    match kind {
        Kind::Int32 => put_varint(out, i64::from(i32::try_from(n).ok()?) as u64),
        Kind::Int64 => put_varint(out, i64::try_from(n).ok()? as u64),
        Kind::Uint32 => put_varint(out, u64::from(u32::try_from(n).ok()?)),
        Kind::Uint64 => put_varint(out, u64::try_from(n).ok()?),
        Kind::Sint32 => {
            let n = i32::try_from(n).ok()?;
            put_varint(out, u64::from((n << 1 ^ n >> 31) as u32));
        }
        Kind::Sint64 => {
            let n = i64::try_from(n).ok()?;
            put_varint(out, (n << 1 ^ n >> 63) as u64);
        }
        Kind::Fixed32 => out.extend(u32::try_from(n).ok()?.to_le_bytes()),
        Kind::Fixed64 => out.extend(u64::try_from(n).ok()?.to_le_bytes()),
        Kind::Sfixed32 => out.extend(i32::try_from(n).ok()?.to_le_bytes()),
        Kind::Sfixed64 => out.extend(i64::try_from(n).ok()?.to_le_bytes()),
        _ => return None,
    }
    Some(())
}
