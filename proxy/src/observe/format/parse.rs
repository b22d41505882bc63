//! From a format string to its parts.

use super::operator::Operator;
use super::{Command, Format, FormatError, MAX_VALUE, Part};

/// Compiles `source`.
pub(super) fn parse(source: &str) -> Result<Format, FormatError> {
    let mut parts = Vec::new();
    let mut literal = Vec::new();
    let mut rest = source;
    while let Some(at) = rest.find('%') {
        literal.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            literal.push(b'%');
            rest = after;
            continue;
        }
        let (command, after) = command(rest)?;
        rest = after;
        match command.operator {
            // Known now: part of the literal, so that a header edit with it stays constant.
            Operator::Fixed(text) => literal.extend_from_slice(&text[..text.len().min(command.max)]),
            operator => {
                push_literal(&mut parts, &mut literal);
                parts.push(Part::Value(Command { operator, max: command.max }));
            }
        }
    }
    literal.extend_from_slice(rest.as_bytes());
    push_literal(&mut parts, &mut literal);
    Ok(Format { parts: parts.into() })
}

fn push_literal(parts: &mut Vec<Part>, literal: &mut Vec<u8>) {
    if !literal.is_empty() {
        parts.push(Part::Literal(std::mem::take(literal).into()));
    }
}

/// Reads `NAME%`, `NAME(arguments)%` or `NAME(arguments):length%`; returns what follows.
fn command(rest: &str) -> Result<(Command, &str), FormatError> {
    let is_name = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_';
    let end = rest.bytes().take_while(is_name).count();
    let (name, rest) = rest.split_at(end);
    if name.is_empty() {
        let shown: String = rest.chars().take(20).collect();
        return Err(FormatError(format!("\"%{shown}\" is not an operator; write %% for a percent sign")));
    }
    let (arguments, rest) = match rest.strip_prefix('(') {
        Some(inside) => {
            let (arguments, rest) = arguments(inside).ok_or_else(|| unterminated(name))?;
            (Some(arguments), rest)
        }
        None => (None, rest),
    };
    let (length, rest) = length(rest).ok_or_else(|| unterminated(name))?;
    let operator = Operator::resolve(name, arguments)?;
    if length.is_some() && (operator.is_number() || matches!(operator, Operator::Metadata(_))) {
        return Err(FormatError(format!("operator %{name}% takes no length")));
    }
    Ok((Command { operator, max: length.unwrap_or(MAX_VALUE) }, rest))
}

fn unterminated(name: &str) -> FormatError {
    FormatError(format!("operator %{name} is not closed by %"))
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
