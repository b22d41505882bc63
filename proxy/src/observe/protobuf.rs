//! Just enough of protobuf's encoding to write messages straight into a buffer, and to read those of services.
//! Source: Protocol Buffers "Encoding".

pub mod common;
pub mod read;

/// Writes fields of one message.
#[derive(Debug)]
pub struct Message<'o>(pub &'o mut Vec<u8>);

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const LENGTH: u32 = 2;
const FIXED32: u32 = 5;

/// Appends a variable-length number.
pub fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

impl Message<'_> {
    fn key(&mut self, field: u32, kind: u32) {
        varint(self.0, u64::from(field << 3 | kind));
    }

    /// A number or an enum; zero is absent.
    pub fn number(&mut self, field: u32, number: u64) {
        if number != 0 {
            self.always(field, number);
        }
    }

    /// A number that is there also when it is zero.
    pub fn always(&mut self, field: u32, number: u64) {
        self.key(field, VARINT);
        varint(self.0, number);
    }

    /// `fixed64`.
    pub fn fixed64(&mut self, field: u32, number: u64) {
        self.key(field, FIXED64);
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    /// `fixed32`.
    pub fn fixed32(&mut self, field: u32, number: u32) {
        self.key(field, FIXED32);
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    /// Bytes or text; empty ones are absent.
    pub fn bytes(&mut self, field: u32, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.key(field, LENGTH);
            varint(self.0, bytes.len() as u64);
            self.0.extend_from_slice(bytes);
        }
    }

    /// A message inside; there even when it is empty.
    pub fn message(&mut self, field: u32, write: impl FnOnce(&mut Message<'_>)) {
        self.key(field, LENGTH);
        let start = self.0.len();
        write(&mut Message(self.0));
        // The length is known now, and stands before what it counts.
        let length = (self.0.len() - start) as u64;
        let mut prefix = Vec::with_capacity(4);
        varint(&mut prefix, length);
        self.0.splice(start..start, prefix);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_as_documented() {
        let mut out = Vec::new();
        let mut message = Message(&mut out);
        message.number(1, 150);
        message.number(9, 0);
        message.bytes(2, b"testing");
        message.message(3, |inner| inner.number(1, 150));
        message.fixed32(4, 1);
        message.fixed64(5, 1);
        let expected: &[u8] =
            b"\x08\x96\x01\x12\x07testing\x1a\x03\x08\x96\x01\x25\x01\0\0\0\x29\x01\0\0\0\0\0\0\0";
        assert_eq!(out, expected);
        let mut out = Vec::new();
        Message(&mut out).message(1, |inner| inner.bytes(1, &[b'x'; 300]));
        assert_eq!((&out[..6], out.len()), (&b"\x0a\xaf\x02\x0a\xac\x02"[..], 306));
    }
}
