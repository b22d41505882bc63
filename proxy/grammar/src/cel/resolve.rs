//! Finds attributes, types and functions by the names in an expression.

use super::attribute::{self, Attribute};
use super::expr::{Expr, Kind, Literal, Pattern};
use super::function::{self, Function};
use super::syntax::{self, Syntax};
use super::{Dialect, MAX_DEPTH, Malformed};

/// Finds every name.
pub(super) fn resolve(syntax: Syntax, dialect: Dialect) -> Result<Expr, Malformed> {
    Resolver { dialect }.expr(syntax, MAX_DEPTH)
}

#[derive(Clone, Copy)]
struct Resolver {
    dialect: Dialect,
}

impl Resolver {
    /// At most `depth` levels of it.
    fn expr(self, syntax: Syntax, depth: usize) -> Result<Expr, Malformed> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(Malformed(format!("the expression is nested deeper than {MAX_DEPTH} levels")));
        };
        match syntax {
            Syntax::Literal(literal) => Ok(Expr::Literal(literal)),
            Syntax::Name(name) => self.name(&name),
            Syntax::Select { of, field, test } => self.select(*of, &field, test, depth),
            Syntax::Call { target: None, name, arguments } => self.operator(&name, arguments, depth),
            Syntax::Call { target, name, arguments } => {
                self.call(target.map(|it| *it), &name, arguments, depth)
            }
            Syntax::List(entries) => self.all(entries, depth).map(Expr::List),
            Syntax::Map(entries) => {
                let entry = |(key, value)| Ok((self.expr(key, depth)?, self.expr(value, depth)?));
                Ok(Expr::Map(entries.into_iter().map(entry).collect::<Result<_, _>>()?))
            }
        }
    }

    fn all(self, many: Vec<Syntax>, depth: usize) -> Result<Vec<Expr>, Malformed> {
        many.into_iter().map(|one| self.expr(one, depth)).collect()
    }

    fn name(self, name: &str) -> Result<Expr, Malformed> {
        match attribute::whole(name) {
            Some(attribute) => attribute.map(Expr::Attribute),
            None => Kind::named(name).map(Expr::Type).ok_or_else(|| unknown(name)),
        }
    }

    fn select(self, of: Syntax, field: &str, test: bool, depth: usize) -> Result<Expr, Malformed> {
        if let Some(attribute) = below(&of, field)? {
            return Ok(if test { Expr::HasAttribute(attribute) } else { Expr::Attribute(attribute) });
        }
        let of = self.expr(of, depth)?;
        let within = match of {
            Expr::Attribute(of) => attribute::field(of, field).transpose()?,
            _ => None,
        };
        Ok(match within {
            Some(attribute) if test => Expr::HasAttribute(attribute),
            Some(attribute) => Expr::Attribute(attribute),
            None if test => Expr::Has(Box::new(of), field.into()),
            None => Expr::Select(Box::new(of), field.into()),
        })
    }

    /// A call without target: operators, among others.
    fn operator(self, name: &str, mut arguments: Vec<Syntax>, depth: usize) -> Result<Expr, Malformed> {
        match (name, arguments.len()) {
            (syntax::AND, 2..) => Ok(Expr::All(self.all(flattened(name, arguments), depth)?)),
            (syntax::OR, 2..) => Ok(Expr::Any(self.all(flattened(name, arguments), depth)?)),
            (syntax::CHOOSE, 3) => {
                let operands = <[Expr; 3]>::try_from(self.all(arguments, depth)?);
                operands.map(|operands| Expr::Choose(Box::new(operands))).map_err(|_| unknown(name))
            }
            (syntax::INDEX, 2) => {
                let index = arguments.pop().ok_or_else(|| unknown(name))?;
                let of = arguments.pop().ok_or_else(|| unknown(name))?;
                self.index(of, index, depth)
            }
            _ => self.call(None, name, arguments, depth),
        }
    }

    /// Attributes are found by a constant index, too.
    fn index(self, of: Syntax, index: Syntax, depth: usize) -> Result<Expr, Malformed> {
        if let Syntax::Literal(Literal::Text(name)) = &index
            && let Some(attribute) = below(&of, name)?
        {
            return Ok(Expr::Attribute(attribute));
        }
        let of = self.expr(of, depth)?;
        if matches!(of, Expr::Attribute(Attribute::Metadata(_))) {
            return Err(Malformed("metadata is no map: its namespaces are in .filter_metadata".to_owned()));
        }
        Ok(Expr::Index(Box::new(of), Box::new(self.expr(index, depth)?)))
    }

    fn call(
        self,
        target: Option<Syntax>,
        name: &str,
        arguments: Vec<Syntax>,
        depth: usize,
    ) -> Result<Expr, Malformed> {
        let operands = arguments.len() + usize::from(target.is_some());
        let function = function::find(name, target.is_some(), operands, self.dialect).map_err(Malformed)?;
        let mut operands = self.all(target.into_iter().chain(arguments).collect(), depth)?;
        match function {
            Function::Matches => {
                let pattern = operands.pop();
                let text = operands.pop();
                matches(text.zip(pattern))
            }
            Function::Part(_) => {
                if let Some(zone) = operands.get(1) {
                    check_zone(zone)?;
                }
                Ok(Expr::Call(function, operands))
            }
            _ => Ok(Expr::Call(function, operands)),
        }
    }
}

fn unknown(name: &str) -> Malformed {
    Malformed(format!(
        "nothing is called {name:?}: attributes begin with request, response, source and their like"
    ))
}

/// The attribute that a name and a field make together, if names of attributes begin so.
fn below(of: &Syntax, field: &str) -> Result<Option<Attribute>, Malformed> {
    match of {
        Syntax::Name(root) => attribute::below(root, field).transpose(),
        _ => Ok(None),
    }
}

/// Operands of a row of the same operator, however it was grouped.
fn flattened(operator: &str, operands: Vec<Syntax>) -> Vec<Syntax> {
    let (mut flat, mut waiting) = (Vec::new(), operands);
    waiting.reverse();
    while let Some(next) = waiting.pop() {
        match next {
            Syntax::Call { target: None, name, arguments } if *name == *operator => {
                waiting.extend(arguments.into_iter().rev());
            }
            other => flat.push(other),
        }
    }
    flat
}

/// An expression is compiled once, so it has to be known beforehand.
fn matches(operands: Option<(Expr, Expr)>) -> Result<Expr, Malformed> {
    let Some((text, Expr::Literal(Literal::Text(pattern)))) = operands else {
        return Err(Malformed("the pattern of matches() must be written out".to_owned()));
    };
    match crate::regex::search(&pattern) {
        Ok(regex) => Ok(Expr::Matches(Box::new(text), Pattern(regex))),
        Err(error) => Err(Malformed(format!("the pattern of matches(): {error}"))),
    }
}

/// Zones are offsets: a table of names is nothing that a container has for sure.
fn check_zone(zone: &Expr) -> Result<(), Malformed> {
    match zone {
        Expr::Literal(Literal::Text(text)) if function::offset(text).is_some() => Ok(()),
        _ => Err(Malformed(
            "a time zone must be written out, as \"UTC\" or an offset such as \"-05:30\"".to_owned(),
        )),
    }
}
