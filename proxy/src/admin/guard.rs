//! Which requests are answered at all. A browser on this machine must not become a way in: neither by a
//! name that was made to resolve to us (DNS rebinding) nor by a form of a foreign page (cross-site POST).

use std::net::IpAddr;

use hyper::header::{HOST, HeaderMap, HeaderValue, ORIGIN};

/// Ends of names that nobody can register on the public DNS.
const PRIVATE_SUFFIXES: &[&str] =
    &[".localhost", ".local", ".internal", ".home.arpa", ".lan", ".test", ".svc", ".invalid"];

/// Why a request is refused; the text tells what to do.
pub(super) fn refuse(headers: &HeaderMap, allowed_hosts: &[String]) -> Option<String> {
    let host = headers.get(HOST).map(HeaderValue::as_bytes);
    let name = host.map(|host| host_name(host).unwrap_or_default());
    if let Some(name) = name.as_ref().filter(|name| !is_own_name(name, allowed_hosts)) {
        return Some(format!(
            "Host {name:?} is not a name of this endpoint: use an IP address, localhost or a private name\n"
        ));
    }
    let origin = headers.get(ORIGIN)?;
    let of_origin = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    let same = of_origin.is_some() && of_origin.map(str::as_bytes) == host;
    (!same).then(|| "requests from other sites are refused\n".to_owned())
}

/// Host without port and brackets, in lower case.
fn host_name(host: &[u8]) -> Option<String> {
    let host = std::str::from_utf8(host).ok()?;
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    Some(name.trim_end_matches('.').to_ascii_lowercase())
}

/// Addresses, single labels and private names cannot be rebound by an outsider.
fn is_own_name(name: &str, allowed_hosts: &[String]) -> bool {
    if name.is_empty() {
        return false;
    }
    name.parse::<IpAddr>().is_ok()
        || !name.contains('.')
        || PRIVATE_SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
        || allowed_hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests;
