//! Functions and operators. Sources: the CEL language definition, "standard functions"; Envoy's choice of them.

use super::Dialect;

/// What a call does.
#[allow(missing_docs, reason = "named as they are written")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    Negate,
    Not,
    /// `text`: joins texts and bytes, too.
    Add {
        text: bool,
    },
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Equal,
    Differs,
    Less,
    AtMost,
    Greater,
    AtLeast,
    In,
    Size,
    Contains,
    StartsWith,
    EndsWith,
    Matches,
    Int,
    Uint,
    Double,
    Bool,
    Bytes,
    /// `string()`
    Text,
    Type,
    /// `dyn()`: its operand.
    Same,
    Timestamp,
    Duration,
    /// A part of a moment or of a duration. A moment may be asked for as clocks of a zone show it.
    Part(Part),
    Replace,
    Split,
    LowerAscii,
    UpperAscii,
}

/// Parts of moments and durations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// `getFullYear`
    Year,
    /// `getMonth`: January is 0.
    Month,
    /// `getDate`: the first is 1.
    Date,
    /// `getDayOfMonth`: the first is 0.
    DayOfMonth,
    /// `getDayOfWeek`: Sunday is 0.
    DayOfWeek,
    /// `getDayOfYear`: the first is 0.
    DayOfYear,
    /// `getHours`
    Hours,
    /// `getMinutes`
    Minutes,
    /// `getSeconds`
    Seconds,
    /// `getMilliseconds`: those of the second.
    Milliseconds,
}

/// How calls are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `f(a)`
    Plain,
    /// `a.f()`
    Member,
    /// Either.
    Both,
}

/// Name, form, and how many operands there are, with the target.
const FUNCTIONS: &[(&str, Form, std::ops::RangeInclusive<usize>, Function)] = &[
    ("-_", Form::Plain, 1..=1, Function::Negate),
    ("!_", Form::Plain, 1..=1, Function::Not),
    ("_-_", Form::Plain, 2..=2, Function::Subtract),
    ("_*_", Form::Plain, 2..=2, Function::Multiply),
    ("_/_", Form::Plain, 2..=2, Function::Divide),
    ("_%_", Form::Plain, 2..=2, Function::Remainder),
    ("_==_", Form::Plain, 2..=2, Function::Equal),
    ("_!=_", Form::Plain, 2..=2, Function::Differs),
    ("_<_", Form::Plain, 2..=2, Function::Less),
    ("_<=_", Form::Plain, 2..=2, Function::AtMost),
    ("_>_", Form::Plain, 2..=2, Function::Greater),
    ("_>=_", Form::Plain, 2..=2, Function::AtLeast),
    ("@in", Form::Plain, 2..=2, Function::In),
    ("size", Form::Both, 1..=1, Function::Size),
    ("contains", Form::Both, 2..=2, Function::Contains),
    ("startsWith", Form::Both, 2..=2, Function::StartsWith),
    ("endsWith", Form::Both, 2..=2, Function::EndsWith),
    ("matches", Form::Both, 2..=2, Function::Matches),
    ("int", Form::Plain, 1..=1, Function::Int),
    ("uint", Form::Plain, 1..=1, Function::Uint),
    ("double", Form::Plain, 1..=1, Function::Double),
    ("bool", Form::Plain, 1..=1, Function::Bool),
    ("bytes", Form::Plain, 1..=1, Function::Bytes),
    ("type", Form::Plain, 1..=1, Function::Type),
    ("dyn", Form::Plain, 1..=1, Function::Same),
    ("timestamp", Form::Plain, 1..=1, Function::Timestamp),
    ("duration", Form::Plain, 1..=1, Function::Duration),
    ("getFullYear", Form::Member, 1..=2, Function::Part(Part::Year)),
    ("getMonth", Form::Member, 1..=2, Function::Part(Part::Month)),
    ("getDate", Form::Member, 1..=2, Function::Part(Part::Date)),
    ("getDayOfMonth", Form::Member, 1..=2, Function::Part(Part::DayOfMonth)),
    ("getDayOfWeek", Form::Member, 1..=2, Function::Part(Part::DayOfWeek)),
    ("getDayOfYear", Form::Member, 1..=2, Function::Part(Part::DayOfYear)),
    ("getHours", Form::Member, 1..=2, Function::Part(Part::Hours)),
    ("getMinutes", Form::Member, 1..=2, Function::Part(Part::Minutes)),
    ("getSeconds", Form::Member, 1..=2, Function::Part(Part::Seconds)),
    ("getMilliseconds", Form::Member, 1..=2, Function::Part(Part::Milliseconds)),
];

/// Those of `enable_string_functions`.
const OF_TEXT: &[(&str, Form, std::ops::RangeInclusive<usize>, Function)] = &[
    ("replace", Form::Member, 3..=4, Function::Replace),
    ("split", Form::Member, 2..=3, Function::Split),
    ("lowerAscii", Form::Member, 1..=1, Function::LowerAscii),
    ("upperAscii", Form::Member, 1..=1, Function::UpperAscii),
];

/// Macros of the language that loop.
const LOOPS: &[&str] = &["all", "exists", "exists_one", "map", "filter"];

/// The function `name` called with this many operands, the target among them; if there is none, why.
pub(super) fn find(name: &str, member: bool, operands: usize, dialect: Dialect) -> Result<Function, String> {
    if name == "_+_" && operands == 2 {
        return Ok(Function::Add { text: dialect.concatenation });
    }
    if name == "string" && dialect.conversion && !member && operands == 1 {
        return Ok(Function::Text);
    }
    let form = if member { Form::Member } else { Form::Plain };
    let extended = if dialect.functions { OF_TEXT } else { &[] };
    let named = |(known, ..): &&(&str, Form, _, _)| *known == name;
    let found = FUNCTIONS.iter().chain(extended).find(named);
    match found {
        Some((_, allowed, count, function))
            if (*allowed == form || *allowed == Form::Both) && count.contains(&operands) =>
        {
            Ok(*function)
        }
        Some(_) => Err(format!("{name}() is not called this way")),
        None if OF_TEXT.iter().any(|(known, ..)| *known == name) => {
            Err(format!("{name}() needs enable_string_functions"))
        }
        None if name == "string" => Err("string() needs enable_string_conversion".to_owned()),
        None if member && LOOPS.contains(&name) => {
            Err(format!("{name}() is not supported: expressions do not loop"))
        }
        None => Err(format!("there is no function {name}()")),
    }
}

/// Seconds east of UTC that a zone stands for: `UTC`, or hours and minutes such as `-05:30`.
pub fn offset(zone: &str) -> Option<i64> {
    if zone == "UTC" {
        return Some(0);
    }
    let west = zone.starts_with('-');
    let (hours, minutes) = zone.strip_prefix(['+', '-']).unwrap_or(zone).split_once(':')?;
    let two = |digits: &str, below: i64| {
        let number =
            Some(digits).filter(|text| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit()));
        number?.parse::<i64>().ok().filter(|number| *number < below)
    };
    let seconds = two(hours, 24)? * 3600 + two(minutes, 60)? * 60;
    Some(if west { -seconds } else { seconds })
}
