//! The `location` of a redirect route.

use super::head::RequestHead;
use super::header_id::HeaderId;
use super::rewrite;
use super::route::without_port;
use crate::config::route::{PathMatch, PathRewrite, Redirect, TlsRequirement};
use crate::observe::record::Record;

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

/// Builds the absolute URI (RFC 9110, 10.2.2) for the request of `record`.
pub fn location(redirect: &Redirect, matched: &PathMatch, record: &Record<'_>) -> Option<Vec<u8>> {
    let head = record.request?;
    let scheme = redirect.scheme.as_deref().unwrap_or(head.scheme());
    let mut out = [scheme.as_bytes(), b"://"].concat();
    match &redirect.host {
        Some(host) => out.extend_from_slice(host.as_bytes()),
        None => out.extend_from_slice(own_host(head, scheme, redirect.port.is_some())),
    }
    if let Some(port) = redirect.port {
        out.extend_from_slice(format!(":{port}").as_bytes());
    }
    out.extend_from_slice(&path(redirect, matched, record));
    Some(out)
}

/// The host the client named, without its port where another one is written or where it was the default of a scheme
/// that is left.
fn own_host<'h>(head: &'h RequestHead, scheme: &str, other_port: bool) -> &'h [u8] {
    let authority = head.authority();
    let host = without_port(authority);
    let port = &authority[host.len()..];
    let spoken = head.block.get(HeaderId::ForwardedProto).unwrap_or_default();
    let was_default = matches!((spoken, port), (b"https", b":443") | (b"http", b":80"));
    if other_port || (was_default && scheme.as_bytes() != spoken) { host } else { authority }
}

fn path(redirect: &Redirect, matched: &PathMatch, record: &Record<'_>) -> Vec<u8> {
    let target = record.request.map_or(&b""[..], RequestHead::path_and_query);
    let rewritten = redirect.path.as_ref().and_then(|rewrite| rewrite::path(rewrite, matched, record));
    let mut path = rewritten.unwrap_or_else(|| target.to_vec());
    let own_query = matches!(&redirect.path, Some(PathRewrite::Full(text)) if text.contains('?'));
    if own_query || redirect.strip_query {
        // A configured path keeps the query it brings, never the request's.
        let query =
            if own_query { memchr::memchr_iter(b'?', &path).nth(1) } else { memchr::memchr(b'?', &path) };
        path.truncate(query.unwrap_or(path.len()));
    }
    path
}
