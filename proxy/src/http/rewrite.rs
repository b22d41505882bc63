//! Path and host rewrites of a matched route.

use std::borrow::Cow;

use super::head::RequestHead;
use crate::config::route::{HostRewrite, PathMatch, PathRewrite};

/// Path and query after the rewrite; `matched` is the route's path condition.
pub fn path(rewrite: &PathRewrite, matched: &PathMatch, target: &[u8]) -> Vec<u8> {
    let split = memchr::memchr(b'?', target).unwrap_or(target.len());
    let (path, query) = target.split_at(split);
    let mut out = match rewrite {
        PathRewrite::Full(text) => text.as_bytes().to_vec(),
        PathRewrite::Prefix(text) => {
            let rest = path.get(matched_len(matched, path)..).unwrap_or_default();
            [text.as_bytes(), rest].concat()
        }
        PathRewrite::Regex { pattern, substitution } => {
            pattern.replace_all(path, substitution.as_ref()).into_owned()
        }
    };
    out.extend_from_slice(query);
    out
}

/// How much of the path the condition covered: the prefix, or everything.
fn matched_len(matched: &PathMatch, path: &[u8]) -> usize {
    match matched {
        PathMatch::Prefix(prefix) | PathMatch::SeparatedPrefix(prefix) => prefix.text.len(),
        PathMatch::Exact(_) | PathMatch::Regex(_) | PathMatch::Connect => path.len(),
    }
}

/// The authority to send; `None` keeps it. `hostname` is the picked host's name.
pub fn host<'a>(rewrite: &'a HostRewrite, head: &'a RequestHead, hostname: &'a str) -> Option<Cow<'a, [u8]>> {
    match rewrite {
        HostRewrite::Literal(text) => Some(text.as_bytes().into()),
        HostRewrite::Auto => (!hostname.is_empty()).then(|| hostname.as_bytes().into()),
        HostRewrite::Header(name) => head.block.get_by_name(name.as_bytes()).map(Cow::Borrowed),
        HostRewrite::PathRegex { pattern, substitution } => {
            Some(pattern.replace_all(head.path_only(), substitution.as_ref()).into_owned().into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::matcher::full_match_regex;
    use crate::config::route::Literal;

    fn prefix(text: &str) -> PathMatch {
        PathMatch::Prefix(Literal { text: text.as_bytes().into(), ignore_case: false })
    }

    #[test]
    fn prefixes_are_replaced_and_queries_kept() {
        let to = |text: &str| PathRewrite::Prefix(text.into());
        assert_eq!(path(&to("/"), &prefix("/foo"), b"/foo/bar?x=1"), b"//bar?x=1");
        assert_eq!(path(&to("/v1/"), &prefix("/foo/"), b"/foo/bar"), b"/v1/bar");
        let regex = PathMatch::Regex(full_match_regex("/a/.*").unwrap());
        assert_eq!(path(&to("/new"), &regex, b"/a/b?q"), b"/new?q");
    }

    #[test]
    fn regexes_replace_every_match_outside_the_query() {
        let pattern = regex::bytes::Regex::new("/item/([0-9]+)").unwrap();
        let rewrite = PathRewrite::Regex { pattern, substitution: b"/i/${1}".as_slice().into() };
        assert_eq!(path(&rewrite, &prefix("/"), b"/item/1/item/2?/item/3"), b"/i/1/i/2?/item/3");
    }
}
