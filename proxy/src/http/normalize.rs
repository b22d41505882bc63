//! Path normalisation before matching (RFC 3986, 6.2.2; Envoy `normalize_path`, `merge_slashes`,
//! `path_with_escaped_slashes_action`). What was matched is what goes upstream.

use crate::config::listener::{EscapedSlashes, HttpSettings};

/// The verdict on a request path.
#[derive(Debug, PartialEq, Eq)]
pub enum Normalized {
    /// As it was.
    Unchanged,
    /// Go on with this path and query.
    Changed(Vec<u8>),
    /// Answer 307 to this path and query.
    Redirect(Vec<u8>),
    /// Answer 400.
    Rejected,
}

/// Normalises `target` (path and query) as the connection manager says.
pub fn normalize(target: &[u8], settings: &HttpSettings) -> Normalized {
    if is_plain(target) {
        return Normalized::Unchanged;
    }
    if memchr::memchr(b'#', target).is_some() {
        return Normalized::Rejected;
    }
    let split = memchr::memchr(b'?', target).unwrap_or(target.len());
    let (path, query) = target.split_at(split);
    let (mut path, mut redirect) = (path.to_vec(), false);
    if has_escaped_slash(&path) {
        match settings.escaped_slashes {
            EscapedSlashes::KeepUnchanged => {}
            EscapedSlashes::Reject => return Normalized::Rejected,
            EscapedSlashes::UnescapeAndForward => path = unescape_slashes(&path),
            EscapedSlashes::UnescapeAndRedirect => {
                path = unescape_slashes(&path);
                redirect = true;
            }
        }
    }
    if settings.normalize_path {
        match canonical(&path) {
            Some(clean) => path = clean,
            None => return Normalized::Rejected,
        }
    }
    if settings.merge_slashes {
        path.dedup_by(|next, previous| *next == b'/' && *previous == b'/');
    }
    path.extend_from_slice(query);
    match (redirect, path == target) {
        (true, _) => Normalized::Redirect(path),
        (false, true) => Normalized::Unchanged,
        (false, false) => Normalized::Changed(path),
    }
}

/// The common case in one pass: no byte that any rule is about before the query, and no `#` at all.
#[inline]
fn is_plain(target: &[u8]) -> bool {
    let mut previous = 0;
    for (at, byte) in target.iter().enumerate() {
        match byte {
            b'#' | b'%' | b'\\' => return false,
            b'?' => return memchr::memchr(b'#', &target[at..]).is_none(),
            b'/' | b'.' if previous == b'/' => return false,
            _ => previous = *byte,
        }
    }
    true
}

fn has_escaped_slash(path: &[u8]) -> bool {
    path.windows(3).any(is_escaped_slash)
}

fn is_escaped_slash(window: &[u8]) -> bool {
    window.eq_ignore_ascii_case(b"%2f") || window.eq_ignore_ascii_case(b"%5c")
}

fn unescape_slashes(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some(first) = rest.first() {
        if rest.len() >= 3 && is_escaped_slash(&rest[..3]) {
            out.push(b'/');
            rest = &rest[3..];
        } else {
            out.push(*first);
            rest = &rest[1..];
        }
    }
    out
}

/// Decodes unreserved escapes, turns `\` into `/`, resolves dot segments. What is no escape stays as it is, as in
/// Envoy; `None` for NUL.
fn canonical(path: &[u8]) -> Option<Vec<u8>> {
    let decoded = decode_unreserved(path)?;
    let mut out: Vec<u8> = Vec::with_capacity(decoded.len());
    let mut segments = decoded.split(|byte| *byte == b'/').peekable();
    // The path starts with a slash: the first segment is empty.
    segments.next();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            b"." | b".." => {
                if segment == b".." {
                    let parent = memchr::memrchr(b'/', &out).unwrap_or(0);
                    out.truncate(parent);
                }
                if last {
                    out.push(b'/');
                }
            }
            _ => {
                out.push(b'/');
                out.extend_from_slice(segment);
            }
        }
    }
    if out.is_empty() {
        out.push(b'/');
    }
    Some(out)
}

fn decode_unreserved(path: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(path.len());
    let mut index = 0;
    while index < path.len() {
        match path[index] {
            b'%' => {
                let value = path.get(index + 1..index + 3).and_then(escaped);
                let taken = if value.is_some() { 3 } else { 1 };
                match value {
                    Some(0) => return None,
                    Some(byte @ (b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~')) => {
                        out.push(byte)
                    }
                    _ => out.extend_from_slice(&path[index..index + taken]),
                }
                index += taken;
            }
            b'\\' => {
                out.push(b'/');
                index += 1;
            }
            byte => {
                out.push(byte);
                index += 1;
            }
        }
    }
    Some(out)
}

fn escaped(digits: &[u8]) -> Option<u8> {
    Some(hex(digits[0])? << 4 | hex(digits[1])?)
}

fn hex(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean(path: &str) -> Option<String> {
        canonical(path.as_bytes()).map(|path| String::from_utf8(path).unwrap())
    }

    #[test]
    fn dot_segments_and_escapes() {
        for (path, want) in [
            ("/a/../b", "/b"),
            ("/a/./b/", "/a/b/"),
            ("/..", "/"),
            ("/../../x", "/x"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/%61%2e%2E/x", "/a../x"),
            ("/a/%2e%2e/b", "/b"),
            ("/a\\b", "/a/b"),
            ("/a%2Fb", "/a%2Fb"),
            ("/a//b", "/a//b"),
        ] {
            assert_eq!(clean(path).as_deref(), Some(want), "{path}");
        }
        for path in ["/%", "/%2", "/%zz", "/%2%2e"] {
            assert_eq!(clean(path).as_deref(), Some(path.replace("%2e", ".").as_str()), "{path}");
        }
        assert_eq!(clean("/%00"), None);
    }

    #[test]
    fn ordinary_paths_are_left_alone() {
        for path in [&b"/"[..], b"/api/v1/items", b"/a.b/c..d"] {
            assert!(is_plain(path), "{path:?}");
        }
    }
}
