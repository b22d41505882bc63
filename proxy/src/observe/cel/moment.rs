//! Moments and durations: how they are read, taken apart, added and written.
//! Sources: RFC 3339; `google.protobuf.Timestamp` and `Duration` in JSON; Abseil's `FormatDuration`.

use outrigger_grammar::cel::function::{Function, Part, offset};

use super::Failed;
use super::value::Value;
use crate::observe::format::time::{date, days};

/// Nanoseconds.
pub(super) const SECOND: i128 = 1_000_000_000;
const MINUTE: i128 = 60 * SECOND;
const HOUR: i128 = 60 * MINUTE;
const DAY: i128 = 24 * HOUR;

/// Longest duration of protobuf: 10,000 years.
const LONGEST: i128 = 315_576_000_000 * SECOND;

/// Nanoseconds since the epoch of a text by RFC 3339.
pub(super) fn timestamp(text: &[u8]) -> Option<i128> {
    let text = std::str::from_utf8(text).ok()?;
    let (day, time) = text.split_once(['T', 't'])?;
    let zone_at = time.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = time.split_at(zone_at);
    let east = match zone {
        "Z" | "z" => 0,
        zone => offset(zone)?,
    };
    let [year, month, day] = numbers(day, '-', [4, 2, 2])?;
    let (clock, fraction) =
        clock.split_once('.').map_or((clock, None), |(clock, digits)| (clock, Some(digits)));
    let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
    let of_epoch =
        days(year, u32::try_from(month).ok().filter(|month| (1..=12).contains(month))?, day as u32);
    // What is no day of this month is one of another.
    let is_clock = hour < 24 && minute < 60 && second < 60;
    if year == 0 || !is_clock || date(of_epoch) != (year, month as u32, day as u32) {
        return None;
    }
    let seconds = of_epoch * 86_400 + hour * 3600 + minute * 60 + second - east;
    Some(i128::from(seconds) * SECOND + fraction.map_or(Some(0), nanos)?)
}

/// Three numbers of so many digits each.
fn numbers(text: &str, between: char, widths: [usize; 3]) -> Option<[i64; 3]> {
    let mut parts = text.split(between);
    let mut number = |width: usize| {
        let digits = parts.next().filter(|part| part.len() == width && is_number(part))?;
        digits.parse().ok()
    };
    let read = [number(widths[0])?, number(widths[1])?, number(widths[2])?];
    parts.next().is_none().then_some(read)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Digits behind a point, as nanoseconds; finer ones are cut off.
fn nanos(digits: &str) -> Option<i128> {
    // First: what is no number may have characters of several bytes.
    if !is_number(digits) {
        return None;
    }
    let cut = &digits[..digits.len().min(9)];
    let number: i128 = cut.parse().ok()?;
    Some(number * 10i128.pow(9 - cut.len() as u32))
}

/// Nanoseconds of a text such as `-1h2.5s`.
pub(super) fn duration(text: &[u8]) -> Option<i128> {
    const UNITS: [(&str, i128); 6] =
        [("ns", 1), ("us", 1_000), ("ms", 1_000_000), ("s", SECOND), ("m", MINUTE), ("h", HOUR)];
    let text = std::str::from_utf8(text).ok()?;
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    if rest == "0" {
        return Some(0);
    }
    let mut total: i128 = 0;
    loop {
        let digits = rest.find(|char: char| !char.is_ascii_digit() && char != '.')?;
        let (number, after) = rest.split_at(digits);
        let (name, unit) = UNITS.iter().find(|(name, _)| after.starts_with(name))?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.len() + fraction.len() == 0 || fraction.contains('.') || whole.len() > 15 {
            return None;
        }
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let fraction = if fraction.is_empty() { 0 } else { nanos(fraction)? };
        total += whole * unit + fraction * unit / SECOND;
        rest = &after[name.len()..];
        if rest.is_empty() {
            break;
        }
    }
    bounded(if text.starts_with('-') { -total } else { total })
}

fn bounded(nanos: i128) -> Option<i128> {
    (nanos.abs() <= LONGEST).then_some(nanos)
}

/// Sums and differences of moments and durations.
pub(super) fn sum<'a>(function: Function, left: &Value<'a>, right: &Value<'a>) -> Result<Value<'a>, Failed> {
    let lasting = |nanos| bounded(nanos).map(Value::Duration).ok_or(Failed);
    match (function, left, right) {
        (Function::Add { .. }, Value::Timestamp(one), Value::Duration(other))
        | (Function::Add { .. }, Value::Duration(one), Value::Timestamp(other)) => {
            Ok(Value::Timestamp(one + other))
        }
        (Function::Add { .. }, Value::Duration(one), Value::Duration(other)) => lasting(one + other),
        (Function::Subtract, Value::Timestamp(one), Value::Duration(other)) => {
            Ok(Value::Timestamp(one - other))
        }
        (Function::Subtract, Value::Timestamp(one), Value::Timestamp(other))
        | (Function::Subtract, Value::Duration(one), Value::Duration(other)) => lasting(one - other),
        _ => Err(Failed),
    }
}

/// A part of a moment, as clocks of `zone` show it, or of a duration.
pub(super) fn part(part: Part, of: &Value<'_>, zone: Option<&Value<'_>>) -> Result<i64, Failed> {
    let number = match (of, zone) {
        (Value::Duration(nanos), None) => of_duration(part, *nanos),
        (Value::Timestamp(nanos), None) => of_moment(part, *nanos),
        (Value::Timestamp(nanos), Some(Value::Text(zone))) => {
            let east = std::str::from_utf8(zone).ok().and_then(offset).ok_or(Failed)?;
            of_moment(part, nanos + i128::from(east) * SECOND)
        }
        _ => None,
    };
    number.ok_or(Failed)
}

fn of_duration(part: Part, nanos: i128) -> Option<i64> {
    i64::try_from(match part {
        Part::Hours => nanos / HOUR,
        Part::Minutes => nanos / MINUTE,
        Part::Seconds => nanos / SECOND,
        Part::Milliseconds => nanos % SECOND / 1_000_000,
        _ => return None,
    })
    .ok()
}

fn of_moment(part: Part, nanos: i128) -> Option<i64> {
    let of_epoch = i64::try_from(nanos.div_euclid(DAY)).ok()?;
    let of_day = nanos.rem_euclid(DAY);
    let (year, month, day) = date(of_epoch);
    Some(match part {
        Part::Year => year,
        Part::Month => i64::from(month) - 1,
        Part::Date => day.into(),
        Part::DayOfMonth => i64::from(day) - 1,
        Part::DayOfWeek => (of_epoch + 4).rem_euclid(7),
        Part::DayOfYear => of_epoch - days(year, 1, 1),
        Part::Hours => (of_day / HOUR) as i64,
        Part::Minutes => (of_day % HOUR / MINUTE) as i64,
        Part::Seconds => (of_day % MINUTE / SECOND) as i64,
        Part::Milliseconds => (of_day % SECOND / 1_000_000) as i64,
    })
}

/// `2024-01-02T03:04:05`, and the nanoseconds.
fn clock(nanos: i128) -> (String, i128) {
    let part = |wanted| of_moment(wanted, nanos).unwrap_or_default();
    let text = format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
        part(Part::Year),
        part(Part::Month) + 1,
        part(Part::Date),
        part(Part::Hours),
        part(Part::Minutes),
        part(Part::Seconds)
    );
    (text, nanos.rem_euclid(SECOND))
}

/// `2024-01-02T03:04:05.5+00:00`, as lines show it.
pub(super) fn with_offset(nanos: i128) -> String {
    let (clock, fraction) = clock(nanos);
    let digits = format!("{fraction:09}");
    match digits.trim_end_matches('0') {
        "" => format!("{clock}+00:00"),
        digits => format!("{clock}.{digits}+00:00"),
    }
}

/// `2024-01-02T03:04:05.500Z`, as JSON has it.
pub(super) fn utc(nanos: i128) -> String {
    let (clock, fraction) = clock(nanos);
    format!("{clock}{}Z", thousands(fraction))
}

/// `1.500s`, as JSON has it.
pub(super) fn seconds(nanos: i128) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.abs();
    format!("{sign}{}{}s", nanos / SECOND, thousands(nanos % SECOND))
}

/// A fraction of none, three, six or nine digits.
fn thousands(nanos: i128) -> String {
    match nanos {
        0 => String::new(),
        nanos if nanos % 1_000_000 == 0 => format!(".{:03}", nanos / 1_000_000),
        nanos if nanos % 1_000 == 0 => format!(".{:06}", nanos / 1_000),
        nanos => format!(".{nanos:09}"),
    }
}

/// `1h2m3.5s`, `1.5ms`, as lines show it.
pub(super) fn short(nanos: i128) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let rest = nanos.abs();
    let below_a_second = match rest {
        0 => return "0".to_owned(),
        1..1_000 => Some((1, "ns")),
        1_000..1_000_000 => Some((1_000, "us")),
        1_000_000..SECOND => Some((1_000_000, "ms")),
        _ => None,
    };
    if let Some((unit, name)) = below_a_second {
        return format!("{sign}{}{name}", decimal(rest, unit));
    }
    let mut text = sign.to_owned();
    for (unit, name) in [(HOUR, "h"), (MINUTE, "m")] {
        let whole = if unit == HOUR { rest / HOUR } else { rest % HOUR / MINUTE };
        if whole > 0 {
            text.push_str(&format!("{whole}{name}"));
        }
    }
    if rest % MINUTE > 0 {
        text.push_str(&format!("{}s", decimal(rest % MINUTE, SECOND)));
    }
    text
}

/// `nanos` in `unit`, a power of ten, without zeros at its end.
fn decimal(nanos: i128, unit: i128) -> String {
    let width = unit.ilog10() as usize;
    let fraction = match width {
        0 => String::new(),
        width => format!("{:0width$}", nanos % unit),
    };
    match fraction.trim_end_matches('0') {
        "" => (nanos / unit).to_string(),
        digits => format!("{}.{digits}", nanos / unit),
    }
}
