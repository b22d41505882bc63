//! Metadata of the configuration: text as it is, everything else as JSON.

use super::super::operator::{MetadataOf, MetadataPath};
use super::super::{Escape, Out};
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
        MetadataOf::FilterChain => record.downstream?.chain.as_deref()?.get(&place.namespace),
    }?;
    space.at(&place.path)
}

/// What filters left of the request.
fn dynamic(record: &Record<'_>, place: &MetadataPath) -> Option<serde_json::Value> {
    let known = record.dynamic.filter(|_| matches!(place.of, MetadataOf::Request))?;
    if place.path.is_empty() {
        return known.namespace(&place.namespace).cloned().map(serde_json::Value::Object);
    }
    known.get(&place.namespace, &place.path).filter(|value| !value.is_null()).cloned()
}

/// Appends the value as text.
pub(super) fn metadata(record: &Record<'_>, place: &MetadataPath, out: &mut Out<'_>) -> bool {
    match dynamic(record, place) {
        Some(serde_json::Value::String(text)) => {
            out.text(text.as_bytes());
            return true;
        }
        Some(other) => {
            out.text(other.to_string().as_bytes());
            return true;
        }
        None => {}
    }
    match find(record, place) {
        None => return false,
        Some(Found::Value(MetadataValue::Text(text))) => out.text(text.as_bytes()),
        Some(found) => {
            let mut json = Vec::new();
            write(found, &mut json);
            // Of the configuration, and escaped as JSON: nothing in it ends a line.
            out.plain(&json);
        }
    }
    true
}

/// Appends the value as JSON of its type; false, and nothing appended, when it is missing.
pub(in crate::observe::format) fn json(record: &Record<'_>, place: &MetadataPath, out: &mut Vec<u8>) -> bool {
    if let Some(value) = dynamic(record, place) {
        out.extend_from_slice(value.to_string().as_bytes());
        return true;
    }
    let found = find(record, place);
    found.map(|found| write(found, out)).is_some()
}

fn write(found: Found<'_>, out: &mut Vec<u8>) {
    match found {
        Found::Value(found) => value(found, MAX_DEPTH, out),
        Found::Namespace(space) => {
            let fields = space.0.iter().map(|field| (&*field.key, &field.value));
            object(fields, MAX_DEPTH, out);
        }
    }
}

fn value(value: &MetadataValue, depth: usize, out: &mut Vec<u8>) {
    let Some(depth) = depth.checked_sub(1) else { return out.extend_from_slice(b"null") };
    match value {
        MetadataValue::Null => out.extend_from_slice(b"null"),
        MetadataValue::Bool(true) => out.extend_from_slice(b"true"),
        MetadataValue::Bool(false) => out.extend_from_slice(b"false"),
        MetadataValue::Number(bits) => number(f64::from_bits(*bits), out),
        MetadataValue::Text(text) => string(text, out),
        MetadataValue::Struct(fields) => {
            object(fields.iter().map(|(key, value)| (&**key, value)), depth, out);
        }
        MetadataValue::List(values) => {
            out.push(b'[');
            for (at, value) in values.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                self::value(value, depth, out);
            }
            out.push(b']');
        }
    }
}

fn object<'m>(fields: impl Iterator<Item = (&'m str, &'m MetadataValue)>, depth: usize, out: &mut Vec<u8>) {
    out.push(b'{');
    for (at, (key, field)) in fields.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        string(key, out);
        out.push(b':');
        value(field, depth, out);
    }
    out.push(b'}');
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

fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    Out::new(out, Escape::Json, usize::MAX).text(text.as_bytes());
    out.push(b'"');
}
