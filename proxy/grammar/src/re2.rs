//! RE2 syntax for the `regex` crate: the two agree but for a few spellings, rewritten here.
//!
//! Source: RE2 `doc/syntax.txt`; the `regex` crate's syntax page. What neither knows (back-references, look-around)
//! stays as written and is refused by the compiler with its own words.

/// Rewrites the spellings that RE2 reads differently:
/// `\Q..\E` quoting, `\C`, octal escapes, `\<` and `\>`, a `{` that starts no repetition, and inside
/// classes `[`, `&&`, `--`, `~~`, which are plain characters in RE2 and set operators in the crate.
pub(crate) fn to_regex_syntax(pattern: &str) -> String {
    let mut scanner = Scanner { rest: pattern, out: String::with_capacity(pattern.len() + 8), class: None };
    while scanner.step() {}
    scanner.out
}

struct Scanner<'p> {
    rest: &'p str,
    out: String,
    /// Characters seen inside the current class, `None` outside.
    class: Option<usize>,
}

impl Scanner<'_> {
    /// Handles one construct. False at the end.
    fn step(&mut self) -> bool {
        let Some(next) = self.rest.chars().next() else { return false };
        match (next, self.class) {
            ('\\', _) => self.escape(),
            ('[', None) => self.open_class(),
            (_, None) => self.outside(next),
            (_, Some(seen)) => self.inside(next, seen),
        }
        true
    }

    fn take(&mut self, bytes: usize) -> &str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        taken
    }

    fn copy(&mut self, bytes: usize) {
        let (taken, rest) = self.rest.split_at(bytes);
        self.out.push_str(taken);
        self.rest = rest;
    }

    fn outside(&mut self, next: char) {
        if next == '{' && !is_repetition(self.rest) {
            self.out.push('\\');
        }
        self.copy(next.len_utf8());
    }

    fn open_class(&mut self) {
        let negated = self.rest.as_bytes().get(1) == Some(&b'^');
        self.copy(1 + usize::from(negated));
        self.class = Some(0);
    }

    fn inside(&mut self, next: char, seen: usize) {
        self.class = Some(seen + 1);
        match next {
            // The first character of a class is never its end.
            ']' if seen > 0 => {
                self.class = None;
                self.copy(1);
            }
            '[' => match posix_class(self.rest) {
                Some(length) => self.copy(length),
                None => {
                    self.out.push('\\');
                    self.copy(1);
                }
            },
            '&' | '~' => {
                self.out.push('\\');
                self.copy(1);
            }
            // A range from `-` or up to `-`.
            '-' if self.rest.starts_with("--") => {
                self.take(2);
                self.class = Some(seen + 2);
                self.out.push_str(if seen == 0 { "\\--" } else { "-\\-" });
            }
            _ => self.copy(next.len_utf8()),
        }
    }

    fn escape(&mut self) {
        if let Some(seen) = self.class {
            self.class = Some(seen + 1);
        }
        let bytes = self.rest.as_bytes();
        match bytes.get(1) {
            Some(b'Q') => self.quoted(),
            Some(b'C') if self.class.is_none() => {
                self.take(2);
                self.out.push_str("(?s:.)");
            }
            Some(b'<' | b'>') => {
                self.take(1);
                self.copy(1);
            }
            Some(b'0'..=b'7') if octal_length(&bytes[1..]) > 1 || bytes[1] == b'0' => self.octal(),
            _ => {
                let length = self.rest.chars().nth(1).map_or(1, |c| 1 + c.len_utf8());
                self.copy(length);
            }
        }
    }

    fn quoted(&mut self) {
        self.take(2);
        let end = self.rest.find("\\E").unwrap_or(self.rest.len());
        let literal = self.take(end).to_owned();
        self.out.push_str(&regex::escape(&literal));
        if !self.rest.is_empty() {
            self.take(2);
        }
    }

    fn octal(&mut self) {
        let length = octal_length(&self.rest.as_bytes()[1..]);
        let digits = self.take(1 + length)[1..].to_owned();
        let value = digits.bytes().fold(0u32, |value, digit| value * 8 + u32::from(digit - b'0'));
        self.out.push_str(&format!("\\x{{{value:X}}}"));
    }
}

/// Number of octal digits at the start, at most three.
fn octal_length(bytes: &[u8]) -> usize {
    bytes.iter().take(3).take_while(|byte| matches!(byte, b'0'..=b'7')).count()
}

/// Whether `text`, which starts with `{`, is `{n}`, `{n,}` or `{n,m}`.
fn is_repetition(text: &str) -> bool {
    let Some(body) = text[1..].split_once('}').map(|(body, _)| body) else { return false };
    let (low, high) = body.split_once(',').unwrap_or((body, ""));
    !low.is_empty() && [low, high].iter().all(|part| part.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Length of `[:name:]` at the start of `text`.
fn posix_class(text: &str) -> Option<usize> {
    let body = text.strip_prefix("[:")?;
    let end = body.find(":]")?;
    let name = body[..end].strip_prefix('^').unwrap_or(&body[..end]);
    name.bytes().all(|byte| byte.is_ascii_lowercase()).then_some(end + 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_that_differ_are_rewritten() {
        let cases = [
            (r"/v1/[0-9]+", r"/v1/[0-9]+"),
            (r"a\Q.*\Eb", r"a\.\*b"),
            (r"\Qopen.end", r"open\.end"),
            (r"\Cx", r"(?s:.)x"),
            (r"\101\0", r"\x{41}\x{0}"),
            (r"\<tag\>", r"<tag>"),
            (r"/{id}", r"/\{id}"),
            (r"a{2}b{2,}c{2,3}d{,3}", r"a{2}b{2,}c{2,3}d\{,3}"),
            (r"[a&&b]", r"[a\&\&b]"),
            (r"[a~~b]", r"[a\~\~b]"),
            (r"[+--]", r"[+-\-]"),
            (r"[--a]", r"[\--a]"),
            (r"[[]", r"[\[]"),
            (r"[]a]", r"[]a]"),
            (r"[^]a]", r"[^]a]"),
            (r"[[:alpha:]_]", r"[[:alpha:]_]"),
            (r"[{]", r"[{]"),
            (r"\", r"\"),
            ("é\\é", "é\\é"),
        ];
        for (re2, ours) in cases {
            assert_eq!(to_regex_syntax(re2), ours, "{re2}");
        }
    }

    #[test]
    fn rewritten_patterns_mean_what_re2_means() {
        let matches = |pattern: &str, text: &str| {
            crate::regex::full_match(pattern).is_ok_and(|regex| regex.is_match(text.as_bytes()))
        };
        assert!(matches(r"[+--]", "-") && matches(r"[+--]", ",") && !matches(r"[+--]", "a"));
        assert!(matches(r"[a&&b]", "&") && matches(r"[a&&b]", "a"));
        assert!(matches(r"/{id}", "/{id}"));
        assert!(matches(r"\d+", "12") && !matches(r"\d+", "١"));
        assert!(matches("a|b", "b") && !matches("a|b", "xb"));
        assert!(!matches(r"(a)\1", "aa"));
        assert!(matches(r"\Qa.b", "a.b") && !matches("a)|(b", "a"));
    }
}
