//! Strings that sidecars take apart: expressions, formats, names of headers and hosts, paths.
//!
//! Sidecars refuse the whole resource that holds an expression, format or name of a header that they cannot read, so it
//! must not get that far.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use outrigger_grammar::{command, regex};

use super::{Fields, Reader};
use crate::source::node::Node;

/// What is wrong with a text and what to do, to follow the quoted text.
type Check = fn(&str) -> Result<(), String>;

impl Reader<'_> {
    /// A string with a length in characters that sidecars can read.
    pub fn checked_text(
        &mut self,
        node: &Node,
        what: &str,
        length: RangeInclusive<usize>,
        check: Check,
    ) -> Option<String> {
        let text = self.bounded_text(node, what, length)?;
        match check(&text) {
            Err(fault) if self.is_known(node) => {
                self.report.error(&node.at, "bad-value", format!("{what} \"{text}\" {fault}"));
                None
            }
            _ => Some(text),
        }
    }
}

impl Fields<'_> {
    /// An optional string with a length in characters that sidecars can read.
    pub fn checked_text(
        &mut self,
        key: &'static str,
        length: RangeInclusive<usize>,
        check: Check,
        cx: &mut Reader<'_>,
    ) -> Option<String> {
        self.optional_with(key, cx, |node, cx| cx.checked_text(node, key, length, check))
    }
}

/// RE2, as Envoy has it.
pub(super) fn expression(text: &str) -> Result<(), String> {
    let Err(error) = regex::full_match(text) else { return Ok(()) };
    let said = error.to_string();
    let why = said.rsplit_once("error: ").map_or(said.as_str(), |(_, why)| why).trim();
    Err(format!("is no expression that sidecars take ({why}); correct it"))
}

/// RFC 9110 5.1, and `:pseudo-headers`.
pub(super) fn header_name(text: &str) -> Result<(), String> {
    match http::HeaderName::from_bytes(text.strip_prefix(':').unwrap_or(text).as_bytes()) {
        Ok(_) => Ok(()),
        Err(_) => Err("is no name of a header; use letters, digits and hyphens".to_owned()),
    }
}

/// A line of an access log, or one of its JSON values.
pub(super) fn command_string(text: &str) -> Result<(), String> {
    command::check(text).map_err(|fault| format!("is no format of an access log: {fault}"))
}

/// RFC 1123 2.1, with underscores, which resolvers take; or an address.
pub(super) fn host_name(text: &str) -> Result<(), String> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if text.parse::<IpAddr>().is_ok() || text.strip_suffix('.').unwrap_or(text).split('.').all(label) {
        return Ok(());
    }
    Err("is no name of a host; write labels of letters, digits and hyphens with dots between, no scheme and no port"
        .to_owned())
}

/// RFC 9110 7.1, origin form.
pub(super) fn request_path(text: &str) -> Result<(), String> {
    if text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
        return Ok(());
    }
    Err("holds what no path has; write spaces and other such characters as %20 and the like".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A check, what it takes, and what it refuses with words of the refusal.
    type Case<'c> = (Check, &'c [&'c str], &'c [(&'c str, &'c str)]);

    #[test]
    fn what_sidecars_refuse_is_refused() {
        let cases: [Case<'_>; 5] = [
            (
                expression,
                &["/a/[0-9]+", r"\Qa.b\E", "(?i)x"],
                &[("/a(", "unclosed group"), (r"(a)\1", "backreferences"), ("a(?=b)", "look-around")],
            ),
            (
                header_name,
                &["x-a", ":method", "X_b"],
                &[("x y", "no name of a header"), (":", "no name"), ("é", "")],
            ),
            (
                command_string,
                &["%START_TIME% %%\n", "%REQ(:path?x):3%"],
                &[("100%", "not an operator"), ("%NO%", "unknown operator"), ("%REQ(a", "not closed")],
            ),
            (
                host_name,
                &["a.local", "a_b.c.", "10.0.0.1", "::1"],
                &[
                    ("a b", ""),
                    ("http://a.b", "no scheme"),
                    ("a:80", ""),
                    ("a..b", ""),
                    ("*.a", ""),
                    (".", ""),
                ],
            ),
            (request_path, &["/", "/a?b=%20"], &[("/a b", "%20"), ("/é", ""), ("a", "")]),
        ];
        for (check, good, bad) in cases {
            for text in good {
                assert_eq!(check(text), Ok(()), "{text}");
            }
            for (text, wanted) in bad {
                let said = check(text).unwrap_err();
                assert!(said.contains(wanted), "{text}: {said}");
            }
        }
        assert!(expression("(a{1000}){1000}").unwrap_err().contains("size limit"));
        assert!(host_name(&"a".repeat(64)).is_err());
    }
}
