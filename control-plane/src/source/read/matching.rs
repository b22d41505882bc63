//! Conditions of routes and gateway routes.

use super::syntax::{expression, header_name};
use super::{Fields, FromNode, Reader};
use crate::model::{GrpcMatch, HeaderMatch, HttpMatch, PathMatch, QueryMatch, ValueMatch};
use crate::source::node::Node;

impl FromNode for HttpMatch {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, "match", cx)?;
        let path = path(&mut fields, cx);
        let method = fields.optional("method", cx);
        let scheme = fields.optional("scheme", cx);
        let port = fields.port(cx);
        let headers = fields.list("headers", 1..=10, cx);
        let query = fields.list("queryParameters", 1..=10, cx);
        fields.finish(cx)?;
        Some(Self { path, method, scheme, port, headers, query })
    }
}

impl FromNode for GrpcMatch {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, "match", cx)?;
        let service = fields.text("serviceName", 1..=1024, cx);
        let method = fields.text("methodName", 1..=50, cx);
        let metadata = fields.list("metadata", 1..=10, cx);
        let port = fields.port(cx);
        fields.finish(cx)?;
        if method.is_some() && service.is_none() {
            let message = "match has methodName without serviceName; add serviceName";
            cx.report.error(&node.at, "missing-key", message);
            return None;
        }
        Some(Self { service, method, metadata, port })
    }
}

/// `prefix` or `path`.
pub(super) fn path(fields: &mut Fields<'_>, cx: &mut Reader<'_>) -> Option<PathMatch> {
    match fields.at_most_one(&["prefix", "path"], cx)? {
        "prefix" => fields.optional_with("prefix", cx, prefix),
        _ => fields.optional_with("path", cx, exact_or_regex),
    }
}

fn prefix(node: &Node, cx: &mut Reader<'_>) -> Option<PathMatch> {
    let prefix = cx.text(node, "prefix")?;
    if !prefix.starts_with('/') && cx.is_known(node) {
        let message = format!("prefix \"{prefix}\" does not begin with a slash; write \"/{prefix}\"");
        cx.report.error(&node.at, "bad-value", message);
        return None;
    }
    if prefix.contains(['?', '#']) && cx.is_known(node) {
        let message = format!(
            "prefix \"{prefix}\" matches no request, for paths are compared without their query; correct it"
        );
        cx.report.warn(&node.at, "never-matches", message);
    }
    Some(PathMatch::Prefix(prefix))
}

fn exact_or_regex(node: &Node, cx: &mut Reader<'_>) -> Option<PathMatch> {
    let mut fields = Fields::open(node, "path", cx)?;
    let path = match fields.exactly_one(&["exact", "regex"], cx) {
        Some("exact") => fields.optional_with("exact", cx, exact),
        Some(_) => fields.checked_text("regex", 1..=255, expression, cx).map(PathMatch::Regex),
        None => None,
    };
    fields.finish(cx)?;
    path
}

/// A path that no request has is no reason to refuse the mesh: App Mesh took it too.
fn exact(node: &Node, cx: &mut Reader<'_>) -> Option<PathMatch> {
    let path = cx.bounded_text(node, "exact", 1..=255)?;
    if cx.is_known(node) && (!path.starts_with('/') || path.contains(['?', '#'])) {
        let message = format!(
            "exact \"{path}\" matches no request, for paths begin with a slash and are compared without their query; \
             correct it"
        );
        cx.report.warn(&node.at, "never-matches", message);
    }
    Some(PathMatch::Exact(path))
}

impl FromNode for HeaderMatch {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, "the header condition", cx)?;
        let name = fields.required_with("name", cx, |n, cx| cx.checked_text(n, "name", 1..=50, header_name));
        let invert = fields.optional("invert", cx);
        let value = fields.optional("match", cx);
        fields.finish(cx)?;
        Some(Self { name: name?, invert: invert.unwrap_or(false), value })
    }
}

impl FromNode for ValueMatch {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, "match", cx)?;
        let value = match fields.exactly_one(&["exact", "regex", "prefix", "suffix", "range"], cx) {
            Some("exact") => fields.text("exact", 1..=255, cx).map(Self::Exact),
            Some("regex") => fields.checked_text("regex", 1..=255, expression, cx).map(Self::Regex),
            Some("prefix") => fields.text("prefix", 1..=255, cx).map(Self::Prefix),
            Some("suffix") => fields.text("suffix", 1..=255, cx).map(Self::Suffix),
            Some(_) => fields.optional_with("range", cx, range),
            None => None,
        };
        fields.finish(cx)?;
        value
    }
}

fn range(node: &Node, cx: &mut Reader<'_>) -> Option<ValueMatch> {
    let mut fields = Fields::open(node, "range", cx)?;
    let start = fields.required_integer("start", i64::MIN..=i64::MAX, cx);
    let end = fields.required_integer("end", i64::MIN..=i64::MAX, cx);
    fields.finish(cx)?;
    let (start, end): (i64, i64) = (start?, end?);
    if start >= end {
        let message =
            format!("range from {start} to {end} holds nothing, for end is exclusive; make end larger");
        cx.report.error(&node.at, "bad-value", message);
        return None;
    }
    Some(ValueMatch::Range { start, end })
}

impl FromNode for QueryMatch {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, "the query condition", cx)?;
        let name = fields.required_text("name", 1..=1024, cx);
        let exact = fields.optional_with("match", cx, |n, cx| {
            let mut fields = Fields::open(n, "match", cx)?;
            let exact = fields.required_with("exact", cx, |n, cx| cx.text_or_empty(n, "exact"));
            fields.finish(cx)?;
            exact
        });
        fields.finish(cx)?;
        Some(Self { name: name?, exact })
    }
}
