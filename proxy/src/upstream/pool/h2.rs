//! Pooled HTTP/2 connections: shared by streams. Requests that find none wait for one connection
//! attempt together, instead of each opening its own.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::guard::{ConnectionGuard, Ending};
use super::{HostPool, Lease, Wanted, h1};
use crate::base::error::{ConnectFailure, ProxyError};
use crate::config::Cluster;
use crate::http::codec::{StreamError, Upstream, h2};
use crate::upstream::local::Local;
use crate::upstream::view::ClusterState;

/// An established connection.
#[derive(Debug)]
pub struct Shared {
    pub(super) conn: h2::ClientConn,
    guard: Rc<ConnectionGuard>,
    idle_since: Cell<Instant>,
}

/// A connection attempt that requests wait for.
#[derive(Debug, Default)]
pub struct Connecting {
    done: Notify,
    outcome: RefCell<Option<Result<(), ProxyError>>>,
}

/// A stream on the first connection with room.
pub fn reuse(pool: &Rc<HostPool>) -> Option<Lease> {
    let shared = pool.shared.borrow();
    let found = shared.iter().find_map(|shared| {
        let stream = shared.conn.open_stream()?;
        let reused = shared.guard.take_request() > 0;
        Some((stream, reused, shared.guard.connection()))
    });
    let (stream, reused, connection) = found?;
    Some(Lease {
        stream: Upstream::H2(Box::new(stream)),
        reused,
        connection,
        h1: None,
        raw: None,
        pool: pool.clone(),
    })
}

/// The connection attempt under way, if there is one.
pub fn under_way(pool: &HostPool) -> Option<Rc<Connecting>> {
    pool.connecting.borrow().clone()
}

/// Starts a connection attempt in a task of its own: a request that gives up must not take the others' connection
/// with it.
pub fn start(
    local: &Rc<Local>,
    cluster: &Rc<ClusterState>,
    pool: &Rc<HostPool>,
    wanted: Wanted,
    guard: ConnectionGuard,
) -> Rc<Connecting> {
    let attempt = Rc::new(Connecting::default());
    pool.connecting.replace(Some(attempt.clone()));
    let task = (attempt.clone(), local.clone(), cluster.clone(), pool.clone());
    tokio::task::spawn_local(async move {
        let (attempt, local, cluster, pool) = task;
        let outcome = establish(&local, &cluster, &pool, wanted, guard).await;
        pool.connecting.borrow_mut().take();
        if outcome.is_ok() {
            pool.queue.much_room();
        }
        attempt.finish(outcome);
    });
    attempt
}

impl Connecting {
    /// Its outcome.
    pub async fn wait(&self) -> Result<(), ProxyError> {
        loop {
            let notified = self.done.notified();
            if let Some(outcome) = &*self.outcome.borrow() {
                return outcome.clone();
            }
            notified.await;
        }
    }

    fn finish(&self, outcome: Result<(), ProxyError>) {
        self.outcome.replace(Some(outcome));
        self.done.notify_waiters();
    }
}

/// Dials, handshakes and puts the connection into the pool. ALPN may have chosen HTTP/1.
async fn establish(
    local: &Rc<Local>,
    cluster: &Rc<ClusterState>,
    pool: &Rc<HostPool>,
    wanted: Wanted,
    guard: ConnectionGuard,
) -> Result<(), ProxyError> {
    let settings = cluster.config();
    if wanted == Wanted::H2 {
        // Counted as in Envoy, whether it comes about or not.
        local.stats.inc(settings.stats.upstream_cx_http2_total);
    }
    let io = guard.dial().await.map_err(ProxyError::ConnectFailure)?;
    if wanted == Wanted::Alpn && io.alpn() != Some(b"h2") {
        local.stats.inc(settings.stats.upstream_cx_http1_total);
        h1::adopt(local, cluster, pool, io, guard);
        return Ok(());
    }
    let options = h2::Options {
        settings: settings.http2.clone(),
        max_head_bytes: settings.max_head_bytes,
        max_fields: settings.max_fields,
        tls: io.is_tls(),
        send_buffer: settings.buffer_limit,
        measured: local.measures.get(),
    };
    let (conn, driver) =
        tokio::time::timeout(settings.connect_timeout, h2::ClientConn::handshake(io, options))
            .await
            .map_err(|_| ProxyError::ConnectFailure(ConnectFailure::Timeout))?
            .map_err(|error| ProxyError::ConnectFailure(ConnectFailure::Remote(format!("{error:?}"))))?;
    if wanted == Wanted::Alpn {
        local.stats.inc(settings.stats.upstream_cx_http2_total);
    }
    let now = Instant::now();
    let guard = Rc::new(guard);
    let shared = Shared { conn: conn.clone(), guard: guard.clone(), idle_since: Cell::new(now) };
    pool.shared.borrow_mut().push(shared);
    spawn_driver(pool.clone(), conn, guard, driver);
    Ok(())
}

/// Drives the connection until it ends; then the pool forgets it.
fn spawn_driver(
    pool: Rc<HostPool>,
    conn: h2::ClientConn,
    guard: Rc<ConnectionGuard>,
    driver: impl Future<Output = StreamError> + 'static,
) {
    tokio::task::spawn_local(async move {
        let ended = driver.await;
        let by_us = conn.was_drained()
            || matches!(ended, StreamError::Protocol(_) | StreamError::Io(ErrorKind::TimedOut));
        guard.ends(if by_us { Ending::Local } else { Ending::Remote }, conn.active_streams() > 0);
        guard.count_bytes(conn.take_wire_bytes());
        pool.shared.borrow_mut().retain(|shared| !shared.conn.is_draining());
    });
}

/// Drains connections that were idle or open for too long, forgets those that are going away.
pub fn sweep(pool: &HostPool, local: &Local, cluster: &Cluster, now: Instant) {
    let past = |since: Instant, limit: Duration| !limit.is_zero() && now.duration_since(since) >= limit;
    pool.shared.borrow_mut().retain(|shared| {
        shared.guard.count_bytes(shared.conn.take_wire_bytes());
        if shared.conn.active_streams() > 0 {
            shared.idle_since.set(now);
        }
        if past(shared.idle_since.get(), cluster.idle_timeout) {
            local.stats.inc(cluster.stats.upstream_cx_idle_timeout);
            shared.conn.drain();
        } else if past(shared.guard.opened(), cluster.max_connection_duration) {
            local.stats.inc(cluster.stats.upstream_cx_max_duration_reached);
            shared.conn.drain();
        } else if cluster.max_requests_per_connection > 0
            && shared.guard.requests() >= cluster.max_requests_per_connection
        {
            local.stats.inc(cluster.stats.upstream_cx_max_requests);
            shared.conn.drain();
        }
        !shared.conn.is_draining()
    });
}
