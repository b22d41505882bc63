use super::*;

#[test]
fn words_of_yaml_1_1() {
    for word in ["true", "True", "TRUE", "yes", "Yes", "on", "ON", "y", "Y"] {
        assert_eq!(boolean(word), Some(true), "{word}");
    }
    for word in ["false", "No", "OFF", "n", "N"] {
        assert_eq!(boolean(word), Some(false), "{word}");
    }
    for word in ["", "tRue", "yES", "oN", "enabled", "1", "é", "TRUé"] {
        assert_eq!(boolean(word), None, "{word}");
    }
}

#[test]
fn a_boolean_field_also_reads_text() {
    assert_eq!(boolean_field("true", false), Some(true));
    assert_eq!(boolean_field("0", false), Some(false));
    assert_eq!(boolean_field("tRue", true), Some(true));
    // Unquoted numbers are numbers.
    assert_eq!(boolean_field("1", true), None);
    assert_eq!(boolean_field("on", false), None);
}

#[test]
fn integers() {
    for (text, plain, value) in [
        ("10", true, Some(10)),
        ("010", true, Some(8)),
        ("010", false, Some(10)),
        ("08", true, Some(8)),
        ("0x1F", true, Some(31)),
        ("-0x10", true, Some(-16)),
        ("+5", true, Some(5)),
        ("1e3", true, Some(1000)),
        ("1.0", false, Some(1)),
        ("1.5", true, None),
        ("--1", true, None),
        ("0x+1", true, None),
        ("0x", true, None),
        ("1_000", true, None),
        ("", true, None),
        ("18446744073709551615", true, Some(18_446_744_073_709_551_615)),
        ("1e40", true, None),
        ("NaN", true, None),
    ] {
        assert_eq!(integer(text, plain), value, "{text}");
    }
}

#[test]
fn floats() {
    for (text, value) in
        [("1.5", 1.5), ("-2", -2.0), ("1e3", 1000.0), ("0x10", 16.0), ("Infinity", f64::INFINITY)]
    {
        assert_eq!(float(text, true), Some(value), "{text}");
    }
    assert!(float("NaN", false).is_some_and(f64::is_nan));
    for text in ["nan", "inf", ".inf", "1e999", "abc", "", "-"] {
        assert_eq!(float(text, true), None, "{text}");
    }
}

#[test]
fn both_alphabets_of_base64() {
    for text in ["+/8=", "-_8=", "+/8", "-_8"] {
        assert_eq!(bytes(text), Some(vec![0xfb, 0xff]), "{text}");
    }
    assert_eq!(bytes("*"), None);
    assert_eq!(base64(&[0xfb, 0xff]), "+/8=");
}
