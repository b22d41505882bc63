//! Connections of one worker to one host. HTTP/1 connections are leased whole, most recently used first;
//! HTTP/2 connections are shared by streams, and a further one opens when all are at their stream limit.

mod guard;
mod h1;
mod h2;
mod queue;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::local::Local;
use super::view::ClusterState;
use crate::base::error::ProxyError;
use crate::config::cluster::UpstreamProtocol;
use crate::config::live::Priority;
use crate::config::overload::ShedPoint;
use crate::config::{Cluster, Host};
use crate::http::codec::Upstream;
use crate::http::codec::raw::RawConn;
use crate::http::head::Version;
use crate::observe::connection::UpstreamConnection;

use guard::KnownPeer;
pub use guard::{ConnectionGuard, Ending, Full, Pending, PoolPlace};
use queue::{Queue, Turn};

/// Connections to one host for requests of one priority.
#[derive(Debug)]
pub struct HostPool {
    /// The host.
    pub host: Arc<Host>,
    idle: RefCell<Vec<h1::Idle>>,
    shared: RefCell<Vec<h2::Shared>>,
    connecting: RefCell<Option<Rc<h2::Connecting>>>,
    queue: Queue,
    priority: Priority,
    /// Connections this worker has to the host in this pool, being opened or open.
    open: Rc<Cell<usize>>,
    peer: Rc<KnownPeer>,
    draining: Cell<bool>,
    _place: PoolPlace,
}

/// An upstream stream, ready for its request head, and what to do with it afterwards.
#[derive(Debug)]
pub struct Lease {
    /// The stream.
    pub stream: Upstream,
    /// The connection had carried a request before: a close without an answer may be the keep-alive race.
    pub reused: bool,
    /// What is known of the connection.
    pub connection: Option<Rc<UpstreamConnection>>,
    /// Boxed as `stream` is: leases move from step to step of an exchange.
    h1: Option<Box<h1::Meta>>,
    raw: Option<Box<ConnectionGuard>>,
    pool: Rc<HostPool>,
}

/// Protocol of the next connection, as far as it is known before ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    H1,
    H2,
    Alpn,
}

fn wanted(cluster: &Cluster, downstream: Version) -> Wanted {
    match cluster.protocol {
        UpstreamProtocol::Http1 => Wanted::H1,
        UpstreamProtocol::Http2 => Wanted::H2,
        UpstreamProtocol::Auto => Wanted::Alpn,
        UpstreamProtocol::Downstream if downstream == Version::Http2 => Wanted::H2,
        UpstreamProtocol::Downstream => Wanted::H1,
    }
}

/// A stream to the picked host when no pooled connection is free: waits for one under the cluster's breakers.
pub async fn connect(
    local: &Rc<Local>,
    cluster: &Rc<ClusterState>,
    pool: &Rc<HostPool>,
    downstream: Version,
) -> Result<Lease, ProxyError> {
    let pending = Pending::begin(local, cluster, pool.priority).ok_or(ProxyError::Overflow)?;
    let lease = obtain(local, cluster, pool, downstream).await;
    pending.over();
    lease
}

async fn obtain(
    local: &Rc<Local>,
    cluster: &Rc<ClusterState>,
    pool: &Rc<HostPool>,
    downstream: Version,
) -> Result<Lease, ProxyError> {
    let settings = cluster.config();
    let wanted = wanted(settings, downstream);
    loop {
        if let Some(attempt) = h2::under_way(pool) {
            attempt.wait().await?;
        } else {
            if local.sheds(ShedPoint::NewUpstream) {
                return Err(ProxyError::Overflow);
            }
            let guard = match ConnectionGuard::begin(local, settings, pool) {
                Some(guard) => guard,
                None => match wait(local, cluster, pool).await {
                    Turn::Place(guard) => guard,
                    Turn::Connection(idle) => return Ok(h1::take_over(pool, idle)),
                    Turn::Room => match pool.reuse(settings, wanted) {
                        Some(lease) => return Ok(lease),
                        None => continue,
                    },
                },
            };
            if wanted == Wanted::H1 {
                return h1::open(local, cluster, pool, guard).await;
            }
            // Many may have been given a place while one connection has room for all of them.
            if let Some(lease) = pool.reuse(settings, wanted) {
                return Ok(lease);
            }
            if h2::under_way(pool).is_none() {
                h2::start(local, cluster, pool, wanted, guard).wait().await?;
            }
        }
        if let Some(lease) = pool.reuse(settings, wanted) {
            return Ok(lease);
        }
    }
}

/// The limit on connections is reached.
async fn wait(local: &Rc<Local>, cluster: &Rc<ClusterState>, pool: &Rc<HostPool>) -> Turn {
    local.stats.inc(cluster.config().stats.upstream_cx_overflow);
    cluster.close_idle(pool);
    queue::wait(local, cluster.config(), pool).await
}

/// A connection of its own that carries the bytes of one terminated CONNECT and is never pooled.
pub async fn connect_raw(
    local: &Rc<Local>,
    cluster: &Rc<ClusterState>,
    pool: &Rc<HostPool>,
) -> Result<Lease, ProxyError> {
    let pending = Pending::begin(local, cluster, pool.priority).ok_or(ProxyError::Overflow)?;
    let guard = ConnectionGuard::begin(local, cluster.config(), pool).ok_or(ProxyError::Overflow);
    let dialled = match &guard {
        Ok(guard) => guard.dial().await.map_err(ProxyError::ConnectFailure),
        Err(error) => Err(error.clone()),
    };
    pending.over();
    let (guard, io) = (guard?, dialled?);
    let connection = guard.connection();
    let stream = Upstream::Raw(Box::new(RawConn::new(io, local.bufs.clone())));
    Ok(Lease { stream, reused: false, connection, h1: None, raw: Some(Box::new(guard)), pool: pool.clone() })
}

impl HostPool {
    /// A pool without connections, for requests of this priority.
    pub fn new(host: Arc<Host>, priority: Priority, place: PoolPlace) -> Self {
        Self {
            host,
            queue: Queue::default(),
            priority,
            open: Rc::default(),
            peer: Rc::default(),
            _place: place,
            idle: RefCell::default(),
            shared: RefCell::default(),
            connecting: RefCell::default(),
            draining: Cell::default(),
        }
    }

    /// A stream over a pooled connection, without waiting.
    pub fn checkout(self: &Rc<Self>, cluster: &Cluster, downstream: Version) -> Option<Lease> {
        if !self.queue.is_empty() {
            return None;
        }
        self.reuse(cluster, wanted(cluster, downstream))
    }

    /// A connection that is free: for the first who waits, here or, by its place, elsewhere; else for later.
    fn keep(&self, idle: h1::Idle, cluster: &Cluster) {
        if self.draining.get() {
            return;
        }
        let Some(idle) = self.queue.offer(idle) else { return };
        if !cluster.breakers(self.priority).connections.has_waiting() {
            self.idle.borrow_mut().push(idle);
        }
    }

    /// Closes the connection that has been idle longest; whether there was one.
    pub fn close_idle(&self) -> bool {
        let mut idle = self.idle.borrow_mut();
        let oldest = (!idle.is_empty()).then(|| idle.remove(0));
        drop(idle);
        oldest.is_some()
    }

    /// Which requests it is for.
    pub fn priority(&self) -> Priority {
        self.priority
    }

    fn reuse(self: &Rc<Self>, cluster: &Cluster, wanted: Wanted) -> Option<Lease> {
        match wanted {
            Wanted::H1 => h1::reuse(self, cluster),
            Wanted::H2 => h2::reuse(self),
            Wanted::Alpn => h2::reuse(self).or_else(|| h1::reuse(self, cluster)),
        }
    }

    /// Closes idle connections that are too old, were closed by the peer, or sent bytes nobody asked for.
    pub fn sweep(&self, local: &Local, cluster: &Cluster, now: Instant) {
        h1::sweep(self, local, cluster, now);
        h2::sweep(self, local, cluster, now);
    }

    /// Takes no new streams: idle connections close, busy ones finish.
    pub fn drain(&self) {
        self.draining.set(true);
        self.idle.borrow_mut().clear();
        for shared in self.shared.borrow_mut().drain(..) {
            shared.conn.drain();
        }
    }

    /// True when no connection is open or being opened, and nobody waits for one.
    pub fn is_unused(&self) -> bool {
        self.open.get() == 0 && self.connecting.borrow().is_none() && self.queue.is_empty()
    }
}

impl Lease {
    /// Whether the stream is one of several on its connection: a reset is then its own.
    pub fn is_multiplexed(&self) -> bool {
        matches!(self.stream, Upstream::H2(_))
    }

    /// Protocol spoken to the host; `None` for bytes without one.
    pub fn version(&self) -> Option<Version> {
        match self.stream {
            Upstream::H1(_) => Some(Version::Http11),
            Upstream::H2(_) => Some(Version::Http2),
            Upstream::Raw(_) => None,
        }
    }

    /// The request was cut short, by the host (`remote`) or by us: a connection of its own ends with it.
    pub fn cut(&self, remote: bool) {
        if let Some(guard) = self.h1.as_ref().map(|meta| meta.guard()).or(self.raw.as_deref()) {
            guard.ends(if remote { Ending::Remote } else { Ending::Local }, true);
        }
    }

    /// Ends the lease: a reusable HTTP/1 connection goes back to the pool, any other closes.
    pub fn finish(self, local: &Local, cluster: &Cluster) {
        match (self.stream, self.h1, self.raw) {
            (Upstream::H1(conn), Some(meta), _) => {
                h1::give_back(&self.pool, local, cluster, conn, meta);
            }
            (Upstream::Raw(mut conn), _, Some(guard)) => guard.count_bytes(conn.take_wire_bytes()),
            (stream @ Upstream::H2(_), ..) => {
                drop(stream);
                self.pool.queue.room();
            }
            _ => {}
        }
    }
}
