//! Tags that a connection manager adds to its spans. Source: `envoy.type.tracing.v3.CustomTag`.

use super::span::Finished;
use crate::observe::format::{Format, Out};

/// One tag.
#[derive(Clone, Debug)]
pub struct CustomTag {
    /// Name as configured.
    pub name: Box<str>,
    /// Name in X-Ray's alphabet for annotations: letters, digits and `_`.
    pub key: Box<str>,
    /// Value.
    pub value: TagValue,
}

/// Where a tag's value comes from.
#[derive(Clone, Debug)]
pub enum TagValue {
    /// Always the same: a literal, or an environment variable at the start.
    Literal(Box<str>),
    /// A request header (lower case), and what to say without it.
    Header(Box<str>, Box<str>),
    /// Text with operators.
    Format(Format),
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
    pub fn write(&self, finished: &Finished<'_>, out: &mut Out<'_>) -> bool {
        let text = match &self.value {
            TagValue::Literal(text) => text.as_bytes(),
            TagValue::Header(name, default) => {
                finished.head.block.get_by_name(name.as_bytes()).unwrap_or(default.as_bytes())
            }
            TagValue::Format(format) => {
                let mut text = Vec::new();
                format.render(finished.record, b"", &mut text);
                out.text(&text);
                return !text.is_empty();
            }
        };
        out.text(text);
        !text.is_empty()
    }
}
