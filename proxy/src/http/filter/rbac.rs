//! `envoy.filters.http.rbac`: who may do what.

use std::net::SocketAddr;

use super::{Call, Running, Verdict};
use crate::base::error::ResponseFlags;
use crate::base::matcher::{HeaderMatch, StringMatch};
use crate::config::filter::{HttpFilter, RouteFilter};
use crate::config::rbac::{Access, Facts, RbacFilter};
use crate::config::value_match::{MetadataMatch, MetadataSource};
use crate::http::local_reply::LocalReply;
use crate::http::route::header_matches;
use crate::observe::cel::Program;
use crate::tls::PeerIdentity;

impl Facts for Call<'_, '_> {
    fn header(&self, matcher: &HeaderMatch) -> bool {
        header_matches(matcher, self.head)
    }

    fn path(&self) -> Option<&[u8]> {
        Some(self.head.path_only())
    }

    fn metadata(&self, matcher: &MetadataMatch) -> bool {
        // As in Envoy a request without a route satisfies nothing, not even the contrary.
        let known = matcher.place.source == MetadataSource::Request || self.found.is_some();
        known && matcher.matches(Call::metadata(self, &matcher.place))
    }

    fn destination(&self) -> SocketAddr {
        self.ctx.destination
    }

    fn peer(&self) -> SocketAddr {
        self.ctx.peer
    }

    fn client(&self) -> SocketAddr {
        self.summary.client
    }

    fn server_name(&self) -> &str {
        &self.ctx.server_name
    }

    fn authenticated(&self, matcher: Option<&StringMatch>) -> bool {
        let identity = self.ctx.peer_identity.as_deref();
        self.ctx.tls && matcher.is_none_or(|matcher| PeerIdentity::is_named(identity, matcher))
    }

    fn holds(&self, condition: &Program) -> bool {
        condition.holds(&self.summary.record(Some(self.head)))
    }

    fn caller(&self) -> Option<&str> {
        self.ctx.peer_identity.as_deref().and_then(PeerIdentity::name)
    }
}

pub(super) fn request<'r>(
    running: &Running<'r>,
    filter: &'r HttpFilter,
    own: &'r RbacFilter,
    call: &Call<'_, 'r>,
) -> Verdict {
    let rules = running.levels.settings(filter.id, Some(&own.rules), |config| match config {
        RouteFilter::Rbac(rules) => Some(rules.as_deref()),
        _ => None,
    });
    let Some(rules) = rules else { return Verdict::Pass };
    match rules.check(call, own, &call.ctx.local.stats) {
        Access::Allowed => Verdict::Pass,
        Access::Denied(policy) => {
            let mut reply = LocalReply::new(403, ResponseFlags::NONE, "", "RBAC: access denied");
            // Details are one word.
            let policy = policy.unwrap_or("none").replace(char::is_whitespace, "_");
            reply.details = format!("rbac_access_denied_matched_policy[{policy}]").into();
            Verdict::Answer(Box::new(reply))
        }
    }
}
