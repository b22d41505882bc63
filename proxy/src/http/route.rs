//! Route lookup: virtual host by Envoy's domain search order, then the first route whose conditions all
//! hold. There is no fall-through to another virtual host.

use super::hash_policy::{self, Ends};
use super::head::{Method, RequestHead};
use crate::base::ids::ClusterId;
use crate::base::matcher::HeaderMatch;
use crate::config::Snapshot;
use crate::config::route::{
    ChosenBy, ClusterChoice, EntryCluster, Literal, PathMatch, Route, RouteMatch, RouteTable,
    ShownCertificate, VirtualHost, WeightedCluster,
};

/// A matched route with its virtual host.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    /// The virtual host.
    pub virtual_host: &'a VirtualHost,
    /// The route.
    pub route: &'a Route,
}

/// Finds the route of a virtual host for `head`. `random` is the request's one random value: it serves every
/// runtime fraction and the weighted cluster choice. `shown` is what the client has shown in its handshake.
pub fn find<'a>(
    virtual_host: &'a VirtualHost,
    head: &RequestHead,
    random: u64,
    shown: ShownCertificate,
) -> Option<Found<'a>> {
    let route = virtual_host.routes.iter().find(|route| matches(&route.matches, head, random, shown))?;
    Some(Found { virtual_host, route })
}

/// The virtual host for `head`, by its authority or by the header that the table names.
pub fn virtual_host_for<'a>(table: &'a RouteTable, head: &RequestHead) -> Option<&'a VirtualHost> {
    match &table.host_header {
        None => find_virtual_host(table, head.authority()),
        Some(name) => find_virtual_host(table, head.lines(name).next()?),
    }
}

/// Domain search: exact, longest `*suffix`, longest `prefix*`, then `*`.
pub fn find_virtual_host<'a>(table: &'a RouteTable, authority: &[u8]) -> Option<&'a VirtualHost> {
    let any = || table.any.and_then(|index| table.virtual_hosts.get(index));
    if table.exact.is_empty() && table.suffix.is_empty() && table.prefix.is_empty() {
        return any();
    }
    let host = if table.ignore_port { without_port(authority) } else { authority };
    let Ok(host) = std::str::from_utf8(host) else { return any() };
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return lookup(table, &host.to_ascii_lowercase()).or_else(any);
    }
    lookup(table, host).or_else(any)
}

fn lookup<'a>(table: &'a RouteTable, host: &str) -> Option<&'a VirtualHost> {
    let wildcard = |list: &[(Box<str>, usize)], fits: fn(&str, &str) -> bool| {
        // A wildcard never matches the empty string.
        list.iter().find(|(text, _)| host.len() > text.len() && fits(host, text)).map(|(_, index)| *index)
    };
    let index = table.exact.get(host).copied();
    let index = index.or_else(|| wildcard(&table.suffix, |host, text| host.ends_with(text)));
    let index = index.or_else(|| wildcard(&table.prefix, |host, text| host.starts_with(text)));
    table.virtual_hosts.get(index?)
}

/// The host without `:port`; an IPv6 literal keeps its brackets.
pub fn without_port(authority: &[u8]) -> &[u8] {
    let Some(colon) = memchr::memrchr(b':', authority) else { return authority };
    let digits = &authority[colon + 1..];
    let in_literal = memchr::memchr(b']', digits).is_some();
    if in_literal || !digits.iter().all(u8::is_ascii_digit) { authority } else { &authority[..colon] }
}

/// Whether a request is one of these; `random` decides about shares.
pub(super) fn matches(
    conditions: &RouteMatch,
    head: &RequestHead,
    random: u64,
    shown: ShownCertificate,
) -> bool {
    const PER_MILLION: u64 = 1_000_000;
    if let Some(share) = conditions.runtime_fraction_ppm
        && random % PER_MILLION >= u64::from(share)
    {
        return false;
    }
    path_matches(conditions, head)
        && (!conditions.grpc || head.is_grpc())
        && conditions.certificate.is_none_or(|wanted| wanted.holds(shown))
        && conditions.headers.iter().all(|matcher| header_matches(matcher, head))
        && conditions.query.iter().all(|matcher| matcher.matches(head.query()))
        && conditions.cookies.iter().all(|matcher| matcher.matches(head.lines("cookie")))
}

fn path_matches(conditions: &RouteMatch, head: &RequestHead) -> bool {
    let stripped;
    let mut path = head.path_only();
    if conditions.ignore_parameters && memchr::memchr(b';', path).is_some() {
        stripped = without_parameters(path);
        path = &stripped;
    }
    match &conditions.path {
        PathMatch::Connect => head.method == Method::Connect && head.upgrade.is_none(),
        // Plain CONNECT has no path to compare.
        _ if head.method == Method::Connect && head.upgrade.is_none() => false,
        PathMatch::Prefix(prefix) => starts_with(path, prefix),
        PathMatch::Exact(text) => path.len() == text.text.len() && starts_with(path, text),
        PathMatch::SeparatedPrefix(prefix) => {
            starts_with(path, prefix) && matches!(path.get(prefix.text.len()), None | Some(b'/'))
        }
        PathMatch::Regex(regex) => regex.is_match(path),
    }
}

/// The path without the parameters of its segments: what follows a `;` up to the next slash (RFC 3986, 3.3).
fn without_parameters(path: &[u8]) -> Vec<u8> {
    let bare = |segment: &[u8]| {
        let end = memchr::memchr(b';', segment).unwrap_or(segment.len());
        segment[..end].to_vec()
    };
    path.split(|byte| *byte == b'/').map(bare).collect::<Vec<_>>().join(&b'/')
}

fn starts_with(path: &[u8], prefix: &Literal) -> bool {
    let Some(start) = path.get(..prefix.text.len()) else { return false };
    if prefix.ignore_case { start.eq_ignore_ascii_case(&prefix.text) } else { *start == *prefix.text }
}

/// Whether a request satisfies `matcher`; pseudo-headers are legal names.
pub(super) fn header_matches(matcher: &HeaderMatch, head: &RequestHead) -> bool {
    matcher.matches(head.lines(&matcher.name))
}

/// The chosen cluster, and the weighted entry with its own settings when there is one.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Cluster; `None` when a header names none that exists.
    pub cluster: Option<ClusterId>,
    /// The weighted entry.
    pub entry: Option<&'a WeightedCluster>,
}

/// Chooses the cluster for a request.
pub fn choose_cluster<'a>(
    choice: &'a ClusterChoice,
    snapshot: &Snapshot,
    head: &RequestHead,
    ends: Ends,
    random: u64,
) -> Target<'a> {
    match choice {
        ClusterChoice::One(cluster) => Target { cluster: Some(*cluster), entry: None },
        ClusterChoice::Weighted(weighted) => {
            let told = match &weighted.chosen_by {
                ChosenBy::Random => None,
                ChosenBy::Header(name) => only_number(name, head),
                ChosenBy::Hash(policies) => hash_policy::of_request(policies, head, ends),
            };
            let entry = weighted.choose(told.unwrap_or(random));
            let cluster = entry.and_then(|entry| match &entry.cluster {
                EntryCluster::Named(cluster) => Some(*cluster),
                EntryCluster::Header(name) => named_by(name, snapshot, head),
            });
            Target { cluster, entry }
        }
        ClusterChoice::Header { name } => Target { cluster: named_by(name, snapshot, head), entry: None },
    }
}

/// The number in a header that occurs once.
fn only_number(header: &str, head: &RequestHead) -> Option<u64> {
    let mut lines = head.lines(header);
    let (value, None) = (lines.next()?, lines.next()) else { return None };
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// The cluster that the first line of a header names.
fn named_by(header: &str, snapshot: &Snapshot, head: &RequestHead) -> Option<ClusterId> {
    let name = std::str::from_utf8(head.lines(header).next()?).ok()?;
    snapshot.cluster_names.get(name).copied()
}

#[cfg(test)]
mod tests;
