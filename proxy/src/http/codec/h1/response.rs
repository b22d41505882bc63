//! From a parsed response head to a [`ResponseHead`]: body, upgrade, tunnel. RFC 9112 section 6.3.

use super::framing::{Extent, Framing};
use super::incoming::Parsed;
use super::parse::{StatusLine, bad};
use super::source::Receiving;
use super::wire::Wire;
use crate::base::details::Detail;
use crate::base::error::DownstreamError;
use crate::http::head::{BodyLength, Method, ResponseHead, Span, Version};

/// A server that never comes to the point.
pub(super) const TOO_MANY_INFORMATIONAL: DownstreamError = bad(Detail::H1_INFORMATIONAL);
const UNASKED_UPGRADE: DownstreamError = bad(Detail::H1_UNASKED_UPGRADE);

/// What the request asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub method: Method,
    /// Protocol to upgrade to, lower case.
    pub upgrade: Option<&'a [u8]>,
}

/// A response with what the connection needs to know of it.
#[derive(Debug)]
pub(super) struct Assembled {
    pub response: ResponseHead,
    pub receiving: Receiving,
    /// The connection may carry another request after this response.
    pub persists: bool,
}

/// Checks a parsed head and takes its text out of the connection's buffer.
pub(super) fn assemble(
    wire: &mut Wire,
    parsed: Parsed<StatusLine>,
    asked: Asked<'_>,
) -> Result<Assembled, DownstreamError> {
    let Parsed { start: StatusLine { version, status }, length, fields, framing, .. } = parsed;
    let text = &mut wire.buffers.unread_mut()[..length];
    let upgrade = match status {
        101 => Some(accepted_upgrade(text, &framing, version, asked)?),
        200..=299 if asked.method == Method::Connect => Some(Span::default()),
        _ => None,
    };
    let (body, receiving) = match upgrade {
        Some(_) if status != 101 => (BodyLength::None, Receiving::Done),
        _ => body(&framing, asked.method, status, version)?,
    };
    let is_framed = upgrade.is_none() && !matches!(receiving, Receiving::UntilClose);
    let mut block = wire.buffers.pool().clone().block(wire.buffers.split_head(length), fields);
    block.set_checked(length);
    let response = ResponseHead { block, status, version, body, upgrade };
    Ok(Assembled { response, receiving, persists: is_framed && framing.persists(version) })
}

/// The protocol of a 101, which must be the one that was asked for. Lower-cased where it stands.
fn accepted_upgrade(
    text: &mut [u8],
    framing: &Framing,
    version: Version,
    asked: Asked<'_>,
) -> Result<Span, DownstreamError> {
    let protocol = framing.upgrade(version).ok_or(UNASKED_UPGRADE)?;
    text[protocol.start as usize..][..protocol.len as usize].make_ascii_lowercase();
    if asked.upgrade == Some(protocol.of(text)) { Ok(protocol) } else { Err(UNASKED_UPGRADE) }
}

/// What is announced and what is to be received.
fn body(
    framing: &Framing,
    method: Method,
    status: u16,
    version: Version,
) -> Result<(BodyLength, Receiving), DownstreamError> {
    let extent = framing.extent(version)?;
    if status < 200 || status == 204 {
        framing.expect_no_body()?;
        return Ok((BodyLength::None, Receiving::Done));
    }
    let has_no_body = method == Method::Head || status == 304;
    Ok(match extent {
        Extent::Length(length) if has_no_body => (BodyLength::Fixed(length), Receiving::Done),
        Extent::Chunked if has_no_body => (BodyLength::Streamed, Receiving::Done),
        Extent::Unsaid if has_no_body => (BodyLength::None, Receiving::Done),
        Extent::Length(length) => (BodyLength::Fixed(length), Receiving::Length(length)),
        Extent::Chunked => (BodyLength::Streamed, Receiving::Chunked(Default::default())),
        Extent::Unsaid => (BodyLength::Streamed, Receiving::UntilClose),
    })
}
