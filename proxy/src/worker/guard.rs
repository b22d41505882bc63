//! Network filters before the terminal one, at work on a new connection.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use super::authz;
use crate::base::error::ResponseFlags;
use crate::base::matcher::{HeaderMatch, StringMatch};
use crate::base::metadata::DynamicMetadata;
use crate::config::guard::{Guard, OpenConnection};
use crate::config::listener::FilterChain;
use crate::config::rbac::{Access, Facts, details as rbac_details};
use crate::config::value_match::{MetadataMatch, MetadataSource};
use crate::net::stream::Stream;
use crate::observe::cel::Program;
use crate::observe::record::{Record, Served, Timing};
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

/// Asks the guards that need to know nothing of the connection. `None`: close it.
pub(super) async fn admit<'w>(chain: &FilterChain, local: &'w Local) -> Option<Admission<'w>> {
    let mut admission = Admission { local, gauges: Vec::new(), _places: Vec::new() };
    for guard in &chain.guards {
        match guard {
            Guard::Rate(stats, bucket) => {
                if !bucket.take(Instant::now()) {
                    local.stats.inc(stats.rate_limited);
                    return None;
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
                        return None;
                    }
                }
            }
            Guard::Access(_) | Guard::Asked(_) => {}
        }
    }
    Some(admission)
}

/// A connection that is to be closed, as its log tells of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) flags: ResponseFlags,
    pub(super) details: &'static str,
    /// Why the connection ends.
    pub(super) termination: String,
}

/// What the guards that want to know who it is have said.
#[derive(Debug, Default)]
pub(super) struct Judged {
    /// The first refusal ends it.
    pub(super) refused: Option<Refusal>,
    /// What they left for logs.
    pub(super) metadata: Option<Box<DynamicMetadata>>,
}

/// Asks the guards that want to know who it is, in their order.
pub(super) async fn authorise(chain: &FilterChain, local: &Rc<Local>, peer: &Peer<'_>) -> Judged {
    let mut judged = Judged::default();
    for guard in &chain.guards {
        judged.refused = match guard {
            Guard::Access(access) => {
                let checked = access.rules.rules.check(peer, &access.rules, &local.stats);
                let left = checked.fields(&access.rules);
                if !left.is_empty() {
                    judged.metadata.get_or_insert_default().merge(RBAC, left);
                }
                match checked.access() {
                    Access::Allowed => None,
                    Access::Denied(policy) => {
                        wait(access.delay).await;
                        let termination = rbac_details(policy);
                        Some(Refusal { flags: ResponseFlags::NONE, details: "", termination })
                    }
                }
            }
            Guard::Asked(service) => authz::ask(service, local, peer).await.map(|details| {
                let flags = ResponseFlags::UNAUTHORIZED_EXTERNAL_SERVICE;
                Refusal { flags, details, termination: String::new() }
            }),
            Guard::Rate(..) | Guard::Count(_) => None,
        };
        if judged.refused.is_some() {
            break;
        }
    }
    judged
}

async fn wait(delay: Duration) {
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
}

/// A connection as access rules see it.
pub(super) struct Peer<'c> {
    pub(super) io: &'c Stream,
    pub(super) served: Served<'c>,
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
        self.served.destination
    }

    fn peer(&self) -> SocketAddr {
        self.served.peer
    }

    fn client(&self) -> SocketAddr {
        self.served.peer
    }

    fn server_name(&self) -> &str {
        self.served.server_name
    }

    fn authenticated(&self, matcher: Option<&StringMatch>) -> bool {
        self.io.is_tls()
            && matcher.is_none_or(|matcher| PeerIdentity::is_named(self.served.identity, matcher))
    }

    fn holds(&self, condition: &Program) -> bool {
        let timing = Timing::begun(SystemTime::now(), Instant::now());
        condition.holds(&Record::of_connection(self.served, timing))
    }

    fn caller(&self) -> Option<&str> {
        self.served.identity.and_then(PeerIdentity::name)
    }
}
