//! Connections of discovery clients: HTTP/2, its limits, and their ends.
//!
//! A connection ends when it has carried no stream for a while, when it is old (so that clients spread over replicas
//! again), and when the control plane stops. In all three cases the client gets GOAWAY, its streams end with status
//! OK, and what is left after a grace period is cut. So it is when the certificate that the client has shown ends, but
//! for the status, which says that. A client that vanishes without a word is found by keepalive.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::lobby::{Lobby, Places, Waiting};
use super::peer::{Activity, Closing, Peer};
use super::service::Service;
use super::session::Context;
use crate::access::passed;
use crate::discovery_tls::{ClientCertificate, client_certificate};
use crate::listen::{Duplex, Listener, Socket};
use crate::metrics::Refusal;

/// Largest request message. Names and versions of 100,000 resources fit; a peer cannot have us buffer more.
pub const MAX_REQUEST_BYTES: usize = 16 << 20;

/// Window per stream and connection: far above the 64 KiB default, so that h2's guard against floods of tiny frames
/// does not hit a burst of small requests.
const WINDOW: u32 = 1 << 20;
const MAX_HEADER_LIST: u32 = 64 << 10;
const PENDING_RESETS: usize = 20;
const LOCAL_RESETS: usize = 1024;

/// Limits and times of connections.
#[derive(Debug, Clone)]
pub struct ConnectionPolicy {
    /// How many connections there may be; more wait in the kernel's queue.
    pub max_connections: usize,
    /// How many connections may wait to be let in.
    pub strangers: Places,
    /// How long a connection may wait to be let in.
    pub stranger: Duration,
    /// How many streams one connection may carry.
    pub max_streams_per_connection: u32,
    /// How often a silent client is pinged.
    pub keepalive_interval: Duration,
    /// How long it has to answer.
    pub keepalive_timeout: Duration,
    /// How long a connection may carry no stream.
    pub idle: Duration,
    /// How old a connection may get, give or take a tenth.
    pub max_age: Duration,
    /// How long the ends of streams may take after GOAWAY.
    pub grace: Duration,
}

impl Default for ConnectionPolicy {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            strangers: Places { client: 512, site: 1024, all: 5_000 },
            stranger: Duration::from_secs(60),
            max_streams_per_connection: 100,
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(20),
            idle: Duration::from_secs(300),
            max_age: Duration::from_secs(40 * 60),
            grace: Duration::from_secs(5),
        }
    }
}

/// Accepts connections until `stop` is true, then ends those it has.
pub async fn serve(
    listener: Listener,
    context: Arc<Context>,
    policy: ConnectionPolicy,
    permits: Arc<Semaphore>,
    mut stop: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    let lobby = Arc::new(Lobby::new(policy.strangers));
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &permits) => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next() => continue,
        };
        let Some((socket, permit)) = accepted else { break };
        let Some(waiting) = lobby.enter(&socket.peer) else {
            let peer = &*socket.peer;
            tracing::warn!(target: "audit", peer, "denied: too many connections of this address wait to be let in");
            context.metrics.refused(Refusal::Limit);
            continue;
        };
        let (context, policy, stop) = (Arc::clone(&context), policy.clone(), stop.clone());
        connections.spawn(async move {
            context.metrics.connection_opened();
            connection(socket, waiting, &context, &policy, stop).await;
            context.metrics.connection_closed();
            drop(permit);
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn accept(
    listener: &Listener,
    permits: &Arc<Semaphore>,
) -> Option<(Socket, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok(socket) => return Some((socket, permit)),
            Err(error) => {
                // Out of descriptors, most likely: others must end before trying again can help.
                tracing::warn!("cannot accept a discovery client: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(
    socket: Socket,
    waiting: Waiting,
    context: &Arc<Context>,
    policy: &ConnectionPolicy,
    mut stop: watch::Receiver<bool>,
) {
    let mut waiting = Some(waiting);
    let address: Arc<str> = socket.peer.as_str().into();
    let tls = context.tls.as_ref().filter(|_| socket.is_remote);
    let (io, certificate): (Box<dyn Duplex>, ClientCertificate) = match tls {
        None => (socket.io, ClientCertificate::default()),
        Some(tls) => match tls.accept(socket.io).await {
            Ok(stream) => {
                let certificate = client_certificate(&stream);
                (Box::new(stream), certificate)
            }
            Err(error) => {
                let peer = &*address;
                tracing::info!(target: "audit", peer, "denied: TLS handshake with a discovery client failed: {error}");
                return;
            }
        },
    };
    let (close, closing) = watch::channel(None);
    let (activity, used) = watch::channel(Activity::default());
    let certificate_end = certificate.until;
    let peer = Peer::new(address, certificate, closing, activity);
    let service = Service::new(Arc::clone(context), peer.clone());
    let mut http = pin!(protocol(policy).serve_connection(TokioIo::new(io), service));
    let age = jittered(policy.max_age, fastrand::f64());
    let (reason, how) = tokio::select! {
        ended = http.as_mut() => {
            if let Err(error) = ended {
                tracing::debug!(peer = peer.address(), "connection ended: {error}");
            }
            return;
        }
        _ = stop.wait_for(|stop| *stop) => ("the control plane stops", Closing::Goodbye),
        () = tokio::time::sleep(age) => ("the connection is old", Closing::Goodbye),
        () = unused(used, &mut waiting, policy) => ("the connection is idle", Closing::Goodbye),
        () = passed(certificate_end) => ("the client's certificate has ended", Closing::CertificateEnded),
    };
    tracing::debug!(peer = peer.address(), "closing: {reason}");
    http.as_mut().graceful_shutdown();
    // Sessions that are gone already need no telling.
    let _ = close.send(Some(how));
    if tokio::time::timeout(policy.grace, http).await.is_err() {
        tracing::debug!(peer = peer.address(), "cut after the grace period");
    }
}

fn protocol(policy: &ConnectionPolicy) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(policy.keepalive_interval)
        .keep_alive_timeout(policy.keepalive_timeout)
        .max_concurrent_streams(policy.max_streams_per_connection)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(LOCAL_RESETS);
    builder
}

/// Returns when nobody has been let in for too long, or has had no stream for too long since.
async fn unused(
    mut used: watch::Receiver<Activity>,
    waiting: &mut Option<Waiting>,
    policy: &ConnectionPolicy,
) {
    let known = tokio::time::timeout(policy.stranger, used.wait_for(|used| used.known)).await;
    match known.map(|known| known.is_ok()) {
        Err(_) => return,
        // The connection is gone.
        Ok(false) => return std::future::pending().await,
        Ok(true) => *waiting = None,
    }
    idle(used, policy.idle).await;
}

/// Returns when there have been no streams for `limit`.
async fn idle(mut used: watch::Receiver<Activity>, limit: Duration) {
    loop {
        let idle = used.borrow_and_update().streams == 0;
        let changed =
            if idle { tokio::time::timeout(limit, used.changed()).await } else { Ok(used.changed().await) };
        match changed {
            Err(_) => return,
            Ok(Err(_)) => std::future::pending().await,
            Ok(Ok(())) => {}
        }
    }
}

/// `age`, give or take a tenth, so that connections that began together do not end together. `unit` is in 0..1.
fn jittered(age: Duration, unit: f64) -> Duration {
    age.mul_f64(0.9 + 0.2 * unit.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_spread_by_a_tenth() {
        let age = Duration::from_secs(100);
        assert_eq!(jittered(age, 0.0), Duration::from_secs(90));
        assert_eq!(jittered(age, 0.5), age);
        assert!(jittered(age, 1.0) <= Duration::from_millis(110_001));
    }

    #[tokio::test]
    async fn a_connection_with_a_stream_is_not_idle() {
        let limit = Duration::from_millis(50);
        let (activity, used) = watch::channel(Activity { known: true, streams: 1 });
        let waiting = tokio::spawn(idle(used, limit));
        tokio::time::sleep(limit * 4).await;
        assert!(!waiting.is_finished());
        let ended = std::time::Instant::now();
        activity.send_modify(|activity| activity.streams = 0);
        tokio::time::timeout(limit * 100, waiting).await.unwrap().unwrap();
        assert!(ended.elapsed() >= limit);
    }

    #[tokio::test]
    async fn who_is_let_in_gives_its_place_to_the_next() {
        let limits =
            |stranger| ConnectionPolicy { stranger, idle: Duration::MAX, ..ConnectionPolicy::default() };
        let lobby = Arc::new(Lobby::new(Places { client: 1, site: 1, all: 1 }));
        let (_unknown, used) = watch::channel(Activity::default());
        let mut waiting = lobby.enter("192.0.2.1:1");
        unused(used, &mut waiting, &limits(Duration::from_millis(1))).await;
        assert!(lobby.enter("192.0.2.1:2").is_none(), "until its connection has closed");
        drop(waiting);
        let (activity, used) = watch::channel(Activity::default());
        let mut waiting = lobby.enter("192.0.2.1:2");
        assert!(waiting.is_some());
        let known = tokio::spawn(async move { unused(used, &mut waiting, &limits(Duration::MAX)).await });
        assert!(lobby.enter("192.0.2.1:3").is_none());
        activity.send_modify(|activity| activity.known = true);
        while lobby.enter("192.0.2.1:3").is_none() {
            tokio::task::yield_now().await;
        }
        assert!(!known.is_finished());
    }
}
