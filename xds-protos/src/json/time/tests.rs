use super::*;

#[test]
fn durations_both_ways() {
    for (text, time) in [
        ("15s", (15, 0)),
        ("0.250s", (0, 250_000_000)),
        ("-0.500s", (0, -500_000_000)),
        ("-1.000001s", (-1, -1_000)),
        ("1.000000001s", (1, 1)),
        ("315576000000s", (315_576_000_000, 0)),
    ] {
        assert_eq!(parse_duration(text), Some(time), "{text}");
        assert_eq!(print_duration(time), text);
    }
    assert_eq!(parse_duration("1.5s"), Some((1, 500_000_000)));
}

#[test]
fn no_durations() {
    for text in [
        "",
        "s",
        "5",
        "5m",
        "5 s",
        ".5s",
        "5.s",
        "+5s",
        "--5s",
        "1e1s",
        "1.1234567891s",
        "315576000000.1s",
        "1.-5s",
    ] {
        assert_eq!(parse_duration(text), None, "{text}");
    }
}

#[test]
fn timestamps_both_ways() {
    for (text, time) in [
        ("1970-01-01T00:00:00Z", (0, 0)),
        ("2024-02-29T12:34:56.789Z", (1_709_210_096, 789_000_000)),
        ("0001-01-01T00:00:00Z", (-62_135_596_800, 0)),
        ("9999-12-31T23:59:59.999999999Z", (253_402_300_799, 999_999_999)),
        ("1969-12-31T23:59:59.500Z", (-1, 500_000_000)),
    ] {
        assert_eq!(parse_timestamp(text), Some(time), "{text}");
        assert_eq!(print_timestamp(time), text);
    }
    assert_eq!(parse_timestamp("2024-01-01T01:00:00+01:00"), parse_timestamp("2024-01-01t00:00:00z"));
}

#[test]
fn no_timestamps() {
    for text in [
        "",
        "2024-01-01",
        "2024-01-01T00:00:00",
        "2023-02-29T00:00:00Z",
        "2024-13-01T00:00:00Z",
        "2024-00-01T00:00:00Z",
        "2024-01-01T24:00:00Z",
        "2024-01-01T00:00:00.Z",
        "2024-01-01T00:00:00+1",
        "10000-01-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+01:00",
        "2024-01-01T00:00:00é",
        "é2024-01-01T00:00:00Z",
    ] {
        assert_eq!(parse_timestamp(text), None, "{text}");
    }
}
