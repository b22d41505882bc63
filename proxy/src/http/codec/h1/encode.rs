//! Heads, chunk framing and trailers as bytes. RFC 9112 sections 3, 4, 6.1 and 7.1.
//!
//! Lines that the parser checked and nobody changed are copied in runs; all else is written from its parts
//! and checked on the way, so that no head, whoever made it, can break the framing.
//! Framing and connection headers are made here and nowhere else.

use super::super::StreamError;
use super::parse::{is_token, text_end, visible};
use super::sink::Sending;
use crate::base::details::Detail;
use crate::config::listener::HeaderCase;
use crate::http::head::{BodyLength, Form, HeaderBlock, Method, RequestHead, ResponseHead, Span, Version};
use crate::net::buffer::Buf;

/// A head that must not be sent: it would read as something else.
const UNSENDABLE: StreamError = StreamError::Protocol(Detail::H1_UNSENDABLE);

/// What the server half knows of the request that a response answers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answered {
    /// Its method.
    pub method: Method,
    /// Its version.
    pub version: Version,
    /// The connection ends with this response.
    pub close: bool,
}

/// A head that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Written {
    /// How its body is to be sent.
    pub sending: Sending,
    /// Bytes of its field lines.
    pub fields: u64,
}

/// Writes a request head.
pub(super) fn request_head(
    out: &mut Buf,
    head: &RequestHead,
    body: BodyLength,
    case: HeaderCase,
    trailers: bool,
) -> Result<Written, StreamError> {
    let mut lines = Lines::new(out, &head.block, case);
    let is_connect = head.method == Method::Connect;
    let target = if is_connect { head.authority } else { head.path };
    lines.request_line(head.method_text, target)?;
    lines.host(head.authority)?;
    lines.fields()?;
    let te = trailers && head.accepts_trailers;
    if te {
        lines.field(b"te", b"trailers");
    }
    match (head.upgrade, te) {
        (Some(protocol), _) => {
            lines.field(b"connection", if te { b"upgrade, te" } else { b"upgrade" });
            lines.upgrade(protocol)?;
        }
        (None, true) => lines.field(b"connection", b"te"),
        (None, false) => {}
    }
    let sending = match body {
        BodyLength::None if wants_length(head) => lines.length(0),
        BodyLength::None => Sending::Nothing,
        BodyLength::Fixed(length) => lines.length(length),
        BodyLength::Streamed => lines.chunked(),
    };
    Ok(Written { sending, fields: lines.end() })
}

/// Whether a request without content says so: with every method that foresees content (RFC 9110, sections 8.6 and 9.3).
fn wants_length(head: &RequestHead) -> bool {
    const WITHOUT_CONTENT: [&[u8]; 5] = [b"GET", b"HEAD", b"DELETE", b"TRACE", b"CONNECT"];
    head.upgrade.is_none() && !WITHOUT_CONTENT.contains(&head.method_text())
}

/// Writes a final response head.
pub(super) fn response_head(
    out: &mut Buf,
    head: &ResponseHead,
    answered: Answered,
    case: HeaderCase,
) -> Result<Written, StreamError> {
    let mut lines = Lines::new(out, &head.block, case);
    lines.status_line(head.status, answered.version);
    lines.fields()?;
    let is_tunnel = head.status == 101 || answered.method == Method::Connect && head.status / 100 == 2;
    let has_no_length = is_tunnel || head.status < 200 || head.status == 204;
    let has_no_body = has_no_length || answered.method == Method::Head || head.status == 304;
    let mut close = answered.close;
    let sending = match head.body {
        _ if is_tunnel => Sending::Tunnel,
        _ if has_no_length => Sending::Nothing,
        BodyLength::Fixed(length) if has_no_body => {
            lines.length(length);
            Sending::Nothing
        }
        _ if has_no_body => Sending::Nothing,
        BodyLength::None => lines.length(0),
        BodyLength::Fixed(length) => lines.length(length),
        BodyLength::Streamed if answered.version == Version::Http10 => {
            close = true;
            Sending::UntilClose
        }
        BodyLength::Streamed => lines.chunked(),
    };
    match head.upgrade {
        Some(protocol) if head.status == 101 => {
            lines.field(b"connection", b"upgrade");
            lines.upgrade(protocol)?;
        }
        _ if is_tunnel => {}
        _ if close => lines.field(b"connection", b"close"),
        _ if answered.version == Version::Http10 => lines.field(b"connection", b"keep-alive"),
        _ => {}
    }
    Ok(Written { sending, fields: lines.end() })
}

/// Writes an interim response: the bytes of its field lines.
pub(super) fn informational(
    out: &mut Buf,
    head: &ResponseHead,
    case: HeaderCase,
) -> Result<u64, StreamError> {
    let mut lines = Lines::new(out, &head.block, case);
    lines.status_line(head.status, Version::Http11);
    lines.fields()?;
    Ok(lines.end())
}

/// Writes the size line of a chunk.
pub(super) fn chunk_size(out: &mut Buf, size: usize) {
    let mut digits = [0; 18];
    let mut at = 16;
    digits[16..].copy_from_slice(b"\r\n");
    let mut rest = size;
    while rest > 0 || at == 16 {
        at -= 1;
        digits[at] = b"0123456789abcdef"[rest & 15];
        rest >>= 4;
    }
    out.extend(&digits[at..]);
}

/// Writes the last chunk and the trailer section: the bytes of its field lines.
pub(super) fn last_chunk<'a>(
    out: &mut Buf,
    trailers: Option<(&'a HeaderBlock, impl Iterator<Item = (Span, Span)> + 'a)>,
    case: HeaderCase,
) -> Result<u64, StreamError> {
    out.extend(b"0\r\n");
    let start = out.len();
    if let Some((block, fields)) = trailers {
        let mut lines = Lines::new(out, block, case);
        for (name, value) in fields {
            lines.foreign(block.bytes(name), block.bytes(value))?;
        }
        lines.flush();
    }
    let fields = (out.len() - start) as u64;
    out.extend(b"\r\n");
    Ok(fields)
}

/// Writes the lines of one head.
struct Lines<'a> {
    out: &'a mut Buf,
    /// Checked part of the text.
    checked: &'a [u8],
    block: &'a HeaderBlock,
    case: HeaderCase,
    /// Range of `checked` that is still to be copied.
    start: usize,
    end: usize,
    /// Where in `out` the field lines begin, once the start line is written.
    fields_at: usize,
}

impl<'a> Lines<'a> {
    fn new(out: &'a mut Buf, block: &'a HeaderBlock, case: HeaderCase) -> Self {
        let checked = match case {
            HeaderCase::Lower => &block.text()[..block.checked()],
            HeaderCase::Proper => &[],
        };
        let fields_at = out.len();
        Self { out, checked, block, case, start: 0, end: 0, fields_at }
    }

    /// Adds checked text, joining it with what comes right before it.
    #[inline]
    fn copy(&mut self, start: usize, end: usize) {
        if start != self.end {
            self.flush();
            self.start = start;
        }
        self.end = end;
    }

    /// Writes out the text added so far.
    #[inline]
    fn flush(&mut self) {
        if self.start < self.end {
            self.out.extend(&self.checked[self.start..self.end]);
        }
        (self.start, self.end) = (0, 0);
    }

    #[inline]
    fn push(&mut self, bytes: &[u8]) {
        self.flush();
        self.out.extend(bytes);
    }

    /// Whether the checked text has `what` at `at`.
    #[inline]
    fn stands(&self, at: usize, what: &[u8]) -> bool {
        self.checked.get(at..at + what.len()) == Some(what)
    }

    fn request_line(&mut self, method: Span, target: Span) -> Result<(), StreamError> {
        let (method_end, target_end) = (span_end(method), span_end(target));
        let is_whole = target.start as usize == method_end + 1
            && self.stands(method_end, b" ")
            && self.stands(target_end, b" HTTP/1.1\r\n");
        self.fields_at += method.len as usize + target.len as usize + 12;
        if is_whole {
            self.copy(method.start as usize, target_end + 11);
            return Ok(());
        }
        let (method, target) = (self.block.bytes(method), self.block.bytes(target));
        if !is_token(method) || target.is_empty() || visible(target) != target.len() {
            return Err(UNSENDABLE);
        }
        for part in [method, b" ", target, b" HTTP/1.1\r\n"] {
            self.push(part);
        }
        Ok(())
    }

    fn status_line(&mut self, status: u16, version: Version) {
        if (status, version) == (200, Version::Http11) {
            self.push(b"HTTP/1.1 200 OK\r\n");
            self.fields_at = self.out.len();
            return;
        }
        self.push(if version == Version::Http10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
        let status = status.clamp(100, 999);
        self.push(itoa::Buffer::new().format(status).as_bytes());
        self.push(b" ");
        let reason = http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
        self.push(reason.unwrap_or_default().as_bytes());
        self.push(b"\r\n");
        self.fields_at = self.out.len();
    }

    fn host(&mut self, authority: Span) -> Result<(), StreamError> {
        let (start, end) = (authority.start as usize, span_end(authority));
        if start >= 6 && self.stands(start - 6, b"host: ") && self.stands(end, b"\r\n") {
            self.copy(start - 6, end + 2);
            return Ok(());
        }
        let value = self.block.bytes(authority);
        if visible(value) != value.len() {
            return Err(UNSENDABLE);
        }
        self.field(b"host", value);
        Ok(())
    }

    fn fields(&mut self) -> Result<(), StreamError> {
        let block = self.block;
        for field in block.fields() {
            let end = span_end(field.value) + 2;
            match field.form {
                Form::Line if end <= self.checked.len() => self.copy(field.name.start as usize, end),
                Form::Line | Form::Sound => self.field(block.bytes(field.name), block.bytes(field.value)),
                Form::Foreign => self.foreign(block.bytes(field.name), block.bytes(field.value))?,
            }
        }
        Ok(())
    }

    /// Writes a field that nobody has checked.
    fn foreign(&mut self, name: &[u8], value: &[u8]) -> Result<(), StreamError> {
        if !is_token(name) || text_end(value) != value.len() {
            return Err(UNSENDABLE);
        }
        self.field(name, value);
        Ok(())
    }

    /// Writes a field from its parts.
    fn field(&mut self, name: &[u8], value: &[u8]) {
        self.flush();
        let start = self.out.len();
        self.out.extend_line(name, value);
        if self.case == HeaderCase::Proper {
            make_proper(&mut self.out.filled_mut()[start..start + name.len()]);
        }
    }

    fn upgrade(&mut self, protocol: Span) -> Result<(), StreamError> {
        let protocol = self.block.bytes(protocol);
        if protocol.is_empty() || visible(protocol) != protocol.len() {
            return Err(UNSENDABLE);
        }
        self.field(b"upgrade", protocol);
        Ok(())
    }

    fn length(&mut self, length: u64) -> Sending {
        self.field(b"content-length", itoa::Buffer::new().format(length).as_bytes());
        Sending::Length(length)
    }

    fn chunked(&mut self) -> Sending {
        self.field(b"transfer-encoding", b"chunked");
        Sending::Chunked(0)
    }

    /// Ends the head: the bytes of its field lines.
    fn end(&mut self) -> u64 {
        self.flush();
        let fields = self.out.len().saturating_sub(self.fields_at) as u64;
        self.push(b"\r\n");
        fields
    }
}

#[inline]
fn span_end(span: Span) -> usize {
    span.start as usize + span.len as usize
}

/// Gives `name` capitals at its start and after each hyphen.
fn make_proper(name: &mut [u8]) {
    let mut at_start = true;
    for byte in name {
        if at_start {
            byte.make_ascii_uppercase();
        }
        at_start = *byte == b'-';
    }
}
