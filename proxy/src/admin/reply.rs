//! What an endpoint answers, before it becomes HTTP.

use crate::base::text::is_command;
use std::borrow::Cow;
use std::fmt;
use std::pin::Pin;

use futures_util::Stream;
use hyper::StatusCode;
use serde::Serialize;
use serde_json::Value;

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) content_type: &'static str,
    pub(super) body: Body,
}

/// What is configured, or came from a client, as part of a line of text: it can neither end the line nor command a
/// terminal.
pub(super) fn legible(text: &str) -> Cow<'_, str> {
    if text.contains(is_command) { text.replace(is_command, "_").into() } else { text.into() }
}

/// Text, whole or made piece by piece while it is sent.
pub(super) enum Body {
    Whole(String),
    Pieces(Box<dyn Iterator<Item = String> + Send>),
    /// Sent as it comes to be.
    Live(Pin<Box<dyn Stream<Item = String> + Send>>),
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Body::Whole(text) => f.debug_tuple("Whole").field(text).finish(),
            Body::Pieces(_) => f.write_str("Pieces"),
            Body::Live(_) => f.write_str("Live"),
        }
    }
}

const TEXT: &str = "text/plain; charset=UTF-8";
const JSON: &str = "application/json";

impl Reply {
    /// 200 with text.
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::error(StatusCode::OK, text)
    }

    /// `OK\n`, what commands answer.
    pub(super) fn ok() -> Self {
        Self::text("OK\n")
    }

    /// Any status with text.
    pub(super) fn error(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, content_type: TEXT, body: Body::Whole(text.into()) }
    }

    /// 200 with text made piece by piece.
    pub(super) fn pieces(
        content_type: &'static str,
        pieces: impl Iterator<Item = String> + Send + 'static,
    ) -> Self {
        Self { status: StatusCode::OK, content_type, body: Body::Pieces(Box::new(pieces)) }
    }

    /// 200 with text that is sent as it comes to be.
    pub(super) fn live(
        content_type: &'static str,
        lines: impl Stream<Item = String> + Send + 'static,
    ) -> Self {
        Self { status: StatusCode::OK, content_type, body: Body::Live(Box::pin(lines)) }
    }

    /// 200 with text pieces of plain text.
    pub(super) fn text_pieces(pieces: impl Iterator<Item = String> + Send + 'static) -> Self {
        Self::pieces(TEXT, pieces)
    }

    /// 200 with compact JSON pieces.
    pub(super) fn json_pieces(pieces: impl Iterator<Item = String> + Send + 'static) -> Self {
        Self::pieces(JSON, pieces)
    }

    /// 200 with JSON, indented by one space as Envoy does.
    pub(super) fn json(value: &Value) -> Self {
        let mut text = Vec::new();
        let indent = serde_json::ser::PrettyFormatter::with_indent(b" ");
        let mut serializer = serde_json::Serializer::with_formatter(&mut text, indent);
        match value.serialize(&mut serializer) {
            Ok(()) => {
                text.push(b'\n');
                let text = String::from_utf8_lossy(&text).into_owned();
                Self { status: StatusCode::OK, content_type: JSON, body: Body::Whole(text) }
            }
            Err(error) => Self::error(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        }
    }

    /// 200 with HTML.
    pub(super) fn html(text: String) -> Self {
        Self { status: StatusCode::OK, content_type: "text/html; charset=UTF-8", body: Body::Whole(text) }
    }
}
