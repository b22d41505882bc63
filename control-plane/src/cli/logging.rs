//! The log on stderr: what clients send stays on one line.

use std::fmt::{self, Write};

use tracing::field::Field;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

/// Fields as text. Control characters are escaped: a node id or the words of a client cannot begin a line of their own.
pub fn fields() -> impl for<'w> FormatFields<'w> + 'static {
    debug_fn(|writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug| {
        let mut one_line = OneLine(writer);
        match field.name() {
            "message" => write!(one_line, "{value:?}"),
            name => write!(one_line, "{name}={value:?}"),
        }
    })
    .delimited(" ")
}

struct OneLine<'w, 'b>(&'w mut Writer<'b>);

impl fmt::Write for OneLine<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if character.is_control() {
                write!(self.0, "{}", character.escape_default())?;
            } else {
                self.0.write_char(character)?;
            }
        }
        Ok(())
    }
}
