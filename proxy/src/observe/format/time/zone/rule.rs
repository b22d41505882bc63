//! The rule for times that no zone file tells. Source: POSIX.1 8.3, `TZ`; RFC 8536, 3.3.

use super::super::{date, days};
use super::Kind;

/// How it goes on for ever: standard time, and summer time from one day of the year to another.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rule {
    standard: Kind,
    summer: Option<(Kind, Change, Change)>,
}

/// When clocks change: a day of the year and a second of that day, by the clock until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Change {
    day: Day,
    second: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Day {
    /// `Mm.w.d`: the `week`th (5: last) `weekday` (0: Sunday) of the month.
    OfWeek { month: u32, week: u32, weekday: u32 },
    /// `Jn`: 1 to 365, February 29 never counted.
    Julian(i64),
    /// `n`: 0 to 365.
    Ordinal(i64),
}

impl Rule {
    /// `EST5EDT,M3.2.0,M11.1.0`: offsets are west of UTC.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (name, rest) = zone_name(text)?;
        let (west, rest) = clock(rest)?;
        let offset = i32::try_from(-west).ok()?;
        let standard = Kind { offset, name: name.into() };
        if rest.is_empty() {
            return Some(Self { standard, summer: None });
        }
        let (name, rest) = zone_name(rest)?;
        let (offset, rest) = match clock(rest) {
            Some((west, rest)) => (i32::try_from(-west).ok()?, rest),
            None => (offset + 3600, rest),
        };
        let mut changes = match rest {
            "" => "M3.2.0,M11.1.0",
            rest => rest.strip_prefix(',')?,
        }
        .split(',');
        let (begin, end) = (Change::parse(changes.next()?)?, Change::parse(changes.next()?)?);
        Some(Self { standard, summer: Some((Kind { offset, name: name.into() }, begin, end)) })
    }

    pub(super) fn at(&self, epoch: i64) -> &Kind {
        let Some((summer, begin, end)) = &self.summer else { return &self.standard };
        let (year, ..) = date((epoch + i64::from(self.standard.offset)).div_euclid(86_400));
        let begin = begin.of_year(year) - i64::from(self.standard.offset);
        let end = end.of_year(year) - i64::from(summer.offset);
        // South of the equator summer spans the new year.
        let is_summer =
            if begin < end { (begin..end).contains(&epoch) } else { !(end..begin).contains(&epoch) };
        if is_summer { summer } else { &self.standard }
    }
}

/// A name of letters, or anything within `<` and `>`; three characters at least.
fn zone_name(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = match text.strip_prefix('<') {
        Some(quoted) => quoted.split_once('>')?,
        None => text.split_at(text.bytes().take_while(u8::is_ascii_alphabetic).count()),
    };
    (name.len() >= 3).then_some((name, rest))
}

/// `[+-]hh[:mm[:ss]]` as seconds.
fn clock(text: &str) -> Option<(i64, &str)> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b':').count();
    let (digits, rest) = text.split_at(end);
    let mut seconds = 0;
    let mut unit = 3600;
    for part in digits.split(':') {
        seconds += part.parse::<i64>().ok().filter(|part| *part <= 167)? * unit;
        unit /= 60;
    }
    Some((sign * seconds, rest))
}

impl Change {
    fn parse(text: &str) -> Option<Self> {
        let (day, time) = match text.split_once('/') {
            Some((day, time)) => (day, clock(time).filter(|(_, rest)| rest.is_empty())?.0),
            None => (text, 2 * 3600),
        };
        let number = |text: &str| text.parse::<u32>().ok();
        let day = if let Some(parts) = day.strip_prefix('M') {
            let mut parts = parts.split('.').map(number);
            let (month, week, weekday) = (parts.next()??, parts.next()??, parts.next()??);
            let valid = (1..=12).contains(&month) && (1..=5).contains(&week) && weekday <= 6;
            Day::OfWeek { month, week, weekday }.into_if(valid)?
        } else if let Some(day) = day.strip_prefix('J') {
            Day::Julian(i64::from(number(day)?)).into_if((1..=365).contains(&number(day)?))?
        } else {
            Day::Ordinal(i64::from(number(day)?)).into_if(number(day)? <= 365)?
        };
        Some(Self { day, second: time })
    }

    /// Seconds since the epoch, as if clocks showed UTC.
    fn of_year(self, year: i64) -> i64 {
        let day = match self.day {
            Day::Ordinal(day) => days(year, 1, 1) + day,
            Day::Julian(day) => {
                let leaps = i64::from(day >= 60 && days(year, 3, 1) - days(year, 2, 28) == 2);
                days(year, 1, 1) + day - 1 + leaps
            }
            Day::OfWeek { month, week, weekday } => {
                let first = days(year, month, 1);
                let next = if month == 12 { days(year + 1, 1, 1) } else { days(year, month + 1, 1) };
                // The epoch was a Thursday.
                let ahead = (i64::from(weekday) - (first + 4)).rem_euclid(7);
                let day = first + ahead + i64::from(week - 1) * 7;
                if day < next { day } else { day - 7 }
            }
        };
        day * 86_400 + self.second
    }
}

impl Day {
    fn into_if(self, valid: bool) -> Option<Self> {
        valid.then_some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_rule_is_none() {
        for broken in ["", "E", "EST", "EST5EDT,M13.1.0,M1.1.0", "EST5EDT,M3.2.0", "EST5EDT,J0,J1", "EST999"]
        {
            assert_eq!(Rule::parse(broken), None, "{broken}");
        }
    }
}
