//! Expressions of CEL over a record: in log lines, as filters of logs and as conditions of access rules.
//!
//! What is well formed, and which names there are, is the grammar's (`outrigger_grammar::cel`); here is what an
//! expression comes to. Values borrow from the record and from the expression; memory is taken only for what is made,
//! such as joined texts, and not beyond [`MAX_TEXT`]. As in Envoy an error has no text: it is the missing value.
//!
//! Sources: the CEL language definition; Envoy "attributes", whose printing is compared in `tests/tests/log_cel.rs`.

mod arithmetic;
mod attribute;
mod convert;
mod eval;
mod headers;
mod json;
mod moment;
mod object;
mod print;
mod strings;
mod value;

use std::sync::Arc;

use outrigger_grammar::cel::{self, expr::Expr};
pub use outrigger_grammar::cel::{Dialect, Malformed, syntax};

use super::format::Out;
use super::record::Record;
use value::Value;

/// Longest text that an expression makes, bytes.
const MAX_TEXT: usize = 64 * 1024;

/// A compiled expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Program(Arc<Expr>);

impl Program {
    /// Compiles an expression.
    pub fn parse(source: &str, dialect: Dialect) -> Result<Self, Malformed> {
        cel::parse(source, dialect).map(|expr| Self(Arc::new(expr)))
    }

    /// Compiles one that came parsed.
    pub fn of(syntax: syntax::Syntax, dialect: Dialect) -> Result<Self, Malformed> {
        cel::resolve(syntax, dialect).map(|expr| Self(Arc::new(expr)))
    }

    /// Whether it comes to `true`: errors and other values do not.
    pub fn holds(&self, record: &Record<'_>) -> bool {
        matches!(eval::value(&self.0, record), Ok(Value::Bool(true)))
    }

    /// Appends what it comes to as text; false, and nothing appended, for an error.
    pub fn print(&self, record: &Record<'_>, out: &mut Out<'_>) -> bool {
        let value = eval::value(&self.0, record);
        value.map(|value| print::print(&value, out)).is_ok()
    }

    /// Appends what it comes to as JSON of its type, texts cut at `max` bytes; false, and nothing appended, where there
    /// is an error or a value that JSON has not.
    pub fn write_json(&self, record: &Record<'_>, max: usize, out: &mut Vec<u8>) -> bool {
        let value = eval::value(&self.0, record);
        value.is_ok_and(|value| json::write(&value, max, out))
    }
}

/// An error of evaluation. Nobody is told more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Failed;

#[cfg(test)]
mod tests;
