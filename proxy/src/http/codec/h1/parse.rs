//! Lines of a head: start line, field lines, the empty line. RFC 9112 sections 2 to 5, strict.
//!
//! A line is looked at once it is complete, and taken once: parsing goes on where it stopped, so neither
//! the result nor the cost depends on how the bytes were cut into reads. Names are lower-cased where they
//! stand. Every line ends with CR LF; folding, bare CR or LF, control bytes and space before the colon
//! are errors. Bytes above 127 pass in values only (RFC 9110 obs-text: opaque).

use crate::base::details::Detail;
use crate::base::error::DownstreamError;
use crate::http::head::{Field, Form, Span, Version};
use crate::http::header_id::HeaderId;

/// A malformed message, in Envoy's words.
pub(super) const MALFORMED: DownstreamError = bad(Detail::H1_CODEC);
/// More head than allowed.
pub(super) const TOO_LARGE: DownstreamError =
    DownstreamError { status: 431, detail: Detail::H1_HEADERS_TOO_LARGE };
/// More fields than allowed.
pub(super) const TOO_MANY: DownstreamError =
    DownstreamError { status: 431, detail: Detail::H1_TOO_MANY_HEADERS };

/// A 400 with `detail`.
pub(super) const fn bad(detail: Detail) -> DownstreamError {
    DownstreamError { status: 400, detail }
}

/// Bounds of a head or a trailer section.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Bytes including the empty line.
    pub bytes: usize,
    /// Fields.
    pub fields: usize,
}

/// How far a section has been parsed. Positions count from its first byte.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    /// Start of the first line not yet taken.
    line: usize,
    /// No line ends before this.
    seen: usize,
    /// Field lines taken.
    pub fields: usize,
}

/// `Ok(None)`: the line has not arrived completely.
type Parsed<T> = Result<Option<T>, DownstreamError>;

/// A request line.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestLine {
    pub method: Span,
    pub target: Span,
    pub version: Version,
}

/// A status line; the reason phrase is dropped.
#[derive(Clone, Copy, Debug)]
pub(super) struct StatusLine {
    pub version: Version,
    pub status: u16,
}

impl Progress {
    /// To be asked once whenever bytes have arrived: whether parsing can get further.
    #[inline]
    pub(super) fn resume(&mut self, text: &[u8], limits: Limits) -> Result<bool, DownstreamError> {
        if self.seen > 0 && memchr::memchr(b'\n', text.get(self.seen..).unwrap_or_default()).is_none() {
            return self.incomplete::<()>(text, limits).map(|_| false);
        }
        Ok(true)
    }

    /// Ends a step for lack of bytes.
    fn incomplete<T>(&mut self, text: &[u8], limits: Limits) -> Parsed<T> {
        self.seen = text.len();
        if text.len() >= limits.bytes { Err(TOO_LARGE) } else { Ok(None) }
    }

    /// Takes a line that ends before `next`.
    #[inline]
    fn advance(&mut self, next: usize, limits: Limits) -> Result<(), DownstreamError> {
        self.line = next;
        if next > limits.bytes { Err(TOO_LARGE) } else { Ok(()) }
    }

    /// Says what is wrong with the current line: an error once the line is complete.
    #[cold]
    fn reject<T>(&mut self, text: &[u8], limits: Limits, error: DownstreamError) -> Parsed<T> {
        match memchr::memchr(b'\n', &text[self.line..]) {
            None => self.incomplete(text, limits),
            Some(length) if self.line + length >= limits.bytes => Err(TOO_LARGE),
            Some(_) => Err(error),
        }
    }
}

/// Parses the request line at the front of `text`.
pub(super) fn request_line(text: &[u8], progress: &mut Progress, limits: Limits) -> Parsed<RequestLine> {
    let method_end = text.iter().position(|byte| NAME[*byte as usize] == 0).unwrap_or(text.len());
    if method_end == 0 || text.get(method_end) != Some(&b' ') {
        return progress.reject(text, limits, MALFORMED);
    }
    let target_start = method_end + 1;
    let target_end = target_start + visible(&text[target_start..]);
    if target_end == target_start || text.get(target_end) != Some(&b' ') {
        return progress.reject(text, limits, MALFORMED);
    }
    let tail = &text[target_end + 1..];
    let version = match tail.first_chunk::<10>() {
        Some(b"HTTP/1.1\r\n") => Version::Http11,
        Some(b"HTTP/1.0\r\n") => Version::Http10,
        Some([b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9', b'\r', b'\n']) => {
            let unsupported = DownstreamError { status: 505, detail: Detail::H1_CODEC };
            return progress.reject(text, limits, unsupported);
        }
        _ => return progress.reject(text, limits, MALFORMED),
    };
    progress.advance(target_end + 11, limits)?;
    let method = Span::new(0, method_end);
    Ok(Some(RequestLine { method, target: Span::new(target_start, target_end), version }))
}

/// Parses the status line at the front of `text`.
pub(super) fn status_line(text: &[u8], progress: &mut Progress, limits: Limits) -> Parsed<StatusLine> {
    let Some((start, rest)) = text.split_first_chunk::<12>() else {
        return progress.reject(text, limits, MALFORMED);
    };
    let version = match start.first_chunk::<9>() {
        Some(b"HTTP/1.1 ") => Version::Http11,
        Some(b"HTTP/1.0 ") => Version::Http10,
        _ => return progress.reject(text, limits, MALFORMED),
    };
    let [.., hundreds @ b'1'..=b'9', tens @ b'0'..=b'9', ones @ b'0'..=b'9'] = *start else {
        return progress.reject(text, limits, MALFORMED);
    };
    let end = text_end(rest);
    let reason_fits = end == 0 || rest[0] == b' ';
    if !reason_fits || !rest[end..].starts_with(b"\r\n") {
        return progress.reject(text, limits, MALFORMED);
    }
    progress.advance(12 + end + 2, limits)?;
    let digit = |byte: u8| u16::from(byte - b'0');
    Ok(Some(StatusLine { version, status: digit(hundreds) * 100 + digit(tens) * 10 + digit(ones) }))
}

/// Parses field lines up to the empty line, handing each to `take` together with the text.
/// The length of the whole section, once it is complete.
#[inline]
pub(super) fn field_lines(
    text: &mut [u8],
    progress: &mut Progress,
    limits: Limits,
    mut take: impl FnMut(&[u8], Field) -> Result<(), DownstreamError>,
) -> Parsed<usize> {
    loop {
        let at = progress.line;
        if text[at..].starts_with(b"\r\n") {
            progress.advance(at + 2, limits)?;
            return Ok(Some(at + 2));
        }
        let Some((line, next)) = field_line(text, at) else {
            return progress.reject(text, limits, MALFORMED);
        };
        progress.advance(next, limits)?;
        progress.fields += 1;
        if progress.fields > limits.fields {
            return Err(TOO_MANY);
        }
        take(text, line)?;
    }
}

/// The field line at `at` and where it ends. `None`: incomplete or malformed.
#[inline(always)]
fn field_line(text: &mut [u8], at: usize) -> Option<(Field, usize)> {
    let line = text.get_mut(at..)?;
    let name_end = lower_name(line);
    let (name, rest) = line.split_at_checked(name_end)?;
    if name.is_empty() || rest.first() != Some(&b':') {
        return None;
    }
    let id = HeaderId::of(name);
    let start = match rest {
        [_, b' ', first, ..] if *first > b' ' => 2,
        _ => 1 + rest[1..].iter().take_while(|byte| is_blank(**byte)).count(),
    };
    let value = rest.get(start..)?;
    let mut length = text_end(value);
    if value.get(length..length + 2) != Some(b"\r\n") {
        return None;
    }
    let start = at + name_end + start;
    let next = start + length + 2;
    while length > 0 && is_blank(value[length - 1]) {
        length -= 1;
    }
    let name = Span::new(at, at + name_end);
    let is_line = start == at + name_end + 2 && text[start - 1] == b' ' && next == start + length + 2;
    let form = if is_line { Form::Line } else { Form::Sound };
    Some((Field { id, name, value: Span::new(start, start + length), form }, next))
}

/// Optional white space: RFC 9110 section 5.6.3.
#[inline]
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Lower-cases the name at the front of `text`: its length. Letters, digits and hyphens, eight at a time,
/// are nearly all there is.
#[inline]
fn lower_name(text: &mut [u8]) -> usize {
    const CASE: u64 = ONES * 0x20;
    let mut length = 0;
    for word in text.as_chunks_mut::<8>().0 {
        let bytes = u64::from_le_bytes(*word);
        // A byte that is a small letter once the case bit is set is a letter; digits and hyphen have it set.
        let letters = between(bytes | CASE, b'a', b'z');
        let common = letters | between(bytes, b'0', b'9') | between(bytes, b'-', b'-');
        let other = !(common & !bytes) & TOPS;
        let before = (other & other.wrapping_neg()).wrapping_sub(1);
        *word = (bytes | ((before & TOPS) >> 2)).to_le_bytes();
        if other != 0 {
            length += (other.trailing_zeros() / 8) as usize;
            if word[length % 8] == b':' {
                return length;
            }
            break;
        }
        length += 8;
    }
    length + lower_rare(&mut text[length..])
}

/// The same for any token bytes.
fn lower_rare(text: &mut [u8]) -> usize {
    let mut length = 0;
    for byte in text {
        let lower = NAME[*byte as usize];
        if lower == 0 {
            break;
        }
        *byte = lower;
        length += 1;
    }
    length
}

/// Token bytes (RFC 9110 5.6.2) as they are in a lower-case name; 0 for all others.
static NAME: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 128 {
        let this = byte as u8;
        if this.is_ascii_alphanumeric() || is_token_mark(this) {
            table[byte] = this.to_ascii_lowercase();
        }
        byte += 1;
    }
    table
};

const fn is_token_mark(byte: u8) -> bool {
    matches!(
        byte,
        b'!' | b'#'
            | b'$'
            | b'%'
            | b'&'
            | b'\''
            | b'*'
            | b'+'
            | b'-'
            | b'.'
            | b'^'
            | b'_'
            | b'`'
            | b'|'
            | b'~'
    )
}

/// True for a non-empty token.
pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| NAME[*byte as usize] != 0)
}

const ONES: u64 = u64::from_ne_bytes([1; 8]);
const TOPS: u64 = ONES << 7;

/// Marks, by the top bit of their place, the bytes from `low` to `high`, if all are below 128.
#[inline]
fn between(word: u64, low: u8, high: u8) -> u64 {
    let seven = word & !TOPS;
    let reaches_low = seven + ONES * u64::from(128 - low);
    let exceeds_high = seven + ONES * u64::from(127 - high);
    reaches_low & !exceeds_high
}

/// Marks, by the top bit of their place, bytes below `low` (at most 127) and DEL.
#[inline]
fn controls(word: u64, low: u8) -> u64 {
    let seven = word & !TOPS;
    let reaches_low = seven + ONES * u64::from(128 - low);
    let is_del = seven + ONES;
    (!reaches_low | is_del) & !word & TOPS
}

/// Length of the front of `bytes` in which `marks` marks nothing.
#[inline]
fn clean_front(bytes: &[u8], marks: impl Fn(u64) -> u64) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let marked = marks(u64::from_le_bytes(*word));
        if marked != 0 {
            return index * 8 + (marked.trailing_zeros() / 8) as usize;
        }
    }
    let mut last = [b'a'; 8];
    last[..rest.len()].copy_from_slice(rest);
    let marked = marks(u64::from_le_bytes(last));
    let clean = if marked == 0 { rest.len() } else { (marked.trailing_zeros() / 8) as usize };
    words.len() * 8 + clean
}

/// Length of the field text at the front of `bytes`: up to the first control byte that is not a tab.
#[inline]
pub(super) fn text_end(bytes: &[u8]) -> usize {
    let mut at = 0;
    loop {
        at += clean_front(&bytes[at..], |word| controls(word, b' '));
        if bytes.get(at) != Some(&b'\t') {
            return at;
        }
        at += 1;
    }
}

/// Length of the visible ASCII at the front of `bytes`.
#[inline]
pub(super) fn visible(bytes: &[u8]) -> usize {
    clean_front(bytes, |word| controls(word, b'!') | (word & TOPS))
}
