//! Reads protobuf's encoding, from peers that may send anything: nothing is copied, nothing panics, and whatever is
//! wrong makes the whole message unreadable. Source: Protocol Buffers "Encoding".

use serde_json::{Map, Number, Value};

/// Deepest nesting of a `Struct` that is read.
const DEEPEST: usize = 32;

/// The value of one field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Item<'m> {
    /// A number, an enum or a truth value.
    Number(u64),
    /// `fixed64` or `double`.
    Fixed64(u64),
    /// `fixed32` or `float`.
    Fixed32(u32),
    /// Bytes, text or a message.
    Bytes(&'m [u8]),
}

impl<'m> Item<'m> {
    /// The number; an error for another kind.
    ///
    /// # Errors
    /// When it is something else.
    pub fn number(self) -> Result<u64, Unreadable> {
        if let Item::Number(number) = self { Ok(number) } else { Err(Unreadable) }
    }

    /// The bytes; an error for another kind.
    ///
    /// # Errors
    /// When it is a number.
    pub fn bytes(self) -> Result<&'m [u8], Unreadable> {
        if let Item::Bytes(bytes) = self { Ok(bytes) } else { Err(Unreadable) }
    }

    /// Text; an error when it is no UTF-8.
    ///
    /// # Errors
    /// When it is a number or no text.
    pub fn text(self) -> Result<&'m str, Unreadable> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Unreadable)
    }
}

/// The bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

/// The fields of one message in their order: number and value.
#[derive(Clone, Debug)]
pub struct Fields<'m>(&'m [u8]);

impl<'m> Fields<'m> {
    /// Of a message.
    pub fn of(message: &'m [u8]) -> Self {
        Self(message)
    }

    /// The field after this one; `None` at the end.
    ///
    /// # Errors
    /// When there is no field where one should be.
    pub fn field(&mut self) -> Result<Option<(u32, Item<'m>)>, Unreadable> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let field = u32::try_from(key >> 3).ok().filter(|field| *field > 0).ok_or(Unreadable)?;
        let item = match key & 7 {
            0 => Item::Number(self.varint()?),
            1 => Item::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Unreadable)?;
                Item::Bytes(self.take(length)?)
            }
            5 => Item::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return Err(Unreadable),
        };
        Ok(Some((field, item)))
    }

    fn take(&mut self, count: usize) -> Result<&'m [u8], Unreadable> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Unreadable)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        self.take(N)?.try_into().map_err(|_| Unreadable)
    }

    fn varint(&mut self) -> Result<u64, Unreadable> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Unreadable)
    }
}

/// A `google.protobuf.Struct`.
///
/// # Errors
/// When it is none, or nested too deeply.
pub fn structure(message: &[u8]) -> Result<Map<String, Value>, Unreadable> {
    fields_of(message, 0)
}

fn fields_of(message: &[u8], depth: usize) -> Result<Map<String, Value>, Unreadable> {
    let mut map = Map::new();
    let mut fields = Fields::of(message);
    while let Some((number, item)) = fields.field()? {
        if number == 1 {
            let (mut name, mut value) = ("", Value::Null);
            let mut entry = Fields::of(item.bytes()?);
            while let Some((number, item)) = entry.field()? {
                match number {
                    1 => name = item.text()?,
                    2 => value = self::value(item.bytes()?, depth + 1)?,
                    _ => {}
                }
            }
            map.insert(name.to_owned(), value);
        }
    }
    Ok(map)
}

fn value(message: &[u8], depth: usize) -> Result<Value, Unreadable> {
    if depth > DEEPEST {
        return Err(Unreadable);
    }
    let mut value = Value::Null;
    let mut fields = Fields::of(message);
    while let Some((number, item)) = fields.field()? {
        value = match (number, item) {
            (1, Item::Number(_)) => Value::Null,
            (2, Item::Fixed64(bits)) => whole_or_fraction(f64::from_bits(bits)),
            (3, item) => Value::String(item.text()?.to_owned()),
            (4, Item::Number(flag)) => Value::Bool(flag != 0),
            (5, item) => Value::Object(fields_of(item.bytes()?, depth + 1)?),
            (6, item) => list(item.bytes()?, depth + 1)?,
            _ => value,
        };
    }
    Ok(value)
}

/// JSON knows no infinities.
fn whole_or_fraction(number: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() < EXACT {
        return Value::from(number as i64);
    }
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

fn list(message: &[u8], depth: usize) -> Result<Value, Unreadable> {
    let mut values = Vec::new();
    let mut fields = Fields::of(message);
    while let Some((number, item)) = fields.field()? {
        if number == 1 {
            values.push(value(item.bytes()?, depth)?);
        }
    }
    Ok(Value::Array(values))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::observe::protobuf::{Message, common};

    fn read(mut bytes: &[u8]) -> Result<Vec<(u32, Item<'_>)>, Unreadable> {
        let mut all = Vec::new();
        let mut fields = Fields::of(std::mem::take(&mut bytes));
        while let Some(field) = fields.field()? {
            all.push(field);
        }
        Ok(all)
    }

    #[test]
    fn fields_are_read_as_they_are_written() {
        let mut out = Vec::new();
        let mut message = Message(&mut out);
        message.number(1, 150);
        message.bytes(2, b"testing");
        message.fixed32(3, 7);
        message.fixed64(4, 9);
        let expected = [
            (1, Item::Number(150)),
            (2, Item::Bytes(b"testing")),
            (3, Item::Fixed32(7)),
            (4, Item::Fixed64(9)),
        ];
        assert_eq!(read(&out), Ok(expected.to_vec()));
        assert_eq!(read(b""), Ok(vec![]));
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        for bad in [
            &b"\x08"[..],
            b"\x00\x01",
            b"\x0a\x05ab",
            b"\x0b",
            b"\x09\x01\x02",
            b"\x0d\x01",
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ] {
            assert_eq!(read(bad), Err(Unreadable), "{bad:?}");
        }
    }

    #[test]
    fn structures_survive_both_ways() {
        let value = json!({
            "text": "a", "empty": "", "whole": 7, "negative": -3, "fraction": 1.5, "yes": true, "no": false,
            "nothing": null, "list": [1, "x", [], {}], "inside": {"a": {"b": "c"}},
        });
        let Value::Object(map) = value else { panic!("an object") };
        let mut out = Vec::new();
        common::structure(&map, &mut Message(&mut out));
        assert_eq!(structure(&out), Ok(map));
    }

    #[test]
    fn nesting_is_bounded() {
        let mut inner = Vec::new();
        for _ in 0..200 {
            let mut outer = Vec::new();
            Message(&mut outer).message(1, |entry| {
                entry.bytes(1, b"a");
                entry.message(2, |value| value.bytes(5, &inner));
            });
            inner = outer;
        }
        assert_eq!(structure(&inner), Err(Unreadable));
    }
}
