//! Compiled matchers for strings, numeric ranges and headers. Built by the translator, run per request.
//! Semantics: Envoy `StringMatcher`, `HeaderMatcher`, `Int64Range`.

use regex::bytes::Regex;

/// Envoy `type.matcher.v3.StringMatcher`, compiled.
#[derive(Clone, Debug)]
pub enum StringMatch {
    /// Whole value equal.
    Exact(Vec<u8>),
    /// Value starts with.
    Prefix(Vec<u8>),
    /// Value ends with.
    Suffix(Vec<u8>),
    /// Value contains.
    Contains(Vec<u8>),
    /// The whole value matches; the expression is already anchored at both ends.
    Regex(Regex),
    /// One of the literal kinds, ASCII case ignored; the inner pattern is lower case.
    IgnoreCase(Box<StringMatch>),
}

impl StringMatch {
    /// Whether `value` matches.
    pub fn matches(&self, value: &[u8]) -> bool {
        match self {
            StringMatch::Exact(want) => value == want.as_slice(),
            StringMatch::Prefix(want) => value.starts_with(want),
            StringMatch::Suffix(want) => value.ends_with(want),
            StringMatch::Contains(want) => contains(value, want),
            StringMatch::Regex(regex) => regex.is_match(value),
            StringMatch::IgnoreCase(inner) => inner.matches(&value.to_ascii_lowercase()),
        }
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(haystack, needle).is_some()
}

/// Envoy `HeaderMatcher`, compiled. The name is lower case; pseudo-headers (`:method`, `:path`,
/// `:authority`, `:scheme`) are legal names.
#[derive(Clone, Debug)]
pub struct HeaderMatch {
    /// Lower-case field name.
    pub name: Box<str>,
    /// What a value must be; of several lines one is enough.
    pub kind: HeaderMatchKind,
    /// Flips the result, but a missing header matches only as `missing_as_empty` or `Present(false)` say.
    pub invert: bool,
    /// `treat_missing_header_as_empty`.
    pub missing_as_empty: bool,
}

/// The value side of a [`HeaderMatch`].
#[derive(Clone, Debug)]
pub enum HeaderMatchKind {
    /// Header present (true) or absent (false).
    Present(bool),
    /// Value text.
    Value(StringMatch),
    /// Value is a base-10 integer with `start <= value < end`.
    Range {
        /// Inclusive.
        start: i64,
        /// Exclusive.
        end: i64,
    },
}

impl HeaderMatch {
    /// Whether a header with these lines satisfies this matcher: one that fits is enough. None: the header is absent.
    pub fn matches<'v>(&self, lines: impl IntoIterator<Item = &'v [u8]>) -> bool {
        let mut lines = lines.into_iter().peekable();
        let present = lines.peek().is_some() || self.missing_as_empty;
        if let HeaderMatchKind::Present(want) = self.kind {
            return (present == want) != self.invert;
        }
        let fits = match lines.peek() {
            Some(_) => lines.any(|line| self.fits(line)),
            None => self.fits(b""),
        };
        present && fits != self.invert
    }

    fn fits(&self, value: &[u8]) -> bool {
        match &self.kind {
            HeaderMatchKind::Value(matcher) => matcher.matches(value),
            HeaderMatchKind::Range { start, end } => {
                parse_i64(value).is_some_and(|number| *start <= number && number < *end)
            }
            HeaderMatchKind::Present(_) => true,
        }
    }
}

fn parse_i64(value: &[u8]) -> Option<i64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Envoy `QueryParameterMatcher`: the first value of a repeated key counts, values are not decoded.
#[derive(Clone, Debug)]
pub struct QueryMatch {
    /// Parameter name, compared as written.
    pub name: Box<str>,
    /// What the parameter must be.
    pub kind: QueryMatchKind,
}

/// The value side of a [`QueryMatch`].
#[derive(Clone, Debug)]
pub enum QueryMatchKind {
    /// Parameter present (true) or absent (false).
    Present(bool),
    /// Value text; a parameter without `=` has an empty value.
    Value(StringMatch),
}

impl QueryMatch {
    /// Whether the query string (without `?`) satisfies this matcher.
    pub fn matches(&self, query: &[u8]) -> bool {
        let mut pairs = query.split(|byte| *byte == b'&').map(split_pair);
        self.matches_value(pairs.find(|(key, _)| *key == self.name.as_bytes()).map(|(_, value)| value))
    }

    /// Whether the parameter, `None` without one, satisfies this matcher.
    pub fn matches_value(&self, found: Option<&[u8]>) -> bool {
        match &self.kind {
            QueryMatchKind::Present(want) => found.is_some() == *want,
            QueryMatchKind::Value(matcher) => found.is_some_and(|value| matcher.matches(value)),
        }
    }
}

/// Envoy `CookieMatcher`: the value of a cookie, of several of one name the first.
#[derive(Clone, Debug)]
pub struct CookieMatch {
    /// Cookie name, compared as written.
    pub name: Box<str>,
    /// What its value must be.
    pub value: StringMatch,
    /// Flips the result. A cookie that is missing does not match, so then it does.
    pub invert: bool,
}

impl CookieMatch {
    /// Whether the cookies in these `cookie` lines satisfy this matcher.
    pub fn matches<'v>(&self, lines: impl IntoIterator<Item = &'v [u8]>) -> bool {
        cookie_value(lines, &self.name).is_some_and(|value| self.value.matches(value)) != self.invert
    }
}

/// The value of a cookie in `cookie` lines, without quotes; of several of one name the first.
pub fn cookie_value<'v>(lines: impl IntoIterator<Item = &'v [u8]>, name: &str) -> Option<&'v [u8]> {
    let cookies = lines.into_iter().flat_map(|line| line.split(|byte| *byte == b';'));
    // What has no `=` is no cookie.
    let mut pairs = cookies.filter(|cookie| cookie.contains(&b'=')).map(split_pair);
    let found = pairs.find(|(known, _)| known.trim_ascii() == name.as_bytes());
    found.map(|(_, value)| unquoted(value.trim_ascii()))
}

/// A cookie's value without the quotes around it (RFC 6265, 4.1.1).
fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|inner| inner.strip_suffix(b"\"")).unwrap_or(value)
}

fn split_pair(pair: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b'=', pair) {
        Some(at) => (&pair[..at], &pair[at + 1..]),
        None => (pair, b""),
    }
}
