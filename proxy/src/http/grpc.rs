//! gRPC over HTTP: `grpc-timeout` and `grpc-message`. Source: gRPC's HTTP/2 protocol description.

use std::time::Duration;

/// `grpc-status` of a call that took too long.
pub const DEADLINE_EXCEEDED: u32 = 4;

/// Parses `grpc-timeout`: up to eight digits and a unit.
pub fn parse_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let amount: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    match unit {
        b'H' => Some(Duration::from_secs(amount * 3600)),
        b'M' => Some(Duration::from_secs(amount * 60)),
        b'S' => Some(Duration::from_secs(amount)),
        b'm' => Some(Duration::from_millis(amount)),
        b'u' => Some(Duration::from_micros(amount)),
        b'n' => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

/// The text of a `grpc-timeout`, in milliseconds as long as its eight digits hold them.
pub fn timeout_text(timeout: Duration) -> String {
    const MOST: u128 = 99_999_999;
    let (mut amount, mut unit) = (timeout.as_millis(), 'm');
    for (next, factor) in [('S', 1000), ('M', 60), ('H', 60)] {
        if amount > MOST {
            (amount, unit) = (amount / factor, next);
        }
    }
    format!("{}{unit}", amount.min(MOST))
}

/// Percent-encodes a `grpc-message`: everything outside printable ASCII, and `%`.
pub fn encode_message(text: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text {
        match byte {
            b' '..=b'~' if *byte != b'%' => out.push(*byte),
            _ => out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_parse() {
        assert_eq!(parse_timeout(b"100m"), Some(Duration::from_millis(100)));
        assert_eq!(parse_timeout(b"99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        for bad in [&b""[..], b"m", b"100", b"-1m", b"123456789m", b"1x", b"1 m"] {
            assert_eq!(parse_timeout(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn timeouts_are_written_in_eight_digits() {
        assert_eq!(timeout_text(Duration::from_millis(500)), "500m");
        assert_eq!(timeout_text(Duration::from_secs(99_999)), "99999000m");
        assert_eq!(timeout_text(Duration::from_secs(100_000)), "100000S");
        assert_eq!(timeout_text(Duration::MAX), "99999999H");
    }

    #[test]
    fn messages_are_percent_encoded() {
        let mut out = Vec::new();
        encode_message("50% \u{e9}\n".as_bytes(), &mut out);
        assert_eq!(out, b"50%25 %C3%A9%0A");
    }
}
