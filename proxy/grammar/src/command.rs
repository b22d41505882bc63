//! Command strings: text with `%OPERATOR(arguments):length%`, as access logs and header edits have them.
//!
//! Source: Envoy, "command operators" of access logging.

use std::fmt;

use crate::cel::{self, Dialect};
use crate::operators;

/// One part of a command string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece<'s> {
    /// Text as it stands; `%%` is read as `%`.
    Literal(&'s str),
    /// What an operator tells.
    Command(Command<'s>),
}

/// `%NAME(arguments):length%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command<'s> {
    /// Upper case.
    pub name: &'s str,
    /// What stands in the parentheses, if there are any.
    pub arguments: Option<&'s str>,
    /// Longest output, bytes.
    pub length: Option<usize>,
}

/// Why a command string is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Malformed {}

/// Takes a command string apart.
///
/// # Errors
/// A `%` that begins no operator, an operator that does not end, one that the sidecar does not have.
pub fn pieces(source: &str) -> Result<Vec<Piece<'_>>, Malformed> {
    let (mut pieces, mut rest) = (Vec::new(), source);
    while let Some(at) = rest.find('%') {
        if at > 0 {
            pieces.push(Piece::Literal(&rest[..at]));
        }
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            pieces.push(Piece::Literal("%"));
            rest = after;
            continue;
        }
        let (command, after) = command(rest)?;
        pieces.push(Piece::Command(command));
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Literal(rest));
    }
    Ok(pieces)
}

/// Whether the sidecar takes a command string, with the expressions in it.
///
/// # Errors
/// As [`pieces`], and what is wrong with an expression.
pub fn check(source: &str) -> Result<(), Malformed> {
    for piece in pieces(source)? {
        if let Piece::Command(Command { name: name @ ("CEL" | "TYPED_CEL"), arguments, .. }) = piece {
            let read = cel::parse(arguments.unwrap_or_default(), Dialect::default());
            read.map_err(|error| Malformed(format!("operator %{name}%: {error}")))?;
        }
    }
    Ok(())
}

/// Reads `NAME%`, `NAME(arguments)%` or `NAME(arguments):length%`; returns what follows.
fn command(rest: &str) -> Result<(Command<'_>, &str), Malformed> {
    let is_name = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_';
    let end = rest.bytes().take_while(is_name).count();
    let (name, rest) = rest.split_at(end);
    if name.is_empty() {
        let shown: String = rest.chars().take(20).collect();
        return Err(Malformed(format!("\"%{shown}\" is not an operator; write %% for a percent sign")));
    }
    let (arguments, rest) = match rest.strip_prefix('(') {
        Some(inside) => {
            let (arguments, rest) = arguments(inside).ok_or_else(|| unterminated(name))?;
            (Some(arguments), rest)
        }
        None => (None, rest),
    };
    let (length, rest) = length(rest).ok_or_else(|| unterminated(name))?;
    operators::check(name).map_err(Malformed)?;
    Ok((Command { name, arguments, length }, rest))
}

fn unterminated(name: &str) -> Malformed {
    Malformed(format!("operator %{name} is not closed by %"))
}

/// Arguments may hold anything, even `%` and `)`: they end at the first `)` that closes the operator.
fn arguments(inside: &str) -> Option<(&str, &str)> {
    let closes = |at: &usize| length(&inside[at + 1..]).is_some();
    let at = inside.match_indices(')').map(|(at, _)| at).find(closes)?;
    Some((&inside[..at], &inside[at + 1..]))
}

/// Reads `%` or `:length%`.
fn length(rest: &str) -> Option<(Option<usize>, &str)> {
    if let Some(rest) = rest.strip_prefix('%') {
        return Some((None, rest));
    }
    let (digits, rest) = rest.strip_prefix(':')?.split_once('%')?;
    let digits = Some(digits).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    Some((Some(digits?.parse().ok()?), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_fall_into_text_and_commands() {
        let command = |name, arguments, length| Piece::Command(Command { name, arguments, length });
        assert_eq!(
            pieces("a %PROTOCOL% %%%REQ(X)y):3%!").unwrap(),
            [
                Piece::Literal("a "),
                command("PROTOCOL", None, None),
                Piece::Literal(" "),
                Piece::Literal("%"),
                command("REQ", Some("X)y"), Some(3)),
                Piece::Literal("!"),
            ]
        );
        assert_eq!(pieces("").unwrap(), []);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (source, wanted) in [
            ("100%", "\"%\" is not an operator; write %%"),
            ("100% done", "\"% done\" is not an operator"),
            ("%PROTOCOL", "%PROTOCOL is not closed"),
            ("%REQ(x", "%REQ is not closed"),
            ("%NOT_AN_OP%", "unknown operator %NOT_AN_OP%"),
            ("%FILE_CONTENT(a)%", "%FILE_CONTENT% is not supported"),
        ] {
            let said = pieces(source).unwrap_err().to_string();
            assert!(said.contains(wanted), "{source}: {said}");
        }
    }

    #[test]
    fn expressions_are_checked_with_the_string_they_stand_in() {
        assert_eq!(check("%CEL(request.path)% %TYPED_CEL(size('a)b'))%"), Ok(()));
        for (source, wanted) in [
            ("%CEL%", "%CEL%: something is missing"),
            ("a %TYPED_CEL(request.what)%", "%TYPED_CEL%: there is no attribute request.what"),
            ("%PROTOCOL", "%PROTOCOL is not closed"),
        ] {
            let said = check(source).unwrap_err().to_string();
            assert!(said.contains(wanted), "{source}: {said}");
        }
    }
}
