//! Where in a message: `static_resources.listeners[0].name`, `typed_extension_protocol_options["..."].http_filters[1]`.
//!
//! Owns the stack that walkers push and pop, and its text. An `Any` adds no segment: its fields continue the path, as
//! they do in the JSON form.

use std::borrow::Cow;
use std::fmt::{self, Display, Write};

#[cfg(test)]
mod tests;

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Segment {
    /// A field of a message.
    Name(Cow<'static, str>),
    /// An element of a list.
    Index(usize),
    /// An entry of a map or a member of a `Struct`.
    Key(String),
}

/// The way from the root to a field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Path(pub(crate) Vec<Segment>);

impl Path {
    pub(crate) fn push_name(&mut self, name: &'static str) {
        self.0.push(Segment::Name(Cow::Borrowed(name)));
    }

    pub(crate) fn push_index(&mut self, index: usize) {
        self.0.push(Segment::Index(index));
    }

    pub(crate) fn push_key(&mut self, key: impl Into<String>) {
        self.0.push(Segment::Key(key.into()));
    }

    pub(crate) fn pop(&mut self) {
        self.0.pop();
    }

    /// The text of the path with one more field, whose name need not be in the schema.
    pub(crate) fn with_name(&self, name: &str) -> String {
        let mut path = self.clone();
        path.0.push(Segment::Name(Cow::Owned(name.to_owned())));
        path.to_string()
    }

    /// Reads the text form back. Lenient: a malformed rest becomes a name that will match nothing.
    pub(crate) fn parse(text: &str) -> Self {
        let mut segments = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (segment, after) = match rest.strip_prefix('[') {
                Some(inner) => bracketed(inner),
                None => {
                    let end = rest.find(['.', '[']).unwrap_or(rest.len());
                    (Segment::Name(rest[..end].to_owned().into()), &rest[end..])
                }
            };
            segments.push(segment);
            rest = after.strip_prefix('.').unwrap_or(after);
        }
        Path(segments)
    }
}

/// What follows a `[`: a number, or a key as a JSON string.
fn bracketed(inner: &str) -> (Segment, &str) {
    if inner.starts_with('"') {
        let mut keys = serde_json::Deserializer::from_str(inner).into_iter::<String>();
        if let Some(Ok(key)) = keys.next() {
            let after = &inner[keys.byte_offset()..];
            return (Segment::Key(key), after.strip_prefix(']').unwrap_or(after));
        }
    }
    let (content, after) = inner.split_once(']').unwrap_or((inner, ""));
    match content.parse() {
        Ok(index) => (Segment::Index(index), after),
        Err(_) => (Segment::Key(content.to_owned()), after),
    }
}

impl Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Name(name) if i == 0 => f.write_str(name)?,
                Segment::Name(name) => write!(f, ".{name}")?,
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Key(key) => {
                    let quoted = serde_json::to_string(key).map_err(|_| fmt::Error)?;
                    f.write_char('[')?;
                    f.write_str(&quoted)?;
                    f.write_char(']')?;
                }
            }
        }
        Ok(())
    }
}
