//! The `location` of a redirect route.

use super::head::RequestHead;
use super::header_id::HeaderId;
use super::rewrite;
use super::route::{Found, without_port};
use crate::config::route::{Redirect, TlsRequirement};

/// Whether a virtual host with this requirement answers the request only over https. What the client spoke
/// is what `x-forwarded-proto` says, which the trust rules have set or left alone. `internal`: `x-envoy-internal`.
pub fn wants_tls(requirement: TlsRequirement, head: &RequestHead, internal: bool) -> bool {
    let required = match requirement {
        TlsRequirement::None => false,
        TlsRequirement::External => !internal,
        TlsRequirement::All => true,
    };
    required
        && !head.block.get(HeaderId::ForwardedProto).is_some_and(|proto| proto.eq_ignore_ascii_case(b"https"))
}

/// The same request over https.
pub fn to_https(head: &RequestHead) -> Vec<u8> {
    [b"https://", head.authority(), head.path_and_query()].concat()
}

/// Builds the absolute URI (RFC 9110, 10.2.2). A default port disappears when the scheme changes.
pub fn location(redirect: &Redirect, found: Found<'_>, head: &RequestHead) -> Vec<u8> {
    let scheme = redirect.scheme.as_deref().unwrap_or(head.scheme());
    let mut out = [scheme.as_bytes(), b"://"].concat();
    let authority = redirect.host.as_ref().map_or(head.authority(), |host| host.as_bytes());
    match redirect.port {
        Some(port) => {
            out.extend_from_slice(without_port(authority));
            out.extend_from_slice(format!(":{port}").as_bytes());
        }
        None if redirect.scheme.is_some() && has_default_port(authority, head.https) => {
            out.extend_from_slice(without_port(authority));
        }
        None => out.extend_from_slice(authority),
    }
    out.extend_from_slice(&path(redirect, found, head));
    out
}

fn has_default_port(authority: &[u8], https: bool) -> bool {
    authority.ends_with(if https { b":443" } else { b":80" })
}

fn path(redirect: &Redirect, found: Found<'_>, head: &RequestHead) -> Vec<u8> {
    let target = head.path_and_query();
    let mut path = match &redirect.path {
        Some(rewrite) => rewrite::path(rewrite, &found.route.matches.path, target),
        None => target.to_vec(),
    };
    let own_query =
        matches!(&redirect.path, Some(crate::config::route::PathRewrite::Full(text)) if text.contains('?'));
    if own_query || redirect.strip_query {
        // A configured path keeps the query it brings, never the request's.
        let query =
            if own_query { memchr::memchr_iter(b'?', &path).nth(1) } else { memchr::memchr(b'?', &path) };
        path.truncate(query.unwrap_or(path.len()));
    }
    path
}
