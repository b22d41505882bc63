//! Counting guards: what was counted up is counted down on every way out.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use rustls_pki_types::CertificateDer;

use super::HostPool;
use crate::base::error::ConnectFailure;
use crate::config::live::{Breakers, Priority};
use crate::config::{Cluster, Host};
use crate::net::stream::Stream;
use crate::observe::connection::UpstreamConnection;
use crate::tls::{self, Agreed, PeerIdentity, UpstreamTls};
use crate::upstream::connect::{self, Dialled, millis};
use crate::upstream::local::Local;
use crate::upstream::view::ClusterState;

/// One open upstream connection: gauges, host counters and the `max_connections` permit.
#[derive(Debug)]
pub struct ConnectionGuard {
    local: Rc<Local>,
    cluster: Arc<Cluster>,
    host: Arc<Host>,
    priority: Priority,
    /// Connections of the pool, this one included.
    open: Rc<Cell<usize>>,
    peer: Rc<KnownPeer>,
    opened: Instant,
    /// What logs tell of it, once it stands.
    connection: OnceCell<Rc<UpstreamConnection>>,
    /// It is one request by itself.
    carries: Cell<bool>,
    /// Requests that were given it.
    requests: Cell<u32>,
    /// How it ends, and whether a request ends with it; `None` for one that nobody waited for.
    ending: Cell<Option<(Ending, bool)>>,
}

/// The certificate that a host has shown last. A host's connections show the same one as a rule: it is read and kept
/// once.
#[derive(Debug, Default)]
pub struct KnownPeer(RefCell<Option<Arc<PeerIdentity>>>);

impl KnownPeer {
    fn identify(&self, chain: &[CertificateDer<'static>]) -> Option<Arc<PeerIdentity>> {
        let mut known = self.0.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.has_shown(chain)) {
            *known = PeerIdentity::of_chain(chain).map(Arc::new);
        }
        known.clone()
    }
}

/// The breaker that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// `max_connections`
    Connections,
    /// `max_pending_requests`
    Pending,
}

/// Who closes a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// We.
    Local,
    /// The host.
    Remote,
}

impl ConnectionGuard {
    /// Takes a connection permit. At the limit a pool that has no connection yet may still open one, as in Envoy;
    /// otherwise `None`.
    pub fn begin(local: &Rc<Local>, cluster: &Arc<Cluster>, pool: &HostPool) -> Option<Self> {
        let guard = Self::begin_within(local, cluster, pool);
        if guard.is_none() && pool.open.get() == 0 {
            local.stats.inc(cluster.stats.upstream_cx_overflow);
            cluster.breakers(pool.priority).connections.acquire_over(&pool.host.live);
            return Some(Self::with_place(local, cluster, pool));
        }
        guard
    }

    /// The same without that exception.
    fn begin_within(local: &Rc<Local>, cluster: &Arc<Cluster>, pool: &HostPool) -> Option<Self> {
        let connections = &cluster.breakers(pool.priority).connections;
        let taken = connections.try_acquire(local.index, &pool.host.live);
        taken.then(|| Self::with_place(local, cluster, pool))
    }

    /// A connection that is one request by itself: within both limits, or neither is touched.
    pub fn begin_alone(
        local: &Rc<Local>,
        cluster: &Rc<ClusterState>,
        pool: &HostPool,
    ) -> Result<(Self, Pending), Full> {
        let connections = &cluster.config().breakers(pool.priority).connections;
        if !connections.try_acquire(local.index, &pool.host.live) {
            local.stats.inc(cluster.config().stats.upstream_cx_overflow);
            return Err(Full::Connections);
        }
        let Some(pending) = Pending::begin(local, cluster, pool.priority) else {
            connections.release(local.index, &pool.host.live);
            return Err(Full::Pending);
        };
        Ok((Self::with_place(local, cluster.config(), pool), pending))
    }

    /// Counts a connection that has its permit.
    pub(super) fn with_place(local: &Rc<Local>, cluster: &Arc<Cluster>, pool: &HostPool) -> Self {
        local.stats.inc(cluster.stats.upstream_cx_total);
        local.stats.gauge_add(cluster.stats.upstream_cx_active, 1);
        pool.host.live.cx_total.fetch_add(1, Ordering::Relaxed);
        pool.open.set(pool.open.get() + 1);
        Self {
            local: local.clone(),
            cluster: cluster.clone(),
            host: pool.host.clone(),
            priority: pool.priority,
            open: pool.open.clone(),
            peer: pool.peer.clone(),
            opened: Instant::now(),
            connection: OnceCell::new(),
            carries: Cell::new(false),
            requests: Cell::new(0),
            ending: Cell::new(None),
        }
    }

    /// Connects. Who refuses a connection has closed it; one that takes too long is closed by us.
    pub async fn dial(&self) -> Result<Stream, ConnectFailure> {
        match connect::dial(&self.local, &self.cluster, &self.host).await {
            Ok(dialled) => Ok(self.connected(dialled)),
            Err(failure) => {
                let (cluster, host) = (&self.cluster.name, &self.host.display);
                tracing::debug!("cluster {cluster:?}: no connection to {host}: {failure:?}");
                let local = !matches!(failure, ConnectFailure::Remote(_));
                self.ends(if local { Ending::Local } else { Ending::Remote }, false);
                Err(failure)
            }
        }
    }

    /// The connection carries one request from its beginning to its end, as Envoy counts those of TCP proxies.
    pub fn carry(&self) {
        let stats = &self.cluster.stats;
        self.local.stats.inc(stats.upstream_rq_total);
        self.local.stats.gauge_add(stats.upstream_rq_active, 1);
        self.carries.set(true);
    }

    /// It is given a request; how many it was given before.
    pub(super) fn take_request(&self) -> u32 {
        self.requests.replace(self.requests.get() + 1)
    }

    /// Requests that it was given so far.
    pub(super) fn requests(&self) -> u32 {
        self.requests.get()
    }

    /// The connection stands: remembers it for logs, and gives its stream. Unless told otherwise it is we who close it.
    fn connected(&self, dialled: Dialled) -> Stream {
        self.ends(Ending::Local, false);
        let Dialled { io, begun, connected, ready } = dialled;
        let tls = self.cluster.tls.as_ref().zip(Agreed::of(&io)).map(|(settings, agreed)| UpstreamTls {
            agreed,
            peer: self.peer.identify(tls::peer_chain(&io)),
            settings: settings.clone(),
        });
        let connection = UpstreamConnection {
            id: self.local.connection_id(),
            host: self.host.clone(),
            local_address: io.local_addr(),
            begun,
            connected,
            secured: tls.as_ref().map(|_| ready),
            tls,
        };
        // A guard is of one connection.
        let _ = self.connection.set(Rc::new(connection));
        io
    }

    /// Who closes it, and whether that cuts a request short. The first who does is told.
    pub fn ends(&self, ending: Ending, active_request: bool) {
        if !matches!(self.ending.get(), Some((_, true))) {
            self.ending.set(Some((ending, active_request)));
        }
    }

    fn count_ending(&self) {
        let stats = &self.cluster.stats;
        let Some((ending, active)) = self.ending.get() else { return };
        let (of_kind, of_kind_active) = match ending {
            Ending::Local => {
                (stats.upstream_cx_destroy_local, stats.upstream_cx_destroy_local_with_active_rq)
            }
            Ending::Remote => {
                (stats.upstream_cx_destroy_remote, stats.upstream_cx_destroy_remote_with_active_rq)
            }
        };
        self.local.stats.inc(of_kind);
        if active {
            self.local.stats.inc(of_kind_active);
            self.local.stats.inc(stats.upstream_cx_destroy_with_active_rq);
        }
    }

    /// What is known of it, once it stands.
    pub fn connection(&self) -> Option<Rc<UpstreamConnection>> {
        self.connection.get().cloned()
    }

    /// When the connection was opened.
    pub fn opened(&self) -> Instant {
        self.opened
    }

    /// Adds wire bytes to the cluster's counters.
    pub fn count_bytes(&self, (received, sent): (u64, u64)) {
        self.local.stats.add(self.cluster.stats.upstream_cx_rx_bytes_total, received);
        self.local.stats.add(self.cluster.stats.upstream_cx_tx_bytes_total, sent);
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let stats = &self.cluster.stats;
        self.open.set(self.open.get().saturating_sub(1));
        self.cluster.breakers(self.priority).connections.release(self.local.index, &self.host.live);
        self.local.stats.gauge_add(stats.upstream_cx_active, -1);
        if self.carries.get() {
            self.local.stats.gauge_add(stats.upstream_rq_active, -1);
        }
        self.local.stats.inc(stats.upstream_cx_destroy);
        self.count_ending();
        self.local.stats.record(stats.upstream_cx_length_ms, millis(self.opened.elapsed()));
        if self.requests.get() > 0 {
            self.local.stats.record(stats.upstream_rq_per_cx, self.requests.get().into());
        }
    }
}

/// One request that waits for a connection: the `max_pending_requests` permit and its gauges. Dropped before the wait
/// is over, it was cancelled.
#[derive(Debug)]
pub struct Pending {
    local: Rc<Local>,
    cluster: Rc<ClusterState>,
    priority: Priority,
    is_over: bool,
}

impl Pending {
    /// Takes the permit; `None` when the breaker is open.
    pub fn begin(local: &Rc<Local>, cluster: &Rc<ClusterState>, priority: Priority) -> Option<Self> {
        let settings = cluster.config();
        if !settings.breakers(priority).pending.try_acquire(local.index) {
            local.stats.inc(settings.stats.upstream_rq_pending_overflow);
            return None;
        }
        local.stats.inc(settings.stats.upstream_rq_pending_total);
        local.stats.gauge_add(settings.stats.upstream_rq_pending_active, 1);
        Some(Self { local: local.clone(), cluster: cluster.clone(), priority, is_over: false })
    }

    /// There is a connection, or there will be none.
    pub fn over(mut self) {
        self.is_over = true;
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let settings = self.cluster.config();
        settings.breakers(self.priority).pending.release(self.local.index);
        self.local.stats.gauge_add(settings.stats.upstream_rq_pending_active, -1);
        if !self.is_over {
            self.local.stats.inc(settings.stats.upstream_rq_cancelled);
        }
    }
}

/// One pool: the `max_connection_pools` permit.
#[derive(Debug)]
pub struct PoolPlace {
    breakers: Arc<Breakers>,
    worker: usize,
}

impl PoolPlace {
    /// Takes the permit; `None` when there are as many pools as may be.
    pub fn take(cluster: &Cluster, priority: Priority, worker: usize) -> Option<Self> {
        let breakers = cluster.shared_breakers(priority);
        breakers.pools.try_acquire(worker).then(|| Self { breakers: breakers.clone(), worker })
    }
}

impl Drop for PoolPlace {
    fn drop(&mut self) {
        self.breakers.pools.release(self.worker);
    }
}
