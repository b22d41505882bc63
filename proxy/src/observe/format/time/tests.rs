use super::*;
use crate::observe::format::Escape;
use std::time::Duration;

fn render(pattern: &str, micros: u64) -> String {
    let mut out = Vec::new();
    let time = UNIX_EPOCH + Duration::from_micros(micros);
    TimeFormat::parse(pattern).unwrap().write(
        time,
        &Zone::utc(),
        &mut Out::new(&mut out, Escape::Text, usize::MAX),
    );
    String::from_utf8(out).unwrap()
}

/// What Envoy 1.40 printed for the same moment.
#[test]
fn patterns_print_as_in_envoy() {
    let moment = 1_795_230_383_429_599;
    assert_eq!(render("", moment), "2026-11-21T03:06:23.429Z");
    assert_eq!(render("%Y-%m-%dT%H:%M:%S.%3f%z %Z", moment), "2026-11-21T03:06:23.429+0000 UTC");
    assert_eq!(
        render("%y %b %B %a %A %e %j %p %I %T %F %D %R %C %u %w %h %k %l %c %x %X %r", moment),
        "26 Nov November Sat Saturday 21 325 AM 03 03:06:23 2026-11-21 11/21/26 03:06 20 6 6 Nov  3  3 \
         Sat Nov 21 03:06:23 2026 11/21/26 03:06:23 03:06:23 AM"
    );
    assert_eq!(render("%1f %4f %f %s %%", moment), "4 4295 429599000 1795230383 %");
}

/// As Envoy 1.40 prints it for its own moments; see the end-to-end test of the same patterns.
#[test]
fn extensions_of_envoys_time_library_and_weeks() {
    let moment = 1_795_230_383_429_500;
    assert_eq!(
        render("%E3S %E*S %E0S %E6f %E*f %Ez %E*z %E4Y%ET", moment),
        "23.429 23.4295 23 429500 4295 +00:00 +00:00:00 2026T"
    );
    assert_eq!(render("%E*S %E*f", 1_795_230_383_000_000), "23 0");
    assert_eq!(render("%G %g %V %U %W %P", moment), "2026 26 47 46 46 am");
    // The first of January 2027 is a Friday: of the last week of 2026.
    assert_eq!(render("%G %V %U %W", 1_798_761_600_000_000), "2026 53 00 00");
}

#[test]
fn dates_are_right_over_leap_years_and_centuries() {
    for (epoch_day, expected) in [
        (0, (1970, 1, 1)),
        (59, (1970, 3, 1)),
        (11_016, (2000, 2, 29)),
        (11_017, (2000, 3, 1)),
        (19_782, (2024, 2, 29)),
        (47_540, (2100, 2, 28)),
        (47_541, (2100, 3, 1)),
        (-1, (1969, 12, 31)),
    ] {
        assert_eq!(date(epoch_day), expected);
        assert_eq!(days(expected.0, expected.1, expected.2), epoch_day);
    }
    for day in (-800_000..800_000).step_by(37) {
        let (year, month, of_month) = date(day);
        assert_eq!(days(year, month, of_month), day);
    }
}

#[test]
fn twelve_hour_clock() {
    assert_eq!(render("%I%p %l", 0), "12AM 12");
    assert_eq!(render("%I%p %l", 12 * 3_600_000_000), "12PM 12");
    assert_eq!(render("%I%p %l", 13 * 3_600_000_000), "01PM  1");
}

#[test]
fn unsupported_conversions_are_named() {
    for pattern in ["%n", "%Q", "%3x", "%E", "%E3x", "%E*", "%Ex", "%"] {
        assert!(TimeFormat::parse(pattern).is_err(), "{pattern}");
    }
}
