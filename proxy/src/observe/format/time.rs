//! Wall-clock timestamps: Envoy's default ISO 8601 form and strftime patterns.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

mod pattern;
mod zone;

use super::Out;
use pattern::{TimePart, Unit};
use zone::Kind;
pub(super) use zone::Zone;

/// A compiled time pattern.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct TimeFormat {
    /// Empty for the default: `2026-11-21T02:47:52.193Z`.
    parts: Box<[TimePart]>,
}

/// A moment taken apart, as clocks show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    epoch: i64,
    /// Days since the epoch.
    days: i64,
    nanos: u32,
    year: i64,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
}

const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

impl Civil {
    /// Takes `time` apart, in UTC.
    pub fn of(time: SystemTime) -> Self {
        let (epoch, nanos) = match time.duration_since(UNIX_EPOCH) {
            Ok(since) => (since.as_secs() as i64, since.subsec_nanos()),
            Err(before) => (-(before.duration().as_secs() as i64) - 1, 0),
        };
        let of_epoch = epoch.div_euclid(86_400);
        let (year, month, day) = date(of_epoch);
        let of_day = epoch.rem_euclid(86_400) as u32;
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        Self { epoch, days: of_epoch, nanos, year, month, day, hour, minute, second }
    }

    /// `2026-11-21T02:47:52.193Z`.
    pub fn iso_millis(&self) -> [u8; 24] {
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let year = self.year.clamp(0, 9999) as u32;
        pair(&mut text[0..], year / 100);
        pair(&mut text[2..], year % 100);
        pair(&mut text[5..], self.month);
        pair(&mut text[8..], self.day);
        pair(&mut text[11..], self.hour);
        pair(&mut text[14..], self.minute);
        pair(&mut text[17..], self.second);
        let millis = self.nanos / 1_000_000;
        text[20] = b'0' + (millis / 100) as u8;
        pair(&mut text[21..], millis % 100);
        text
    }

    fn day_of_year(&self) -> i64 {
        self.days - days(self.year, 1, 1) + 1
    }

    /// Sunday is 0.
    fn weekday(&self) -> i64 {
        (self.days + 4).rem_euclid(7)
    }

    fn unit(&self, unit: Unit) -> i64 {
        match unit {
            Unit::Century => self.year.div_euclid(100),
            Unit::Year => self.year,
            Unit::ShortYear => self.year.rem_euclid(100),
            Unit::Month => self.month.into(),
            Unit::Day => self.day.into(),
            Unit::DayOfYear => self.day_of_year(),
            Unit::Hour => self.hour.into(),
            Unit::Hour12 => i64::from((self.hour + 11) % 12 + 1),
            Unit::Minute => self.minute.into(),
            Unit::Second => self.second.into(),
            Unit::WeekdayIso => (self.weekday() + 6) % 7 + 1,
            Unit::Weekday => self.weekday(),
            Unit::WeekOfSundays => (self.day_of_year() + 6 - self.weekday()) / 7,
            Unit::WeekOfMondays => (self.day_of_year() + 6 - (self.weekday() + 6) % 7) / 7,
            Unit::IsoWeek => self.iso_week().1,
            Unit::IsoYear => self.iso_week().0,
            Unit::IsoShortYear => self.iso_week().0.rem_euclid(100),
        }
    }

    /// Year and number of the week (ISO 8601): those of its Thursday.
    fn iso_week(&self) -> (i64, i64) {
        let thursday = self.days - (self.weekday() + 6) % 7 + 3;
        let (year, ..) = date(thursday);
        (year, (thursday - days(year, 1, 1)) / 7 + 1)
    }
}

#[inline]
fn pair(into: &mut [u8], number: u32) {
    into[0] = b'0' + (number / 10 % 10) as u8;
    into[1] = b'0' + (number % 10) as u8;
}

/// Year, month and day of a day number counted from 1970-01-01, in the proleptic Gregorian calendar.
/// The year is taken to begin in March, so that the leap day is the last of it.
pub(in crate::observe) fn date(day_number: i64) -> (i64, u32, u32) {
    let shifted = day_number + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = (of_year - (153 * march_month + 2) / 5 + 1) as u32;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 } as u32;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The inverse of [`date`].
pub(in crate::observe) fn days(year: i64, month: u32, day: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let year_of_era = year.rem_euclid(400);
    let march_month = i64::from((month + 9) % 12);
    let of_year = (153 * march_month + 2) / 5 + i64::from(day) - 1;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    year.div_euclid(400) * 146_097 + of_era - 719_468
}

impl TimeFormat {
    /// Appends `time` as clocks of the zone show it.
    #[inline]
    pub(super) fn write(&self, time: SystemTime, zone: &Zone, out: &mut Out<'_>) {
        let utc = Civil::of(time);
        let Some(kind) = zone.at(utc.epoch) else { return self.write_civil(&utc, None, out) };
        let shifted = match u64::try_from(kind.offset) {
            Ok(east) => time.checked_add(Duration::from_secs(east)),
            Err(_) => time.checked_sub(Duration::from_secs(kind.offset.unsigned_abs().into())),
        };
        let local = shifted.map_or(utc, |shifted| Civil { epoch: utc.epoch, ..Civil::of(shifted) });
        self.write_civil(&local, Some(kind), out);
    }

    fn write_civil(&self, civil: &Civil, kind: Option<&Kind>, out: &mut Out<'_>) {
        match (&*self.parts, kind) {
            ([], None) => out.plain(&civil.iso_millis()),
            ([], Some(_)) => {
                let [text @ .., _] = &civil.iso_millis();
                out.plain(text);
                TimePart::ZoneOffset.write(civil, kind, out);
            }
            (parts, _) => parts.iter().for_each(|part| part.write(civil, kind, out)),
        }
    }
}

impl TimePart {
    fn write(&self, civil: &Civil, kind: Option<&Kind>, out: &mut Out<'_>) {
        match self {
            TimePart::Literal(text) => out.text(text),
            TimePart::Number(unit, width) => number(civil.unit(*unit), *width, b'0', out),
            TimePart::Spaced(unit) => number(civil.unit(*unit), 2, b' ', out),
            TimePart::Fraction(digits) => {
                number(i64::from(civil.nanos) / 10i64.pow(9 - *digits as u32), *digits, b'0', out);
            }
            TimePart::WholeFraction { dot } => fraction(civil.nanos, *dot, out),
            TimePart::EpochSeconds => number(civil.epoch, 1, b'0', out),
            TimePart::Weekday { long } => name(WEEKDAYS[civil.weekday() as usize], *long, out),
            TimePart::Month { long } => name(MONTHS[civil.month as usize - 1], *long, out),
            TimePart::AmPm { small } => out.plain(match (civil.hour < 12, small) {
                (true, false) => b"AM",
                (false, false) => b"PM",
                (true, true) => b"am",
                (false, true) => b"pm",
            }),
            TimePart::ZoneName => out.text(kind.map_or("UTC", |kind| &kind.name).as_bytes()),
            TimePart::ZoneOffset => offset(kind.map_or(0, |kind| kind.offset), out),
            TimePart::ZoneColons { seconds } => {
                colons(kind.map_or(0, |kind| kind.offset), *seconds, out);
            }
        }
    }
}

fn name(name: &str, long: bool, out: &mut Out<'_>) {
    out.plain(if long { name } else { &name[..3] }.as_bytes());
}

/// `-0500`
fn offset(seconds: i32, out: &mut Out<'_>) {
    out.plain(if seconds < 0 { b"-" } else { b"+" });
    let minutes = i64::from(seconds.unsigned_abs() / 60);
    number(minutes / 60 * 100 + minutes % 60, 4, b'0', out);
}

/// `-05:00`, `-05:00:00`
fn colons(east: i32, seconds: bool, out: &mut Out<'_>) {
    out.plain(if east < 0 { b"-" } else { b"+" });
    let total = i64::from(east.unsigned_abs());
    number(total / 3600, 2, b'0', out);
    for part in [total / 60 % 60, total % 60].into_iter().take(1 + usize::from(seconds)) {
        out.plain(b":");
        number(part, 2, b'0', out);
    }
}

/// As many digits as there are; without a dot at least one.
fn fraction(nanos: u32, dot: bool, out: &mut Out<'_>) {
    let mut digits = [b'0'; 9];
    let mut left = nanos;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (left % 10) as u8;
        left /= 10;
    }
    let used = digits.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1);
    match (dot, used) {
        (true, 0) => {}
        (true, used) => {
            out.plain(b".");
            out.plain(&digits[..used]);
        }
        (false, used) => out.plain(&digits[..used.max(1)]),
    }
}

fn number(value: i64, width: usize, pad: u8, out: &mut Out<'_>) {
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(value).as_bytes();
    for _ in digits.len()..width {
        out.plain(&[pad]);
    }
    out.plain(digits);
}

#[cfg(test)]
mod tests;
