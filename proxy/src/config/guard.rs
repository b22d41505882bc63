//! Network filters before the terminal one: each decides whether a connection is served.
//! Source: `envoy.extensions.filters.network.{local_ratelimit,connection_limit,rbac,ext_authz}.v3`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::filter::authz::GrpcService;
use super::live::TokenBucket;
use super::rbac::RbacFilter;
use crate::stats::scope::{ConnectionLimitStats, NetworkAuthzStats, NetworkRateLimitStats};

/// One guard of a filter chain.
#[derive(Debug)]
pub enum Guard {
    /// `local_ratelimit`: a token per new connection.
    Rate(NetworkRateLimitStats, TokenBucket),
    /// `connection_limit`: so many at once.
    Count(ConnectionCount),
    /// `rbac`
    Access(Box<Access>),
    /// `ext_authz`
    Asked(Box<ConnectionAuthz>),
}

/// A limit on connections that are open at once, over all workers.
#[derive(Debug)]
pub struct ConnectionCount {
    /// `connection_limit.<stat_prefix>.*`
    pub stats: ConnectionLimitStats,
    /// The limit.
    pub max: u64,
    /// How long one over the limit is kept waiting before it is closed.
    pub delay: Duration,
    open: Arc<AtomicU64>,
}

impl ConnectionCount {
    /// A limit of `max`, with nothing open.
    pub fn new(stats: ConnectionLimitStats, max: u64, delay: Duration) -> Self {
        Self { stats, max, delay, open: Arc::default() }
    }

    /// Counts a connection until the result is dropped; `None`: the limit is reached.
    pub fn take(&self) -> Option<OpenConnection> {
        let taken = self
            .open
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |open| (open < self.max).then_some(open + 1));
        taken.ok().map(|_| OpenConnection(self.open.clone()))
    }
}

/// A connection within its limit.
#[derive(Debug)]
pub struct OpenConnection(Arc<AtomicU64>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Access by rules, checked when TLS is done and before a byte is read.
#[derive(Debug)]
pub struct Access {
    /// The rules.
    pub rules: RbacFilter,
    /// How long one that is denied is kept waiting before it is closed.
    pub delay: Duration,
}

/// A service that is asked about each connection, when TLS is done and before a byte is read.
#[derive(Debug)]
pub struct ConnectionAuthz {
    /// Who is asked.
    pub service: GrpcService,
    /// Connections are served when it cannot be asked.
    pub allow_on_error: bool,
    /// The client's certificate is shown.
    pub peer_certificate: bool,
    /// SNI is shown.
    pub tls_session: bool,
    /// `ext_authz.<stat_prefix>.*`
    pub stats: NetworkAuthzStats,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::registry::Registry;

    #[test]
    fn a_place_is_free_again_when_its_connection_ends() {
        let stats = ConnectionLimitStats::new(&Registry::new(), "connection_limit.a.");
        let limit = ConnectionCount::new(stats, 2, Duration::ZERO);
        let first = limit.take();
        let second = limit.take();
        assert!(first.is_some() && second.is_some() && limit.take().is_none());
        drop(first);
        assert!(limit.take().is_some());
    }
}
