//! Evaluation. An operand that fails makes its operator fail; `&&` and `||` get over a failure when another operand
//! decides.

use std::rc::Rc;

use outrigger_grammar::cel::expr::{Expr, Kind};
use outrigger_grammar::cel::function::Function;

use super::value::Value;
use super::{Failed, arithmetic, attribute, convert, moment, strings};
use crate::observe::record::Record;

/// What `expr` comes to. Its depth is bounded by the grammar.
pub(super) fn value<'a>(expr: &'a Expr, record: &'a Record<'a>) -> Result<Value<'a>, Failed> {
    match expr {
        Expr::Literal(literal) => Ok(Value::constant(literal)),
        Expr::Type(kind) => Ok(Value::Type(*kind)),
        Expr::Attribute(which) => attribute::value(*which, record).ok_or(Failed),
        Expr::HasAttribute(which) => attribute::has(*which, record).map(Value::Bool),
        Expr::Select(of, field) => value(of, record)?.field(field)?.ok_or(Failed),
        Expr::Has(of, field) => Ok(Value::Bool(value(of, record)?.field(field)?.is_some())),
        Expr::Index(of, key) => {
            let of = value(of, record)?;
            of.at(&value(key, record)?).ok_or(Failed)
        }
        Expr::Call(function, operands) => call(*function, operands, record),
        Expr::Matches(text, pattern) => match value(text, record)? {
            Value::Text(text) => Ok(Value::Bool(pattern.is_match(&text))),
            _ => Err(Failed),
        },
        Expr::All(operands) => logic(operands, false, record),
        Expr::Any(operands) => logic(operands, true, record),
        Expr::Choose(operands) => {
            let [condition, then, otherwise] = &**operands;
            match value(condition, record)? {
                Value::Bool(true) => value(then, record),
                Value::Bool(false) => value(otherwise, record),
                _ => Err(Failed),
            }
        }
        Expr::List(items) => all(items, record).map(|items| Value::List(items.into())),
        Expr::Map(entries) => map(entries, record),
    }
}

fn all<'a>(many: &'a [Expr], record: &'a Record<'a>) -> Result<Vec<Value<'a>>, Failed> {
    many.iter().map(|one| value(one, record)).collect()
}

impl<'a> Value<'a> {
    /// A field of a map; what is no map has none to ask for.
    fn field(&self, name: &'a str) -> Result<Option<Value<'a>>, Failed> {
        match self.kind() {
            Kind::Map => Ok(self.at(&Value::text(name))),
            _ => Err(Failed),
        }
    }
}

/// The first operand that is `decisive` decides, wherever it stands.
fn logic<'a>(operands: &'a [Expr], decisive: bool, record: &'a Record<'a>) -> Result<Value<'a>, Failed> {
    let mut sure = true;
    for operand in operands {
        match value(operand, record) {
            Ok(Value::Bool(value)) if value == decisive => return Ok(Value::Bool(decisive)),
            Ok(Value::Bool(_)) => {}
            _ => sure = false,
        }
    }
    if sure { Ok(Value::Bool(!decisive)) } else { Err(Failed) }
}

fn map<'a>(entries: &'a [(Expr, Expr)], record: &'a Record<'a>) -> Result<Value<'a>, Failed> {
    let mut made: Vec<(Value<'a>, Value<'a>)> = Vec::with_capacity(entries.len());
    for (key, entry) in entries {
        let (key, entry) = (value(key, record)?, value(entry, record)?);
        if !key.is_key() || made.iter().any(|(known, _)| known.equals(&key)) {
            return Err(Failed);
        }
        made.push((key, entry));
    }
    Ok(Value::Map(Rc::from(made)))
}

fn call<'a>(function: Function, operands: &'a [Expr], record: &'a Record<'a>) -> Result<Value<'a>, Failed> {
    match (function, operands) {
        (_, [only]) => unary(function, value(only, record)?),
        (Function::Part(part), [of, zone]) => {
            moment::part(part, &value(of, record)?, Some(&value(zone, record)?)).map(Value::Int)
        }
        (_, [left, right]) => binary(function, value(left, record)?, value(right, record)?),
        _ => strings::replace_or_split(function, &all(operands, record)?),
    }
}

fn unary<'a>(function: Function, of: Value<'a>) -> Result<Value<'a>, Failed> {
    match function {
        Function::Negate => arithmetic::negated(of),
        Function::Not => match of {
            Value::Bool(value) => Ok(Value::Bool(!value)),
            _ => Err(Failed),
        },
        Function::Size => size(&of).map(Value::Int),
        Function::Type => Ok(Value::Type(of.kind())),
        Function::Same => Ok(of),
        Function::Part(part) => moment::part(part, &of, None).map(Value::Int),
        Function::LowerAscii | Function::UpperAscii => strings::cased(function, of),
        _ => convert::convert(function, of),
    }
}

fn binary<'a>(function: Function, left: Value<'a>, right: Value<'a>) -> Result<Value<'a>, Failed> {
    let ordered = |holds: fn(std::cmp::Ordering) -> bool| match left.compare(&right) {
        Some(order) => Ok(Value::Bool(holds(order))),
        // Numbers of which one is none are in no order; other values cannot be compared.
        None if left.is_number() && right.is_number() => Ok(Value::Bool(false)),
        None => Err(Failed),
    };
    match function {
        Function::Equal => Ok(Value::Bool(left.equals(&right))),
        Function::Differs => Ok(Value::Bool(!left.equals(&right))),
        Function::Less => ordered(std::cmp::Ordering::is_lt),
        Function::AtMost => ordered(std::cmp::Ordering::is_le),
        Function::Greater => ordered(std::cmp::Ordering::is_gt),
        Function::AtLeast => ordered(std::cmp::Ordering::is_ge),
        Function::In => is_in(&left, &right).map(Value::Bool),
        Function::Contains | Function::StartsWith | Function::EndsWith => {
            strings::finds(function, &left, &right).map(Value::Bool)
        }
        Function::Split => strings::replace_or_split(function, &[left, right]),
        _ => arithmetic::binary(function, left, right),
    }
}

impl Value<'_> {
    fn is_number(&self) -> bool {
        matches!(self, Value::Int(_) | Value::Uint(_) | Value::Double(_))
    }
}

fn is_in(one: &Value<'_>, of: &Value<'_>) -> Result<bool, Failed> {
    match of.kind() {
        Kind::List => Ok(of.items().ok_or(Failed)?.iter().any(|item| item.equals(one))),
        Kind::Map if one.is_key() || one.is_number() => Ok(of.at(one).is_some()),
        _ => Err(Failed),
    }
}

/// Characters of a text, bytes, or entries.
fn size(of: &Value<'_>) -> Result<i64, Failed> {
    let size = match of {
        Value::Text(text) => {
            text.utf8_chunks().map(|chunk| chunk.valid().chars().count() + chunk.invalid().len()).sum()
        }
        Value::Bytes(bytes) => bytes.len(),
        Value::List(items) => items.len(),
        Value::Map(entries) => entries.len(),
        Value::Object(object) if object.kind() != Kind::Message => object.len(),
        _ => return Err(Failed),
    };
    i64::try_from(size).map_err(|_| Failed)
}
