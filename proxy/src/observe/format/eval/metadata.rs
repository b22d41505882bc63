//! Metadata of the configuration and of the request: text as it is, everything else as JSON.

use serde_json::Value;

use super::super::operator::{MetadataOf, MetadataPath};
use super::super::{Escape, MAX_VALUE, Out};
use crate::config::metadata::Found;
use crate::config::subset::{Metadata, MetadataValue};
use crate::observe::record::Record;

/// Deepest nesting that is printed; protobuf decoding allows a hundred levels.
const MAX_DEPTH: usize = 100;

fn find<'r>(record: &Record<'r>, place: &MetadataPath) -> Option<Found<'r>> {
    let space: &'r Metadata = match place.of {
        MetadataOf::Request => None,
        MetadataOf::Host => record.upstream_host?.namespace(&place.namespace),
        MetadataOf::Route => record.metadata.route?.get(&place.namespace),
        MetadataOf::VirtualHost => record.metadata.virtual_host?.get(&place.namespace),
        MetadataOf::Cluster => record.metadata.cluster?.get(&place.namespace),
        MetadataOf::Listener => record.downstream?.listener.metadata.as_deref()?.get(&place.namespace),
        MetadataOf::FilterChain => {
            record.downstream?.chain.as_ref()?.metadata.as_deref()?.get(&place.namespace)
        }
    }?;
    space.at(&place.path)
}

/// What filters left of the request.
fn dynamic<'r>(record: &Record<'r>, place: &MetadataPath) -> Option<Left<'r>> {
    let known = record.dynamic.filter(|_| matches!(place.of, MetadataOf::Request))?;
    if place.path.is_empty() {
        return known.namespace(&place.namespace).map(Left::Namespace);
    }
    known.get(&place.namespace, &place.path).filter(|value| !value.is_null()).map(Left::Value)
}

/// What filters left.
#[derive(Clone, Copy)]
enum Left<'r> {
    Namespace(&'r serde_json::Map<String, Value>),
    Value(&'r Value),
}

/// Appends the value as text.
pub(super) fn metadata(record: &Record<'_>, place: &MetadataPath, out: &mut Out<'_>) -> bool {
    let mut text = Vec::new();
    let mut json = Json { out: &mut text, left: MAX_VALUE };
    match dynamic(record, place) {
        Some(Left::Value(Value::String(text))) => {
            out.text(text.as_bytes());
            return true;
        }
        Some(left) => {
            json.left(left);
            out.text(&text);
            return true;
        }
        None => {}
    }
    match find(record, place) {
        None => return false,
        Some(Found::Value(MetadataValue::Text(text))) => out.text(text.as_bytes()),
        Some(found) => {
            json.found(found);
            // Of the configuration, and escaped as JSON: nothing in it ends a line.
            out.plain(&text);
        }
    }
    true
}

/// Appends the value as JSON of its type; false, and nothing appended, when it is missing.
pub(in crate::observe::format) fn json(record: &Record<'_>, place: &MetadataPath, out: &mut Vec<u8>) -> bool {
    let mut json = Json { out, left: MAX_VALUE };
    if let Some(left) = dynamic(record, place) {
        json.left(left);
        return true;
    }
    find(record, place).map(|found| json.found(found)).is_some()
}

/// JSON in which control characters of any kind are escaped, of as many bytes of text as are left, and as many values:
/// texts are cut there, and lists and objects end.
struct Json<'o> {
    out: &'o mut Vec<u8>,
    left: usize,
}

impl Json<'_> {
    fn left(&mut self, left: Left<'_>) {
        match left {
            Left::Namespace(fields) => {
                self.object(fields.iter().map(|(key, field)| (&**key, field)), Self::dynamic)
            }
            Left::Value(value) => self.dynamic(value),
        }
    }

    fn found(&mut self, found: Found<'_>) {
        match found {
            Found::Value(found) => self.configured(found, MAX_DEPTH),
            Found::Namespace(space) => {
                let fields = space.0.iter().map(|field| (&*field.key, &field.value));
                self.object(fields, |json, field| json.configured(field, MAX_DEPTH));
            }
        }
    }

    /// Its depth is bounded where filters take it in.
    fn dynamic(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.string(text),
            Value::Array(values) => self.list(values.iter(), Self::dynamic),
            Value::Object(fields) => {
                self.object(fields.iter().map(|(key, field)| (&**key, field)), Self::dynamic);
            }
            plain => self.out.extend_from_slice(plain.to_string().as_bytes()),
        }
    }

    fn configured(&mut self, value: &MetadataValue, depth: usize) {
        let Some(depth) = depth.checked_sub(1) else { return self.out.extend_from_slice(b"null") };
        match value {
            MetadataValue::Null => self.out.extend_from_slice(b"null"),
            MetadataValue::Bool(true) => self.out.extend_from_slice(b"true"),
            MetadataValue::Bool(false) => self.out.extend_from_slice(b"false"),
            MetadataValue::Number(bits) => number(f64::from_bits(*bits), self.out),
            MetadataValue::Text(text) => self.string(text),
            MetadataValue::Struct(fields) => {
                let fields = fields.iter().map(|(key, value)| (&**key, value));
                self.object(fields, |json, field| json.configured(field, depth));
            }
            MetadataValue::List(values) => {
                self.list(values.iter(), |json, value| json.configured(value, depth));
            }
        }
    }

    fn list<V>(&mut self, values: impl Iterator<Item = V>, mut write: impl FnMut(&mut Self, V)) {
        self.out.push(b'[');
        for (at, value) in values.enumerate() {
            if !self.begin_next(at) {
                break;
            }
            write(self, value);
        }
        self.out.push(b']');
    }

    fn object<'m, V>(
        &mut self,
        fields: impl Iterator<Item = (&'m str, V)>,
        mut write: impl FnMut(&mut Self, V),
    ) {
        self.out.push(b'{');
        for (at, (key, field)) in fields.enumerate() {
            if !self.begin_next(at) {
                break;
            }
            self.string(key);
            self.out.push(b':');
            write(self, field);
        }
        self.out.push(b'}');
    }

    /// False: nothing is left.
    fn begin_next(&mut self, at: usize) -> bool {
        let Some(left) = self.left.checked_sub(1) else { return false };
        self.left = left;
        if at > 0 {
            self.out.push(b',');
        }
        true
    }

    fn string(&mut self, text: &str) {
        self.out.push(b'"');
        let text = &text[..text.floor_char_boundary(self.left)];
        Out::new(self.out, Escape::Json, usize::MAX).text(text.as_bytes());
        self.left -= text.len();
        self.out.push(b'"');
    }
}

/// Whole numbers without a fraction; what is no number of JSON is null.
fn number(number: f64, out: &mut Vec<u8>) {
    let text = match number {
        whole if whole.fract() == 0.0 && whole.abs() < 9e15 => (whole as i64).to_string(),
        other if other.is_finite() => other.to_string(),
        _ => "null".to_owned(),
    };
    out.extend_from_slice(text.as_bytes());
}
