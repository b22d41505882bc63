//! What an unquoted scalar means, and the text forms of numbers and bytes.
//!
//! YAML words follow Envoy's loader (yaml-cpp, YAML 1.1): `yes` is a boolean, `010` is eight. All functions are pure.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

#[cfg(test)]
mod tests;

/// proto3 JSON reads base64 with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

pub(super) fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// YAML 1.1 booleans in their three cases: `true`, `True`, `TRUE`.
pub(super) fn boolean(text: &str) -> Option<bool> {
    let lower = text.to_ascii_lowercase();
    let tail_is_uniform =
        text.get(1..).is_some_and(|tail| tail == &lower[1..] || *tail == tail.to_ascii_uppercase());
    let starts_low = text.starts_with(|c: char| c.is_ascii_lowercase());
    let cased = text == lower || (tail_is_uniform && !starts_low);
    match lower.as_str() {
        "true" | "yes" | "on" | "y" if cased => Some(true),
        "false" | "no" | "off" | "n" if cased => Some(false),
        _ => None,
    }
}

/// The value for a boolean field. A text that YAML leaves a text, in quotes for one, may still say it (protobuf's own
/// leniency).
pub(super) fn boolean_field(text: &str, plain: bool) -> Option<bool> {
    if plain && (boolean(text).is_some() || yaml_integer(text).is_some()) {
        return boolean(text);
    }
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "1" => Some(true),
        "false" | "f" | "no" | "n" | "0" => Some(false),
        _ => None,
    }
}

/// An integer as YAML 1.1 writes it: decimal, `0x` hexadecimal, octal after a leading zero.
pub(super) fn yaml_integer(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    // `from_str_radix` would take a second sign.
    if !digits.starts_with(|c: char| c.is_ascii_hexdigit()) {
        return None;
    }
    let magnitude = i128::from(u64::from_str_radix(digits, radix).ok()?);
    i64::try_from(if negative { -magnitude } else { magnitude }).ok()
}

/// The value for an integer field. Quoted numbers are decimal; fractions are accepted when they are whole (`1e3`).
pub(super) fn integer(text: &str, plain: bool) -> Option<i128> {
    if (plain || text.starts_with("0x"))
        && let Some(n) = yaml_integer(text)
    {
        return Some(i128::from(n));
    }
    if let Ok(n) = text.parse::<i128>() {
        return (!text.starts_with('+')).then_some(n);
    }
    let x = number(text)?;
    // Beyond 2^53 a double no longer says which integer was meant.
    (x.fract() == 0.0 && x.abs() <= 9_007_199_254_740_992.0).then_some(x as i128)
}

/// The value for a floating-point field; `None` also when it is out of range.
pub(super) fn float(text: &str, plain: bool) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => match yaml_integer(text) {
            Some(n) if plain => Some(n as f64),
            _ => number(text).filter(|x| x.is_finite()),
        },
    }
}

/// Digits, point and exponent: not the words that Rust's parser takes too.
pub(super) fn number(text: &str) -> Option<f64> {
    let looks_right = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
    if looks_right { text.parse().ok() } else { None }
}

/// Standard or URL-safe base64.
pub(super) fn bytes(text: &str) -> Option<Vec<u8>> {
    let standard: String = text
        .chars()
        .map(|c| match c {
            '-' => '+',
            '_' => '/',
            other => other,
        })
        .collect();
    BASE64.decode(standard).ok()
}

/// Standard base64 with padding.
pub(super) fn base64(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}
