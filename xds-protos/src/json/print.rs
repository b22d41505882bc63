//! The wire format to JSON, as Envoy's admin endpoint prints it.
//!
//! snake_case names, 64-bit integers as strings, enums by name, defaults omitted, `Any` unfolded with `@type`. Owns
//! the redaction of fields that Envoy's API marks as secrets. Never fails: what cannot be read is shown as base64.

use serde_json::{Map, Number, Value};

use super::{scalar, time};
use crate::any::{Typed, type_name};
use crate::pb::google::protobuf::Any;
use crate::schema::{self, Field, Form, Label, MessageType};
use crate::view::{Scalar, View, any_parts};
use crate::wire::{MAX_DEPTH, Malformed};

/// What Envoy writes in place of a secret.
const REDACTED: &str = "[redacted]";

/// What happens to private keys, passwords and other fields that Envoy's API marks as sensitive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrets {
    /// Printed as they are: for files that are read back.
    Show,
    /// Replaced by `[redacted]` (base64 of it in a bytes field): for everything people and logs see.
    Redact,
}

/// Prints a message.
///
/// ```
/// use outrigger_xds_protos::json::{Secrets, print};
/// use outrigger_xds_protos::v3::{cluster::Cluster, wkt::Duration};
///
/// let cluster = Cluster {
///     name: "backend".into(),
///     connect_timeout: Some(Duration { seconds: 0, nanos: 250_000_000 }),
///     ..Default::default()
/// };
/// assert_eq!(print(&cluster, Secrets::Redact).to_string(), r#"{"name":"backend","connect_timeout":"0.250s"}"#);
/// ```
pub fn print<M: Typed>(message: &M, secrets: Secrets) -> Value {
    Printer::new(secrets).typed(message)
}

/// Prints a message with the fields that hold their default: how Envoy answers `/server_info`, `/certs` and `/memory`,
/// whose readers look for `"state": "LIVE"` although `LIVE` is zero. Unset messages and members of oneofs stay out.
///
/// ```
/// use outrigger_xds_protos::json::{Secrets, print_with_defaults};
/// use outrigger_xds_protos::v3::admin::ServerInfo;
///
/// let printed = print_with_defaults(&ServerInfo::default(), Secrets::Redact);
/// assert_eq!((&printed["state"], &printed["version"]), (&"LIVE".into(), &"".into()));
/// assert_eq!(printed.get("node"), None);
/// ```
pub fn print_with_defaults<M: Typed>(message: &M, secrets: Secrets) -> Value {
    Printer { defaults: true, ..Printer::new(secrets) }.typed(message)
}

/// Prints an `Any`, unfolded when its type is known, else as `{"@type", "value": base64}`.
pub fn print_any(any: &Any, secrets: Secrets) -> Value {
    Printer::new(secrets).any(&any.type_url, &any.value)
}

fn opaque(type_url: &str, value: &[u8]) -> Value {
    let mut object = Map::new();
    if !type_url.is_empty() || !value.is_empty() {
        object.insert("@type".to_owned(), type_url.into());
        object.insert("value".to_owned(), scalar::base64(value).into());
    }
    Value::Object(object)
}

/// The walk. Copied on the way down, so that nothing has to be undone on the way up.
#[derive(Clone, Copy)]
pub(super) struct Printer {
    secrets: Secrets,
    /// Whether absent fields that have no presence are printed.
    defaults: bool,
    /// Inside a field that is a secret and to be hidden.
    hidden: bool,
    depth: usize,
}

impl Printer {
    pub(super) fn new(secrets: Secrets) -> Self {
        Printer { secrets, defaults: false, hidden: false, depth: 0 }
    }

    fn typed<M: Typed>(self, message: &M) -> Value {
        let bytes = message.to_wire();
        let printed = schema::find(M::NAME).and_then(|ty| self.message(ty, &bytes).ok());
        printed.unwrap_or_else(|| opaque(M::TYPE_URL, &bytes))
    }

    fn deeper(self) -> Result<Self, Malformed> {
        match self.depth >= MAX_DEPTH {
            true => Err(Malformed("nested too deeply")),
            false => Ok(Printer { depth: self.depth + 1, ..self }),
        }
    }

    pub(super) fn message(self, ty: &'static MessageType, bytes: &[u8]) -> Result<Value, Malformed> {
        let printer = self.deeper()?;
        let view = View::read(ty, bytes)?;
        Ok(match ty.form {
            Form::Plain => Value::Object(printer.fields(ty, &view)?),
            Form::Any => {
                let (url, value) = any_parts(&view);
                printer.any(url, value)
            }
            Form::Duration => time::print_duration(time_of(&view)).into(),
            Form::Timestamp => time::print_timestamp(time_of(&view)).into(),
            Form::Struct => match view.fields.first() {
                Some(entries) => printer.map(entries.field, &entries.values)?,
                None => Value::Object(Map::new()),
            },
            Form::ListValue => match view.fields.first() {
                Some(items) => printer.list(items.field, &items.values)?,
                None => Value::Array(Vec::new()),
            },
            // A `Value` has one member set; none at all is null.
            Form::Value => match view.fields.first() {
                Some(member) if member.field.number != 1 => {
                    printer.scalar(member.field, &member.values[0])?
                }
                _ => Value::Null,
            },
            Form::Wrapper => match ty.field(1) {
                Some(field) => match view.get(1) {
                    Some([value, ..]) => printer.scalar(field, value)?,
                    _ => printer.default_of(field),
                },
                None => Value::Null,
            },
        })
    }

    fn fields(self, ty: &'static MessageType, view: &View<'_>) -> Result<Map<String, Value>, Malformed> {
        let mut object = Map::new();
        if !self.defaults {
            for present in &view.fields {
                self.field(present.field, &present.values, &mut object)?;
            }
            return Ok(object);
        }
        for field in ty.fields() {
            match view.get(field.number) {
                Some(values) => self.field(field, values, &mut object)?,
                None => self.absent(field, &mut object),
            }
        }
        Ok(object)
    }

    fn field(
        self,
        field: &'static Field,
        values: &[Scalar<'_>],
        object: &mut Map<String, Value>,
    ) -> Result<(), Malformed> {
        let printer = Printer { hidden: self.hidden || self.hides(field), ..self };
        let value = match field.label {
            Label::Implicit if values[0].is_default() => {
                self.absent(field, object);
                return Ok(());
            }
            Label::Implicit | Label::Optional => printer.scalar(field, &values[0])?,
            Label::Repeated | Label::Packed => printer.list(field, values)?,
            Label::Map => printer.map(field, values)?,
        };
        // Envoy clears the numbers and booleans of a secret; only texts, bytes and structure remain.
        if !(printer.hidden && is_cleared(&value)) {
            object.insert(field.name().to_owned(), value);
        }
        Ok(())
    }

    fn absent(self, field: &'static Field, object: &mut Map<String, Value>) {
        let value = match field.label {
            _ if !self.defaults => return,
            Label::Optional => return,
            Label::Implicit => self.default_of(field),
            Label::Repeated | Label::Packed => Value::Array(Vec::new()),
            Label::Map => Value::Object(Map::new()),
        };
        object.insert(field.name().to_owned(), value);
    }

    fn hides(self, field: &Field) -> bool {
        field.sensitive && self.secrets == Secrets::Redact
    }

    fn any(self, url: &str, value: &[u8]) -> Value {
        let unfolded = type_name(url).and_then(schema::find).and_then(|ty| {
            let body = self.message(ty, value).ok()?;
            let mut object = Map::new();
            object.insert("@type".to_owned(), url.into());
            match (ty.form, body) {
                (Form::Plain, Value::Object(fields)) => object.extend(fields),
                (_, body) => drop(object.insert("value".to_owned(), body)),
            }
            Some(Value::Object(object))
        });
        unfolded.unwrap_or_else(|| match self.hidden {
            true => opaque(url, REDACTED.as_bytes()),
            false => opaque(url, value),
        })
    }

    fn list(self, field: &'static Field, values: &[Scalar<'_>]) -> Result<Value, Malformed> {
        values.iter().map(|value| self.scalar(field, value)).collect::<Result<_, _>>().map(Value::Array)
    }

    fn map(self, field: &'static Field, entries: &[Scalar<'_>]) -> Result<Value, Malformed> {
        let mut object = Map::new();
        let entry = field.message().and_then(|ty| Some((ty, ty.field(1)?, ty.field(2)?)));
        let Some((ty, key_field, value_field)) = entry else { return Ok(Value::Object(object)) };
        for entry in entries {
            let view = View::read(ty, entry.message())?;
            let key = match view.get(1) {
                // Keys name what the secret is for; Envoy leaves them.
                Some([key, ..]) => Printer { hidden: false, ..self }.scalar(key_field, key)?,
                _ => self.default_of(key_field),
            };
            let value = match view.get(2) {
                Some([value, ..]) => self.scalar(value_field, value)?,
                _ => self.default_of(value_field),
            };
            object.insert(key.as_str().map_or_else(|| key.to_string(), str::to_owned), value);
        }
        // The wire has no order of entries; sorted, equal messages print alike.
        object.sort_keys();
        Ok(Value::Object(object))
    }

    fn scalar(self, field: &'static Field, value: &Scalar<'_>) -> Result<Value, Malformed> {
        Ok(match value {
            Scalar::Message(bytes) => match field.message() {
                Some(ty) => self.message(ty, bytes)?,
                None => Value::Null,
            },
            Scalar::Text(_) if self.hidden => REDACTED.into(),
            Scalar::Bytes(_) if self.hidden => scalar::base64(REDACTED.as_bytes()).into(),
            _ if self.hidden => Value::Null,
            Scalar::Text(text) => (*text).into(),
            Scalar::Bytes(bytes) => scalar::base64(bytes).into(),
            Scalar::Bool(value) => (*value).into(),
            Scalar::Double(x) => float(*x, x.to_string()),
            Scalar::Float(x) => float(f64::from(*x), x.to_string()),
            Scalar::Enum(number) => enum_value(field, *number),
            Scalar::Signed(n) if is_wide(field) => n.to_string().into(),
            Scalar::Unsigned(n) if is_wide(field) => n.to_string().into(),
            Scalar::Signed(n) => (*n).into(),
            Scalar::Unsigned(n) => (*n).into(),
        })
    }

    /// An absent value inside something that is present: an empty wrapper, half a map entry.
    fn default_of(self, field: &'static Field) -> Value {
        use schema::Kind::*;
        match field.kind {
            Message(_) => field.message().and_then(|ty| self.message(ty, &[]).ok()).unwrap_or(Value::Null),
            String | Bytes => "".into(),
            Bool => false.into(),
            Int64 | Uint64 | Sint64 | Fixed64 | Sfixed64 => "0".into(),
            Enum(_) => {
                field.kind.enumeration().and_then(|ty| ty.value(0)).map_or(0.into(), |v| v.name().into())
            }
            _ => 0.into(),
        }
    }
}

/// By name; a number that this version of the API has no name for stays a number.
fn enum_value(field: &'static Field, number: i32) -> Value {
    match field.kind.enumeration() {
        Some(ty) if ty.is_null() => Value::Null,
        Some(ty) => ty.value(number).map_or(number.into(), |value| value.name().into()),
        None => number.into(),
    }
}

/// What redaction leaves nothing of.
fn is_cleared(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().all(Value::is_null),
        _ => false,
    }
}

/// JSON numbers hold 53 bits; proto3 JSON writes 64-bit integers as strings.
fn is_wide(field: &Field) -> bool {
    use schema::Kind::*;
    matches!(field.kind, Int64 | Uint64 | Sint64 | Fixed64 | Sfixed64)
}

/// Whole numbers without a point, as protobuf prints them. `shortest` is the text at the field's own precision.
fn float(x: f64, shortest: String) -> Value {
    if x.is_nan() {
        return "NaN".into();
    }
    if x.is_infinite() {
        return if x > 0.0 { "Infinity" } else { "-Infinity" }.into();
    }
    if x.fract() == 0.0 && x.abs() < 9_007_199_254_740_992.0 && (x != 0.0 || x.is_sign_positive()) {
        return (x as i64).into();
    }
    shortest.parse().ok().and_then(Number::from_f64).map_or(Value::Null, Value::Number)
}

fn time_of(view: &View<'_>) -> time::Time {
    let part = |number| match view.get(number) {
        Some([Scalar::Signed(n), ..]) => *n,
        _ => 0,
    };
    (part(1), part(2) as i32)
}
