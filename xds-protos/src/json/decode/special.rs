//! The messages that JSON writes in a form of their own: `Any`, times, and the untyped `Struct`, `ListValue`, `Value`.

use super::{Decoder, Result};
use crate::any::type_name;
use crate::json::tree::{Member, Node, Value};
use crate::json::{scalar, time};
use crate::schema::{self, Form, MessageType};
use crate::wire::{put_bytes, put_tag, put_varint};

impl Decoder {
    /// An object with `@type`.
    pub(super) fn any(&mut self, node: &Node, out: &mut Vec<u8>) -> Result<()> {
        let members = self.mapping(node, || "an object with \"@type\"".to_owned())?;
        let Some(tag) = members.iter().find(|member| member.key == "@type") else {
            return match members {
                [] => Ok(()),
                _ => Err(self.error(node.at, "no \"@type\" that says which message this is")),
            };
        };
        let url = self.text(&tag.node, "a type URL")?;
        let name = type_name(url).filter(|_| !url.starts_with('/')).ok_or_else(|| {
            self.type_error(
                &tag.node,
                format!("{url:?} is no type URL; expected type.googleapis.com/ and a name"),
            )
        })?;
        let ty = schema::find(name).ok_or_else(|| {
            self.type_error(&tag.node, format!("unknown type {url:?}; expected a message of Envoy's v3 API"))
        })?;
        let mut bytes = Vec::new();
        match ty.form {
            Form::Plain => {
                self.fields(ty, members.iter().filter(|member| member.key != "@type"), &mut bytes)?
            }
            _ => self.special_any(ty, node, members, &mut bytes)?,
        }
        put_bytes(out, 1, url.as_bytes());
        put_bytes(out, 2, &bytes);
        Ok(())
    }

    /// Messages with a JSON form of their own stand beside `@type` as `value`.
    fn special_any(
        &mut self,
        ty: &'static MessageType,
        node: &Node,
        members: &[Member],
        out: &mut Vec<u8>,
    ) -> Result<()> {
        for other in members.iter().filter(|member| member.key != "@type" && member.key != "value") {
            self.unknown_field(ty, other)?;
        }
        let Some(value) = members.iter().find(|member| member.key == "value") else {
            return Err(self.error(node.at, format!("no \"value\" beside \"@type\" for a {}", ty.name())));
        };
        self.path.push_name("value");
        self.message(ty, &value.node, out)?;
        self.path.pop();
        Ok(())
    }

    /// A `google.protobuf.Struct`.
    pub(super) fn structure(&mut self, node: &Node, out: &mut Vec<u8>) -> Result<()> {
        for member in self.mapping(node, || "a mapping".to_owned())? {
            self.path.push_key(member.key.as_str());
            let (mut entry, mut value) = (Vec::new(), Vec::new());
            self.value(&member.node, &mut value)?;
            put_bytes(&mut entry, 1, member.key.as_bytes());
            put_bytes(&mut entry, 2, &value);
            put_bytes(out, 1, &entry);
            self.path.pop();
        }
        Ok(())
    }

    /// A `google.protobuf.ListValue`.
    pub(super) fn list_value(&mut self, node: &Node, out: &mut Vec<u8>) -> Result<()> {
        let Value::List(items) = &node.value else { return Err(self.expected(node, "a list")) };
        for (index, item) in items.iter().enumerate() {
            self.path.push_index(index);
            let mut value = Vec::new();
            self.value(item, &mut value)?;
            put_bytes(out, 1, &value);
            self.path.pop();
        }
        Ok(())
    }

    /// A `google.protobuf.Value`: the only place where the text alone says what a scalar is.
    pub(super) fn value(&mut self, node: &Node, out: &mut Vec<u8>) -> Result<()> {
        let mut inner = Vec::new();
        match &node.value {
            Value::Mapping(_) => {
                self.structure(node, &mut inner)?;
                put_bytes(out, 5, &inner);
            }
            Value::List(_) => {
                self.list_value(node, &mut inner)?;
                put_bytes(out, 6, &inner);
            }
            Value::Scalar { text, plain } => self.scalar_value(text, *plain, out),
        }
        Ok(())
    }

    /// As Envoy's loader: of plain YAML scalars only booleans and 32-bit integers lose their text. A fraction stays a
    /// string (a version `1.10` survives), unless the document is JSON.
    fn scalar_value(&self, text: &str, plain: bool, out: &mut Vec<u8>) {
        let number = match scalar::yaml_integer(text) {
            _ if !plain => None,
            Some(n) if i32::try_from(n).is_ok() => Some(n as f64),
            _ if self.json => scalar::number(text).filter(|x| x.is_finite()),
            _ => None,
        };
        if let Some(x) = number {
            put_tag(out, 2, 1);
            out.extend(x.to_le_bytes());
        } else if plain && scalar::is_null(text) {
            put_tag(out, 1, 0);
            put_varint(out, 0);
        } else if let Some(b) = scalar::boolean(text).filter(|_| plain) {
            put_tag(out, 4, 0);
            put_varint(out, u64::from(b));
        } else {
            put_bytes(out, 3, text.as_bytes());
        }
    }

    /// A `Duration` or `Timestamp`: two fields of the same layout.
    pub(super) fn time(
        &self,
        node: &Node,
        wanted: &str,
        parse: fn(&str) -> Option<time::Time>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let (seconds, nanos) = parse(self.text(node, wanted)?).ok_or_else(|| self.expected(node, wanted))?;
        for (number, n) in [(1, seconds), (2, i64::from(nanos))].into_iter().filter(|(_, n)| *n != 0) {
            put_tag(out, number, 0);
            put_varint(out, n as u64);
        }
        Ok(())
    }
}
