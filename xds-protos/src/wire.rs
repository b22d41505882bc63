//! The protobuf wire format, without types: tags, varints, lengths.
//!
//! Owns reading one level of a message into its entries, borrowed from the input, and writing the same. Knows nothing
//! of fields or kinds; [`crate::view`] does. Input comes from the network: every length is checked, nothing panics.
//! Source: protobuf.dev, "Encoding".

#[cfg(test)]
mod tests;

/// Nesting that readers follow before they give up; the limit that prost and protobuf's C++ have too.
pub(crate) const MAX_DEPTH: usize = 100;

/// The bytes are not an encoding of a message of the expected type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed protobuf: {0}")]
pub struct Malformed(pub(crate) &'static str);

/// What one tag carries.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Raw<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
    /// A group: gone from proto3, skipped.
    Group,
}

/// A tag with its payload.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Entry<'a> {
    pub(crate) number: u32,
    pub(crate) raw: Raw<'a>,
}

/// Reads one level of a message, in the order of the bytes.
pub(crate) fn entries(bytes: &[u8]) -> Result<Vec<Entry<'_>>, Malformed> {
    let mut reader = Reader { rest: bytes };
    let mut entries = Vec::new();
    while !reader.rest.is_empty() {
        let (number, wire_type) = reader.tag()?;
        entries.push(Entry { number, raw: reader.payload(number, wire_type, 0)? });
    }
    Ok(entries)
}

/// A cursor over bytes.
pub(crate) struct Reader<'a> {
    pub(crate) rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(Malformed("truncated"))?;
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.rest.split_first().ok_or(Malformed("truncated"))?;
            self.rest = rest;
            if shift == 63 && byte > 1 {
                return Err(Malformed("varint above 64 bits"));
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed("varint above 64 bits"))
    }

    pub(crate) fn fixed64(&mut self) -> Result<u64, Malformed> {
        let bytes = self.take(8)?.try_into().map_err(|_| Malformed("truncated"))?;
        Ok(u64::from_le_bytes(bytes))
    }

    pub(crate) fn fixed32(&mut self) -> Result<u32, Malformed> {
        let bytes = self.take(4)?.try_into().map_err(|_| Malformed("truncated"))?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn tag(&mut self) -> Result<(u32, u8), Malformed> {
        let tag = u32::try_from(self.varint()?).map_err(|_| Malformed("tag above 32 bits"))?;
        match tag >> 3 {
            0 => Err(Malformed("field number 0")),
            number => Ok((number, (tag & 7) as u8)),
        }
    }

    fn payload(&mut self, number: u32, wire_type: u8, depth: usize) -> Result<Raw<'a>, Malformed> {
        Ok(match wire_type {
            0 => Raw::Varint(self.varint()?),
            1 => Raw::Fixed64(self.fixed64()?),
            2 => {
                let len = usize::try_from(self.varint()?).map_err(|_| Malformed("truncated"))?;
                Raw::Bytes(self.take(len)?)
            }
            3 => self.group(number, depth)?,
            5 => Raw::Fixed32(self.fixed32()?),
            _ => return Err(Malformed("unknown wire type")),
        })
    }

    /// Skips to the end of the group that `number` opened.
    fn group(&mut self, number: u32, depth: usize) -> Result<Raw<'a>, Malformed> {
        if depth >= MAX_DEPTH {
            return Err(Malformed("nested too deeply"));
        }
        loop {
            match self.tag()? {
                (end, 4) if end == number => return Ok(Raw::Group),
                (inner, wire_type) => self.payload(inner, wire_type, depth + 1)?,
            };
        }
    }
}

/// Appends a varint.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends the tag of a field. `wire_type`: 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes.
pub(crate) fn put_tag(out: &mut Vec<u8>, number: u32, wire_type: u8) {
    put_varint(out, u64::from(number) << 3 | u64::from(wire_type));
}

/// Appends a length-delimited field.
pub(crate) fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_tag(out, number, 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}
