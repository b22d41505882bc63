//! Expressions as they are written, in the shape of `google.api.expr.v1alpha1.Expr`: operators are calls of functions
//! that have odd names.

pub use super::expr::Literal;

/// `a || b`, also of more than two.
pub const OR: &str = "_||_";
/// `a && b`, also of more than two.
pub const AND: &str = "_&&_";
/// `a ? b : c`
pub const CHOOSE: &str = "_?_:_";
/// `a[b]`
pub const INDEX: &str = "_[_]";

/// An expression as written.
#[derive(Clone, Debug, PartialEq)]
pub enum Syntax {
    /// A constant.
    Literal(Literal),
    /// A name.
    Name(Box<str>),
    /// `of.field`
    Select {
        /// The operand.
        of: Box<Syntax>,
        /// The field.
        field: Box<str>,
        /// `has(of.field)`: whether it is there.
        test: bool,
    },
    /// `name(arguments)` or `target.name(arguments)`.
    Call {
        /// What stands before the dot.
        target: Option<Box<Syntax>>,
        /// Of the function.
        name: Box<str>,
        /// In the parentheses.
        arguments: Vec<Syntax>,
    },
    /// `[a, b]`
    List(Vec<Syntax>),
    /// `{a: b}`
    Map(Vec<(Syntax, Syntax)>),
}

impl Syntax {
    /// A call without target.
    pub(super) fn call(name: &str, arguments: Vec<Syntax>) -> Self {
        Self::Call { target: None, name: name.into(), arguments }
    }
}
