//! Pooled HTTP/1 connections: one request at a time each.

use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use super::guard::{ConnectionGuard, Ending};
use super::{HostPool, Lease};
use crate::base::error::ProxyError;
use crate::config::Cluster;
use crate::http::codec::{Upstream, h1};
use crate::net::stream::Stream;
use crate::upstream::local::Local;
use crate::upstream::view::ClusterState;

/// What the pool knows of a connection.
#[derive(Debug)]
pub struct Meta {
    guard: ConnectionGuard,
    tls_generation: u64,
}

impl Meta {
    pub(super) fn guard(&self) -> &ConnectionGuard {
        &self.guard
    }
}

/// A connection between requests.
#[derive(Debug)]
pub struct Idle {
    conn: Box<h1::ClientConn>,
    meta: Box<Meta>,
    since: Instant,
}

/// The most recently used connection that is still good.
pub fn reuse(pool: &Rc<HostPool>, cluster: &Cluster) -> Option<Lease> {
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        let mut idle = pool.idle.borrow_mut().pop()?;
        if idle.conn.is_quiet(&mut cx) && tls_generation(cluster) == idle.meta.tls_generation {
            return Some(lease(pool, idle.conn, idle.meta));
        }
        idle.meta.guard.ends(Ending::Remote, false);
    }
}

fn lease(pool: &Rc<HostPool>, conn: Box<h1::ClientConn>, meta: Box<Meta>) -> Lease {
    Lease {
        stream: Upstream::H1(conn),
        reused: meta.guard.take_request() > 0,
        connection: meta.guard.connection(),
        h1: Some(meta),
        raw: None,
        pool: pool.clone(),
    }
}

/// A connection that came back while the request waited for one.
pub fn take_over(pool: &Rc<HostPool>, idle: Idle) -> Lease {
    lease(pool, idle.conn, idle.meta)
}

/// Opens a connection.
pub async fn open(
    local: &Rc<Local>,
    cluster: &Rc<ClusterState>,
    pool: &Rc<HostPool>,
    guard: ConnectionGuard,
) -> Result<Lease, ProxyError> {
    // Counted as in Envoy, whether it comes about or not.
    local.stats.inc(cluster.config().stats.upstream_cx_http1_total);
    let io = guard.dial().await.map_err(ProxyError::ConnectFailure)?;
    let (conn, meta) = made(local, cluster, io, guard);
    Ok(lease(pool, conn, meta))
}

/// Puts a connection into the pool that was just made.
pub fn adopt(
    local: &Rc<Local>,
    cluster: &Rc<ClusterState>,
    pool: &Rc<HostPool>,
    io: Stream,
    guard: ConnectionGuard,
) {
    let (conn, meta) = made(local, cluster, io, guard);
    pool.keep(Idle { conn, meta, since: local.clock.now() }, cluster.config());
}

fn made(
    local: &Rc<Local>,
    cluster: &Rc<ClusterState>,
    io: Stream,
    guard: ConnectionGuard,
) -> (Box<h1::ClientConn>, Box<Meta>) {
    let conn = h1::ClientConn::new(io, cluster.h1_options.clone(), local.heads.clone());
    let meta = Box::new(Meta { guard, tls_generation: tls_generation(cluster.config()) });
    (Box::new(conn), meta)
}

/// Back to the idle stack when it can serve again.
pub fn give_back(
    pool: &HostPool,
    local: &Local,
    cluster: &Cluster,
    mut conn: Box<h1::ClientConn>,
    meta: Box<Meta>,
) {
    meta.guard.count_bytes(conn.take_wire_bytes());
    let most = cluster.max_requests_per_connection;
    let spent = most > 0 && meta.guard.requests() >= most;
    if spent {
        local.stats.inc(cluster.stats.upstream_cx_max_requests);
    }
    if conn.is_reusable() && !spent && !pool.draining.get() {
        pool.keep(Idle { conn, meta, since: local.clock.now() }, cluster);
    }
}

/// Closes idle connections that outlived their limits or were closed by the peer.
pub fn sweep(pool: &HostPool, local: &Local, cluster: &Cluster, now: Instant) {
    let mut cx = Context::from_waker(Waker::noop());
    let past = |since: Instant, limit: Duration| !limit.is_zero() && now.duration_since(since) >= limit;
    if cluster.breakers(pool.priority).connections.has_waiting() {
        // Somebody on another worker has more use for the place.
        pool.idle.borrow_mut().clear();
    }
    pool.idle.borrow_mut().retain_mut(|idle| {
        if past(idle.since, cluster.idle_timeout) {
            local.stats.inc(cluster.stats.upstream_cx_idle_timeout);
            return false;
        }
        if past(idle.meta.guard.opened(), cluster.max_connection_duration) {
            local.stats.inc(cluster.stats.upstream_cx_max_duration_reached);
            return false;
        }
        let quiet = idle.conn.is_quiet(&mut cx);
        if !quiet {
            idle.meta.guard.ends(Ending::Remote, false);
        }
        quiet
    });
}

fn tls_generation(cluster: &Cluster) -> u64 {
    cluster.tls.as_ref().map_or(0, |tls| tls.generation)
}
