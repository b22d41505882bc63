//! Trailer sections: which names may stand there. RFC 9110 section 6.5.
//!
//! A trailer arrives after routing, authorisation and framing were decided, so nothing that those look at
//! may come that late, in either direction.

use crate::http::head::{HeaderBlock, Span};
use crate::http::header_id::HeaderId;

/// Names refused beside those that [`HeaderId`] knows: framing, content format, authentication, conditions.
const REFUSED: [&[u8]; 23] = [
    b"age",
    b"allow",
    b"cache-control",
    b"content-encoding",
    b"content-range",
    b"expires",
    b"forwarded",
    b"if-match",
    b"if-modified-since",
    b"if-none-match",
    b"if-range",
    b"if-unmodified-since",
    b"max-forwards",
    b"origin",
    b"pragma",
    b"range",
    b"retry-after",
    b"set-cookie",
    b"traceparent",
    b"tracestate",
    b"vary",
    b"warning",
    b"www-authenticate",
];

/// Whether `name` (lower case) must not stand in a trailer section.
pub(super) fn is_refused(id: HeaderId, name: &[u8]) -> bool {
    match id {
        HeaderId::GrpcStatus | HeaderId::GrpcMessage => false,
        HeaderId::Other => {
            name.starts_with(b"x-envoy-")
                || name.starts_with(b"x-forwarded-")
                || name.starts_with(b"proxy-")
                || REFUSED.contains(&name)
        }
        _ => true,
    }
}

/// The fields of `trailers` that may be sent.
pub(super) fn sendable(trailers: &HeaderBlock) -> impl Iterator<Item = (Span, Span)> {
    trailers
        .fields()
        .iter()
        .filter(|field| !is_refused(field.id, trailers.bytes(field.name)))
        .map(|field| (field.name, field.value))
}
