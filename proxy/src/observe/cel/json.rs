//! Values as JSON of their types.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use outrigger_grammar::cel::expr::Kind;

use super::moment;
use super::value::Value;
use crate::observe::format::{Escape, Out};

/// Deepest nesting that is written.
const MAX_DEPTH: usize = 100;

/// Appends a value, texts cut at `max` bytes; false, and nothing appended, when JSON has no such value.
pub(super) fn write(value: &Value<'_>, max: usize, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let written = nested(value, max, MAX_DEPTH, out).is_some();
    if !written {
        out.truncate(start);
    }
    written
}

fn nested(value: &Value<'_>, max: usize, depth: usize, out: &mut Vec<u8>) -> Option<()> {
    let depth = depth.checked_sub(1)?;
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Value::Int(number) => out.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes()),
        Value::Uint(number) => out.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes()),
        Value::Double(number) => double(*number, out),
        Value::Text(text) => quoted(text, max, out),
        Value::Bytes(bytes) => quoted(STANDARD.encode(bytes).as_bytes(), max, out),
        Value::Duration(nanos) => quoted(moment::seconds(*nanos).as_bytes(), max, out),
        Value::Timestamp(nanos) => quoted(moment::utc(*nanos).as_bytes(), max, out),
        other if other.kind() == Kind::List => {
            out.push(b'[');
            for (at, item) in other.items()?.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                nested(item, max, depth, out)?;
            }
            out.push(b']');
        }
        other => {
            let mut entries: Vec<_> = other
                .entries()?
                .into_iter()
                .map(|(key, value)| Some((name(&key)?, value)))
                .collect::<Option<_>>()?;
            entries.sort_by(|one, other| one.0.cmp(&other.0));
            out.push(b'{');
            for (at, (key, value)) in entries.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                quoted(key, usize::MAX, out);
                out.push(b':');
                nested(value, max, depth, out)?;
            }
            out.push(b'}');
        }
    }
    Some(())
}

/// Keys are texts; numbers become some.
fn name(key: &Value<'_>) -> Option<Vec<u8>> {
    match key {
        Value::Text(text) => Some(text.to_vec()),
        Value::Int(number) => Some(number.to_string().into_bytes()),
        Value::Uint(number) => Some(number.to_string().into_bytes()),
        _ => None,
    }
}

fn quoted(text: &[u8], max: usize, out: &mut Vec<u8>) {
    out.push(b'"');
    Out::new(out, Escape::Json, max).text(text);
    out.push(b'"');
}

/// Whole numbers without a fraction; what is no number of JSON is null.
fn double(number: f64, out: &mut Vec<u8>) {
    let text = match number {
        whole if whole.fract() == 0.0 && whole.abs() < 1e15 => (whole as i64).to_string(),
        other => {
            serde_json::Number::from_f64(other).map_or_else(|| "null".to_owned(), |number| number.to_string())
        }
    };
    out.extend_from_slice(text.as_bytes());
}
