//! Numbers, texts and bytes as they are written.

use super::expr::Literal;
use super::lexer::Token;

/// Reads a number; returns its length.
pub(super) fn number(rest: &str) -> Result<(Token<'static>, usize), String> {
    if let Some(digits) = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X")) {
        let length = digits.bytes().take_while(u8::is_ascii_hexdigit).count();
        if length > 0 {
            return integer(&digits[..length], 16, &digits[length..], length + 2);
        }
    }
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let whole = digits(rest);
    let mut length = whole;
    let fraction = rest[whole..].strip_prefix('.').map_or(0, digits);
    if fraction > 0 {
        length += 1 + fraction;
    }
    if let Some(exponent) = rest[length..].strip_prefix(['e', 'E']) {
        let sign = usize::from(exponent.starts_with(['+', '-']));
        let exponent = digits(&exponent[sign..]);
        if exponent > 0 {
            length += 1 + sign + exponent;
        }
    }
    if length == whole {
        return integer(&rest[..whole], 10, &rest[whole..], whole);
    }
    let value = rest[..length].parse().map_err(|_| "not a number".to_owned())?;
    Ok((Token::Literal(Literal::Double(value)), length))
}

fn integer(digits: &str, radix: u32, after: &str, length: usize) -> Result<(Token<'static>, usize), String> {
    let value = u64::from_str_radix(digits, radix).map_err(|_| "an integer beyond 64 bits".to_owned())?;
    if after.starts_with(['u', 'U']) {
        return Ok((Token::Literal(Literal::Uint(value)), length + 1));
    }
    Ok((Token::Int(value), length))
}

/// How a text is written.
#[derive(Clone, Copy)]
struct Form {
    /// `b'...'`
    bytes: bool,
    /// `r'...'`: without escapes.
    raw: bool,
}

/// Reads a text or bytes; returns its length. `None` when there is none.
pub(super) fn text(rest: &str) -> Option<Result<(Literal, usize), String>> {
    let after_b = rest.strip_prefix(['b', 'B']);
    let after_r = after_b.unwrap_or(rest).strip_prefix(['r', 'R']);
    let quoted = after_r.or(after_b).unwrap_or(rest);
    let form = Form { bytes: after_b.is_some(), raw: after_r.is_some() };
    let quote = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|quote| quoted.starts_with(quote))?;
    let inside = &quoted[quote.len()..];
    let prefix = rest.len() - inside.len();
    Some(until(inside, quote, form).map(|(value, length)| {
        let literal = match form.bytes {
            true => Literal::Bytes(value.into()),
            // Escapes of texts make whole characters.
            false => Literal::Text(String::from_utf8_lossy(&value).into()),
        };
        (literal, prefix + length)
    }))
}

/// Reads up to the closing quote; returns the length with it.
fn until(inside: &str, quote: &str, form: Form) -> Result<(Vec<u8>, usize), String> {
    let (mut value, mut rest) = (Vec::new(), inside);
    while let Some(next) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix(quote) {
            return Ok((value, inside.len() - after.len()));
        }
        if next == '\n' && quote.len() == 1 {
            break;
        }
        if next == '\\' && !form.raw {
            rest = escape(&rest[1..], form.bytes, &mut value)?;
            continue;
        }
        let length = next.len_utf8();
        value.extend_from_slice(&rest.as_bytes()[..length]);
        rest = &rest[length..];
    }
    Err(format!("a text without its closing {quote}"))
}

/// Reads what follows a backslash; returns the rest.
fn escape<'s>(rest: &'s str, bytes: bool, value: &mut Vec<u8>) -> Result<&'s str, String> {
    let wrong = || "an escape that is none".to_owned();
    let next = *rest.as_bytes().first().ok_or_else(wrong)?;
    let plain = match next {
        b'a' => 7,
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 11,
        b'\\' | b'?' | b'"' | b'\'' | b'`' => next,
        _ => 0,
    };
    if plain != 0 {
        value.push(plain);
        return Ok(&rest[1..]);
    }
    let (start, length, radix) = match next {
        b'x' | b'X' => (1, 2, 16),
        b'u' if !bytes => (1, 4, 16),
        b'U' if !bytes => (1, 8, 16),
        b'0'..=b'3' => (0, 3, 8),
        _ => return Err(wrong()),
    };
    let digits = rest.get(start..start + length).ok_or_else(wrong)?;
    let is_digit = |char: char| char.is_digit(radix);
    let number =
        u32::from_str_radix(digits, radix).ok().filter(|_| digits.chars().all(is_digit)).ok_or_else(wrong)?;
    match (bytes, u8::try_from(number)) {
        (true, Ok(byte)) => value.push(byte),
        _ => {
            let char = char::from_u32(number).ok_or_else(wrong)?;
            value.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    Ok(&rest[start + length..])
}
