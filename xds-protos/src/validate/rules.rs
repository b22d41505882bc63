//! Single rules on single values.

use std::cmp::Ordering;
use std::collections::HashSet;

use crate::schema::{Cmp, Field, Form, Label, Rule};
use crate::view::{Scalar, View};

type Verdict = Result<(), String>;

/// The rules of a list or map as a whole.
pub(super) fn list(field: &'static Field, values: &[Scalar<'_>]) -> Verdict {
    for rule in field.rules() {
        match rule {
            Rule::IgnoreEmpty if values.is_empty() => return Ok(()),
            Rule::Count(cmp, bound) if !holds(*cmp, values.len().cmp(&(*bound as usize))) => {
                let things = if field.label == Label::Map { "entries" } else { "elements" };
                return Err(match (cmp, bound) {
                    (Cmp::Gte, 1) => "must not be empty".to_owned(),
                    _ => format!("must have {} {bound} {things}", words(*cmp)),
                });
            }
            Rule::Unique if !are_unique(values) => return Err("must not repeat an element".to_owned()),
            _ => {}
        }
    }
    Ok(())
}

/// The rules of one value. A wrapper message is judged by the value in it.
pub(super) fn scalar(field: &'static Field, rules: &'static [Rule], value: &Scalar<'_>) -> Verdict {
    if let Scalar::Message(bytes) = value {
        let wrapped =
            field.message().filter(|ty| ty.form == Form::Wrapper).and_then(|ty| ty.field(1).map(|f| (ty, f)));
        if let Some((ty, inner)) = wrapped {
            // Malformed bytes are reported by the walk that follows.
            let Ok(view) = View::read(ty, bytes) else { return Ok(()) };
            let absent = super::absent(inner);
            return scalar(inner, rules, view.get(1).and_then(<[_]>::first).unwrap_or(&absent));
        }
    }
    for rule in rules {
        if matches!(rule, Rule::IgnoreEmpty) && value.is_default() {
            return Ok(());
        }
        one(field, rule, value)?;
    }
    Ok(())
}

fn one(field: &'static Field, rule: &'static Rule, value: &Scalar<'_>) -> Verdict {
    let ok = match (rule, value) {
        (Rule::BoolIs(wanted), Scalar::Bool(value)) => value == wanted,
        (Rule::Integer(cmp, bound), value) => {
            return ordered(*cmp, integer(value).map(|n| n.cmp(&i128::from(*bound))), || bound.to_string());
        }
        (Rule::Float(cmp, bound), value) => {
            return ordered(*cmp, float(value).and_then(|x| x.partial_cmp(bound)), || bound.to_string());
        }
        (Rule::Duration(cmp, bound), value) => {
            let nanos = nanoseconds(field, value);
            return ordered(*cmp, nanos.map(|n| n.cmp(&i128::from(*bound))), || seconds(*bound));
        }
        (Rule::Chars(cmp, bound), Scalar::Text(text)) => {
            return length(*cmp, text.chars().count(), *bound, "characters");
        }
        (Rule::Bytes(cmp, bound), Scalar::Text(text)) => return length(*cmp, text.len(), *bound, "bytes"),
        (Rule::Bytes(cmp, bound), Scalar::Bytes(bytes)) => return length(*cmp, bytes.len(), *bound, "bytes"),
        (Rule::Defined, Scalar::Enum(number)) => {
            field.kind.enumeration().is_none_or(|ty| ty.value(*number).is_some())
        }
        (Rule::NotNumber(number), Scalar::Enum(value)) => number != value,
        (Rule::Prefix(prefix), Scalar::Text(text)) => text.starts_with(prefix.get()),
        (Rule::Suffix(suffix), Scalar::Text(text)) => text.ends_with(suffix.get()),
        (Rule::OneOf(words), Scalar::Text(text)) => words.get().split('|').any(|word| word == *text),
        (Rule::HeaderName { strict }, Scalar::Text(text)) => is_header_name(text, *strict),
        (Rule::HeaderValue { strict }, Scalar::Text(text)) => is_header_value(text, *strict),
        (Rule::PathPrefix, Scalar::Text(text)) => is_path_prefix(text),
        _ => true,
    };
    if ok { Ok(()) } else { Err(demand(field, rule)) }
}

/// What a rule without a bound asks for.
fn demand(field: &'static Field, rule: &'static Rule) -> String {
    match rule {
        Rule::BoolIs(wanted) => format!("must be {wanted}"),
        Rule::Defined => "is not a value of the enum".to_owned(),
        Rule::NotNumber(number) => {
            let name =
                field.kind.enumeration().and_then(|ty| ty.value(*number)).map_or("", |value| value.name());
            format!("must not be {name}")
        }
        Rule::Prefix(prefix) => format!("must start with {:?}", prefix.get()),
        Rule::Suffix(suffix) => format!("must end with {:?}", suffix.get()),
        Rule::OneOf(words) => format!("must be one of {}", words.get().replace('|', ", ")),
        Rule::HeaderName { .. } => "is not a valid header name".to_owned(),
        Rule::HeaderValue { .. } => "is not a valid header value".to_owned(),
        Rule::PathPrefix => "must have no ? or #, and no / at its end".to_owned(),
        _ => "is not allowed".to_owned(),
    }
}

fn ordered(cmp: Cmp, ordering: Option<Ordering>, bound: impl Fn() -> String) -> Verdict {
    match ordering {
        // NaN has no order and meets no bound.
        None => Err(format!("must be {} {}", words(cmp), bound())),
        Some(ordering) if !holds(cmp, ordering) => Err(format!("must be {} {}", words(cmp), bound())),
        Some(_) => Ok(()),
    }
}

fn length(cmp: Cmp, len: usize, bound: u32, unit: &str) -> Verdict {
    match (cmp, bound) {
        _ if holds(cmp, len.cmp(&(bound as usize))) => Ok(()),
        (Cmp::Gte, 1) => Err("must not be empty".to_owned()),
        _ => Err(format!("must have {} {bound} {unit}", words(cmp))),
    }
}

fn holds(cmp: Cmp, ordering: Ordering) -> bool {
    match cmp {
        Cmp::Lt => ordering.is_lt(),
        Cmp::Lte => ordering.is_le(),
        Cmp::Gt => ordering.is_gt(),
        Cmp::Gte => ordering.is_ge(),
    }
}

fn words(cmp: Cmp) -> &'static str {
    match cmp {
        Cmp::Lt => "less than",
        Cmp::Lte => "at most",
        Cmp::Gt => "more than",
        Cmp::Gte => "at least",
    }
}

fn integer(value: &Scalar<'_>) -> Option<i128> {
    match value {
        Scalar::Signed(n) => Some(i128::from(*n)),
        Scalar::Unsigned(n) => Some(i128::from(*n)),
        _ => None,
    }
}

fn float(value: &Scalar<'_>) -> Option<f64> {
    match value {
        Scalar::Double(x) => Some(*x),
        Scalar::Float(x) => Some(f64::from(*x)),
        _ => None,
    }
}

/// A `Duration` message in nanoseconds.
fn nanoseconds(field: &'static Field, value: &Scalar<'_>) -> Option<i128> {
    let view = View::read(field.message()?, value.message()).ok()?;
    let part = |number| view.get(number).and_then(<[_]>::first).and_then(integer).unwrap_or(0);
    Some(part(1) * 1_000_000_000 + part(2))
}

fn seconds(nanos: i64) -> String {
    format!("{}s", nanos as f64 / 1e9)
}

fn are_unique(values: &[Scalar<'_>]) -> bool {
    // Envoy asks this of enums, numbers, strings and messages alike; their debug forms are as distinct as they are.
    let mut seen = HashSet::with_capacity(values.len());
    values.iter().all(|value| seen.insert(format!("{value:?}")))
}

/// RFC 9110 token with an optional leading colon; without `strict` only what would break the wire is refused.
fn is_header_name(text: &str, strict: bool) -> bool {
    if !strict {
        return is_header_value(text, false);
    }
    let name = text.strip_prefix(':').unwrap_or(text);
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+,-.^_|~`".contains(&b))
}

fn is_header_value(text: &str, strict: bool) -> bool {
    match strict {
        true => !text.bytes().any(|b| (b < 0x20 && b != b'\t') || b == 0x7f),
        false => !text.bytes().any(|b| matches!(b, 0 | b'\n' | b'\r')),
    }
}

/// `^[^?#]+[^?#/]$`.
fn is_path_prefix(text: &str) -> bool {
    text.chars().count() >= 2 && !text.contains(['?', '#']) && !text.ends_with('/')
}
