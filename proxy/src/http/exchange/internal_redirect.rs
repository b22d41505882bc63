//! Internal redirects: a redirect of the upstream that is followed here, unseen by the client.

use super::Exchange;
use crate::config::internal_redirect::{InternalRedirects, Predicate};
use crate::config::route::Forward;
use crate::http::head::{BodyLength, Method, RequestHead, ResponseHead};
use crate::http::header_id::HeaderId;
use crate::http::replay::ReplayBuffer;
use crate::http::route::{self, Found};
use crate::stats::scope::HttpStats;

/// The redirects that a request has followed.
#[derive(Debug, Default)]
pub(in crate::http) struct Followed {
    count: u32,
    /// Names of the routes that led and were led to.
    steps: Vec<(Box<str>, Box<str>)>,
    /// The body, to be sent once more.
    body: Option<ReplayBuffer>,
}

/// Why a redirect goes to the client after all.
enum Kept {
    /// The request is not complete, or no longer there to be sent again.
    Gone,
    BadLocation,
    UnsafeScheme,
    TooMany,
    NoRoute,
    Predicate,
}

impl Exchange<'_> {
    /// Points the request to where `response` redirects it, if the route follows such redirects: true when it is to be
    /// routed anew.
    pub(in crate::http) fn follow_redirect(
        &mut self,
        forward: &Forward,
        found: Found<'_>,
        replay: &ReplayBuffer,
        response: &ResponseHead,
    ) -> bool {
        let policy = forward.internal_redirects.as_deref();
        let Some(policy) = policy.filter(|policy| policy.statuses.contains(&response.status)) else {
            return false;
        };
        let followed = self.try_to_follow(policy, found, replay, response);
        let (shard, http) = (&self.ctx.local.stats, &self.ctx.settings.stats);
        let cluster = self.summary.cluster.as_ref().map(|cluster| &cluster.config().stats);
        match (&followed, cluster) {
            (Ok(()), Some(stats)) => shard.inc(stats.upstream_internal_redirect_succeeded_total),
            (Err(kept), stats) => {
                stats.into_iter().for_each(|stats| shard.inc(stats.upstream_internal_redirect_failed_total));
                kept.counter(http).into_iter().for_each(|counter| shard.inc(counter));
            }
            (Ok(()), None) => {}
        }
        followed.is_ok()
    }

    fn try_to_follow(
        &mut self,
        policy: &InternalRedirects,
        found: Found<'_>,
        replay: &ReplayBuffer,
        response: &ResponseHead,
    ) -> Result<(), Kept> {
        let has_body = self.head.body != BodyLength::None;
        if has_body && !(replay.is_ended() && replay.can_replay()) {
            return Err(Kept::Gone);
        }
        let location = response.block.get(HeaderId::Location).ok_or(Kept::Gone)?;
        let target = Target::parse(location).ok_or(Kept::BadLocation)?;
        let was_https = self.head.https;
        if !policy.cross_scheme && target.https != was_https {
            return Err(Kept::UnsafeScheme);
        }
        if self.followed.as_ref().map_or(0, |followed| followed.count) >= policy.max {
            return Err(Kept::TooMany);
        }
        let mut next = self.head.copy();
        copy_headers(policy, response, &mut next);
        next.https = target.https;
        next.set_authority(target.authority);
        next.set_path(&target.path);
        let leads_to = self.route_of(&next).ok_or(Kept::NoRoute)?.to_owned();
        self.check(policy, &found.route.name, &leads_to, was_https, target.https)?;
        if response.status == 303 && !matches!(next.method, Method::Get | Method::Head) {
            next.method_text = next.block.push_text(b"GET");
            (next.method, next.body) = (Method::Get, BodyLength::None);
        }
        let scheme: &[u8] = if was_https { b"https://" } else { b"http://" };
        let original = [scheme, self.head.authority(), self.head.path_and_query()].concat();
        next.block.set(b"x-envoy-original-url", &original);
        self.head = next;
        let followed = self.followed.get_or_insert_default();
        followed.count += 1;
        Ok(())
    }

    /// The name of the route that `head` finds.
    fn route_of(&self, head: &RequestHead) -> Option<&str> {
        let virtual_host = route::virtual_host_for(self.ctx.route_table(self.view)?, head)?;
        route::find(virtual_host, head, self.random, self.ctx.shown_certificate())
            .map(|found| &*found.route.name)
    }

    fn check(
        &mut self,
        policy: &InternalRedirects,
        from: &str,
        to: &str,
        was_https: bool,
        https: bool,
    ) -> Result<(), Kept> {
        for predicate in &policy.predicates {
            let holds = match predicate {
                Predicate::SafeScheme => was_https || !https,
                Predicate::Named(names) => names.iter().any(|name| **name == *to),
                Predicate::NotVisited => {
                    let steps = &mut self.followed.get_or_insert_default().steps;
                    let visited = steps.iter().any(|(a, b)| **a == *from && **b == *to);
                    steps.push((from.into(), to.into()));
                    !visited
                }
            };
            if !holds {
                return Err(Kept::Predicate);
            }
        }
        Ok(())
    }

    /// Keeps the body for the request's next turn.
    pub(in crate::http) fn keep_body(&mut self, body: ReplayBuffer) {
        if self.head.body != BodyLength::None
            && let Some(followed) = &mut self.followed
        {
            followed.body = Some(body);
        }
    }

    /// The body of a request that was redirected.
    pub(in crate::http) fn kept_body(&mut self) -> Option<ReplayBuffer> {
        self.followed.as_mut()?.body.take()
    }
}

impl Kept {
    fn counter(&self, stats: &HttpStats) -> Option<crate::stats::registry::Counter> {
        match self {
            Kept::Gone => None,
            Kept::BadLocation => Some(stats.passthrough_internal_redirect_bad_location),
            Kept::UnsafeScheme => Some(stats.passthrough_internal_redirect_unsafe_scheme),
            Kept::TooMany => Some(stats.passthrough_internal_redirect_too_many_redirects),
            Kept::NoRoute => Some(stats.passthrough_internal_redirect_no_route),
            Kept::Predicate => Some(stats.passthrough_internal_redirect_predicate),
        }
    }
}

/// Headers of the response that the next request is to have, or not to have.
fn copy_headers(policy: &InternalRedirects, response: &ResponseHead, next: &mut RequestHead) {
    for name in &policy.copied_headers {
        next.block.remove_named(name.as_bytes());
        for field in response.block.fields_named(name.as_bytes()) {
            next.block.append(name.as_bytes(), response.block.bytes(field.value));
        }
    }
}

/// Where a redirect leads: an absolute http or https URI.
#[derive(Debug, PartialEq, Eq)]
struct Target<'l> {
    https: bool,
    authority: &'l [u8],
    path: Vec<u8>,
}

impl<'l> Target<'l> {
    fn parse(location: &'l [u8]) -> Option<Self> {
        let at = memchr::memmem::find(location, b"://")?;
        let https = match &location[..at] {
            scheme if scheme.eq_ignore_ascii_case(b"https") => true,
            scheme if scheme.eq_ignore_ascii_case(b"http") => false,
            _ => return None,
        };
        let rest = &location[at + 3..];
        let rest = &rest[..memchr::memchr(b'#', rest).unwrap_or(rest.len())];
        let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let sound = |text: &[u8]| text.iter().all(u8::is_ascii_graphic);
        if authority.is_empty() || authority.contains(&b'@') || !sound(rest) {
            return None;
        }
        let path = if path.starts_with(b"/") { path.to_vec() } else { [b"/", path].concat() };
        Some(Self { https, authority, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_absolute_http_uris_are_followed() {
        let parse = |text: &'static str| {
            let target = Target::parse(text.as_bytes())?;
            let (authority, path) = (target.authority.to_vec(), target.path);
            Some((target.https, String::from_utf8(authority).unwrap(), String::from_utf8(path).unwrap()))
        };
        let found = |https, authority: &str, path: &str| Some((https, authority.to_owned(), path.to_owned()));
        assert_eq!(parse("http://a.test/b?c#d"), found(false, "a.test", "/b?c"));
        assert_eq!(parse("HTTPS://a.test:444"), found(true, "a.test:444", "/"));
        assert_eq!(parse("http://a.test?q"), found(false, "a.test", "/?q"));
        for bad in
            ["", "/b", "a.test/b", "ftp://a.test/", "http://", "http:///b", "http://me@a/", "http://a/ b"]
        {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
