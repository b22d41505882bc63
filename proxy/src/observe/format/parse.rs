//! From a format string to its parts.

use outrigger_grammar::command::{self, Piece};

use super::operator::Operator;
use super::{Command, Format, FormatError, MAX_VALUE, Part};
use crate::observe::cel::Dialect;

/// Compiles `source`.
pub(super) fn parse(source: &str, dialect: Dialect) -> Result<Format, FormatError> {
    let mut parts = Vec::new();
    let mut literal = Vec::new();
    for piece in command::pieces(source).map_err(|malformed| FormatError(malformed.to_string()))? {
        let command = match piece {
            Piece::Literal(text) => {
                literal.extend_from_slice(text.as_bytes());
                continue;
            }
            Piece::Command(command) => resolve(command, dialect)?,
        };
        match command.operator {
            // Known now: part of the literal, so that a header edit with it stays constant.
            Operator::Fixed(text) => literal.extend_from_slice(&text[..text.len().min(command.max)]),
            operator => {
                push_literal(&mut parts, &mut literal);
                parts.push(Part::Value(Command { operator, max: command.max }));
            }
        }
    }
    push_literal(&mut parts, &mut literal);
    Ok(Format { parts: parts.into() })
}

fn push_literal(parts: &mut Vec<Part>, literal: &mut Vec<u8>) {
    if !literal.is_empty() {
        parts.push(Part::Literal(std::mem::take(literal).into()));
    }
}

fn resolve(command: command::Command<'_>, dialect: Dialect) -> Result<Command, FormatError> {
    let command::Command { name, arguments, length } = command;
    let operator = Operator::resolve(name, arguments, dialect)?;
    if length.is_some() && (operator.is_number() || matches!(operator, Operator::Metadata(_))) {
        return Err(FormatError(format!("operator %{name}% takes no length")));
    }
    Ok(Command { operator, max: length.unwrap_or(MAX_VALUE) })
}
