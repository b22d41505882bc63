//! Common Expression Language as Envoy takes it in `%CEL(...)%`, in log filters and in conditions of RBAC: what is well
//! formed, which names and functions there are. What an expression comes to is the sidecar's business.
//!
//! Sources: the CEL language definition; Envoy "attributes" and `envoy.config.core.v3.CelExpressionConfig`. As in Envoy
//! there are no comprehensions (`all`, `exists`, `map`, ...), and names and functions are found when an expression is
//! read, not when it runs.

pub mod attribute;
pub mod expr;
pub mod function;
pub mod syntax;

mod lexer;
mod literal;
mod parser;
mod resolve;

use std::fmt;

use expr::Expr;
use syntax::Syntax;

/// Longest expression, bytes.
const MAX_LENGTH: usize = 16 * 1024;

/// Deepest nesting: evaluation needs stack for each level.
const MAX_DEPTH: usize = 48;

/// What expressions may do beyond the core (`CelExpressionConfig`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dialect {
    /// `string()`.
    pub conversion: bool,
    /// `+` between texts and between bytes.
    pub concatenation: bool,
    /// `replace`, `split`, `lowerAscii`, `upperAscii`.
    pub functions: bool,
}

/// Why an expression is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Malformed {}

/// Reads an expression.
///
/// # Errors
/// Where it breaks the grammar, or which name in it the sidecar does not have.
pub fn parse(source: &str, dialect: Dialect) -> Result<Expr, Malformed> {
    if source.len() > MAX_LENGTH {
        return Err(Malformed(format!("the expression is longer than {MAX_LENGTH} bytes")));
    }
    resolve::resolve(parser::parse(source)?, dialect)
}

/// Finds the names of an expression that arrived parsed (`google.api.expr.v1alpha1.Expr`).
///
/// # Errors
/// As [`parse`].
pub fn resolve(syntax: Syntax, dialect: Dialect) -> Result<Expr, Malformed> {
    resolve::resolve(syntax, dialect)
}

#[cfg(test)]
mod tests;
