//! Patterns of sampling rules: `*` stands for any text, `?` for one character, case does not matter.

/// Whether `pattern` matches all of `text`. Time is bounded by the product of both lengths.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on after a mismatch: behind the last star, one character later.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        match (pattern.get(p), text.get(t)) {
            (Some(b'*'), _) => {
                p += 1;
                if p == pattern.len() {
                    return true;
                }
                retry = Some((p, t));
            }
            (Some(wanted), Some(found)) if *wanted == b'?' || wanted.eq_ignore_ascii_case(found) => {
                (p, t) = (p + 1, t + 1);
            }
            (None, None) => return true,
            _ => match retry {
                Some((star, from)) if from < text.len() => {
                    (p, t) = (star, from + 1);
                    retry = Some((star, from + 1));
                }
                _ => return false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars_and_question_marks() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("*", "anything", true),
            ("", "", true),
            ("", "a", false),
            ("/api/*", "/api/", true),
            ("/api/*", "/API/x/y", true),
            ("/api/*", "/ap", false),
            ("*.local", "a.b.local", true),
            ("*.local", "a.local.b", false),
            ("?", "", false),
            ("?", "a", true),
            ("a?c*e", "abcde", true),
            ("a*b*c", "aXbXbXc", true),
            ("a*b*c", "aXbXbX", false),
            ("**x**", "x", true),
            ("*?", "", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    /// The definition, exponential and plain.
    fn slowly(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => (0..=text.len()).any(|skip| slowly(rest, &text[skip..])),
            ([b'?', rest @ ..], [_, tail @ ..]) => slowly(rest, tail),
            ([one, rest @ ..], [other, tail @ ..]) => one == other && slowly(rest, tail),
            _ => false,
        }
    }

    #[test]
    fn it_agrees_with_the_definition() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..20_000 {
            let pattern: Vec<u8> = (0..random.usize(..7)).map(|_| b"ab?*"[random.usize(..4)]).collect();
            let text: Vec<u8> = (0..random.usize(..8)).map(|_| b"ab"[random.usize(..2)]).collect();
            assert_eq!(matches(&pattern, &text), slowly(&pattern, &text), "{pattern:?} {text:?}");
        }
    }
}
