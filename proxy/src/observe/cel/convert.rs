//! Conversions between types.

use std::borrow::Cow;

use outrigger_grammar::cel::function::Function;

use super::value::Value;
use super::{Failed, moment, print};

/// Bounds of doubles that fit into whole numbers of 64 bits: 2^63 and 2^64.
const SIGNED: f64 = 9_223_372_036_854_775_808.0;
const UNSIGNED: f64 = 18_446_744_073_709_551_616.0;

pub(super) fn convert<'a>(function: Function, of: Value<'a>) -> Result<Value<'a>, Failed> {
    match function {
        Function::Int => int(&of).map(Value::Int),
        Function::Uint => uint(&of).map(Value::Uint),
        Function::Double => double(&of).map(Value::Double),
        Function::Bool => truth(&of).map(Value::Bool),
        Function::Bytes => match of {
            Value::Text(text) => Some(Value::Bytes(text)),
            Value::Bytes(_) => Some(of),
            _ => None,
        },
        Function::Text => text(of),
        Function::Timestamp => match of {
            Value::Timestamp(_) => Some(of),
            Value::Int(seconds) => Some(Value::Timestamp(i128::from(seconds) * moment::SECOND)),
            Value::Text(text) => moment::timestamp(&text).map(Value::Timestamp),
            _ => None,
        },
        Function::Duration => match of {
            Value::Duration(_) => Some(of),
            Value::Text(text) => moment::duration(&text).map(Value::Duration),
            _ => None,
        },
        _ => None,
    }
    .ok_or(Failed)
}

/// What a text says without the blanks around it.
fn parsed<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text.trim_ascii()).ok()?.parse().ok()
}

fn int(of: &Value<'_>) -> Option<i64> {
    match of {
        Value::Int(number) => Some(*number),
        Value::Uint(number) => i64::try_from(*number).ok(),
        Value::Double(number) => (number.abs() < SIGNED).then_some(*number as i64),
        Value::Bool(value) => Some((*value).into()),
        Value::Text(text) => parsed(text),
        Value::Timestamp(nanos) => i64::try_from(nanos.div_euclid(moment::SECOND)).ok(),
        _ => None,
    }
}

fn uint(of: &Value<'_>) -> Option<u64> {
    match of {
        Value::Int(number) => u64::try_from(*number).ok(),
        Value::Uint(number) => Some(*number),
        Value::Double(number) => (0.0..UNSIGNED).contains(number).then_some(*number as u64),
        Value::Text(text) => parsed(text),
        _ => None,
    }
}

fn double(of: &Value<'_>) -> Option<f64> {
    match of {
        Value::Int(number) => Some(*number as f64),
        Value::Uint(number) => Some(*number as f64),
        Value::Double(number) => Some(*number),
        Value::Text(text) => parsed(text),
        _ => None,
    }
}

fn truth(of: &Value<'_>) -> Option<bool> {
    match of {
        Value::Bool(value) => Some(*value),
        Value::Text(text) => match text.to_ascii_lowercase().as_slice() {
            b"true" | b"t" | b"yes" | b"y" | b"1" => Some(true),
            b"false" | b"f" | b"no" | b"n" | b"0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

fn text(of: Value<'_>) -> Option<Value<'_>> {
    Some(match of {
        Value::Text(_) => of,
        Value::Bytes(bytes) => {
            std::str::from_utf8(&bytes).ok()?;
            Value::Text(bytes)
        }
        Value::Bool(value) => Value::Text(Cow::Borrowed(if value { b"true" } else { b"false" })),
        Value::Int(number) => Value::made(number.to_string()),
        Value::Uint(number) => Value::made(number.to_string()),
        Value::Double(number) => Value::made(print::shortest(number)),
        Value::Duration(nanos) => Value::made(moment::seconds(nanos)),
        Value::Timestamp(nanos) => Value::made(moment::utc(nanos)),
        _ => return None,
    })
}
