//! Output of one value: length limit and escaping for the place it goes to.

use crate::base::text::is_command;

/// Where a value goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escape {
    /// A log line: quotes, backslashes, control characters (and their like: `base::text`) and invalid UTF-8 become `\xHH`.
    Text,
    /// Inside a JSON string.
    Json,
    /// A header value: control characters are left out.
    Header,
    /// The body of a message: as it is.
    Body,
}

/// Appends one value to a buffer.
#[derive(Debug)]
pub struct Out<'a> {
    buffer: &'a mut Vec<u8>,
    escape: Escape,
    left: usize,
}

const HEX: &[u8; 16] = b"0123456789abcdef";

impl<'a> Out<'a> {
    /// At most `max` bytes (before escaping) go to `buffer`.
    #[inline]
    pub fn new(buffer: &'a mut Vec<u8>, escape: Escape, max: usize) -> Self {
        Self { buffer, escape, left: max }
    }

    /// Text from outside.
    #[inline]
    pub fn text(&mut self, text: &[u8]) {
        let text = self.limit(text);
        if is_plain(text) {
            self.buffer.extend_from_slice(text);
        } else {
            self.escaped(text);
        }
    }

    /// Text of our own that needs no escaping anywhere.
    #[inline]
    pub fn plain(&mut self, text: &[u8]) {
        let text = self.limit(text);
        self.buffer.extend_from_slice(text);
    }

    /// A decimal number.
    #[inline]
    pub fn number(&mut self, number: u64) {
        self.plain(itoa::Buffer::new().format(number).as_bytes());
    }

    /// What `std::fmt` prints: for rare values only.
    pub fn display(&mut self, value: impl std::fmt::Display) {
        self.text(value.to_string().as_bytes());
    }

    #[inline]
    fn limit<'t>(&mut self, text: &'t [u8]) -> &'t [u8] {
        let text = &text[..text.len().min(self.left)];
        self.left -= text.len();
        text
    }

    #[cold]
    fn escaped(&mut self, text: &[u8]) {
        for chunk in text.utf8_chunks() {
            chunk.valid().chars().for_each(|char| self.char(char));
            chunk.invalid().iter().for_each(|byte| self.invalid(*byte));
        }
    }

    fn char(&mut self, char: char) {
        let special = is_command(char) || char == '"' || char == '\\';
        match self.escape {
            _ if !special => self.keep(char),
            Escape::Body => self.keep(char),
            Escape::Header if !char.is_control() || char == '\t' => self.keep(char),
            Escape::Header => {}
            Escape::Text => {
                let mut bytes = [0; 4];
                char.encode_utf8(&mut bytes).bytes().for_each(|byte| self.hex(b"\\x", byte));
            }
            Escape::Json => self.json_char(char),
        }
    }

    fn json_char(&mut self, char: char) {
        match char {
            '"' => self.buffer.extend_from_slice(b"\\\""),
            '\\' => self.buffer.extend_from_slice(b"\\\\"),
            '\n' => self.buffer.extend_from_slice(b"\\n"),
            '\r' => self.buffer.extend_from_slice(b"\\r"),
            '\t' => self.buffer.extend_from_slice(b"\\t"),
            // All of them are in the basic plane.
            other => {
                let [high, low] = (other as u32 as u16).to_be_bytes();
                self.hex(b"\\u", high);
                self.hex(b"", low);
            }
        }
    }

    fn invalid(&mut self, byte: u8) {
        match self.escape {
            Escape::Text => self.hex(b"\\x", byte),
            Escape::Json => self.keep(char::REPLACEMENT_CHARACTER),
            Escape::Header | Escape::Body => self.buffer.push(byte),
        }
    }

    fn keep(&mut self, char: char) {
        self.buffer.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
    }

    fn hex(&mut self, prefix: &[u8], byte: u8) {
        self.buffer.extend_from_slice(prefix);
        self.buffer.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
}

/// Printable ASCII without quote and backslash: nothing to do anywhere. No early exit, so that it
/// compiles to wide compares.
#[inline]
fn is_plain(text: &[u8]) -> bool {
    let special = |byte: u8| !(b' '..0x7f).contains(&byte) | (byte == b'"') | (byte == b'\\');
    !text.iter().fold(false, |found, byte| found | special(*byte))
}
