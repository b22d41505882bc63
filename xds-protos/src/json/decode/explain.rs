//! The words of a decoding error: what a field takes, what was found instead, what may have been meant.

use crate::json::scalar;
use crate::json::tree::{Node, Value};
use crate::schema::{Kind, MessageType};

/// Characters of a value that an error repeats.
const SHOWN: usize = 60;
/// Names that an error lists before it points to the documentation of the message.
const LISTED: usize = 24;

/// What a field of this kind takes.
pub(super) fn kind(kind: Kind) -> String {
    match kind {
        Kind::Double | Kind::Float => "a number".to_owned(),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => "a whole number of 32 bits".to_owned(),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => "a whole number of 64 bits".to_owned(),
        Kind::Uint32 | Kind::Fixed32 => "a whole number from 0 to 4294967295".to_owned(),
        Kind::Uint64 | Kind::Fixed64 => "a whole number from 0 to 18446744073709551615".to_owned(),
        Kind::Bool => "true or false".to_owned(),
        Kind::String => "a string".to_owned(),
        Kind::Bytes => "base64".to_owned(),
        Kind::Message(_) => kind.message().map_or_else(String::new, message),
        Kind::Enum(_) => enum_words(kind),
    }
}

/// The message that a mapping would be.
pub(super) fn message(ty: &MessageType) -> String {
    format!("a mapping (message {})", ty.name())
}

fn enum_words(kind: Kind) -> String {
    let Some(ty) = kind.enumeration() else { return "an enum value".to_owned() };
    let names: Vec<_> = ty.values().iter().map(|value| value.name()).collect();
    match names.len() <= LISTED {
        true => format!("one of {}", names.join(", ")),
        false => format!("a value of {}", ty.name()),
    }
}

/// What stands there instead.
pub(super) fn found(node: &Node, secret: bool) -> String {
    let Value::Scalar { text, plain } = &node.value else {
        return if matches!(node.value, Value::List(_)) { "a list" } else { "a mapping" }.to_owned();
    };
    let kind = match *plain {
        true if scalar::is_null(text) => return "nothing".to_owned(),
        true if scalar::boolean(text).is_some() => "the boolean",
        true if scalar::number(text).is_some() || scalar::yaml_integer(text).is_some() => "the number",
        _ => "the string",
    };
    match secret {
        true => kind.replacen("the", "a", 1),
        false if kind == "the string" => format!("{kind} {:?}", shortened(text)),
        false => format!("{kind} {}", shortened(text)),
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// Whether Envoy's loader leaves an unquoted scalar as text.
pub(super) fn is_word(text: &str) -> bool {
    let small = scalar::yaml_integer(text).is_some_and(|n| i32::try_from(n).is_ok());
    !(small || scalar::is_null(text) || scalar::boolean(text).is_some())
}

/// The field that an unknown name was probably meant to be, or all of them when they are few.
pub(super) fn alternatives(ty: &MessageType, key: &str) -> String {
    let names = || ty.fields().iter().map(|field| field.name());
    // One edit per three letters: `domainz` is close to `domains`, `foo` to nothing.
    let limit = (key.chars().count() / 3).max(1);
    let closest = names().map(|name| (distance(key, name), name)).min();
    match closest {
        Some((edits, name)) if edits <= limit => format!("; did you mean {name:?}?"),
        Some(_) if ty.fields().len() <= LISTED => {
            format!("; expected one of {}", names().collect::<Vec<_>>().join(", "))
        }
        _ => String::new(),
    }
}

/// Levenshtein's.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
