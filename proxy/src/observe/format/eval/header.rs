//! Headers, and what they weigh.

use super::super::Out;
use super::super::operator::{HeaderChoice, HeaderName, Message};
use crate::http::head::{BodyLength, HeaderBlock, RequestHead, Span};
use crate::http::header_id::HeaderId;
use crate::observe::record::Record;

/// A present header prints even when empty.
#[inline]
pub(super) fn header(choice: &HeaderChoice, record: &Record<'_>, out: &mut Out<'_>) -> bool {
    if let Some(found) = named(choice.of, &choice.main, record, choice.keep_query, out) {
        return found;
    }
    let alternative = choice.alternative.as_ref();
    alternative.and_then(|name| named(choice.of, name, record, choice.keep_query, out)).unwrap_or(false)
}

/// Appends one header; `None` when it is absent.
#[inline]
fn named(
    of: Message,
    name: &HeaderName,
    record: &Record<'_>,
    keep_query: bool,
    out: &mut Out<'_>,
) -> Option<bool> {
    let value = match (of, name) {
        (Message::Request, HeaderName::Known(id)) => record.request?.block.get(*id)?,
        (Message::Request, HeaderName::Method) => not_empty(record.request?.method_text())?,
        (Message::Request, HeaderName::Path) => not_empty(record.request?.path_and_query())?,
        (Message::Request, HeaderName::Authority) => not_empty(record.request?.authority())?,
        (Message::Request, HeaderName::Scheme) => record.request?.scheme().as_bytes(),
        (Message::Request, HeaderName::OriginalPath) => {
            record.request?.block.get(HeaderId::EnvoyOriginalPath).or(record.original_path)?
        }
        (Message::Response, HeaderName::Status) => {
            out.number(Some(record.status).filter(|status| *status > 0)?.into());
            return Some(true);
        }
        (_, HeaderName::ContentLength) => return content_length(of, record, out),
        (_, HeaderName::Upgrade) => upgrade(of, record)?,
        (_, name) => field(block(of, record)?, name)?,
    };
    let value = if keep_query { value } else { cut_query(value) };
    out.text(value);
    Some(true)
}

fn not_empty(value: &[u8]) -> Option<&[u8]> {
    Some(value).filter(|value| !value.is_empty())
}

fn block<'r>(of: Message, record: &Record<'r>) -> Option<&'r HeaderBlock> {
    match of {
        Message::Request => Some(&record.request?.block),
        Message::Response => Some(&record.response?.block),
        Message::Trailers => record.trailers,
    }
}

fn field<'r>(block: &'r HeaderBlock, name: &HeaderName) -> Option<&'r [u8]> {
    match name {
        HeaderName::Known(id) => block.get(*id),
        HeaderName::OriginalPath => block.get(HeaderId::EnvoyOriginalPath),
        HeaderName::Other(name) => block.get_by_name(name),
        _ => None,
    }
}

/// Framing is kept apart from the fields, so this one comes from there.
fn content_length(of: Message, record: &Record<'_>, out: &mut Out<'_>) -> Option<bool> {
    let body = match of {
        Message::Request => record.request?.body,
        Message::Response => record.response?.body,
        Message::Trailers => return None,
    };
    let BodyLength::Fixed(length) = body else { return None };
    out.number(length);
    Some(true)
}

fn upgrade<'r>(of: Message, record: &Record<'r>) -> Option<&'r [u8]> {
    let of_block = |block: &'r HeaderBlock, span: Option<Span>| Some(block.bytes(span?));
    match of {
        Message::Request => record.request.and_then(|head| of_block(&head.block, head.upgrade)),
        Message::Response => record.response.and_then(|head| of_block(&head.block, head.upgrade)),
        Message::Trailers => None,
    }
}

pub(super) fn cut_query(path: &[u8]) -> &[u8] {
    memchr::memchr(b'?', path).map_or(path, |at| &path[..at])
}

/// Names and values.
pub(in crate::observe) fn fields_bytes(block: &HeaderBlock) -> u64 {
    block.fields().iter().map(|field| u64::from(field.name.len) + u64::from(field.value.len)).sum()
}

/// Uncompressed size with pseudo-headers, as Envoy counts it.
pub(in crate::observe) fn request_bytes(head: &RequestHead) -> u64 {
    let pseudo = [
        (":method", head.method_text().len()),
        (":path", head.path_and_query().len()),
        (":authority", head.authority().len()),
        (":scheme", head.scheme().len()),
    ];
    let pseudo = pseudo.iter().filter(|(_, len)| *len > 0).map(|(name, len)| (name.len() + len) as u64);
    fields_bytes(&head.block) + pseudo.sum::<u64>()
}

/// Likewise.
pub(in crate::observe) fn response_bytes(record: &Record<'_>) -> u64 {
    record.response.map_or(0, |head| fields_bytes(&head.block) + ":status200".len() as u64)
}
