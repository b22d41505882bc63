//! Query parameters, as filters read and change them.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, utf8_percent_encode};

use crate::http::head::RequestHead;

/// What needs percent signs: all but RFC 3986's unreserved characters.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The parameters as they are written.
pub(super) fn split(query: &[u8]) -> impl Iterator<Item = &[u8]> {
    query.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty())
}

/// Names and values, decoded.
pub(super) fn pairs(query: &[u8]) -> impl Iterator<Item = (String, String)> {
    let decoded = |text: &[u8]| percent_decode(text).decode_utf8_lossy().into_owned();
    split(query).map(move |pair| {
        let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        (decoded(&pair[..at]), decoded(pair.get(at + 1..).unwrap_or_default()))
    })
}

/// One parameter.
pub(super) fn encoded(name: &str, value: &str) -> Vec<u8> {
    let escape = |text: &str| utf8_percent_encode(text, ESCAPED).to_string();
    format!("{}={}", escape(name), escape(value)).into_bytes()
}

/// Puts `query` in the place of the one that a request has.
pub(super) fn replace(head: &mut RequestHead, query: &[u8]) {
    let separator: &[u8] = if query.is_empty() { b"" } else { b"?" };
    let path = [head.path_only(), separator, query].concat();
    head.set_path(&path);
}
