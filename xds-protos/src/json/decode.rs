//! A tree to the wire format, by the schema.
//!
//! Owns the strictness: unknown fields and types, wrong kinds, bad words, two members of a oneof are errors with path
//! and position. Writes bytes, not structs, so that one walk serves every message type.

use super::scalar;
use super::tree::{Member, Node, Position, Value};
use super::{ConfigError, time};
use crate::path::Path;
use crate::schema::{Field, Form, Kind, Label, MessageType};
use crate::wire::{put_bytes, put_tag};

use payload::wire_type;

mod explain;
mod payload;
mod special;

type Result<T> = std::result::Result<T, ConfigError>;

/// The walk: where it is, and what it knows of the text.
pub(super) struct Decoder {
    path: Path,
    /// Above zero inside a field that is marked as a secret: values stay out of errors.
    secret: usize,
    /// JSON has numbers where YAML has words: a fraction in a `Struct` stays a number.
    json: bool,
    /// Unknown fields that were left out; `None` makes the first one an error.
    pub(super) unknown: Option<Vec<ConfigError>>,
}

impl Decoder {
    pub(super) fn new(json: bool) -> Self {
        Decoder { path: Path::default(), secret: 0, json, unknown: None }
    }

    /// Encodes `node` as a message of type `ty`.
    pub(super) fn message(&mut self, ty: &'static MessageType, node: &Node, out: &mut Vec<u8>) -> Result<()> {
        match ty.form {
            Form::Plain => {
                let members = self.mapping(node, || explain::message(ty))?;
                self.fields(ty, members, out)
            }
            Form::Any => self.any(node, out),
            Form::Duration => self.time(node, "a duration such as \"1.5s\"", time::parse_duration, out),
            Form::Timestamp => {
                self.time(node, "a timestamp such as \"2024-02-29T12:00:00Z\"", time::parse_timestamp, out)
            }
            Form::Struct => self.structure(node, out),
            Form::ListValue => self.list_value(node, out),
            Form::Value => self.value(node, out),
            // Envoy takes `{value: 5}` for `5`.
            Form::Wrapper => match (ty.field(1), &node.value) {
                (Some(_), Value::Mapping(members)) => self.fields(ty, members, out),
                (Some(field), _) => self.singular(field, node, out),
                (None, _) => Ok(()),
            },
        }
    }

    /// Members of a mapping as fields of `ty`.
    fn fields<'n>(
        &mut self,
        ty: &'static MessageType,
        members: impl IntoIterator<Item = &'n Member>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let mut seen: Vec<&'static Field> = Vec::new();
        for member in members {
            let Some(field) = ty.field_named(&member.key) else {
                self.unknown_field(ty, member)?;
                continue;
            };
            if member.node.is_null() && !field.takes_null() {
                continue;
            }
            self.no_conflict(ty, &seen, field, member)?;
            seen.push(field);
            self.path.push_name(field.name());
            self.secret += usize::from(field.sensitive);
            self.field(field, &member.node, out)?;
            self.secret -= usize::from(field.sensitive);
            self.path.pop();
        }
        Ok(())
    }

    /// A field may be set once, in one spelling, and alone in its oneof.
    fn no_conflict(
        &self,
        ty: &MessageType,
        seen: &[&'static Field],
        field: &'static Field,
        member: &Member,
    ) -> Result<()> {
        let clash = seen
            .iter()
            .find(|other| other.number == field.number || (field.oneof != 0 && other.oneof == field.oneof));
        let Some(other) = clash else { return Ok(()) };
        let problem = if other.number == field.number {
            "set twice, in two spellings".to_owned()
        } else {
            let group = ty.oneofs().get(usize::from(field.oneof) - 1).map_or("", |oneof| oneof.name());
            format!("{:?} is already set; only one of {group:?} may be", other.name())
        };
        Err(ConfigError { path: self.path.with_name(field.name()), position: member.at, problem })
    }

    fn field(&mut self, field: &'static Field, node: &Node, out: &mut Vec<u8>) -> Result<()> {
        match field.label {
            Label::Implicit | Label::Optional => self.singular(field, node, out),
            Label::Map => self.map(field, node, out),
            Label::Repeated | Label::Packed => match &node.value {
                Value::List(items) => self.list(field, items, out),
                // Envoy takes a lone value for a list of one.
                _ => self.list(field, std::slice::from_ref(node), out),
            },
        }
    }

    fn list(&mut self, field: &'static Field, items: &[Node], out: &mut Vec<u8>) -> Result<()> {
        let mut packed = Vec::new();
        for (index, item) in items.iter().enumerate() {
            self.path.push_index(index);
            if item.is_null() && !field.takes_null() {
                return Err(self.expected(item, &explain::kind(field.kind)));
            }
            match field.label {
                Label::Packed => self.payload(field.kind, item, &mut packed)?,
                _ => self.singular(field, item, out)?,
            }
            self.path.pop();
        }
        if !packed.is_empty() {
            put_bytes(out, field.number, &packed);
        }
        Ok(())
    }

    fn map(&mut self, field: &'static Field, node: &Node, out: &mut Vec<u8>) -> Result<()> {
        let members = self.mapping(node, || "a mapping".to_owned())?;
        let entry = field.message().and_then(|entry| Some((entry.field(1)?, entry.field(2)?)));
        let Some((key_field, value_field)) = entry else { return Ok(()) };
        for member in members {
            self.path.push_key(member.key.as_str());
            if member.node.is_null() && !value_field.takes_null() {
                return Err(self.expected(&member.node, &explain::kind(value_field.kind)));
            }
            let mut bytes = Vec::new();
            // A key is always text; what it means is the map's business.
            let plain = key_field.kind != Kind::String;
            let key = Node { at: member.at, value: Value::Scalar { text: member.key.clone(), plain } };
            self.singular(key_field, &key, &mut bytes)?;
            self.singular(value_field, &member.node, &mut bytes)?;
            put_bytes(out, field.number, &bytes);
            self.path.pop();
        }
        Ok(())
    }

    /// One value with its tag.
    fn singular(&mut self, field: &'static Field, node: &Node, out: &mut Vec<u8>) -> Result<()> {
        let mut value = Vec::new();
        match field.kind {
            Kind::Message(_) => {
                if let Some(ty) = field.message() {
                    self.message(ty, node, &mut value)?;
                }
            }
            Kind::String => value.extend(self.text(node, "a string")?.as_bytes()),
            Kind::Bytes => {
                value =
                    scalar::bytes(self.text(node, "base64")?).ok_or_else(|| self.expected(node, "base64"))?;
            }
            kind => self.payload(kind, node, &mut value)?,
        }
        let delimited = wire_type(field.kind) == 2;
        let is_default = if delimited { value.is_empty() } else { value.iter().all(|byte| *byte == 0) };
        match delimited {
            // Default and absent are one; encoders leave it out.
            _ if is_default && field.label == Label::Implicit => {}
            true => put_bytes(out, field.number, &value),
            false => {
                put_tag(out, field.number, wire_type(field.kind));
                out.extend(value);
            }
        }
        Ok(())
    }

    fn mapping<'n>(&self, node: &'n Node, wanted: impl Fn() -> String) -> Result<&'n [Member]> {
        match &node.value {
            Value::Mapping(members) => Ok(members),
            _ => Err(self.expected(node, &wanted())),
        }
    }

    /// The text of a string field. As in Envoy, an unquoted boolean or small number is not a string: quoting it says
    /// what was meant.
    fn text<'n>(&self, node: &'n Node, wanted: &str) -> Result<&'n str> {
        match &node.value {
            Value::Scalar { text, plain } if !plain || explain::is_word(text) => Ok(text),
            _ => Err(self.expected(node, wanted)),
        }
    }

    fn error(&self, at: Position, problem: impl Into<String>) -> ConfigError {
        ConfigError { path: self.path.to_string(), position: at, problem: problem.into() }
    }

    fn expected(&self, node: &Node, wanted: &str) -> ConfigError {
        self.error(node.at, format!("expected {wanted}, found {}", explain::found(node, self.secret > 0)))
    }

    fn type_error(&self, node: &Node, problem: String) -> ConfigError {
        ConfigError { path: self.path.with_name("@type"), position: node.at, problem }
    }

    fn unknown_field(&mut self, ty: &MessageType, member: &Member) -> Result<()> {
        let problem = format!("unknown field of {}{}", ty.name(), explain::alternatives(ty, &member.key));
        let error = ConfigError { path: self.path.with_name(&member.key), position: member.at, problem };
        match &mut self.unknown {
            Some(unknown) => unknown.push(error),
            None => return Err(error),
        }
        Ok(())
    }
}
