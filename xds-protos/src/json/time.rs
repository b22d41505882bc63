//! `Duration` and `Timestamp` as proto3 JSON writes them: `"1.5s"`, `"2024-02-29T12:00:00Z"`.
//!
//! Owns both directions and the ranges of protobuf. Fractions are printed with 3, 6 or 9 digits, as protobuf does.

#[cfg(test)]
mod tests;

/// Seconds and nanoseconds, with the same sign for a duration.
pub(super) type Time = (i64, i32);

/// 10,000 years, protobuf's bound on a duration.
const MAX_DURATION: i64 = 315_576_000_000;
/// The years 0001 to 9999.
const TIMESTAMPS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// Reads `"-1.5s"`.
pub(super) fn parse_duration(text: &str) -> Option<Time> {
    let number = text.strip_suffix('s')?;
    let (negative, number) = match number.strip_prefix('-') {
        Some(number) => (true, number),
        None => (false, number),
    };
    let (seconds, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let (seconds, nanos) = (digits(seconds)?, nanoseconds(fraction)?);
    let in_range = seconds < MAX_DURATION || (seconds == MAX_DURATION && nanos == 0);
    in_range.then_some(if negative { (-seconds, -nanos) } else { (seconds, nanos) })
}

/// Prints `1.500s`.
pub(super) fn print_duration((seconds, nanos): Time) -> String {
    let sign = if seconds < 0 || nanos < 0 { "-" } else { "" };
    format!("{sign}{}{}s", seconds.unsigned_abs(), fraction(nanos))
}

/// Reads RFC 3339 with any offset.
pub(super) fn parse_timestamp(text: &str) -> Option<Time> {
    let (date, rest) = text.split_at_checked(10)?;
    let time = rest.strip_prefix(['T', 't', ' '])?;
    let (clock, rest) = time.split_at_checked(8)?;
    let (fraction, zone) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?),
        None => ("0", rest),
    };
    let seconds = days(date)? * 86_400 + clock_seconds(clock)? - offset(zone)?;
    TIMESTAMPS.contains(&seconds).then_some((seconds, nanoseconds(fraction)?))
}

/// Prints UTC.
pub(super) fn print_timestamp((seconds, nanos): Time) -> String {
    let (year, month, day) = date_of(seconds.div_euclid(86_400));
    let second = seconds.rem_euclid(86_400);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{}Z", fraction(nanos))
}

/// `.250`, or nothing for zero.
fn fraction(nanos: i32) -> String {
    match nanos.unsigned_abs() {
        0 => String::new(),
        n if n % 1_000_000 == 0 => format!(".{:03}", n / 1_000_000),
        n if n % 1_000 == 0 => format!(".{:06}", n / 1_000),
        n => format!(".{n:09}"),
    }
}

/// One to nine digits after the point.
fn nanoseconds(fraction: &str) -> Option<i32> {
    if fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    let value = i32::try_from(digits(fraction)?).ok()?;
    Some(value * 10_i32.pow(9 - fraction.len() as u32))
}

/// Digits and nothing else; bounded, so that sums cannot overflow.
fn digits(text: &str) -> Option<i64> {
    let plain = (1..=12).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

/// Days since 1970 of `YYYY-MM-DD`.
fn days(date: &str) -> Option<i64> {
    let mut parts = date.split('-');
    let (year, month, day) = (digits(parts.next()?)?, digits(parts.next()?)?, digits(parts.next()?)?);
    if parts.next().is_some() || !(1..=12).contains(&month) || !(1..=9999).contains(&year) {
        return None;
    }
    let days = days_of(year, month, day);
    // An impossible day of the month lands on another date.
    (date_of(days) == (year, month, day)).then_some(days)
}

/// Howard Hinnant's civil calendar arithmetic: years start in March, so that the leap day is the last.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

fn clock_seconds(clock: &str) -> Option<i64> {
    let mut parts = clock.split(':').map(digits);
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    (hour < 24 && minute < 60 && second < 60).then_some(hour * 3600 + minute * 60 + second)
}

/// Seconds east of UTC.
fn offset(zone: &str) -> Option<i64> {
    if matches!(zone, "Z" | "z") {
        return Some(0);
    }
    let (sign, rest) = match zone.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    let (hours, minutes) = (digits(hours)?, digits(minutes)?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}
