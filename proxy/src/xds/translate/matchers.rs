//! String, regex, header and query matchers.
//! Source: `envoy.type.matcher.v3.StringMatcher`, `RegexMatcher`, `envoy.config.route.v3.HeaderMatcher`.

use outrigger_grammar::regex::{full_match, search};
use outrigger_xds_protos::v3::matcher::string_matcher::MatchPattern;
use outrigger_xds_protos::v3::matcher::{RegexMatchAndSubstitute, RegexMatcher, StringMatcher};
use outrigger_xds_protos::v3::route::header_matcher::HeaderMatchSpecifier;
use outrigger_xds_protos::v3::route::query_parameter_matcher::QueryParameterMatchSpecifier;
use outrigger_xds_protos::v3::route::{CookieMatcher, HeaderMatcher, QueryParameterMatcher};
use regex::bytes::Regex;

use super::fields;
use super::path::{Path, Rejection};
use crate::base::matcher::{
    CookieMatch, HeaderMatch, HeaderMatchKind, QueryMatch, QueryMatchKind, StringMatch,
};

#[cfg(test)]
mod tests;

/// A string matcher. Empty literals are refused as Envoy does, except an empty `exact`.
pub(crate) fn string(matcher: &StringMatcher, path: &Path<'_>) -> Result<StringMatch, Rejection> {
    let StringMatcher { ignore_case, match_pattern } = matcher;
    let literal = |text: &str| match ignore_case {
        true => text.to_ascii_lowercase().into_bytes(),
        false => text.as_bytes().to_vec(),
    };
    let filled = |text: &str, name: &str| fields::required(text, &path.field(name)).map(literal);
    let compiled = match message(match_pattern, path)? {
        MatchPattern::Exact(text) => StringMatch::Exact(literal(text)),
        MatchPattern::Prefix(text) => StringMatch::Prefix(filled(text, "prefix")?),
        MatchPattern::Suffix(text) => StringMatch::Suffix(filled(text, "suffix")?),
        MatchPattern::Contains(text) => StringMatch::Contains(filled(text, "contains")?),
        // Envoy applies `ignore_case` to literals only.
        MatchPattern::SafeRegex(matcher) => {
            return regex(matcher, &path.field("safe_regex")).map(StringMatch::Regex);
        }
        MatchPattern::Custom(_) => return Err(path.field("custom").unsupported()),
    };
    Ok(if *ignore_case { StringMatch::IgnoreCase(Box::new(compiled)) } else { compiled })
}

fn message<'m, T>(value: &'m Option<T>, path: &Path<'_>) -> Result<&'m T, Rejection> {
    value.as_ref().ok_or_else(|| path.reject("needs one of exact, prefix, suffix, contains, safe_regex"))
}

/// A regex that must match the whole value.
pub(super) fn regex(matcher: &RegexMatcher, path: &Path<'_>) -> Result<Regex, Rejection> {
    let pattern = regex_text(matcher, path)?;
    full_match(pattern).map_err(|error| bad_regex(error, path))
}

/// The pattern. `engine_type` is deprecated and only ever meant RE2; its program size limit is not imposed.
fn regex_text<'m>(matcher: &'m RegexMatcher, path: &Path<'_>) -> Result<&'m str, Rejection> {
    let RegexMatcher { regex, engine_type: _ } = matcher;
    fields::required(regex, &path.field("regex"))
}

fn bad_regex(error: regex::Error, path: &Path<'_>) -> Rejection {
    let text = match error {
        regex::Error::CompiledTooBig(limit) => format!("compiles to more than {limit} bytes; simplify it"),
        // The parser draws a multi-line picture; its last line is the cause.
        other => {
            other.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
        }
    };
    path.field("regex").reject(format_args!("not a valid regular expression: {text}"))
}

/// A search-and-replace: the pattern and the replacement in the regex crate's notation.
pub(super) fn substitution(
    rewrite: &RegexMatchAndSubstitute,
    path: &Path<'_>,
) -> Result<(Regex, Box<[u8]>), Rejection> {
    let RegexMatchAndSubstitute { pattern, substitution } = rewrite;
    let pattern_path = path.field("pattern");
    let text = regex_text(fields::message(pattern, &pattern_path)?, &pattern_path)?;
    let pattern = search(text).map_err(|error| bad_regex(error, &pattern_path))?;
    let groups = pattern.captures_len();
    let replacement =
        replacement(substitution, groups).map_err(|message| path.field("substitution").reject(message))?;
    Ok((pattern, replacement.into_bytes().into_boxed_slice()))
}

/// RE2's `\1` notation to the crate's `${1}`.
fn replacement(text: &str, groups: usize) -> Result<String, String> {
    let mut out = String::with_capacity(text.len() + 8);
    let mut chars = text.chars();
    while let Some(next) = chars.next() {
        match next {
            '$' => out.push_str("$$"),
            '\\' => match chars.next() {
                Some('\\') => out.push('\\'),
                Some(digit @ '0'..='9') if (digit as usize - '0' as usize) < groups => {
                    out.push_str("${");
                    out.push(digit);
                    out.push('}');
                }
                Some(digit @ '0'..='9') => return Err(format!("the pattern has no group {digit}")),
                _ => return Err("a backslash must be followed by a digit or a backslash".to_owned()),
            },
            other => out.push(other),
        }
    }
    Ok(out)
}

/// A header matcher, deprecated forms included.
pub(super) fn header(matcher: &HeaderMatcher, path: &Path<'_>) -> Result<HeaderMatch, Rejection> {
    let HeaderMatcher { name, invert_match, treat_missing_header_as_empty, header_match_specifier } = matcher;
    let name = header_name(name, &path.field("name"))?;
    let kind = match header_match_specifier {
        None => HeaderMatchKind::Present(true),
        Some(specifier) => header_kind(specifier, path)?,
    };
    // `Host` is not a header once the head is parsed: Envoy matches it as `:authority`.
    let name = if &*name == "host" { ":authority".into() } else { name };
    Ok(HeaderMatch { name, kind, invert: *invert_match, missing_as_empty: *treat_missing_header_as_empty })
}

#[allow(deprecated, reason = "control planes still send the deprecated forms")]
fn header_kind(specifier: &HeaderMatchSpecifier, path: &Path<'_>) -> Result<HeaderMatchKind, Rejection> {
    let filled = |text: &str, name: &str| -> Result<Vec<u8>, Rejection> {
        fields::required(text, &path.field(name)).map(|text| text.as_bytes().to_vec())
    };
    let value = match specifier {
        HeaderMatchSpecifier::PresentMatch(present) => return Ok(HeaderMatchKind::Present(*present)),
        HeaderMatchSpecifier::RangeMatch(range) if range.start >= range.end => {
            return Err(path.field("range_match").reject("start must be below end"));
        }
        HeaderMatchSpecifier::RangeMatch(range) => {
            return Ok(HeaderMatchKind::Range { start: range.start, end: range.end });
        }
        HeaderMatchSpecifier::StringMatch(matcher) => string(matcher, &path.field("string_match"))?,
        HeaderMatchSpecifier::SafeRegexMatch(matcher) => {
            StringMatch::Regex(regex(matcher, &path.field("safe_regex_match"))?)
        }
        HeaderMatchSpecifier::ExactMatch(text) => StringMatch::Exact(filled(text, "exact_match")?),
        HeaderMatchSpecifier::PrefixMatch(text) => StringMatch::Prefix(filled(text, "prefix_match")?),
        HeaderMatchSpecifier::SuffixMatch(text) => StringMatch::Suffix(filled(text, "suffix_match")?),
        HeaderMatchSpecifier::ContainsMatch(text) => StringMatch::Contains(filled(text, "contains_match")?),
    };
    Ok(HeaderMatchKind::Value(value))
}

/// A query parameter matcher.
pub(super) fn query(matcher: &QueryParameterMatcher, path: &Path<'_>) -> Result<QueryMatch, Rejection> {
    let QueryParameterMatcher { name, query_parameter_match_specifier } = matcher;
    let name = fields::required(name, &path.field("name"))?;
    let kind = match query_parameter_match_specifier {
        None => QueryMatchKind::Present(true),
        Some(QueryParameterMatchSpecifier::PresentMatch(present)) => QueryMatchKind::Present(*present),
        Some(QueryParameterMatchSpecifier::StringMatch(matcher)) => {
            QueryMatchKind::Value(string(matcher, &path.field("string_match"))?)
        }
    };
    Ok(QueryMatch { name: name.into(), kind })
}

/// A cookie matcher.
pub(super) fn cookie(matcher: &CookieMatcher, path: &Path<'_>) -> Result<CookieMatch, Rejection> {
    let CookieMatcher { name, string_match, invert_match } = matcher;
    let name = fields::required(name, &path.field("name"))?;
    let value_path = path.field("string_match");
    let value = string(fields::message(string_match, &value_path)?, &value_path)?;
    Ok(CookieMatch { name: name.into(), value, invert: *invert_match })
}

/// A lower-cased header name: a token (RFC 9110 5.1), or one of the request pseudo-headers.
pub(super) fn header_name(name: &str, path: &Path<'_>) -> Result<Box<str>, Rejection> {
    let lower = fields::required(name, path)?.to_ascii_lowercase();
    let token = lower.strip_prefix(':').unwrap_or(&lower);
    if !token.is_empty() && token.bytes().all(is_token_byte) {
        Ok(lower.into_boxed_str())
    } else {
        Err(path.reject(format_args!("{name:?} is not a header name")))
    }
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
