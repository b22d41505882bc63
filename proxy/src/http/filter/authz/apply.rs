//! Changes that an authorization service makes to requests and responses. Names and values are checked first: none of
//! them breaks a message, and none is of the codec's business (framing, the connection).

use crate::config::filter::authz::{Rules, Ruling};
use crate::http::filter::query;
use crate::http::head::{HeaderBlock, Method, RequestHead};
use crate::http::local_reply::LocalReply;

use super::answer::Grant;

/// Headers that the codec answers for.
const OF_THE_CODEC: &[&str] = &[
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// One header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::http::filter) struct Edit {
    /// Lower-case name.
    pub(super) name: String,
    /// Value.
    pub(super) value: Vec<u8>,
    /// How it meets one of the same name.
    pub(super) how: How,
}

/// How a header meets one of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// In its place.
    Set,
    /// Beside it.
    Add,
    /// Behind its value, after a comma; without one there is nothing to append to.
    Append,
    /// The same, and by itself without one.
    AppendOrAdd,
    /// Only without one.
    AddIfAbsent,
    /// Only in the place of one.
    SetIfPresent,
}

/// A change that cannot be made, or must not be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Invalid;

impl Edit {
    fn is_valid(&self) -> bool {
        let name = self.name.strip_prefix(':').unwrap_or(&self.name);
        is_token(name) && is_value(&self.value)
    }

    fn is_of_the_codec(&self) -> bool {
        OF_THE_CODEC.contains(&&*self.name)
    }

    /// Changes a response.
    pub(in crate::http::filter) fn write(&self, block: &mut HeaderBlock) {
        if self.is_valid() && !self.name.starts_with(':') && !self.is_of_the_codec() {
            self.apply(block);
        }
    }

    fn apply(&self, block: &mut HeaderBlock) {
        let (name, value) = (self.name.as_bytes(), self.value.as_slice());
        let exists = block.get_by_name(name).is_some();
        match self.how {
            How::Set => block.set(name, value),
            How::SetIfPresent if exists => block.set(name, value),
            How::Add => block.append(name, value),
            How::AddIfAbsent if !exists => block.append(name, value),
            How::Append | How::AppendOrAdd if exists => block.join(name, b",", Some(value)),
            How::AppendOrAdd => block.append(name, value),
            How::SetIfPresent | How::AddIfAbsent | How::Append => {}
        }
    }

    /// Puts the header into an answer of our own. What Envoy would have to append to is not there: it is added.
    pub(super) fn add_to_reply(self, reply: &mut LocalReply) {
        if !self.is_valid() || self.name.starts_with(':') || self.is_of_the_codec() {
            return;
        }
        let text = std::str::from_utf8(&self.value);
        match (self.name.as_str(), text) {
            ("content-type", Ok(kind)) if !reply.body.is_empty() => reply.content_type = Some(kind.into()),
            _ => reply.headers.push((self.name.into_bytes().into(), self.value)),
        }
    }
}

/// Changes a request; whether anything changed.
pub(super) fn grant(grant: &Grant, rules: Option<&Rules>, head: &mut RequestHead) -> Result<bool, Invalid> {
    let all = grant.request.iter().chain(&grant.response);
    let query = grant.query_set.iter().all(|(name, value)| !name.is_empty() && is_value(value.as_bytes()));
    if !query || !all.into_iter().all(Edit::is_valid) {
        return Err(Invalid);
    }
    let mut changed = false;
    for edit in &grant.request {
        if ruled(rules, edit.name.as_bytes())? && !edit.is_of_the_codec() {
            changed |= change(edit, head)?;
        }
    }
    for name in &grant.remove {
        let name = name.to_ascii_lowercase();
        // Without these it would be no request.
        if !name.starts_with(':') && name != "host" && ruled(rules, name.as_bytes())? {
            head.block.remove_named(name.as_bytes());
            changed = true;
        }
    }
    let changes_query = !grant.query_set.is_empty() || !grant.query_remove.is_empty();
    if changes_query && ruled(rules, b":path")? {
        change_query(grant, head);
        changed = true;
    }
    Ok(changed)
}

fn ruled(rules: Option<&Rules>, name: &[u8]) -> Result<bool, Invalid> {
    match rules.map_or(Ruling::Made, |rules| rules.of(name)) {
        Ruling::Made => Ok(true),
        Ruling::Ignored => Ok(false),
        Ruling::Fatal => Err(Invalid),
    }
}

/// A header of a request, which may be a pseudo-header. A tunnel stays one, and nothing becomes one.
fn change(edit: &Edit, head: &mut RequestHead) -> Result<bool, Invalid> {
    let value = edit.value.as_slice();
    match edit.name.as_str() {
        ":path" if value.starts_with(b"/") && value.iter().all(u8::is_ascii_graphic) => head.set_path(value),
        ":authority" | "host" if !value.is_empty() && value.iter().all(u8::is_ascii_graphic) => {
            head.set_authority(value);
        }
        ":scheme" if matches!(value, b"http" | b"https") => head.https = value == b"https",
        ":method" if is_token(std::str::from_utf8(value).unwrap_or_default()) => {
            let method = Method::of(value);
            if (method == Method::Connect) != (head.method == Method::Connect) {
                return Err(Invalid);
            }
            head.method_text = head.block.push_text(value);
            head.method = method;
        }
        name if name == "host" || name.starts_with(':') => return Err(Invalid),
        _ => edit.apply(&mut head.block),
    }
    Ok(true)
}

fn change_query(grant: &Grant, head: &mut RequestHead) {
    let mut parameters: Vec<(String, Vec<u8>)> = query::pairs(head.query())
        .zip(query::split(head.query()))
        .map(|((name, _), text)| (name, text.to_vec()))
        .collect();
    for (name, value) in &grant.query_set {
        let text = query::encoded(name, value);
        match parameters.iter().position(|(known, _)| known == name) {
            Some(at) => {
                parameters[at].1 = text;
                let mut seen = false;
                parameters.retain(|(known, _)| known != name || !std::mem::replace(&mut seen, true));
            }
            None => parameters.push((name.clone(), text)),
        }
    }
    parameters.retain(|(name, _)| !grant.query_remove.contains(name));
    let texts: Vec<Vec<u8>> = parameters.into_iter().map(|(_, text)| text).collect();
    query::replace(head, &texts.join(&b"&"[..]));
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn is_value(value: &[u8]) -> bool {
    value.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::test_heads::request;

    fn edit(name: &str, value: &str, how: How) -> Edit {
        Edit { name: name.to_owned(), value: value.as_bytes().to_vec(), how }
    }

    fn lines(head: &RequestHead, name: &str) -> Vec<String> {
        head.lines(name).map(|line| String::from_utf8_lossy(line).into_owned()).collect()
    }

    #[test]
    fn headers_are_set_appended_and_removed() {
        let mut head = request("GET", "/", "h", &[("a", "1"), ("b", "1"), ("c", "1")]);
        let changes = Grant {
            request: vec![
                edit("a", "2", How::Set),
                edit("b", "2", How::Append),
                edit("new", "1", How::Set),
                edit("none", "1", How::Append),
            ],
            remove: vec!["C".to_owned(), "host".to_owned(), ":path".to_owned()],
            ..Grant::default()
        };
        assert_eq!(grant(&changes, None, &mut head), Ok(true));
        assert_eq!(lines(&head, "a"), ["2"]);
        assert_eq!(lines(&head, "b"), ["1,2"]);
        assert_eq!(lines(&head, "new"), ["1"]);
        assert!(lines(&head, "c").is_empty() && lines(&head, "none").is_empty());
        assert_eq!((head.authority(), head.path_and_query()), (&b"h"[..], &b"/"[..]));
        assert_eq!(grant(&Grant::default(), None, &mut head), Ok(false));
    }

    #[test]
    fn pseudo_headers_stay_what_a_request_can_have() {
        let mut head = request("GET", "/a", "h", &[]);
        let one = |name: &str, value: &str| Grant {
            request: vec![edit(name, value, How::Set)],
            ..Grant::default()
        };
        for (name, value) in [(":path", "/b?c"), ("host", "other"), (":method", "PUT"), (":scheme", "https")]
        {
            assert_eq!(grant(&one(name, value), None, &mut head), Ok(true), "{name}");
        }
        assert_eq!((head.path_and_query(), head.authority()), (&b"/b?c"[..], &b"other"[..]));
        assert_eq!((head.method_text(), head.https), (&b"PUT"[..], true));
        for (name, value) in [
            (":path", "b"),
            (":path", "/a b"),
            (":method", "CONNECT"),
            (":method", "a b"),
            (":scheme", "ftp"),
            (":status", "200"),
            ("host", ""),
            ("a b", "x"),
            ("", "x"),
            ("x", "a\r\nb: c"),
            ("x", "a\0"),
        ] {
            assert_eq!(grant(&one(name, value), None, &mut head), Err(Invalid), "{name} {value}");
        }
        assert_eq!(grant(&one("content-length", "99"), None, &mut head), Ok(false));
        assert!(lines(&head, "content-length").is_empty());
    }

    #[test]
    fn rules_hold_for_whatever_is_changed() {
        let mut head = request("GET", "/", "h", &[("x-envoy-a", "1")]);
        let changes = Grant {
            request: vec![edit("x-envoy-b", "1", How::Set), edit("x-b", "1", How::Set)],
            remove: vec!["x-envoy-a".to_owned()],
            ..Grant::default()
        };
        assert_eq!(grant(&changes, Some(&Rules::default()), &mut head), Ok(true));
        assert_eq!((lines(&head, "x-b").len(), lines(&head, "x-envoy-a").len()), (1, 1));
        assert!(lines(&head, "x-envoy-b").is_empty());
        let strict = Rules { is_error: true, ..Rules::default() };
        assert_eq!(grant(&changes, Some(&strict), &mut head), Err(Invalid));
    }

    #[test]
    fn query_parameters_are_set_once_and_encoded() {
        let mut head = request("GET", "/p?q=1&r=2&r=3&keep=%20", "h", &[]);
        let changes = Grant {
            query_set: vec![("r".to_owned(), "9 é&".to_owned()), ("z".to_owned(), "1".to_owned())],
            query_remove: vec!["q".to_owned()],
            ..Grant::default()
        };
        assert_eq!(grant(&changes, None, &mut head), Ok(true));
        assert_eq!(head.path_and_query(), b"/p?r=9%20%C3%A9%26&keep=%20&z=1");
        let all = Grant { query_remove: ["r", "keep", "z"].map(str::to_owned).to_vec(), ..Grant::default() };
        assert_eq!(grant(&all, None, &mut head), Ok(true));
        assert_eq!(head.path_and_query(), b"/p");
    }
}
