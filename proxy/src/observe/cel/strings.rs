//! Functions of texts. A text that would become too long is an error.

use outrigger_grammar::cel::function::Function;

use super::value::Value;
use super::{Failed, MAX_TEXT};

/// Most parts that a text is split into.
const MAX_PARTS: usize = 4096;

pub(super) fn finds(function: Function, text: &Value<'_>, part: &Value<'_>) -> Result<bool, Failed> {
    let (Value::Text(text), Value::Text(part)) = (text, part) else { return Err(Failed) };
    Ok(match function {
        Function::StartsWith => text.starts_with(part),
        Function::EndsWith => text.ends_with(part),
        _ => memchr::memmem::find(text, part).is_some(),
    })
}

pub(super) fn cased(function: Function, text: Value<'_>) -> Result<Value<'_>, Failed> {
    let Value::Text(mut text) = text else { return Err(Failed) };
    match function {
        Function::LowerAscii => text.to_mut().make_ascii_lowercase(),
        _ => text.to_mut().make_ascii_uppercase(),
    }
    Ok(Value::Text(text))
}

/// `text.replace(old, new[, most])` and `text.split(separator[, most])`.
pub(super) fn replace_or_split<'a>(function: Function, operands: &[Value<'a>]) -> Result<Value<'a>, Failed> {
    match (function, operands) {
        (Function::Replace, [Value::Text(text), Value::Text(old), Value::Text(new), most @ ..]) => {
            replaced(text, old, new, at_most(most)?)
        }
        (Function::Split, [Value::Text(text), Value::Text(separator), most @ ..]) => {
            split(text, separator, at_most(most)?)
        }
        _ => Err(Failed),
    }
}

/// How often: negative is without bound.
fn at_most(operands: &[Value<'_>]) -> Result<usize, Failed> {
    match operands {
        [] => Ok(usize::MAX),
        [Value::Int(most)] => Ok(usize::try_from(*most).unwrap_or(usize::MAX)),
        _ => Err(Failed),
    }
}

fn replaced<'a>(text: &[u8], old: &[u8], new: &[u8], most: usize) -> Result<Value<'a>, Failed> {
    let (mut made, mut from) = (Vec::new(), 0);
    for at in places(text, old).take(most) {
        made.extend_from_slice(&text[from..at]);
        made.extend_from_slice(new);
        from = at + old.len();
        if made.len() > MAX_TEXT {
            return Err(Failed);
        }
    }
    made.extend_from_slice(&text[from..]);
    if made.len() > MAX_TEXT { Err(Failed) } else { Ok(Value::made(made)) }
}

/// Where `part` is found, one behind the other. Nothing is found before each character and at the end.
fn places<'t>(text: &'t [u8], part: &'t [u8]) -> Box<dyn Iterator<Item = usize> + 't> {
    if part.is_empty() {
        return Box::new(characters(text).map(|(at, _)| at).chain([text.len()]));
    }
    Box::new(memchr::memmem::find_iter(text, part))
}

/// Characters and where they begin; a byte that is part of none counts as one.
fn characters(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = 0;
    let pieces = text.utf8_chunks().flat_map(|chunk| {
        let valid = chunk.valid().chars().map(char::len_utf8);
        valid.chain(std::iter::repeat_n(1, chunk.invalid().len()))
    });
    pieces.map(move |length| {
        let begin = at;
        at += length;
        (begin, &text[begin..at])
    })
}

fn split<'a>(text: &[u8], separator: &[u8], most: usize) -> Result<Value<'a>, Failed> {
    let mut parts: Vec<Value<'a>> = Vec::new();
    let Some(cuts) = most.checked_sub(1) else { return Ok(Value::List(parts.into())) };
    let mut from = 0;
    // Between nothing and the first character nothing is cut, nor behind the last one.
    let places = places(text, separator).filter(|at| !separator.is_empty() || (*at > 0 && *at < text.len()));
    for at in places.take(cuts) {
        if parts.len() == MAX_PARTS {
            return Err(Failed);
        }
        parts.push(Value::made(&text[from..at]));
        from = at + separator.len();
    }
    parts.push(Value::made(&text[from..]));
    Ok(Value::List(parts.into()))
}
