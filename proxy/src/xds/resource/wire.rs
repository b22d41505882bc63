//! Reads a resource's name without decoding the resource: every xDS type carries its name as field 1.
//!
//! A full decode of an unchanged thousand-host assignment would cost more than the comparison that finds out
//! that nothing changed. Source: protobuf wire format.

/// Field 1 of an encoded message as text: the last occurrence counts, an absent one is empty.
pub(super) fn first_field(message: &[u8]) -> Result<&str, String> {
    let mut rest = message;
    let mut found: &[u8] = &[];
    while !rest.is_empty() {
        let (field, value, after) = split_field(rest).ok_or("malformed message")?;
        if field == 1 {
            found = value.ok_or("malformed message: the name is not a string")?;
        }
        rest = after;
    }
    std::str::from_utf8(found).map_err(|_| "the name is not valid UTF-8".to_owned())
}

/// Field number, its bytes when it is length-delimited, and what follows.
type Field<'a> = (u64, Option<&'a [u8]>, &'a [u8]);

fn split_field(message: &[u8]) -> Option<Field<'_>> {
    let (key, rest) = varint(message)?;
    let field = key >> 3;
    match key & 7 {
        0 => Some((field, None, varint(rest)?.1)),
        1 => Some((field, None, rest.get(8..)?)),
        2 => {
            let (length, rest) = varint(rest)?;
            let length = usize::try_from(length).ok()?;
            Some((field, Some(rest.get(..length)?), rest.get(length..)?))
        }
        5 => Some((field, None, rest.get(4..)?)),
        // Groups exist in no xDS type.
        _ => None,
    }
    .filter(|_| field != 0)
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (index, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[index + 1..]));
        }
    }
    None
}
