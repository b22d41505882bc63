//! RE2 expressions, compiled as Envoy's matchers and rewrites use them.

pub use ::regex::Error;
use ::regex::bytes::{Regex, RegexBuilder};

/// Compiles `pattern`, in RE2 syntax, so that it must match the whole input, as Envoy's matchers do.
///
/// Unicode classes are off: RE2 in Envoy works on bytes. The program size is bounded.
///
/// # Errors
/// What the expression has that RE2 does not know, or that it is too large.
pub fn full_match(pattern: &str) -> Result<Regex, Error> {
    let pattern = crate::re2::to_regex_syntax(pattern);
    if pattern.contains(')') {
        // `a)|(b` is wrong, but would balance the group below and lose the anchors.
        compile(&pattern)?;
    }
    compile(&format!("^(?:{pattern})$"))
}

/// Compiles `pattern`, in RE2 syntax, to be searched for anywhere in the input (rewrites).
///
/// # Errors
/// As [`full_match`].
pub fn search(pattern: &str) -> Result<Regex, Error> {
    compile(&crate::re2::to_regex_syntax(pattern))
}

fn compile(pattern: &str) -> Result<Regex, Error> {
    RegexBuilder::new(pattern).unicode(false).dot_matches_new_line(false).size_limit(1 << 20).build()
}
