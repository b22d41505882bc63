//! The constraints of Envoy's API (`validate.rules` in its `.proto` files), checked on the wire format.
//!
//! Owns refusing what Envoy refuses before any translator looks: required fields and oneofs, lengths, ranges, enum
//! words, header names. Descends into every `Any` whose type the schema has, as Envoy does when it reads an extension.
//! Reports the first violation, as Envoy does. Needs no descriptor pool and allocates little, so that it suits every
//! dynamic update. Source: protoc-gen-validate's `validate.proto`.

mod rules;

#[cfg(test)]
mod tests;

use crate::any::{Typed, type_name};
use crate::path::Path;
use crate::pb::google::protobuf::Any;
use crate::schema::{self, Field, Form, Label, MessageType, Rule};
use crate::view::{Scalar, View, any_parts, key_text};
use crate::wire::{MAX_DEPTH, Malformed};

/// A value that Envoy's API does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{}{problem}", self.path, if self.path.is_empty() { "" } else { ": " })]
pub struct Violation {
    /// JSON path of the field.
    pub path: String,
    /// What is wrong and what was expected; holds no value.
    pub problem: String,
}

/// Checks a message.
///
/// ```
/// use outrigger_xds_protos::{v3::cluster::Cluster, validate};
/// let violation = validate::check(&Cluster::default()).unwrap_err();
/// assert_eq!(violation.to_string(), "name: must not be empty");
/// ```
pub fn check<M: Typed>(message: &M) -> Result<(), Violation> {
    match schema::find(M::NAME) {
        Some(ty) => check_wire(ty, &message.to_wire()),
        None => Ok(()),
    }
}

/// Checks a resource as it came off the wire. A type outside the schema has nothing to check: whoever reads the
/// resource refuses it by its type URL.
pub fn check_any(any: &Any) -> Result<(), Violation> {
    match type_name(&any.type_url).and_then(schema::find) {
        Some(ty) => check_wire(ty, &any.value),
        None => Ok(()),
    }
}

/// Checks an encoded message.
pub(crate) fn check_wire(ty: &'static MessageType, bytes: &[u8]) -> Result<(), Violation> {
    Checker { path: Path::default(), depth: 0 }.message(ty, bytes)
}

/// The walk.
struct Checker {
    path: Path,
    depth: usize,
}

type Verdict = Result<(), Violation>;

impl Checker {
    fn message(&mut self, ty: &'static MessageType, bytes: &[u8]) -> Verdict {
        if self.depth >= MAX_DEPTH {
            return Err(self.malformed(Malformed("nested too deeply")));
        }
        let view = View::read(ty, bytes).map_err(|e| self.malformed(e))?;
        self.depth += 1;
        match ty.form {
            Form::Any => self.any(&view)?,
            _ if ty.checked => self.fields(ty, &view)?,
            _ => {}
        }
        self.depth -= 1;
        Ok(())
    }

    fn any(&mut self, view: &View<'_>) -> Verdict {
        let (url, value) = any_parts(view);
        match type_name(url).and_then(schema::find) {
            Some(ty) => self.message(ty, value),
            None => Ok(()),
        }
    }

    fn fields(&mut self, ty: &'static MessageType, view: &View<'_>) -> Verdict {
        for (index, oneof) in ty.oneofs().iter().enumerate().filter(|(_, oneof)| oneof.required) {
            let member = |field: &Field| usize::from(field.oneof) == index + 1;
            if !view.fields.iter().any(|present| member(present.field)) {
                let names: Vec<_> =
                    ty.fields().iter().filter(|field| member(field)).map(Field::name).collect();
                return Err(self.violation(format!("{}: set one of {}", oneof.name(), names.join(", "))));
            }
        }
        for field in ty.fields() {
            let values = view.get(field.number).unwrap_or_default();
            if values.is_empty() && field.rules().is_empty() {
                continue;
            }
            self.path.push_name(field.name());
            self.field(field, values)?;
            self.path.pop();
        }
        Ok(())
    }

    fn field(&mut self, field: &'static Field, values: &[Scalar<'_>]) -> Verdict {
        match field.label {
            Label::Implicit => {
                let absent = absent(field);
                self.value(field, field.rules(), values.first().unwrap_or(&absent))
            }
            Label::Optional => match values.first() {
                Some(value) => self.value(field, field.rules(), value),
                // A member of a oneof is only missed when its oneof is.
                None if field.oneof == 0
                    && field.rules().iter().any(|rule| matches!(rule, Rule::Required)) =>
                {
                    Err(self.violation("must be set"))
                }
                None => Ok(()),
            },
            Label::Repeated | Label::Packed => {
                self.apply(rules::list(field, values))?;
                for (index, value) in values.iter().enumerate() {
                    self.path.push_index(index);
                    self.value(field, field.element_rules(), value)?;
                    self.path.pop();
                }
                Ok(())
            }
            Label::Map => {
                self.apply(rules::list(field, values))?;
                values.iter().try_for_each(|entry| self.entry(field, entry.message()))
            }
        }
    }

    fn entry(&mut self, field: &'static Field, bytes: &[u8]) -> Verdict {
        let entry = field.message().and_then(|ty| Some((ty, ty.field(1)?, ty.field(2)?)));
        let Some((ty, key_field, value_field)) = entry else { return Ok(()) };
        let view = View::read(ty, bytes).map_err(|e| self.malformed(e))?;
        let (no_key, no_value) = (absent(key_field), absent(value_field));
        let key = view.get(1).and_then(<[_]>::first).unwrap_or(&no_key);
        self.path.push_key(key_text(key));
        self.value(key_field, field.key_rules(), key)?;
        self.value(
            value_field,
            field.element_rules(),
            view.get(2).and_then(<[_]>::first).unwrap_or(&no_value),
        )?;
        self.path.pop();
        Ok(())
    }

    /// One value against its rules, then what is inside it.
    fn value(&mut self, field: &'static Field, rules: &'static [Rule], value: &Scalar<'_>) -> Verdict {
        if !rules.is_empty() {
            self.apply(rules::scalar(field, rules, value))?;
        }
        match field.message() {
            Some(ty) if !rules.iter().any(|rule| matches!(rule, Rule::Skip)) => {
                self.message(ty, value.message())
            }
            _ => Ok(()),
        }
    }

    fn apply(&self, verdict: Result<(), String>) -> Verdict {
        verdict.map_err(|problem| self.violation(problem))
    }

    fn violation(&self, problem: impl Into<String>) -> Violation {
        Violation { path: self.path.to_string(), problem: problem.into() }
    }

    fn malformed(&self, reason: Malformed) -> Violation {
        self.violation(reason.to_string())
    }
}

/// The value that the absence of a field stands for.
fn absent(field: &Field) -> Scalar<'static> {
    use schema::Kind::*;
    match field.kind {
        Bool => Scalar::Bool(false),
        Int32 | Int64 | Sint32 | Sint64 | Sfixed32 | Sfixed64 => Scalar::Signed(0),
        Uint32 | Uint64 | Fixed32 | Fixed64 => Scalar::Unsigned(0),
        Double => Scalar::Double(0.0),
        Float => Scalar::Float(0.0),
        String => Scalar::Text(""),
        Bytes => Scalar::Bytes(&[]),
        Enum(_) => Scalar::Enum(0),
        Message(_) => Scalar::Message((&[]).into()),
    }
}
