//! Path and query.

use std::borrow::Cow;

use super::super::Out;
use super::super::operator::PathChoice;
use super::bytes;
use super::header::cut_query;
use crate::http::head::RequestHead;
use crate::http::header_id::HeaderId;
use crate::observe::record::Record;

pub(super) fn path(record: &Record<'_>, query: bool, which: PathChoice, out: &mut Out<'_>) -> bool {
    let Some(request) = record.request else { return false };
    let original = request.block.get(HeaderId::EnvoyOriginalPath).or(record.original_path);
    let found = match which {
        PathChoice::Original => original,
        PathChoice::Current => Some(request.path_and_query()),
        PathChoice::OriginalOrCurrent => original.or(Some(request.path_and_query())),
    };
    let Some(path) = found else { return false };
    bytes(if query { path } else { cut_query(path) }, out)
}

/// The first parameter of this name, decoded: whatever it holds is escaped for where it goes.
pub(super) fn query_param(record: &Record<'_>, name: &[u8], out: &mut Out<'_>) -> bool {
    let query = record.request.map_or(b"" as &[u8], RequestHead::query);
    let value = query.split(|byte| *byte == b'&').find_map(|pair| {
        let (key, value) = match memchr::memchr(b'=', pair) {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &pair[pair.len()..]),
        };
        (*decoded(key, Broken::Kept, |_| true) == *name).then_some(value)
    });
    value.is_some_and(|value| {
        out.text(&decoded(value, Broken::Kept, |_| true));
        true
    })
}

/// All of them. Decoded, what would not be safe to read back stays as it is.
pub(super) fn query_params(record: &Record<'_>, decode: bool, out: &mut Out<'_>) -> bool {
    let query = record.request.map_or(b"" as &[u8], RequestHead::query);
    let is_safe = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^{|}".contains(&byte);
    match decode {
        true => bytes(&decoded(query, Broken::Dropped, is_safe), out),
        false => bytes(query, out),
    }
}

/// What becomes of a `%` that no two digits follow. Envoy does one in one place and the other in the other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Broken {
    Kept,
    Dropped,
}

/// `%XX` decoded where the byte is one of `wanted`.
fn decoded(text: &[u8], broken: Broken, wanted: impl Fn(u8) -> bool) -> Cow<'_, [u8]> {
    if memchr::memchr(b'%', text).is_none() {
        return Cow::Borrowed(text);
    }
    let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
    let (mut plain, mut rest) = (Vec::with_capacity(text.len()), text);
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            plain.push(byte);
            continue;
        }
        let (Some(high), Some(low)) = (digit(after.first()), digit(after.get(1))) else {
            plain.extend((broken == Broken::Kept).then_some(b'%'));
            continue;
        };
        let value = (high * 16 + low) as u8;
        rest = &after[2..];
        if wanted(value) {
            plain.push(value);
        } else {
            plain.extend_from_slice(&text[text.len() - rest.len() - 3..text.len() - rest.len()]);
        }
    }
    Cow::Owned(plain)
}
