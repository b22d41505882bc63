//! Header blocks as maps: names in lower case, lines of one name joined by commas.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::object::Block;
use super::value::Value;
use crate::http::head::{BodyLength, HeaderBlock};
use crate::http::header_id::HeaderId;
use crate::observe::record::Record;

type Text<'a> = Cow<'a, [u8]>;

/// The header called `name`, in whatever case.
pub(super) fn value<'a>(record: &'a Record<'a>, of: Block, name: &str) -> Option<Text<'a>> {
    let lower = name.bytes().any(|byte| byte.is_ascii_uppercase()).then(|| name.to_ascii_lowercase());
    let name = lower.as_deref().unwrap_or(name);
    pseudo(record, of, name).or_else(|| lines(block(record, of)?, name))
}

/// All of them, in the order of their names.
pub(super) fn all<'a>(record: &'a Record<'a>, of: Block) -> Vec<(Value<'a>, Value<'a>)> {
    const APART: [&str; 7] =
        [":authority", ":method", ":path", ":scheme", ":status", "content-length", "upgrade"];
    let Some(block) = block(record, of) else { return Vec::new() };
    let mut names: BTreeSet<&[u8]> = block.iter().map(|(name, _)| name).collect();
    names.extend(APART.iter().filter(|name| pseudo(record, of, name).is_some()).map(|name| name.as_bytes()));
    let entry = |name: &'a [u8]| {
        let text = std::str::from_utf8(name).ok()?;
        Some((Value::bytes_of(name), Value::Text(value(record, of, text)?)))
    };
    names.into_iter().filter_map(entry).collect()
}

fn block<'a>(record: &'a Record<'a>, of: Block) -> Option<&'a HeaderBlock> {
    match of {
        Block::Request => Some(&record.request?.block),
        Block::Response => Some(&record.response?.block),
        Block::Trailers => record.trailers,
    }
}

/// What is kept apart from the fields: the first line and framing.
fn pseudo<'a>(record: &'a Record<'a>, of: Block, name: &str) -> Option<Text<'a>> {
    let not_empty = |text: &'a [u8]| Some(Cow::Borrowed(text)).filter(|text| !text.is_empty());
    match (of, name) {
        (Block::Request, ":method") => not_empty(record.request?.method_text()),
        (Block::Request, ":path") => not_empty(record.request?.path_and_query()),
        (Block::Request, ":authority" | "host") => not_empty(record.request?.authority()),
        (Block::Request, ":scheme") => Some(Cow::Borrowed(record.request?.scheme().as_bytes())),
        (Block::Request, "upgrade") => {
            let head = record.request?;
            Some(Cow::Borrowed(head.block.bytes(head.upgrade?)))
        }
        (Block::Request, "content-length") => length(record.request?.body),
        (Block::Response, ":status") => {
            Some(number(Some(record.status).filter(|status| *status > 0)?.into()))
        }
        (Block::Response, "upgrade") => {
            let head = record.response?;
            Some(Cow::Borrowed(head.block.bytes(head.upgrade?)))
        }
        (Block::Response, "content-length") => length(record.response?.body),
        _ => None,
    }
}

fn length(body: BodyLength) -> Option<Text<'static>> {
    match body {
        BodyLength::Fixed(length) => Some(number(length)),
        _ => None,
    }
}

fn number(number: u64) -> Text<'static> {
    Cow::Owned(number.to_string().into_bytes())
}

/// The values of one name (lower case); one line alone is borrowed.
fn lines<'a>(block: &'a HeaderBlock, name: &str) -> Option<Text<'a>> {
    let id = HeaderId::of(name.as_bytes());
    let is_it = |known: &[u8]| known == name.as_bytes();
    let fields = block.fields().iter();
    let mut values = fields
        .filter(|field| field.id == id && (id != HeaderId::Other || is_it(block.bytes(field.name))))
        .map(|field| block.bytes(field.value));
    let mut joined = Cow::Borrowed(values.next()?);
    for value in values {
        let joined: &mut Vec<u8> = joined.to_mut();
        joined.push(b',');
        joined.extend_from_slice(value);
    }
    Some(joined)
}
