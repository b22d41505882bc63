//! `envoy.filters.http.rbac`: who may do what.

use std::net::SocketAddr;

use super::{Call, Running, Verdict};
use crate::base::details::Detail;
use crate::base::error::ResponseFlags;
use crate::base::matcher::{HeaderMatch, StringMatch};
use crate::config::filter::{HttpFilter, RouteFilter};
use crate::config::rbac::{Access, Facts, RbacFilter, details};
use crate::config::value_match::{MetadataMatch, MetadataSource};
use crate::http::local_reply::LocalReply;
use crate::http::route::header_matches;
use crate::observe::cel::Program;
use crate::tls::PeerIdentity;

/// Where verdicts are left for later filters and for logs.
const NAMESPACE: &str = "envoy.filters.http.rbac";

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
        self.ctx.connection.destination
    }

    fn peer(&self) -> SocketAddr {
        self.ctx.connection.peer
    }

    fn client(&self) -> SocketAddr {
        self.summary.client
    }

    fn server_name(&self) -> &str {
        &self.ctx.connection.server_name
    }

    fn authenticated(&self, matcher: Option<&StringMatch>) -> bool {
        let identity = self.ctx.peer_identity();
        self.ctx.is_tls() && matcher.is_none_or(|matcher| PeerIdentity::is_named(identity, matcher))
    }

    fn holds(&self, condition: &Program) -> bool {
        condition.holds(&self.summary.record(Some(self.head)))
    }

    fn caller(&self) -> Option<&str> {
        self.ctx.peer_identity().and_then(PeerIdentity::name)
    }
}

pub(super) fn request<'r>(
    running: &Running<'r>,
    filter: &'r HttpFilter,
    own: &'r RbacFilter,
    call: &mut Call<'_, 'r>,
) -> Verdict {
    let rules = running.levels.settings(filter.id, Some(&own.rules), |config| match config {
        RouteFilter::Rbac(rules) => Some(rules.as_deref()),
        _ => None,
    });
    let Some(rules) = rules else { return Verdict::Pass };
    let checked = rules.check(call, own, &call.ctx.local.stats);
    let left = checked.fields(own);
    if !left.is_empty() {
        call.summary.metadata.get_or_insert_default().merge(NAMESPACE, left);
    }
    match checked.access() {
        Access::Allowed => Verdict::Pass,
        Access::Denied(policy) => {
            let mut reply =
                LocalReply::new(403, ResponseFlags::NONE, Detail::RBAC_ACCESS_DENIED, "RBAC: access denied");
            reply.details = details(policy);
            Verdict::Answer(Box::new(reply))
        }
    }
}
