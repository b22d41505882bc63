//! JSON values as YAML text that both YAML 1.1 and 1.2 readers understand alike.
//!
//! Envoy's reader takes an unquoted `on` for a boolean and `010` for eight; so every string that is not plainly a
//! name is written in JSON's quotes, which YAML shares.

use serde_json::Value;

use super::scalar;

/// Prints a value as block-style YAML with a final newline.
///
/// ```
/// use outrigger_xds_protos::json::to_yaml;
/// let value = serde_json::json!({"name": "in", "mode": "on", "ports": [1, 2], "empty": {}});
/// assert_eq!(to_yaml(&value), "name: in\nmode: \"on\"\nports:\n- 1\n- 2\nempty: {}\n");
/// ```
pub fn to_yaml(value: &Value) -> String {
    let mut out = String::new();
    block(value, 0, &mut out);
    if !out.ends_with('\n') {
        out.push('\n');
    }
    out
}

/// Writes a collection as lines, the first without its indentation, anything else inline.
fn block(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(object) if !object.is_empty() => {
            for (i, (key, value)) in object.iter().enumerate() {
                margin(i, indent, out);
                text(key, out);
                out.push(':');
                child(value, indent, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (i, item) in items.iter().enumerate() {
                margin(i, indent, out);
                out.push_str("- ");
                block(item, indent + 2, out);
                end_line(out);
            }
        }
        Value::String(string) => text(string, out),
        // Empty collections, numbers, booleans, null: JSON is YAML.
        other => out.push_str(&other.to_string()),
    }
}

/// What follows `key:`.
fn child(value: &Value, indent: usize, out: &mut String) {
    let nested = match value {
        Value::Object(object) if !object.is_empty() => Some(indent + 2),
        // Lists stand at the column of their key, as Envoy's documentation writes them.
        Value::Array(items) if !items.is_empty() => Some(indent),
        _ => None,
    };
    match nested {
        Some(indent) => {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent));
            block(value, indent, out);
        }
        None => {
            out.push(' ');
            block(value, indent, out);
        }
    }
    end_line(out);
}

fn margin(line: usize, indent: usize, out: &mut String) {
    if line > 0 {
        out.extend(std::iter::repeat_n(' ', indent));
    }
}

fn end_line(out: &mut String) {
    if !out.ends_with('\n') {
        out.push('\n');
    }
}

fn text(string: &str, out: &mut String) {
    if is_safe(string) {
        out.push_str(string);
        return;
    }
    // A JSON string is a YAML double-quoted scalar, but for characters that YAML wants escaped.
    for c in Value::from(string).to_string().chars() {
        match c {
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' => {
                out.push_str(&format!("\\u{:04x}", c as u32));
            }
            _ => out.push(c),
        }
    }
}

/// Starts like a name, holds nothing that YAML gives a meaning, and is no word of YAML 1.1.
fn is_safe(string: &str) -> bool {
    let name_like = string.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '/')
        && string.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-./".contains(&b));
    name_like && !scalar::is_null(string) && scalar::boolean(string).is_none() && !is_float_word(string)
}

/// What some reader takes for a number although it starts with a letter.
fn is_float_word(string: &str) -> bool {
    matches!(string.to_ascii_lowercase().as_str(), "nan" | "inf" | "infinity")
}
