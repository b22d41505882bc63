//! Headers about the message and the connection rather than about the content: they stop here.
//!
//! Collects `content-length`, `transfer-encoding`, `connection` and its kin while fields are parsed, and
//! says what they mean together. RFC 9112 sections 6 and 9, RFC 9110 sections 7.6.1 and 10.1; any doubt
//! about where a message ends is an error.

use smallvec::SmallVec;

use super::parse::{MALFORMED, bad, is_token};
use crate::base::details::Detail;
use crate::base::error::DownstreamError;
use crate::http::head::{Field, Span, Version};
use crate::http::header_id::HeaderId;

const LENGTH_REFUSED: DownstreamError = bad(Detail::H1_LENGTH_NOT_ALLOWED);
const CODING_REFUSED: DownstreamError = bad(Detail::H1_CODING_NOT_ALLOWED);
const LENGTH_AND_CODING: DownstreamError = bad(Detail::H1_LENGTH_AND_CODING);
const CONNECTION_REFUSED: DownstreamError = bad(Detail::H1_CONNECTION_REJECTED);
const CODING_UNKNOWN: DownstreamError = DownstreamError { status: 501, detail: Detail::H1_INVALID_CODING };

/// Options that one message may list in `connection`.
const MAX_OPTIONS: usize = 32;

/// A set of header ids.
#[derive(Clone, Copy, Debug)]
pub(super) struct IdSet(u64);

impl IdSet {
    const fn of(ids: &[HeaderId]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < ids.len() {
            bits |= 1 << ids[at] as u64;
            at += 1;
        }
        Self(bits)
    }

    #[inline]
    pub(super) fn contains(self, id: HeaderId) -> bool {
        self.0 >> id as u64 & 1 != 0
    }
}

/// Fields of a request that stop at the codec.
pub(super) const REQUEST_FRAMING: IdSet = IdSet::of(&[
    HeaderId::Connection,
    HeaderId::ContentLength,
    HeaderId::Expect,
    HeaderId::Host,
    HeaderId::Http2Settings,
    HeaderId::KeepAlive,
    HeaderId::ProxyConnection,
    HeaderId::Te,
    HeaderId::Trailer,
    HeaderId::TransferEncoding,
    HeaderId::Upgrade,
]);

/// Fields of a response that stop at the codec.
pub(super) const RESPONSE_FRAMING: IdSet = IdSet::of(&[
    HeaderId::Connection,
    HeaderId::ContentLength,
    HeaderId::KeepAlive,
    HeaderId::ProxyConnection,
    HeaderId::Trailer,
    HeaderId::TransferEncoding,
    HeaderId::Upgrade,
]);

/// `expect`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Expect {
    /// Absent.
    #[default]
    Nothing,
    /// `100-continue`.
    Continue,
    /// Anything else, or several.
    Unknown,
}

/// How far a body goes, as its head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// Neither length nor coding.
    Unsaid,
    /// `content-length`.
    Length(u64),
    /// `transfer-encoding: chunked`.
    Chunked,
}

/// What the framing fields of one head said.
#[derive(Debug, Default)]
pub(super) struct Framing {
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    upgrade_option: bool,
    /// `connection` fields with options that name other fields.
    named: SmallVec<[Span; 2]>,
    options: usize,
    /// First protocol offered by `upgrade`, h2c left aside.
    upgrade: Option<Span>,
    /// `host`.
    pub host: Option<Span>,
    /// `expect`.
    pub expect: Expect,
    /// `te: trailers`.
    pub trailers: bool,
}

impl Framing {
    /// Takes the framing field `id` with its value at `span` of `text`.
    pub(super) fn note(&mut self, text: &[u8], id: HeaderId, span: Span) -> Result<(), DownstreamError> {
        let value = span.of(text);
        match id {
            HeaderId::ContentLength => self.note_length(value),
            HeaderId::TransferEncoding => self.note_coding(value),
            HeaderId::Connection => self.note_connection(value, span),
            HeaderId::Upgrade => self.note_upgrade(text, span),
            HeaderId::Host if self.host.is_some() => Err(MALFORMED),
            HeaderId::Host => {
                self.host = Some(span);
                Ok(())
            }
            HeaderId::Expect => {
                let known = self.expect == Expect::Nothing && value.eq_ignore_ascii_case(b"100-continue");
                self.expect = if known { Expect::Continue } else { Expect::Unknown };
                Ok(())
            }
            HeaderId::Te => {
                self.trailers |= options(value).any(|option| option.eq_ignore_ascii_case(b"trailers"));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Digits only, once, and small enough for every peer's signed 64 bits.
    fn note_length(&mut self, value: &[u8]) -> Result<(), DownstreamError> {
        let is_number = (1..=19).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
        if !is_number || self.length.is_some() {
            return Err(MALFORMED);
        }
        let length = value.iter().fold(0_u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
        if length > i64::MAX as u64 {
            return Err(MALFORMED);
        }
        self.length = Some(length);
        Ok(())
    }

    /// `chunked`, once, and nothing else.
    fn note_coding(&mut self, value: &[u8]) -> Result<(), DownstreamError> {
        if self.chunked {
            return Err(MALFORMED);
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(CODING_UNKNOWN);
        }
        self.chunked = true;
        Ok(())
    }

    fn note_connection(&mut self, value: &[u8], span: Span) -> Result<(), DownstreamError> {
        let mut names_fields = false;
        for option in options(value) {
            self.options += 1;
            if self.options > MAX_OPTIONS || !is_token(option) {
                return Err(CONNECTION_REFUSED);
            }
            match option {
                option if option.eq_ignore_ascii_case(b"keep-alive") => self.keep_alive = true,
                option if option.eq_ignore_ascii_case(b"close") => self.close = true,
                option if option.eq_ignore_ascii_case(b"upgrade") => self.upgrade_option = true,
                _ => names_fields = true,
            }
        }
        if names_fields {
            self.named.push(span);
        }
        Ok(())
    }

    fn note_upgrade(&mut self, text: &[u8], span: Span) -> Result<(), DownstreamError> {
        let value = span.of(text);
        for protocol in options(value) {
            if !protocol.split(|byte| *byte == b'/').all(is_token) {
                return Err(MALFORMED);
            }
            if self.upgrade.is_none() && !protocol.eq_ignore_ascii_case(b"h2c") {
                let start = protocol.as_ptr().addr() - text.as_ptr().addr();
                self.upgrade = Some(Span::new(start, start + protocol.len()));
            }
        }
        Ok(())
    }

    /// How far the body goes. Length and coding together, or coding in HTTP/1.0, is smuggling.
    pub(super) fn extent(&self, version: Version) -> Result<Extent, DownstreamError> {
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(LENGTH_AND_CODING),
            (true, None) if version == Version::Http10 => Err(CODING_REFUSED),
            (true, None) => Ok(Extent::Chunked),
            (false, Some(length)) => Ok(Extent::Length(length)),
            (false, None) => Ok(Extent::Unsaid),
        }
    }

    /// For a message that has no body whatever it says (CONNECT, 1xx, 204): only a zero length passes.
    pub(super) fn expect_no_body(&self) -> Result<(), DownstreamError> {
        match (self.chunked, self.length) {
            (true, _) => Err(CODING_REFUSED),
            (false, Some(1..)) => Err(LENGTH_REFUSED),
            (false, _) => Ok(()),
        }
    }

    /// Whether the connection goes on after this message.
    pub(super) fn persists(&self, version: Version) -> bool {
        !self.close && (version == Version::Http11 || self.keep_alive)
    }

    /// The protocol asked for or switched to, when `connection: upgrade` goes with it.
    pub(super) fn upgrade(&self, version: Version) -> Option<Span> {
        self.upgrade.filter(|_| self.upgrade_option && version == Version::Http11)
    }

    /// Removes the fields that `connection` names, but for those that a client must not take away.
    pub(super) fn remove_named(&self, text: &[u8], fields: &mut Vec<Field>) {
        for option in self.named.iter().flat_map(|span| options(span.of(text))) {
            fields.retain(|field| {
                let name = field.name.of(text);
                !name.eq_ignore_ascii_case(option) || is_end_to_end(field.id, name)
            });
        }
    }
}

/// Fields that `connection` cannot make hop-by-hop: the mesh and authentication rely on them.
fn is_end_to_end(id: HeaderId, name: &[u8]) -> bool {
    matches!(
        id,
        HeaderId::AmznTraceId
            | HeaderId::Authorization
            | HeaderId::ContentType
            | HeaderId::Cookie
            | HeaderId::Date
            | HeaderId::RequestId
            | HeaderId::Via
    ) || name.starts_with(b"x-forwarded-")
        || name.starts_with(b"x-envoy-")
        || name.starts_with(b"grpc-")
}

/// The members of a comma-separated list, trimmed; empty ones left out.
fn options(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|option| !option.is_empty())
}
