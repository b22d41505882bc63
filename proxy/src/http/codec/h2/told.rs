//! How long heads are without compression: names and values, nothing between them, as Envoy counts.

use http::header::HeaderMap;
use http::uri::{Authority, PathAndQuery};
use http::{Extensions, Method, Uri};

use crate::http::head::HeaderBlock;

/// A request head.
pub fn request(method: &Method, uri: &Uri, headers: &HeaderMap, extensions: &Extensions) -> u64 {
    let part = |name: &str, value: Option<&str>| value.map_or(0, |value| name.len() + value.len());
    let protocol = extensions.get::<h2::ext::Protocol>().map(h2::ext::Protocol::as_str);
    // A URI without a path has "/" for one; only CONNECT has none at all.
    let path = uri.scheme().and(uri.path_and_query()).map(PathAndQuery::as_str);
    let pseudo = part(":method", Some(method.as_str()))
        + part(":scheme", uri.scheme_str())
        + part(":authority", uri.authority().map(Authority::as_str))
        + part(":path", path)
        + part(":protocol", protocol);
    pseudo as u64 + fields(headers)
}

/// A response head.
pub fn response(headers: &HeaderMap) -> u64 {
    (":status".len() + 3) as u64 + fields(headers)
}

/// Trailers.
pub fn trailers(block: &HeaderBlock) -> u64 {
    block.iter().map(|(name, value)| (name.len() + value.len()) as u64).sum()
}

fn fields(headers: &HeaderMap) -> u64 {
    headers.iter().map(|(name, value)| (name.as_str().len() + value.len()) as u64).sum()
}
