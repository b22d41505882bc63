//! Connections of one worker to one host. HTTP/1 connections are leased whole, most recently used first;
//! HTTP/2 connections are shared by streams, and a further one opens when all are at their stream limit.

mod guard;
mod h1;
mod h2;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::connect;
use super::local::Local;
use super::view::ClusterState;
use crate::base::error::ProxyError;
use crate::config::cluster::UpstreamProtocol;
use crate::config::live::Priority;
use crate::config::{Cluster, Host};
use crate::http::codec::Upstream;
use crate::http::codec::raw::RawConn;
use crate::http::head::Version;

pub use guard::ConnectionGuard;

/// Connections to one host.
#[derive(Debug)]
pub struct HostPool {
    /// The host.
    pub host: Arc<Host>,
    idle: RefCell<Vec<h1::Idle>>,
    shared: RefCell<Vec<h2::Shared>>,
    connecting: RefCell<Option<Rc<h2::Connecting>>>,
    leased: Cell<u32>,
    draining: Cell<bool>,
}

/// An upstream stream, ready for its request head, and what to do with it afterwards.
#[derive(Debug)]
pub struct Lease {
    /// The stream.
    pub stream: Upstream,
    /// The connection had carried a request before: a close without an answer may be the keep-alive race.
    pub reused: bool,
    /// Our address of the connection.
    pub local_address: Option<SocketAddr>,
    h1: Option<h1::Meta>,
    raw: Option<ConnectionGuard>,
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
    priority: Priority,
) -> Result<Lease, ProxyError> {
    let wanted = wanted(cluster.config(), downstream);
    let _pending = guard::Pending::begin(local, cluster, priority).ok_or(ProxyError::Overflow)?;
    match wanted {
        Wanted::H1 => h1::connect(local, cluster, pool, priority).await,
        Wanted::H2 | Wanted::Alpn => h2::connect(local, cluster, pool, wanted, priority).await,
    }
}

/// A connection of its own that carries the bytes of one terminated CONNECT and is never pooled.
pub async fn connect_raw(
    local: &Rc<Local>,
    cluster: &Rc<ClusterState>,
    pool: &Rc<HostPool>,
    priority: Priority,
) -> Result<Lease, ProxyError> {
    let _pending = guard::Pending::begin(local, cluster, priority).ok_or(ProxyError::Overflow)?;
    let settings = cluster.config();
    let first = pool.open() == 0;
    let guard = ConnectionGuard::begin(local, settings, &pool.host, priority, first);
    let guard = guard.ok_or(ProxyError::Overflow)?;
    let io = connect::dial(local, settings, &pool.host).await.map_err(ProxyError::ConnectFailure)?;
    guard.connected(&io);
    let local_address = guard.local_address();
    let stream = Upstream::Raw(Box::new(RawConn::new(io, local.bufs.clone())));
    Ok(Lease { stream, reused: false, local_address, h1: None, raw: Some(guard), pool: pool.clone() })
}

impl HostPool {
    /// A pool without connections.
    pub fn new(host: Arc<Host>) -> Self {
        Self {
            host,
            idle: RefCell::default(),
            shared: RefCell::default(),
            connecting: RefCell::default(),
            leased: Cell::default(),
            draining: Cell::default(),
        }
    }

    /// A stream over a pooled connection, without waiting.
    pub fn checkout(self: &Rc<Self>, local: &Local, cluster: &Cluster, downstream: Version) -> Option<Lease> {
        self.reuse(local, cluster, wanted(cluster, downstream))
    }

    fn reuse(self: &Rc<Self>, local: &Local, cluster: &Cluster, wanted: Wanted) -> Option<Lease> {
        match wanted {
            Wanted::H1 => h1::reuse(self, local, cluster),
            Wanted::H2 => h2::reuse(self),
            Wanted::Alpn => h2::reuse(self).or_else(|| h1::reuse(self, local, cluster)),
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

    /// True when no connection is open or being opened.
    pub fn is_unused(&self) -> bool {
        self.leased.get() == 0
            && self.idle.borrow().is_empty()
            && self.shared.borrow().is_empty()
            && self.connecting.borrow().is_none()
    }

    /// Connections this worker has to the host now.
    fn open(&self) -> usize {
        self.leased.get() as usize + self.idle.borrow().len() + self.shared.borrow().len()
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

    /// Ends the lease: a reusable HTTP/1 connection goes back to the pool, any other closes.
    pub fn finish(self, local: &Local, cluster: &Cluster) {
        match (self.stream, self.h1, self.raw) {
            (Upstream::H1(conn), Some(meta), _) => {
                self.pool.leased.set(self.pool.leased.get().saturating_sub(1));
                h1::give_back(&self.pool, local, cluster, conn, meta);
            }
            (Upstream::Raw(mut conn), _, Some(guard)) => guard.count_bytes(conn.take_wire_bytes()),
            _ => {}
        }
    }
}
