//! `validate.rules` options as source text of `schema::Rule` values.
//!
//! Every rule that occurs must have a case: an unknown one fails the build, so that an upgrade of the descriptors
//! cannot silently weaken what is checked.

use prost_reflect::{DynamicMessage, FieldDescriptor, Value};

use crate::Result;
use crate::collect::Schema;
use crate::emit::Texts;

/// The rules of one field, as the source text of three lists.
#[derive(Default, PartialEq, Eq, Hash, Clone)]
pub struct RuleSet {
    /// Of the field as a whole: the value, or the list.
    pub own: Vec<String>,
    /// Of every element of a list, or every value of a map.
    pub each: Vec<String>,
    /// Of every key of a map.
    pub keys: Vec<String>,
}

/// Reads the option of a field; empty when there is none.
pub fn of_field(schema: &Schema, field: &FieldDescriptor, texts: &mut Texts) -> Result<RuleSet> {
    let options = field.options();
    if !options.has_extension(&schema.rules) {
        return Ok(RuleSet::default());
    }
    let mut set = RuleSet::default();
    let option = options.get_extension(&schema.rules);
    let rules = option.as_message().ok_or("validate.rules is not a message")?;
    field_rules(rules, &mut set, texts).map_err(|e| format!("{}: {e}", field.full_name()))?;
    Ok(set)
}

/// One `FieldRules` message: at most one member of its oneof, and perhaps `message`.
fn field_rules(rules: &DynamicMessage, set: &mut RuleSet, texts: &mut Texts) -> Result<()> {
    for (field, value) in rules.fields() {
        let inner = value.as_message().ok_or("a rule is not a message")?;
        match field.name() {
            "repeated" => collection(inner, set, texts)?,
            "map" => collection(inner, set, texts)?,
            kind => scalar(kind, inner, &mut set.own, texts)?,
        }
    }
    Ok(())
}

fn collection(rules: &DynamicMessage, set: &mut RuleSet, texts: &mut Texts) -> Result<()> {
    for (field, value) in rules.fields() {
        match (field.name(), value) {
            ("min_items" | "min_pairs", value) => {
                set.own.push(format!("Count(Cmp::Gte, {})", integer(value)?))
            }
            ("max_items" | "max_pairs", value) => {
                set.own.push(format!("Count(Cmp::Lte, {})", integer(value)?))
            }
            ("unique", Value::Bool(true)) => set.own.push("Unique".into()),
            ("items" | "values", Value::Message(inner)) => nested(inner, &mut set.each, texts)?,
            ("keys", Value::Message(inner)) => nested(inner, &mut set.keys, texts)?,
            (other, _) => return Err(format!("no checker for the collection rule {other}").into()),
        }
    }
    Ok(())
}

/// The rules of an element: never again a collection.
fn nested(rules: &DynamicMessage, list: &mut Vec<String>, texts: &mut Texts) -> Result<()> {
    let mut set = RuleSet::default();
    field_rules(rules, &mut set, texts)?;
    list.append(&mut set.own);
    Ok(())
}

fn scalar(kind: &str, rules: &DynamicMessage, list: &mut Vec<String>, texts: &mut Texts) -> Result<()> {
    // Must come first: the checker stops at it when the value is empty.
    if rules.get_field_by_name("ignore_empty").is_some_and(|v| v.as_bool() == Some(true)) {
        list.push("IgnoreEmpty".into());
    }
    let strict = rules.get_field_by_name("strict").is_none_or(|v| v.as_bool() != Some(false));
    for (field, value) in rules.fields() {
        let name = field.name();
        let rule = match (kind, name, value) {
            (_, "ignore_empty" | "strict", _) => continue,
            (_, "required", Value::Bool(required)) if !required => continue,
            ("message" | "any" | "duration", "required", _) => "Required".into(),
            ("message", "skip", Value::Bool(true)) => "Skip".into(),
            ("bool", "const", Value::Bool(wanted)) => format!("BoolIs({wanted})"),
            ("enum", "defined_only", Value::Bool(true)) => "Defined".into(),
            ("enum", "not_in", Value::List(numbers)) => {
                for number in numbers {
                    list.push(format!("NotNumber({})", integer(number)?));
                }
                continue;
            }
            ("string", "well_known_regex", Value::EnumNumber(1)) => {
                format!("HeaderName {{ strict: {strict} }}")
            }
            ("string", "well_known_regex", Value::EnumNumber(2)) => {
                format!("HeaderValue {{ strict: {strict} }}")
            }
            ("string", "pattern", Value::String(pattern)) => known_pattern(pattern)?.into(),
            ("string", "prefix", Value::String(text)) => format!("Prefix({})", texts.add(text)),
            ("string", "suffix", Value::String(text)) => format!("Suffix({})", texts.add(text)),
            ("string", "in", Value::List(values)) => one_of(values, texts)?,
            ("string", "min_len", value) => format!("Chars(Cmp::Gte, {})", integer(value)?),
            ("string", "max_len", value) => format!("Chars(Cmp::Lte, {})", integer(value)?),
            ("string", "min_bytes", value) | ("bytes", "min_len", value) => {
                format!("Bytes(Cmp::Gte, {})", integer(value)?)
            }
            ("string", "max_bytes", value) | ("bytes", "max_len", value) => {
                format!("Bytes(Cmp::Lte, {})", integer(value)?)
            }
            (_, "gt" | "gte" | "lt" | "lte", value) => bound(name, value)?,
            _ => return Err(format!("no checker for the rule {kind}.{name}").into()),
        };
        list.push(rule);
    }
    Ok(())
}

/// `validate` uses RE2 here; the few patterns that occur are checked by hand and need no regex engine.
fn known_pattern(pattern: &str) -> Result<&'static str> {
    match pattern {
        "^[^?#]+[^?#/]$" => Ok("PathPrefix"),
        other => Err(format!("no checker for the pattern {other:?}").into()),
    }
}

fn one_of(values: &[Value], texts: &mut Texts) -> Result<String> {
    let values: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
    // Joined by a character that none of them holds: one text in place of a list of texts.
    if values.iter().any(|value| value.contains('|')) {
        return Err("a value of string.in holds a |".into());
    }
    Ok(format!("OneOf({})", texts.add(&values.join("|"))))
}

fn bound(name: &str, value: &Value) -> Result<String> {
    let operator = match name {
        "gt" => "Gt",
        "gte" => "Gte",
        "lt" => "Lt",
        _ => "Lte",
    };
    Ok(match value {
        Value::F64(number) => format!("Float(Cmp::{operator}, {number:?})"),
        Value::F32(number) => format!("Float(Cmp::{operator}, {:?})", f64::from(*number)),
        Value::Message(duration) => format!("Duration(Cmp::{operator}, {})", nanoseconds(duration)?),
        number => format!("Integer(Cmp::{operator}, {})", integer(number)?),
    })
}

fn nanoseconds(duration: &DynamicMessage) -> Result<i64> {
    let part = |name| duration.get_field_by_name(name).map_or(Ok(0), |value| integer(&value));
    let seconds = part("seconds")?.checked_mul(1_000_000_000).ok_or("a duration bound above 292 years")?;
    Ok(seconds + part("nanos")?)
}

fn integer(value: &Value) -> Result<i64> {
    Ok(match value {
        Value::I32(n) | Value::EnumNumber(n) => i64::from(*n),
        Value::U32(n) => i64::from(*n),
        Value::I64(n) => *n,
        Value::U64(n) => i64::try_from(*n)?,
        other => return Err(format!("{other:?} is not an integer").into()),
    })
}
