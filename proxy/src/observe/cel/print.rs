//! Values as text, the way Envoy prints them: numbers with six digits, messages in protobuf's text format on one line,
//! and of maps and lists no more than what they are.

use outrigger_grammar::cel::expr::Kind;

use super::moment;
use super::value::Value;
use crate::observe::format::Out;

/// Deepest nesting that is printed; protobuf decoding allows a hundred levels.
const MAX_DEPTH: usize = 100;

pub(super) fn print(value: &Value<'_>, out: &mut Out<'_>) {
    match value {
        Value::Null => out.plain(b"NULL"),
        Value::Bool(value) => out.plain(if *value { b"true" } else { b"false" }),
        Value::Int(number) => out.display(number),
        Value::Uint(number) => out.number(*number),
        Value::Double(number) => out.plain(six_digits(*number).as_bytes()),
        Value::Text(text) | Value::Bytes(text) => out.text(text),
        Value::Duration(nanos) => out.plain(moment::short(*nanos).as_bytes()),
        Value::Timestamp(nanos) => out.plain(moment::with_offset(*nanos).as_bytes()),
        Value::Object(object) if object.kind() == Kind::Message => {
            let mut text = String::new();
            message(value, &mut text);
            out.text(text.as_bytes());
        }
        other => match other.kind() {
            Kind::List => out.plain(b"CelList value"),
            Kind::Map => out.plain(b"CelMap value"),
            _ => out.plain(b"CelType value"),
        },
    }
}

/// C's `%g`.
fn six_digits(number: f64) -> String {
    let text = format!("{number:.5e}");
    let Some((mantissa, exponent)) = scientific(&text) else { return odd(number) };
    match usize::try_from(5 - exponent) {
        Ok(behind) if exponent >= -4 => trimmed(&format!("{number:.behind$}")).to_owned(),
        _ => power(mantissa, exponent),
    }
}

/// As few digits as tell the number from all others.
pub(super) fn shortest(number: f64) -> String {
    match scientific(&format!("{number:e}")) {
        None => odd(number),
        Some((mantissa, exponent)) if !(-4..6).contains(&exponent) => power(mantissa, exponent),
        Some(_) => number.to_string(),
    }
}

/// Mantissa and exponent; `None` for what is no number.
fn scientific(text: &str) -> Option<(&str, i32)> {
    let (mantissa, exponent) = text.split_once('e')?;
    Some((mantissa, exponent.parse().ok()?))
}

fn odd(number: f64) -> String {
    let text = if number.is_nan() { "nan" } else { "inf" };
    if number < 0.0 { format!("-{text}") } else { text.to_owned() }
}

fn power(mantissa: &str, exponent: i32) -> String {
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trimmed(mantissa), exponent.abs())
}

fn trimmed(number: &str) -> &str {
    if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number }
}

/// The message `Metadata`: a space behind every word, the last one, too.
fn message(value: &Value<'_>, text: &mut String) {
    for (_, namespaces) in value.entries().unwrap_or_default() {
        for (name, fields) in namespaces.entries().unwrap_or_default() {
            entry("filter_metadata", &name, text, |text| structure(&fields, MAX_DEPTH, text));
        }
    }
}

/// An entry of a map.
fn entry(field: &str, key: &Value<'_>, text: &mut String, value: impl FnOnce(&mut String)) {
    text.push_str(field);
    text.push_str(" { key: ");
    quoted(key, text);
    text.push_str(" value { ");
    value(text);
    text.push_str("} } ");
}

fn structure(fields: &Value<'_>, depth: usize, text: &mut String) {
    for (name, field) in fields.entries().unwrap_or_default() {
        entry("fields", &name, text, |text| one(&field, depth, text));
    }
}

/// A `google.protobuf.Value`.
fn one(value: &Value<'_>, depth: usize, text: &mut String) {
    let Some(depth) = depth.checked_sub(1) else { return };
    match value {
        Value::Bool(value) => text.push_str(if *value { "bool_value: true " } else { "bool_value: false " }),
        Value::Double(number) => text.push_str(&format!("number_value: {} ", plain_number(*number))),
        Value::Text(_) => {
            text.push_str("string_value: ");
            quoted(value, text);
            text.push(' ');
        }
        value if value.kind() == Kind::Map => {
            text.push_str("struct_value { ");
            structure(value, depth, text);
            text.push_str("} ");
        }
        value if value.kind() == Kind::List => {
            text.push_str("list_value { ");
            for item in value.items().unwrap_or_default() {
                text.push_str("values { ");
                one(&item, depth, text);
                text.push_str("} ");
            }
            text.push_str("} ");
        }
        _ => text.push_str("null_value: NULL_VALUE "),
    }
}

fn plain_number(number: f64) -> String {
    if number.fract() == 0.0 && number.abs() < 1e15 { format!("{}", number as i64) } else { shortest(number) }
}

/// As C quotes texts.
fn quoted(value: &Value<'_>, text: &mut String) {
    let Value::Text(of) = value else { return };
    text.push('"');
    for char in String::from_utf8_lossy(of).chars() {
        match char {
            '"' => text.push_str("\\\""),
            '\'' => text.push_str("\\'"),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            char if (' '..='~').contains(&char) => text.push(char),
            char => {
                char.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| text.push_str(&format!("\\{byte:03o}")))
            }
        }
    }
    text.push('"');
}
