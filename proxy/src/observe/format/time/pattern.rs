//! How patterns of times are read.

use std::str::Chars;

use super::super::FormatError;
use super::TimeFormat;

/// A piece of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TimePart {
    Literal(Box<[u8]>),
    /// Zero-padded number.
    Number(Unit, usize),
    /// Space-padded number of two digits.
    Spaced(Unit),
    /// First digits of the nanoseconds.
    Fraction(usize),
    /// All digits of the fraction that are not zeros at its end, behind a dot where there are some.
    WholeFraction {
        dot: bool,
    },
    EpochSeconds,
    Weekday {
        long: bool,
    },
    Month {
        long: bool,
    },
    AmPm {
        small: bool,
    },
    /// `UTC`
    ZoneName,
    /// `+0000`
    ZoneOffset,
    /// `+00:00`, `+00:00:00`
    ZoneColons {
        seconds: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Century,
    Year,
    ShortYear,
    Month,
    Day,
    DayOfYear,
    Hour,
    Hour12,
    Minute,
    Second,
    /// Monday is 1.
    WeekdayIso,
    /// Sunday is 0.
    Weekday,
    /// Of the year; the days before the first Sunday are in week 0.
    WeekOfSundays,
    WeekOfMondays,
    IsoWeek,
    IsoYear,
    IsoShortYear,
}

impl TimeFormat {
    /// Compiles a strftime pattern; empty is the default form. `%3f` is three digits of the fraction, `%E3S` the seconds
    /// with them.
    pub(in super::super) fn parse(pattern: &str) -> Result<Self, FormatError> {
        let mut parts = Vec::new();
        let mut chars = pattern.chars();
        while let Some(char) = chars.next() {
            if char != '%' {
                literal(&mut parts, char);
                continue;
            }
            let Some(spec) = chars.next() else {
                return Err(FormatError(format!("time format {pattern:?} ends in %")));
            };
            match spec.to_digit(10) {
                Some(digits @ 1..=9) if chars.next() == Some('f') => {
                    parts.push(TimePart::Fraction(digits as usize))
                }
                Some(_) => return Err(unknown(pattern, spec)),
                None if spec == 'E' => {
                    extended(&mut chars, &mut parts).ok_or_else(|| unknown(pattern, spec))?
                }
                None => conversion(spec, &mut parts).ok_or_else(|| unknown(pattern, spec))?,
            }
        }
        Ok(Self { parts: parts.into() })
    }
}

fn unknown(pattern: &str, spec: char) -> FormatError {
    FormatError(format!("time format {pattern:?}: %{spec} is not supported"))
}

fn literal(parts: &mut Vec<TimePart>, char: char) {
    let mut bytes = [0; 4];
    let text = char.encode_utf8(&mut bytes).as_bytes();
    match parts.last_mut() {
        Some(TimePart::Literal(before)) => *before = [&**before, text].concat().into(),
        _ => parts.push(TimePart::Literal(text.into())),
    }
}

/// Appends the parts of one conversion character; `None` when it is unknown.
fn conversion(spec: char, parts: &mut Vec<TimePart>) -> Option<()> {
    let part = match spec {
        'Y' => TimePart::Number(Unit::Year, 4),
        'C' => TimePart::Number(Unit::Century, 2),
        'y' => TimePart::Number(Unit::ShortYear, 2),
        'm' => TimePart::Number(Unit::Month, 2),
        'd' => TimePart::Number(Unit::Day, 2),
        'e' => TimePart::Spaced(Unit::Day),
        'j' => TimePart::Number(Unit::DayOfYear, 3),
        'H' => TimePart::Number(Unit::Hour, 2),
        'k' => TimePart::Spaced(Unit::Hour),
        'I' => TimePart::Number(Unit::Hour12, 2),
        'l' => TimePart::Spaced(Unit::Hour12),
        'M' => TimePart::Number(Unit::Minute, 2),
        'S' => TimePart::Number(Unit::Second, 2),
        'u' => TimePart::Number(Unit::WeekdayIso, 1),
        'w' => TimePart::Number(Unit::Weekday, 1),
        'f' => TimePart::Fraction(9),
        's' => TimePart::EpochSeconds,
        'a' => TimePart::Weekday { long: false },
        'A' => TimePart::Weekday { long: true },
        'b' | 'h' => TimePart::Month { long: false },
        'B' => TimePart::Month { long: true },
        'p' => TimePart::AmPm { small: false },
        'P' => TimePart::AmPm { small: true },
        'G' => TimePart::Number(Unit::IsoYear, 4),
        'g' => TimePart::Number(Unit::IsoShortYear, 2),
        'V' => TimePart::Number(Unit::IsoWeek, 2),
        'U' => TimePart::Number(Unit::WeekOfSundays, 2),
        'W' => TimePart::Number(Unit::WeekOfMondays, 2),
        'Z' => TimePart::ZoneName,
        'z' => TimePart::ZoneOffset,
        't' => TimePart::Literal(b"\t"[..].into()),
        '%' => TimePart::Literal(b"%"[..].into()),
        composite => return expand(composite, parts),
    };
    parts.push(part);
    Some(())
}

/// What follows `%E`: how Envoy's time library extends strftime. Source: Abseil's `FormatTime`.
fn extended(chars: &mut Chars<'_>, parts: &mut Vec<TimePart>) -> Option<()> {
    let second = TimePart::Number(Unit::Second, 2);
    match chars.next()? {
        'z' => parts.push(TimePart::ZoneColons { seconds: false }),
        'T' => literal(parts, 'T'),
        '4' if chars.as_str().starts_with('Y') => {
            chars.next();
            parts.push(TimePart::Number(Unit::Year, 4));
        }
        '*' => match chars.next()? {
            'S' => parts.extend([second, TimePart::WholeFraction { dot: true }]),
            'f' => parts.push(TimePart::WholeFraction { dot: false }),
            'z' => parts.push(TimePart::ZoneColons { seconds: true }),
            _ => return None,
        },
        digit => {
            let digits = digit.to_digit(10).filter(|digits| *digits <= 9)? as usize;
            match (chars.next()?, digits) {
                ('S', 0) => parts.push(second),
                ('S', _) => {
                    parts.push(second);
                    literal(parts, '.');
                    parts.push(TimePart::Fraction(digits));
                }
                ('f', 1..) => parts.push(TimePart::Fraction(digits)),
                _ => return None,
            }
        }
    }
    Some(())
}

/// Conversions that stand for several others.
fn expand(spec: char, parts: &mut Vec<TimePart>) -> Option<()> {
    let pattern = match spec {
        'T' | 'X' => "%H:%M:%S",
        'R' => "%H:%M",
        'F' => "%Y-%m-%d",
        'D' | 'x' => "%m/%d/%y",
        'c' => "%a %b %e %H:%M:%S %Y",
        'r' => "%I:%M:%S %p",
        _ => return None,
    };
    parts.extend(TimeFormat::parse(pattern).ok()?.parts);
    Some(())
}
