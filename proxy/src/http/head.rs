//! Message heads: one buffer of text and a table of fields into it.
//!
//! Both codecs produce and consume these, so nothing above the seam knows which protocol a head came
//! from. Names are lower case. Pseudo-headers live beside the fields: `Host` of HTTP/1 and `:authority`
//! of HTTP/2 are both [`RequestHead::authority`] and never stand among the fields.
//! Edits append text and move table entries; nothing is shifted.

mod pool;
mod size;

use std::rc::Rc;

use crate::net::buffer::Buf;

use super::header_id::HeaderId;
pub use pool::HeadPool;
pub use size::HeadSize;

/// A piece of a head's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// Length in bytes.
    pub len: u32,
}

impl Span {
    /// The span `start..end`.
    #[inline]
    pub fn new(start: usize, end: usize) -> Self {
        Self { start: start as u32, len: (end - start) as u32 }
    }

    /// The bytes it names in `text`.
    #[inline]
    pub fn of(self, text: &[u8]) -> &[u8] {
        &text[self.start as usize..(self.start + self.len) as usize]
    }
}

/// One header field.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Known name, for quick lookups.
    pub id: HeaderId,
    /// Name, lower case.
    pub name: Span,
    /// Value without surrounding white space.
    pub value: Span,
    /// How the codec may send it.
    pub form: Form,
}

impl Field {
    /// Bytes that it adds to a head as Envoy counts received ones: name, value, colon and line end.
    #[inline]
    pub(super) fn told(&self) -> u64 {
        u64::from(self.name.len) + u64::from(self.value.len) + 3
    }
}

/// What is known of a field's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The whole line stands in the [checked](HeaderBlock::checked) text as `name: value` CR LF.
    Line,
    /// Name and value are valid field text: an HTTP/1 parser or we ourselves said so.
    Sound,
    /// From configuration or another protocol: to be checked before it goes out.
    Foreign,
}

/// Text and field table. One made by [`HeadPool::block`] gives its storage back when dropped.
#[derive(Debug, Default)]
pub struct HeaderBlock {
    text: Buf,
    fields: Vec<Field>,
    /// Bytes at the front of the text that an HTTP/1 parser has checked line by line.
    checked: usize,
    home: Option<Rc<HeadPool>>,
}

impl HeaderBlock {
    /// A block over text that a codec read and a table it built. Names must be lower case.
    pub fn from_parts(text: Buf, fields: Vec<Field>) -> Self {
        Self { text, fields, checked: 0, home: None }
    }

    /// Takes the storage out.
    pub fn into_parts(mut self) -> (Buf, Vec<Field>) {
        (std::mem::take(&mut self.text), std::mem::take(&mut self.fields))
    }

    /// Length of the text's front that came through the HTTP/1 parser unchanged but for the case of
    /// names: lines within it may be sent again as they stand.
    #[inline]
    pub fn checked(&self) -> usize {
        self.checked
    }

    /// See [`HeaderBlock::checked`]; for the HTTP/1 codec.
    pub fn set_checked(&mut self, bytes: usize) {
        self.checked = bytes.min(self.text.len());
    }

    /// The whole text.
    #[inline]
    pub fn text(&self) -> &[u8] {
        self.text.filled()
    }

    /// The field table in order.
    #[inline]
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Bytes of `span`.
    #[inline]
    pub fn bytes(&self, span: Span) -> &[u8] {
        span.of(self.text.filled())
    }

    /// Name and value of every field.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter().map(|field| (self.bytes(field.name), self.bytes(field.value)))
    }

    /// First value of a known header.
    #[inline]
    pub fn get(&self, id: HeaderId) -> Option<&[u8]> {
        self.fields.iter().find(|field| field.id == id).map(|field| self.bytes(field.value))
    }

    /// First value of the header `name` (lower case).
    pub fn get_by_name(&self, name: &[u8]) -> Option<&[u8]> {
        self.fields_named(name).next().map(|field| self.bytes(field.value))
    }

    /// Fields called `name` (lower case), in order.
    pub fn fields_named<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = &'a Field> + 'a {
        let id = HeaderId::of(name);
        self.fields
            .iter()
            .filter(move |field| field.id == id && (id != HeaderId::Other || self.bytes(field.name) == name))
    }

    /// Makes one field of several called `name` (lower case), and of `added`, with `separator` between their values.
    /// Does nothing to fewer than two values.
    pub fn join(&mut self, name: &[u8], separator: &[u8], added: Option<&[u8]>) {
        let mut values = self.fields_named(name).map(|field| self.bytes(field.value)).chain(added);
        let (Some(first), Some(second)) = (values.next(), values.next()) else { return };
        let mut joined = first.to_vec();
        for value in std::iter::once(second).chain(values) {
            joined.extend_from_slice(separator);
            joined.extend_from_slice(value);
        }
        self.set(name, &joined);
    }

    /// Appends text and says where it went.
    pub fn push_text(&mut self, bytes: &[u8]) -> Span {
        let start = self.text.len();
        self.text.extend(bytes);
        Span::new(start, self.text.len())
    }

    /// Adds a field of our own at the end, whose value is known to be valid field text.
    pub fn add(&mut self, id: HeaderId, value: &[u8]) {
        self.push(id, id.name().as_bytes(), value, Form::Sound);
    }

    /// Replaces every field called `id` by one of our own: see [`HeaderBlock::add`].
    pub fn replace(&mut self, id: HeaderId, value: &[u8]) {
        self.remove(id);
        self.add(id, value);
    }

    /// Adds a field at the end. `name` must be lower case.
    pub fn append(&mut self, name: &[u8], value: &[u8]) {
        self.push(HeaderId::of(name), name, value, Form::Foreign);
    }

    fn push(&mut self, id: HeaderId, name: &[u8], value: &[u8], form: Form) {
        let start = self.text.len();
        self.text.extend_both(name, value);
        let (middle, end) = (start + name.len(), self.text.len());
        let (name_span, value_span) = (Span::new(start, middle), Span::new(middle, end));
        self.fields.push(Field { id, name: name_span, value: value_span, form });
    }

    /// Adds a field that a codec has already put into the text.
    #[inline]
    pub fn push_field(&mut self, field: Field) {
        self.fields.push(field);
    }

    /// Replaces every field called `name` by one, or adds it.
    pub fn set(&mut self, name: &[u8], value: &[u8]) {
        self.remove_named(name);
        self.append(name, value);
    }

    /// Removes a known header.
    #[inline]
    pub fn remove(&mut self, id: HeaderId) {
        if self.fields.iter().any(|field| field.id == id) {
            self.fields.retain(|field| field.id != id);
        }
    }

    /// Removes every field called `name` (lower case).
    pub fn remove_named(&mut self, name: &[u8]) {
        let Self { text, fields, .. } = self;
        fields.retain(|field| field.name.of(text.filled()) != name);
    }

    /// Keeps the fields for which `keep(id, name, value)` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(HeaderId, &[u8], &[u8]) -> bool) {
        let Self { text, fields, .. } = self;
        let text = text.filled();
        fields.retain(|field| keep(field.id, field.name.of(text), field.value.of(text)));
    }

    /// The same fields in a block of their own.
    pub fn copy(&self) -> Self {
        let mut copy = Self::default();
        self.iter().for_each(|(name, value)| copy.append(name, value));
        copy
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// True without fields.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }
}

impl Drop for HeaderBlock {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            home.give(std::mem::take(&mut self.text), std::mem::take(&mut self.fields));
        }
    }
}

/// HTTP version of one side of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2.
    Http2,
}

impl Version {
    /// `HTTP/1.1` and so on, as access logs print it.
    pub fn as_str(self) -> &'static str {
        match self {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
            Version::Http2 => "HTTP/2",
        }
    }
}

/// Request methods that the proxy treats specially; all others pass through as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET.
    Get,
    /// HEAD: the response has no body.
    Head,
    /// POST.
    Post,
    /// CONNECT: a tunnel.
    Connect,
    /// OPTIONS.
    Options,
    /// Anything else; see [`RequestHead::method_text`].
    Other,
}

impl Method {
    /// Classifies a method as written; methods are case-sensitive.
    pub fn of(text: &[u8]) -> Self {
        match text {
            b"GET" => Method::Get,
            b"HEAD" => Method::Head,
            b"POST" => Method::Post,
            b"CONNECT" => Method::Connect,
            b"OPTIONS" => Method::Options,
            _ => Method::Other,
        }
    }
}

/// How the body of a message is delimited, protocol-neutral.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// No body.
    None,
    /// Exactly this many bytes.
    Fixed(u64),
    /// Unknown until the end: chunked, HTTP/2 without content-length, or until close.
    Streamed,
}

/// A request head.
#[derive(Debug)]
pub struct RequestHead {
    /// Fields without `host`, framing and hop-by-hop headers (those are the codec's business).
    pub block: HeaderBlock,
    /// Method class.
    pub method: Method,
    /// Method as written.
    pub method_text: Span,
    /// Path and query; `*` for `OPTIONS *`; empty for plain CONNECT.
    pub path: Span,
    /// Host as sent; empty when missing (HTTP/1.0).
    pub authority: Span,
    /// True for `https`: `:scheme`, else absolute-form, else whether the connection is TLS.
    pub https: bool,
    /// Version the client spoke.
    pub version: Version,
    /// Body framing as announced.
    pub body: BodyLength,
    /// Upgrade asked for (`websocket`; HTTP/2 `:protocol`), lower case, already out of the fields.
    pub upgrade: Option<Span>,
    /// `Expect: 100-continue` was sent (already out of the fields).
    pub expects_continue: bool,
    /// The client accepts trailers (`te: trailers`).
    pub accepts_trailers: bool,
}

impl RequestHead {
    /// Stands for a request whose head could not be parsed, in its log line.
    pub fn unparsed() -> Self {
        Self {
            block: HeaderBlock::default(),
            method: Method::Other,
            method_text: Span::default(),
            path: Span::default(),
            authority: Span::default(),
            https: false,
            version: Version::Http11,
            body: BodyLength::None,
            upgrade: None,
            expects_continue: false,
            accepts_trailers: false,
        }
    }

    /// The same head in a block of its own.
    pub fn copy(&self) -> Self {
        let mut block = self.block.copy();
        let mut text = |span: Span| block.push_text(self.block.bytes(span));
        Self {
            method_text: text(self.method_text),
            path: text(self.path),
            authority: text(self.authority),
            upgrade: self.upgrade.map(&mut text),
            method: self.method,
            https: self.https,
            version: self.version,
            body: self.body,
            expects_continue: self.expects_continue,
            accepts_trailers: self.accepts_trailers,
            block,
        }
    }

    /// Method as written.
    #[inline]
    pub fn method_text(&self) -> &[u8] {
        self.block.bytes(self.method_text)
    }

    /// Path with query.
    #[inline]
    pub fn path_and_query(&self) -> &[u8] {
        self.block.bytes(self.path)
    }

    /// Path without query.
    #[inline]
    pub fn path_only(&self) -> &[u8] {
        let whole = self.path_and_query();
        memchr::memchr(b'?', whole).map_or(whole, |at| &whole[..at])
    }

    /// Query without `?`, empty when there is none.
    pub fn query(&self) -> &[u8] {
        let whole = self.path_and_query();
        memchr::memchr(b'?', whole).map_or(b"", |at| &whole[at + 1..])
    }

    /// Authority as sent.
    #[inline]
    pub fn authority(&self) -> &[u8] {
        self.block.bytes(self.authority)
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }

    /// The value lines under a lower-case name, which may be a pseudo-header's; Host goes as `:authority`.
    pub fn lines<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let pseudo = match name {
            ":method" => Some(self.method_text()),
            ":path" => Some(self.path_and_query()),
            ":authority" | "host" => Some(self.authority()),
            ":scheme" => Some(self.scheme().as_bytes()),
            _ => None,
        };
        let fields = pseudo.is_none().then(|| self.block.fields_named(name.as_bytes()));
        pseudo.into_iter().chain(fields.into_iter().flatten().map(|field| self.block.bytes(field.value)))
    }

    /// Replaces the path and query.
    pub fn set_path(&mut self, path: &[u8]) {
        self.path = self.block.push_text(path);
    }

    /// Replaces the authority.
    pub fn set_authority(&mut self, authority: &[u8]) {
        self.authority = self.block.push_text(authority);
    }

    /// Whether the request wants the connection, or its stream, for bytes of its own: an upgrade or CONNECT.
    pub fn asks_for_tunnel(&self) -> bool {
        self.upgrade.is_some() || self.method == Method::Connect
    }

    /// `content-type: application/grpc` or `application/grpc+...`.
    pub fn is_grpc(&self) -> bool {
        self.block.get(HeaderId::ContentType).is_some_and(is_grpc_content_type)
    }
}

/// Whether a content type is gRPC's.
pub fn is_grpc_content_type(value: &[u8]) -> bool {
    value.strip_prefix(b"application/grpc").is_some_and(|rest| matches!(rest, [] | [b'+', ..]))
}

/// A response head.
#[derive(Debug)]
pub struct ResponseHead {
    /// Fields without framing and hop-by-hop headers.
    pub block: HeaderBlock,
    /// 100..=999 as sent.
    pub status: u16,
    /// Version the upstream spoke; local replies say HTTP/1.1.
    pub version: Version,
    /// Body framing as announced.
    pub body: BodyLength,
    /// 101 or a 2xx to CONNECT: what follows is a tunnel. Holds the protocol of a 101.
    pub upgrade: Option<Span>,
}
