//! Path and host rewrites of a matched route.

use std::borrow::Cow;

use crate::config::route::{HostRewrite, PathMatch, PathRewrite};
use crate::observe::format::Format;
use crate::observe::record::Record;

/// Path and query after the rewrite of the request of `record`; `matched` is the route's path condition. `None`
/// leaves them as they are.
pub fn path(rewrite: &PathRewrite, matched: &PathMatch, record: &Record<'_>) -> Option<Vec<u8>> {
    let target = record.request?.path_and_query();
    let split = memchr::memchr(b'?', target).unwrap_or(target.len());
    let (path, query) = target.split_at(split);
    let mut out = match rewrite {
        PathRewrite::Full(text) => text.as_bytes().to_vec(),
        PathRewrite::Format(format) => rendered(format, b"", record)?,
        PathRewrite::Prefix(text) => {
            let rest = path.get(matched_len(matched, path)..).unwrap_or_default();
            [text.as_bytes(), rest].concat()
        }
        PathRewrite::Regex { pattern, substitution } => {
            pattern.replace_all(path, substitution.as_ref()).into_owned()
        }
    };
    if out.is_empty() {
        return None;
    }
    out.extend_from_slice(query);
    Some(out)
}

/// The text of a format, unless it is empty. White space would end a request target.
fn rendered(format: &Format, missing: &[u8], record: &Record<'_>) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    format.render(record, missing, &mut text);
    text.retain(|byte| *byte > b' ' && *byte != 0x7f);
    (!text.is_empty()).then_some(text)
}

/// How much of the path the condition covered: the prefix, or everything.
fn matched_len(matched: &PathMatch, path: &[u8]) -> usize {
    match matched {
        PathMatch::Prefix(prefix) | PathMatch::SeparatedPrefix(prefix) => prefix.text.len(),
        PathMatch::Exact(_) | PathMatch::Regex(_) | PathMatch::Connect => path.len(),
    }
}

/// The authority to send; `None` keeps it. That of the picked host ([`HostRewrite::Auto`]) is not known here.
pub fn host<'a>(rewrite: &'a HostRewrite, record: &Record<'a>) -> Option<Cow<'a, [u8]>> {
    let head = record.request?;
    match rewrite {
        HostRewrite::Auto => None,
        HostRewrite::Literal(text) => Some(text.as_bytes().into()),
        HostRewrite::Format(format) => rendered(format, b"-", record).map(Cow::Owned),
        HostRewrite::Header(name) => {
            head.lines(name).next().filter(|value| !value.is_empty()).map(Cow::Borrowed)
        }
        HostRewrite::PathRegex { pattern, substitution } => {
            Some(pattern.replace_all(head.path_only(), substitution.as_ref()).into_owned().into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::route::Literal;
    use crate::http::test_heads::request;
    use crate::observe::test_record::Exchange;
    use outrigger_grammar::regex::full_match;

    fn rewritten(rewrite: &PathRewrite, matched: &PathMatch, target: &str) -> Option<String> {
        let head = request("GET", target, "h", &[("x-a", "b c")]);
        let exchange = Exchange::example();
        let record = Record { request: Some(&head), ..exchange.record() };
        path(rewrite, matched, &record).map(|path| String::from_utf8(path).unwrap())
    }

    fn prefix(text: &str) -> PathMatch {
        PathMatch::Prefix(Literal { text: text.as_bytes().into(), ignore_case: false })
    }

    #[test]
    fn prefixes_are_replaced_and_queries_kept() {
        let to = |text: &str| PathRewrite::Prefix(text.into());
        assert_eq!(rewritten(&to("/"), &prefix("/foo"), "/foo/bar?x=1").as_deref(), Some("//bar?x=1"));
        assert_eq!(rewritten(&to("/v1/"), &prefix("/foo/"), "/foo/bar").as_deref(), Some("/v1/bar"));
        let regex = PathMatch::Regex(full_match("/a/.*").unwrap());
        assert_eq!(rewritten(&to("/new"), &regex, "/a/b?q").as_deref(), Some("/new?q"));
    }

    #[test]
    fn regexes_replace_every_match_outside_the_query() {
        let pattern = regex::bytes::Regex::new("/item/([0-9]+)").unwrap();
        let rewrite = PathRewrite::Regex { pattern, substitution: b"/i/${1}".as_slice().into() };
        let path = rewritten(&rewrite, &prefix("/"), "/item/1/item/2?/item/3");
        assert_eq!(path.as_deref(), Some("/i/1/i/2?/item/3"));
    }

    #[test]
    fn formats_make_targets_without_space_or_nothing() {
        let to = |text: &str| PathRewrite::Format(Format::parse(text).unwrap());
        assert_eq!(rewritten(&to("/%REQ(x-a)%"), &prefix("/"), "/x?q").as_deref(), Some("/bc?q"));
        assert_eq!(rewritten(&to("%REQ(x-none)%"), &prefix("/"), "/x"), None);
    }
}
