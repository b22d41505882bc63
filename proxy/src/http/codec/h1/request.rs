//! From a parsed request head to a [`RequestHead`]: target, host, body, expectation, upgrade.

use super::ServerOptions;
use super::framing::{Expect, Extent, Framing};
use super::incoming::Parsed;
use super::parse::{MALFORMED, RequestLine, bad};
use super::source::Receiving;
use super::target::{self, Path, Port, check_authority, has_fragment};
use super::wire::Wire;
use crate::base::details::Detail;
use crate::base::error::DownstreamError;
use crate::http::head::{BodyLength, Field, Method, RequestHead, Span, Version};

const HOST_MISSING: DownstreamError = bad(Detail::MISSING_HOST);
/// A path with a fragment, which belongs to the client alone.
const FRAGMENT: DownstreamError = bad(Detail::PATH_NORMALIZATION_FAILED);
const LOW_VERSION: DownstreamError = DownstreamError { status: 426, detail: Detail::LOW_VERSION };
const EXPECTATION_FAILED: DownstreamError =
    DownstreamError { status: 417, detail: Detail::H1_EXPECTATION_FAILED };
const INVALID_SCHEME: DownstreamError = bad(Detail::H1_INVALID_SCHEME);

/// A request with what the connection needs to know of it.
#[derive(Debug)]
pub(super) struct Assembled {
    pub request: RequestHead,
    pub receiving: Receiving,
    /// The connection may carry another request.
    pub persists: bool,
}

/// A head that is refused: for what, and the head itself where it was understood all the same.
#[derive(Debug)]
pub(super) struct Refusal {
    pub error: DownstreamError,
    pub known: Option<Box<RequestHead>>,
}

impl From<DownstreamError> for Refusal {
    fn from(error: DownstreamError) -> Self {
        Self { error, known: None }
    }
}

/// Checks a parsed head and takes its text out of the connection's buffer.
pub(super) fn assemble(
    wire: &mut Wire,
    parsed: Parsed<RequestLine>,
    options: &ServerOptions,
) -> Result<Assembled, Refusal> {
    let Parsed { start: line, length, fields, framing, .. } = parsed;
    let version = line.version;
    let is_tls = wire.is_tls();
    let text = &mut wire.buffers.unread_mut()[..length];
    if version == Version::Http10 && !options.accept_http_10 {
        return Err(LOW_VERSION.into());
    }
    let method = Method::of(line.method.of(text));
    let target = match target::read(text, line.target, method, options.allow_absolute_url) {
        Ok(target) => target,
        Err(_) if has_fragment(line.target.of(text)) => {
            return Err(understood(wire, line, (length, fields), &framing, FRAGMENT));
        }
        Err(error) => return Err(error.into()),
    };
    if target.https == Some(true) && !is_tls {
        return Err(INVALID_SCHEME.into());
    }
    match check_host(text, &framing, version) {
        Err(HOST_MISSING) => return Err(understood(wire, line, (length, fields), &framing, HOST_MISSING)),
        checked => checked?,
    }
    let (body, receiving) = body(&framing, method, version)?;
    let expects_continue = expects_continue(&framing, version)? && body != BodyLength::None;
    let upgrade = framing.upgrade(version);
    if let Some(protocol) = upgrade {
        text[protocol.start as usize..][..protocol.len as usize].make_ascii_lowercase();
    }
    let mut block = wire.buffers.pool().clone().block(wire.buffers.split_head(length), fields);
    block.set_checked(length);
    let path = match target.path {
        Path::Written(span) => span,
        Path::Asterisk => block.push_text(b"*"),
        Path::Root(query) => {
            let path = [b"/", block.bytes(query)].concat();
            block.push_text(&path)
        }
    };
    let default_host = options.default_host_for_http_10.as_deref().filter(|_| version == Version::Http10);
    let authority = match (target.authority.or(framing.host), default_host) {
        (Some(span), _) => span,
        (None, Some(host)) => block.push_text(host.as_bytes()),
        (None, None) => Span::default(),
    };
    let request = RequestHead {
        block,
        method,
        method_text: line.method,
        path,
        authority,
        https: target.https.unwrap_or(is_tls),
        version,
        body,
        upgrade,
        expects_continue,
        accepts_trailers: framing.trailers,
    };
    // Bytes that follow a refused CONNECT were meant for a tunnel: never read them as a request.
    // Nor those behind a request of HTTP/1.0 that may have a body and does not say how long it is.
    let is_endless = version == Version::Http10
        && !matches!(method, Method::Get | Method::Head)
        && body == BodyLength::None;
    let persists = framing.persists(version) && method != Method::Connect && !is_endless;
    Ok(Assembled { request, receiving, persists })
}

/// A request that is refused for what it asks, not for how it is written: logs know it.
#[cold]
fn understood(
    wire: &mut Wire,
    line: RequestLine,
    (length, fields): (usize, Vec<Field>),
    framing: &Framing,
    error: DownstreamError,
) -> Refusal {
    // The connection keeps what it refused.
    let mut text = wire.buffers.pool().bufs().take();
    text.extend(&wire.buffers.unread()[..length]);
    let method = Method::of(line.method.of(text.filled()));
    let mut block = wire.buffers.pool().block(text, fields);
    block.set_checked(length);
    let known = RequestHead {
        block,
        method,
        method_text: line.method,
        path: line.target,
        authority: framing.host.unwrap_or_default(),
        https: wire.is_tls(),
        version: line.version,
        ..RequestHead::unparsed()
    };
    Refusal { error, known: Some(Box::new(known)) }
}

/// RFC 9112 section 3.2: exactly one valid host, which only HTTP/1.0 may leave out.
fn check_host(text: &[u8], framing: &Framing, version: Version) -> Result<(), DownstreamError> {
    match framing.host.map(|span| span.of(text)) {
        Some(host) if !host.is_empty() => check_authority(host, Port::Optional).map_err(|_| MALFORMED),
        _ if version == Version::Http10 => Ok(()),
        _ => Err(HOST_MISSING),
    }
}

fn body(
    framing: &Framing,
    method: Method,
    version: Version,
) -> Result<(BodyLength, Receiving), DownstreamError> {
    let extent = framing.extent(version)?;
    if method == Method::Connect {
        framing.expect_no_body()?;
        return Ok((BodyLength::None, Receiving::Done));
    }
    Ok(match extent {
        Extent::Unsaid => (BodyLength::None, Receiving::Done),
        Extent::Length(length) => (BodyLength::Fixed(length), Receiving::Length(length)),
        Extent::Chunked => (BodyLength::Streamed, Receiving::Chunked(Default::default())),
    })
}

/// Expectations are for HTTP/1.1; we know one.
fn expects_continue(framing: &Framing, version: Version) -> Result<bool, DownstreamError> {
    match framing.expect {
        _ if version == Version::Http10 => Ok(false),
        Expect::Nothing => Ok(false),
        Expect::Continue => Ok(true),
        Expect::Unknown => Err(EXPECTATION_FAILED),
    }
}
