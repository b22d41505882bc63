//! JSON as a line of its own.

use std::fmt::Write;

use serde_json::Value;

use super::text::is_command;

/// `value` and a newline. Whatever text is in it, nothing else in the line is a [command](is_command): JSON leaves those from
/// U+007F on as they are, which terminals obey and some readers take for the end of a line.
pub fn line(value: &Value) -> Vec<u8> {
    let text = value.to_string();
    let mut line = String::with_capacity(text.len() + 1);
    for char in text.chars() {
        match char {
            char if is_command(char) => {
                // Writing into a string does not fail.
                let _ = write!(line, "\\u{:04x}", u32::from(char));
            }
            char => line.push(char),
        }
    }
    line.push('\n');
    line.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_ends_the_line_or_commands_a_terminal() {
        let value = serde_json::json!({"a\n": "\u{7f}\u{85}\u{2028}\u{9b}\r\u{1b}\u{e9}"});
        let line = String::from_utf8(line(&value)).unwrap();
        assert_eq!(line, "{\"a\\n\":\"\\u007f\\u0085\\u2028\\u009b\\r\\u001b\u{e9}\"}\n");
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), value);
    }
}
