//! Envoy's format language: text with `%OPERATORS%`, compiled once. Used for access-log lines, JSON log
//! values and header edits.
//!
//! Source: Envoy "access log format strings". Operators that need facts this proxy does not have are
//! refused when the format is compiled, by name; operators whose fact is absent on one connection render
//! the caller's text for missing values.
//!
//! Whatever comes from a peer is escaped for where it goes ([`Escape`]): no value can break a log line,
//! end a quoted field, or add a header.

mod escape;
mod eval;
pub mod json;
mod operator;
mod parse;
pub mod time;

use super::cel::Dialect;
use super::record::Record;
pub use escape::{Escape, Out};
pub(super) use eval::{fields_bytes, grpc_code, grpc_code_of_any, request_bytes, response_bytes};
pub use operator::MetadataOf;
use operator::{MetadataPath, Operator};

/// Envoy's access-log format when none is configured.
pub const DEFAULT_LOG_FORMAT: &str = concat!(
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" ",
    "%RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ",
    "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" ",
    "\"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\"\n"
);

/// Longest value one operator prints unless the format says otherwise (`:N`), bytes before escaping.
const MAX_VALUE: usize = 8192;

/// A compiled format string.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Format {
    parts: Box<[Part]>,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Literal(Box<[u8]>),
    Value(Command),
}

/// One `%OPERATOR(arguments):length%`.
#[derive(Clone, Debug, PartialEq)]
struct Command {
    operator: Operator,
    /// Longest output, bytes before escaping.
    max: usize,
}

/// Why a format string is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FormatError(pub String);

impl Format {
    /// Compiles `source`; an unknown operator or bad argument is an error that names it.
    pub fn parse(source: &str) -> Result<Self, FormatError> {
        Self::parse_with(source, Dialect::default())
    }

    /// The same, with what expressions in it may do.
    pub fn parse_with(source: &str, dialect: Dialect) -> Result<Self, FormatError> {
        parse::parse(source, dialect)
    }

    /// This text, whatever it looks like.
    pub fn literal(text: &str) -> Self {
        Self { parts: [Part::Literal(text.as_bytes().into())].into() }
    }

    /// What `path` leads to in a namespace of metadata; names may hold anything.
    pub fn of_metadata(of: MetadataOf, namespace: &str, path: Vec<Box<str>>) -> Self {
        let place = MetadataPath { of, namespace: namespace.into(), path };
        let command = Command { operator: Operator::Metadata(place), max: MAX_VALUE };
        Self { parts: [Part::Value(command)].into() }
    }

    /// Appends the text as a header value: values are copied as they are, less control characters.
    /// `missing` stands for values that are not there (nothing in headers).
    pub fn render(&self, record: &Record<'_>, missing: &[u8], out: &mut Vec<u8>) {
        self.write(record, missing, Escape::Header, out);
    }

    /// Appends the text as (part of) a body: values are copied as they are.
    pub fn render_body(&self, record: &Record<'_>, missing: &[u8], out: &mut Vec<u8>) {
        self.write(record, missing, Escape::Body, out);
    }

    /// Appends the text as part of a log line: values are escaped so that they cannot end a line or a
    /// quoted field.
    pub fn render_log(&self, record: &Record<'_>, missing: &[u8], out: &mut Vec<u8>) {
        self.write(record, missing, Escape::Text, out);
    }

    /// The text, when there is no operator in it: header edits with constant values skip rendering.
    pub fn as_constant(&self) -> Option<&[u8]> {
        match &*self.parts {
            [] => Some(b""),
            [Part::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// It tells what streams take on the wire.
    pub(super) fn measures(&self) -> bool {
        let is_of_wire = |part: &Part| match part {
            Part::Literal(_) => false,
            Part::Value(command) => matches!(command.operator, Operator::Wire(..)),
        };
        self.parts.iter().any(is_of_wire)
    }

    fn write(&self, record: &Record<'_>, missing: &[u8], escape: Escape, out: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.extend_from_slice(text),
                Part::Value(command) => {
                    if !command.write(record, escape, out) {
                        out.extend_from_slice(missing);
                    }
                }
            }
        }
    }
}

impl Command {
    /// Appends the value; false, and nothing appended, when it is missing.
    #[inline]
    fn write(&self, record: &Record<'_>, escape: Escape, out: &mut Vec<u8>) -> bool {
        self.operator.write(record, &mut Out::new(out, escape, self.max))
    }
}

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;
