//! Matchers compile to the same decisions as Envoy's.

use super::*;
use outrigger_xds_protos::v3::types::Int64Range;

fn string_matcher(pattern: MatchPattern, ignore_case: bool) -> StringMatcher {
    StringMatcher { ignore_case, match_pattern: Some(pattern) }
}

fn safe_regex(text: &str) -> RegexMatcher {
    RegexMatcher { regex: text.to_owned(), engine_type: None }
}

fn header_matcher(specifier: Option<HeaderMatchSpecifier>) -> HeaderMatcher {
    HeaderMatcher { name: "X-Kind".to_owned(), header_match_specifier: specifier, ..Default::default() }
}

#[test]
fn string_kinds_match_as_envoy_says() {
    let cases = [
        (MatchPattern::Exact("Ab".into()), true, "aB", true),
        (MatchPattern::Exact("Ab".into()), false, "aB", false),
        (MatchPattern::Prefix("a".into()), false, "ab", true),
        (MatchPattern::Suffix("b".into()), false, "ab", true),
        (MatchPattern::Contains("XY".into()), true, "axyb", true),
        (MatchPattern::SafeRegex(safe_regex("a+")), false, "aaa", true),
        (MatchPattern::SafeRegex(safe_regex("a+")), false, "aaab", false),
        // ignore_case has no effect on expressions.
        (MatchPattern::SafeRegex(safe_regex("a+")), true, "AAA", false),
    ];
    for (pattern, ignore_case, text, want) in cases {
        let compiled = string(&string_matcher(pattern.clone(), ignore_case), &Path::ROOT).unwrap();
        assert_eq!(compiled.matches(text.as_bytes()), want, "{pattern:?} {text}");
    }
}

#[test]
fn bad_strings_name_their_field() {
    let path_of =
        |matcher: StringMatcher| string(&matcher, &Path::ROOT.field("m")).map(drop).map_err(|e| e.path);
    assert_eq!(path_of(StringMatcher::default()), Err("m".to_owned()));
    assert_eq!(
        path_of(string_matcher(MatchPattern::Prefix(String::new()), false)),
        Err("m.prefix".to_owned())
    );
    let bad = string_matcher(MatchPattern::SafeRegex(safe_regex("a(")), false);
    assert_eq!(path_of(bad), Err("m.safe_regex.regex".to_owned()));
}

#[test]
fn a_bad_regex_says_why_in_one_line() {
    let error = regex(&safe_regex(r"(?=x)"), &Path::ROOT).unwrap_err();
    assert_eq!(error.path, "regex");
    assert!(error.message.contains("look-around") && !error.message.contains('\n'), "{error}");
    let huge = regex(&safe_regex("(?:a{1000}){1000}"), &Path::ROOT).unwrap_err();
    assert!(huge.message.contains("simplify"), "{huge}");
}

#[test]
#[allow(deprecated)]
fn headers_accept_every_form() {
    let cases: [(Option<HeaderMatchSpecifier>, Option<&str>, bool); 9] = [
        (None, Some("x"), true),
        (Some(HeaderMatchSpecifier::PresentMatch(false)), None, true),
        (Some(HeaderMatchSpecifier::ExactMatch("a".into())), Some("a"), true),
        (Some(HeaderMatchSpecifier::PrefixMatch("a".into())), Some("ab"), true),
        (Some(HeaderMatchSpecifier::SuffixMatch("b".into())), Some("ab"), true),
        (Some(HeaderMatchSpecifier::ContainsMatch("b".into())), Some("abc"), true),
        (Some(HeaderMatchSpecifier::SafeRegexMatch(safe_regex("a.c"))), Some("abc"), true),
        (Some(HeaderMatchSpecifier::RangeMatch(Int64Range { start: -1, end: 5 })), Some("5"), false),
        (Some(HeaderMatchSpecifier::ExactMatch("a".into())), None, false),
    ];
    for (specifier, value, want) in cases {
        let compiled = header(&header_matcher(specifier.clone()), &Path::ROOT).unwrap();
        assert_eq!(&*compiled.name, "x-kind");
        assert_eq!(compiled.matches(value.map(str::as_bytes)), want, "{specifier:?}");
    }
}

#[test]
fn host_is_matched_as_authority() {
    let matcher = HeaderMatcher { name: "Host".to_owned(), ..Default::default() };
    assert_eq!(&*header(&matcher, &Path::ROOT).unwrap().name, ":authority");
}

#[test]
fn bad_headers_name_their_field() {
    let nameless = HeaderMatcher::default();
    assert_eq!(header(&nameless, &Path::ROOT).unwrap_err().path, "name");
    let spaced = HeaderMatcher { name: "a b".to_owned(), ..Default::default() };
    assert_eq!(header(&spaced, &Path::ROOT).unwrap_err().path, "name");
    let empty_range = HeaderMatchSpecifier::RangeMatch(Int64Range { start: 5, end: 5 });
    assert_eq!(header(&header_matcher(Some(empty_range)), &Path::ROOT).unwrap_err().path, "range_match");
}

#[test]
fn query_presence_and_value() {
    let compile = |specifier| {
        let matcher =
            QueryParameterMatcher { name: "k".to_owned(), query_parameter_match_specifier: specifier };
        query(&matcher, &Path::ROOT).unwrap()
    };
    let exact = string_matcher(MatchPattern::Exact("v".into()), false);
    assert!(compile(None).matches(b"a=1&k"));
    assert!(compile(Some(QueryParameterMatchSpecifier::PresentMatch(false))).matches(b"a=1"));
    let value = compile(Some(QueryParameterMatchSpecifier::StringMatch(exact)));
    assert!(value.matches(b"k=v&k=w") && !value.matches(b"k=w&k=v") && !value.matches(b"a=v"));
}

#[test]
fn substitutions_translate_group_references() {
    let compile = |pattern: &str, text: &str| {
        substitution(
            &RegexMatchAndSubstitute { pattern: Some(safe_regex(pattern)), substitution: text.to_owned() },
            &Path::ROOT,
        )
    };
    let (pattern, replacement) = compile(r"/v(\d+)/", r"/$\1\\/").unwrap();
    assert_eq!(pattern.replace_all(b"/v12/x", &*replacement).as_ref(), br"/$12\/x");
    assert_eq!(compile("a", r"\1").unwrap_err().path, "substitution");
    assert_eq!(compile("a", r"\x").unwrap_err().path, "substitution");
    assert_eq!(compile("", "x").unwrap_err().path, "pattern.regex");
}
