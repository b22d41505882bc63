//! Arithmetic. Overflow, division by zero and operands of different types are errors.

use std::borrow::Cow;

use outrigger_grammar::cel::function::Function;

use super::value::Value;
use super::{Failed, MAX_TEXT, moment};

pub(super) fn negated(of: Value<'_>) -> Result<Value<'_>, Failed> {
    match of {
        Value::Int(number) => number.checked_neg().map(Value::Int).ok_or(Failed),
        Value::Double(number) => Ok(Value::Double(-number)),
        _ => Err(Failed),
    }
}

pub(super) fn binary<'a>(function: Function, left: Value<'a>, right: Value<'a>) -> Result<Value<'a>, Failed> {
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => int(function, left, right).map(Value::Int).ok_or(Failed),
        (Value::Uint(left), Value::Uint(right)) => uint(function, left, right).map(Value::Uint).ok_or(Failed),
        (Value::Double(left), Value::Double(right)) => {
            double(function, left, right).map(Value::Double).ok_or(Failed)
        }
        (Value::Text(left), Value::Text(right)) => joined(function, left, right).map(Value::Text),
        (Value::Bytes(left), Value::Bytes(right)) => joined(function, left, right).map(Value::Bytes),
        (left, right) => moment::sum(function, &left, &right),
    }
}

fn int(function: Function, left: i64, right: i64) -> Option<i64> {
    match function {
        Function::Add { .. } => left.checked_add(right),
        Function::Subtract => left.checked_sub(right),
        Function::Multiply => left.checked_mul(right),
        Function::Divide => left.checked_div(right),
        Function::Remainder => left.checked_rem(right),
        _ => None,
    }
}

fn uint(function: Function, left: u64, right: u64) -> Option<u64> {
    match function {
        Function::Add { .. } => left.checked_add(right),
        Function::Subtract => left.checked_sub(right),
        Function::Multiply => left.checked_mul(right),
        Function::Divide => left.checked_div(right),
        Function::Remainder => left.checked_rem(right),
        _ => None,
    }
}

fn double(function: Function, left: f64, right: f64) -> Option<f64> {
    match function {
        Function::Add { .. } => Some(left + right),
        Function::Subtract => Some(left - right),
        Function::Multiply => Some(left * right),
        Function::Divide => Some(left / right),
        _ => None,
    }
}

fn joined<'a>(
    function: Function,
    left: Cow<'a, [u8]>,
    right: Cow<'a, [u8]>,
) -> Result<Cow<'a, [u8]>, Failed> {
    if function != (Function::Add { text: true }) || left.len() + right.len() > MAX_TEXT {
        return Err(Failed);
    }
    Ok(Cow::Owned([left, right].concat()))
}
