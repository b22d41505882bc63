//! Tags that a connection manager adds to its spans. Source: `envoy.type.tracing.v3.CustomTag`.

use crate::observe::format::{Format, Out};
use crate::observe::record::Record;

/// One tag.
#[derive(Clone, Debug, PartialEq)]
pub struct CustomTag {
    /// Name as configured.
    pub name: Box<str>,
    /// Name in X-Ray's alphabet for annotations: letters, digits and `_`.
    pub key: Box<str>,
    /// Value.
    pub value: TagValue,
}

/// Where a tag's value comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum TagValue {
    /// Always the same: a literal, or an environment variable at the start.
    Literal(Box<str>),
    /// A request header (lower case), and what to say without it.
    Header(Box<str>, Box<str>),
    /// Text with operators, and what to say where it comes to nothing.
    Format(Format, Box<str>),
}

/// `name` with everything but letters, digits and `_` replaced by `_`.
pub fn annotation_key(name: &str) -> Box<str> {
    let valid = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    name.chars().take(500).map(valid).collect()
}

impl CustomTag {
    /// A tag called `name`.
    pub fn new(name: &str, value: TagValue) -> Self {
        Self { name: name.into(), key: annotation_key(name), value }
    }

    /// Appends the value; false when there is none.
    pub fn write(&self, record: &Record<'_>, out: &mut Out<'_>) -> bool {
        let text = match &self.value {
            TagValue::Literal(text) => text.as_bytes(),
            TagValue::Header(name, default) => {
                let block = record.request.map(|head| &head.block);
                block.and_then(|block| block.get_by_name(name.as_bytes())).unwrap_or(default.as_bytes())
            }
            TagValue::Format(format, default) => {
                let mut text = Vec::new();
                format.render(record, b"", &mut text);
                let text = if text.is_empty() { default.as_bytes() } else { &text };
                out.text(text);
                return !text.is_empty();
            }
        };
        out.text(text);
        !text.is_empty()
    }
}
