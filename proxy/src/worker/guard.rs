//! Network filters before the terminal one, at work on a new connection.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use super::authz;
use crate::base::error::ResponseFlags;
use crate::base::matcher::{HeaderMatch, StringMatch};
use crate::config::guard::{Guard, OpenConnection};
use crate::config::listener::FilterChain;
use crate::config::rbac::{Access, Facts, details as rbac_details};
use crate::config::value_match::{MetadataMatch, MetadataSource};
use crate::net::stream::Stream;
use crate::observe::cel::Program;
use crate::observe::connection::{DownstreamConnection, Refusal};
use crate::observe::record::{Record, Timing};
use crate::stats::registry::Gauge;
use crate::tls::PeerIdentity;
use crate::upstream::local::Local;

/// Where access rules leave their verdicts for logs.
const RBAC: &str = "envoy.filters.network.rbac";

/// What a connection holds while it is served.
pub(super) struct Admission<'w> {
    local: &'w Local,
    /// Gauges that count it.
    gauges: Vec<Gauge>,
    _places: Vec<OpenConnection>,
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        for gauge in &self.gauges {
            self.local.stats.gauge_add(*gauge, -1);
        }
    }
}

/// Asks the guards that need to know nothing of the connection.
pub(super) async fn admit<'w>(chain: &FilterChain, local: &'w Local) -> Result<Admission<'w>, Refusal> {
    let mut admission = Admission { local, gauges: Vec::new(), _places: Vec::new() };
    for guard in &chain.guards {
        match guard {
            Guard::Rate(stats, bucket) => {
                if !bucket.take(Instant::now()) {
                    local.stats.inc(stats.rate_limited);
                    let (flags, closed) =
                        (ResponseFlags::UPSTREAM_RETRY_LIMIT_EXCEEDED, "local_ratelimit_close_over_limit");
                    return Err(Refusal { flags, closed, ..Refusal::default() });
                }
            }
            Guard::Count(limit) => {
                local.stats.gauge_add(limit.stats.active_connections, 1);
                admission.gauges.push(limit.stats.active_connections);
                match limit.take() {
                    Some(place) => admission._places.push(place),
                    None => {
                        local.stats.inc(limit.stats.limited_connections);
                        wait(limit.delay).await;
                        return Err(Refusal { closed: "over_connection_limit", ..Refusal::default() });
                    }
                }
            }
            Guard::Access(_) | Guard::Asked(_) => {}
        }
    }
    Ok(admission)
}

/// Asks the guards that want to know who it is, in their order: the first refusal ends it. What they leave for logs goes
/// to the connection.
pub(super) async fn authorise(
    chain: &FilterChain,
    local: &Rc<Local>,
    io: &Stream,
    connection: &mut DownstreamConnection,
) -> Result<(), Refusal> {
    for guard in &chain.guards {
        let refused = match guard {
            Guard::Access(access) => {
                let checked = access.rules.rules.check(&Peer { io, connection }, &access.rules, &local.stats);
                let left = checked.fields(&access.rules);
                let verdict = checked.access();
                if !left.is_empty() {
                    connection.metadata.get_or_insert_default().merge(RBAC, left);
                }
                match verdict {
                    Access::Allowed => None,
                    Access::Denied(policy) => {
                        wait(access.delay).await;
                        let termination = rbac_details(policy).to_string();
                        Some(Refusal { termination, closed: "rbac_deny_close", ..Refusal::default() })
                    }
                }
            }
            Guard::Asked(service) => authz::ask(service, local, connection).await.map(|details| {
                let flags = ResponseFlags::UNAUTHORIZED_EXTERNAL_SERVICE;
                Refusal { flags, details: details.into(), ..Refusal::default() }
            }),
            Guard::Rate(..) | Guard::Count(_) => None,
        };
        if let Some(refusal) = refused {
            return Err(refusal);
        }
    }
    Ok(())
}

async fn wait(delay: Duration) {
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
}

/// A connection as access rules see it.
struct Peer<'c> {
    io: &'c Stream,
    connection: &'c DownstreamConnection,
}

impl Facts for Peer<'_> {
    fn header(&self, matcher: &HeaderMatch) -> bool {
        matcher.matches(None)
    }

    fn path(&self) -> Option<&[u8]> {
        None
    }

    fn metadata(&self, matcher: &MetadataMatch) -> bool {
        matcher.place.source == MetadataSource::Request && matcher.matches(None)
    }

    fn destination(&self) -> SocketAddr {
        self.connection.destination
    }

    fn peer(&self) -> SocketAddr {
        self.connection.peer
    }

    fn client(&self) -> SocketAddr {
        self.connection.peer
    }

    fn server_name(&self) -> &str {
        &self.connection.server_name
    }

    fn authenticated(&self, matcher: Option<&StringMatch>) -> bool {
        self.io.is_tls()
            && matcher
                .is_none_or(|matcher| PeerIdentity::is_named(self.connection.identity.as_deref(), matcher))
    }

    fn holds(&self, condition: &Program) -> bool {
        let timing = Timing::begun(SystemTime::now(), Instant::now());
        condition.holds(&Record::of_connection(self.connection, timing))
    }

    fn caller(&self) -> Option<&str> {
        self.connection.identity.as_deref().and_then(PeerIdentity::name)
    }
}
