//! `tcp_proxy`: pick a cluster and a host, dial, copy both ways, log.

use std::cell::Cell;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::base::details::Details;
use crate::base::drain::{Drain, DrainPhase};
use crate::base::error::{ConnectFailure, ResponseFlags};
use crate::base::hash::xxhash64;
use crate::config::Cluster;
use crate::config::listener::TcpSettings;
use crate::config::live::Priority;
use crate::net::copy::{Copied, CopyEnd, Progress, copy_both};
use crate::net::stream::Stream;
use crate::observe::access_log::log_at_listener;
use crate::observe::connection::{DownstreamConnection, Refusal, UpstreamConnection};
use crate::observe::record::{Closes, Measured, Record, RecordMetadata, Subject, Timing};
use crate::upstream::lb::PickContext;
use crate::upstream::local::Local;
use crate::upstream::outlier::{self, LocalFailure};
use crate::upstream::pool::{ConnectionGuard, Ending, Full, HostPool};
use crate::upstream::view::ClusterState;

/// One downstream connection under a TCP proxy.
#[derive(Debug)]
pub struct TcpConn {
    /// Worker state.
    pub local: Rc<Local>,
    /// Settings.
    pub settings: Arc<TcpSettings>,
    /// The connection as logs tell of it.
    pub connection: DownstreamConnection,
    /// The restored original destination, when there was one.
    pub original_destination: Option<SocketAddr>,
    /// Drain signal of the listener.
    pub drain: Drain,
}

/// What happened, for the log.
#[derive(Default)]
struct Story {
    flags: ResponseFlags,
    details: Details,
    /// Why a filter before has ended it.
    termination: String,
    /// What went wrong in the TLS handshake with the client.
    handshake_failure: String,
    failure: String,
    received: u64,
    sent: u64,
    closes: Closes,
    attempts: u32,
    cluster: Option<Rc<ClusterState>>,
    host: Option<Rc<HostPool>>,
    connection: Option<Rc<UpstreamConnection>>,
    pool_ready: Option<Instant>,
}

/// Why there is no connection to a host. Source: `UpstreamFailureReason` of Envoy's `tcp_proxy`, whose logs print the
/// number.
#[derive(Clone, Copy)]
enum Failure {
    ConnectFailed,
    NoHealthyUpstream,
    ResourceLimitExceeded,
    NoRoute,
}

impl Failure {
    /// As Envoy spells it.
    fn reason(self) -> &'static str {
        match self {
            Failure::ConnectFailed => "tcp_initializion_failure:0",
            Failure::NoHealthyUpstream => "tcp_initializion_failure:1",
            Failure::ResourceLimitExceeded => "tcp_initializion_failure:2",
            Failure::NoRoute => "tcp_initializion_failure:3",
        }
    }
}

/// Proxies a connection to its end.
pub async fn serve(conn: TcpConn, io: Stream) {
    conn.local.stats.inc(conn.settings.stats.downstream_cx_total);
    let mut story = Story::default();
    run(&conn, io, &mut story).await;
    story.log(&conn);
}

/// Logs a connection that its TLS handshake or a filter before has ended.
pub fn refused(conn: &TcpConn, refusal: Refusal) {
    conn.local.stats.inc(conn.settings.stats.downstream_cx_total);
    let mut story = Story::default();
    let Refusal { flags, details, termination, handshake_failure, closed } = refusal;
    (story.flags, story.details, story.closes.reason) = (flags, details, closed);
    (story.termination, story.handshake_failure) = (termination, handshake_failure);
    story.log(conn);
}

async fn run(conn: &TcpConn, mut down: Stream, story: &mut Story) {
    let Some((mut up, guard)) = connect(conn, story).await else { return };
    guard.carry();
    let cluster = story.cluster.clone();
    let moved = Cell::new((0, 0));
    let count = |progress: Progress| {
        let Progress { forward: received, backward: sent, .. } = progress;
        moved.set((moved.get().0 + received, moved.get().1 + sent));
        let stats = &conn.settings.stats;
        conn.local.stats.add(stats.downstream_cx_rx_bytes_total, received);
        conn.local.stats.add(stats.downstream_cx_tx_bytes_total, sent);
        if let Some(cluster) = &cluster {
            conn.local.stats.add(cluster.config().stats.upstream_cx_tx_bytes_total, received);
            conn.local.stats.add(cluster.config().stats.upstream_cx_rx_bytes_total, sent);
            count_flow(conn, cluster.config(), progress);
        }
    };
    let idle = conn.settings.idle_timeout;
    let of_cluster = cluster.as_ref().map_or(usize::MAX, |cluster| cluster.config().buffer_limit);
    let largest = conn.settings.buffer_limit.min(of_cluster);
    let copied = tokio::select! {
        copied = copy_both(&mut down, &mut up, &conn.local.bufs, largest, idle, count) => Some(copied),
        () = conn.drain.reached(DrainPhase::Terminating) => None,
    };
    (story.received, story.sent) = moved.get();
    guard.ends(who_ended(copied), true);
    let Some(copied) = copied else {
        story.flags.insert(ResponseFlags::DOWNSTREAM_CONNECTION_TERMINATION);
        story.closes.reason = "drain_time_over";
        return;
    };
    story.closes.downstream_reset = copied.end == CopyEnd::FirstFailed(ErrorKind::ConnectionReset);
    story.closes.upstream_reset = copied.end == CopyEnd::SecondFailed(ErrorKind::ConnectionReset);
    pass_reset_on(copied.end, &down, &up);
    match copied.end {
        CopyEnd::Finished => {}
        CopyEnd::Idle => {
            conn.local.stats.inc(conn.settings.stats.idle_timeout);
            story.closes.reason = "tcp_session_idle_timeout";
        }
        // As in Envoy what a client does to its connection is no fault of anybody's.
        CopyEnd::FirstFailed(_) => {}
        CopyEnd::SecondFailed(ErrorKind::ConnectionReset) => {
            story.flags.insert(ResponseFlags::UPSTREAM_REMOTE_RESET);
        }
        CopyEnd::SecondFailed(_) => story.flags.insert(ResponseFlags::UPSTREAM_CONNECTION_TERMINATION),
    }
}

/// Counts when one side stops taking what the other one sends, and takes it again.
fn count_flow(conn: &TcpConn, cluster: &Cluster, progress: Progress) {
    let (own, host) = (&conn.settings.stats, &cluster.stats);
    let pauses = [
        (
            progress.first_paused,
            own.downstream_flow_control_paused_reading_total,
            own.downstream_flow_control_resumed_reading_total,
        ),
        (
            progress.second_paused,
            host.upstream_flow_control_paused_reading_total,
            host.upstream_flow_control_resumed_reading_total,
        ),
    ];
    for (turned, paused, resumed) in pauses {
        if let Some(is_paused) = turned {
            conn.local.stats.inc(if is_paused { paused } else { resumed });
        }
    }
}

/// A reset on one side is one on the other, as in Envoy: whoever waits there must not take what came so far for all.
fn pass_reset_on(end: CopyEnd, down: &Stream, up: &Stream) {
    match end {
        CopyEnd::FirstFailed(ErrorKind::ConnectionReset) => up.reset_at_end(),
        CopyEnd::SecondFailed(ErrorKind::ConnectionReset) => down.reset_at_end(),
        _ => {}
    }
}

/// As in Envoy the host has closed where its FIN or its reset was the last word.
fn who_ended(copied: Option<Copied>) -> Ending {
    match copied.map(|copied| (copied.end, copied.second_ended_last)) {
        Some((CopyEnd::Finished, true) | (CopyEnd::SecondFailed(_), _)) => Ending::Remote,
        _ => Ending::Local,
    }
}

/// Dials until a host answers or the attempts are used up.
async fn connect(conn: &TcpConn, story: &mut Story) -> Option<(Stream, ConnectionGuard)> {
    let view = conn.local.view();
    let random = conn.local.random(|rng| rng.u64(..));
    let (target, entry) = crate::config::route::choose_cluster(&conn.settings.clusters, random);
    let Some(cluster) = target.and_then(|id| view.cluster(id)) else {
        conn.local.stats.inc(conn.settings.stats.downstream_cx_no_route);
        story.not_begun(ResponseFlags::NO_CLUSTER_FOUND, Failure::NoRoute);
        return None;
    };
    let (cluster, part) = view.resolve(cluster, &conn.local);
    story.cluster = Some(cluster.clone());
    let settings = cluster.config();
    let context = PickContext {
        hash: affinity(conn, settings),
        criteria: entry
            .and_then(|entry| entry.metadata_match.as_deref())
            .or(conn.settings.metadata_match.as_deref()),
        part,
        ..PickContext::default()
    };
    for _ in 0..conn.settings.max_connect_attempts.max(1) {
        let destination = conn.original_destination.filter(|to| !view.is_own_listener(*to));
        let pool = cluster.pick(&conn.local, context, destination, Priority::Default);
        let Some(pool) = pool else {
            conn.local.stats.inc(settings.stats.upstream_cx_none_healthy);
            story.not_begun(ResponseFlags::NO_HEALTHY_UPSTREAM, Failure::NoHealthyUpstream);
            return None;
        };
        story.attempts += 1;
        story.host = Some(pool.clone());
        let (guard, pending) = match ConnectionGuard::begin_alone(&conn.local, &cluster, &pool) {
            Ok(begun) => begun,
            Err(Full::Connections) => {
                story.not_begun(ResponseFlags::UPSTREAM_OVERFLOW, Failure::ResourceLimitExceeded);
                return None;
            }
            // As in Envoy that is an attempt which failed.
            Err(Full::Pending) => continue,
        };
        let dialled = guard.dial().await;
        pending.over();
        story.pool_ready = Some(Instant::now());
        match dialled {
            Ok(up) => {
                pool.host.live.rq_total.fetch_add(1, Ordering::Relaxed);
                outlier::connected_for_good(&conn.local, settings, &pool.host);
                story.connection = guard.connection();
                return Some((up, guard));
            }
            Err(failure) => {
                conn.local.stats.inc(settings.stats.upstream_rq_pending_failure_eject);
                if let Some(told) = LocalFailure::of_connection(&failure) {
                    outlier::connection_failed(&conn.local, settings, &pool.host, told);
                }
                story.connect_failed(failure);
            }
        }
    }
    conn.local.stats.inc(settings.stats.upstream_cx_connect_attempts_exceeded);
    story.not_begun(ResponseFlags::UPSTREAM_RETRY_LIMIT_EXCEEDED, Failure::ConnectFailed);
    None
}

/// The hash of the client's address, where the proxy and the cluster hash.
fn affinity(conn: &TcpConn, cluster: &Cluster) -> Option<u64> {
    let hashes = conn.settings.hash_source_ip && cluster.balancing.policy.is_hash();
    hashes.then(|| xxhash64(conn.connection.peer.ip().to_canonical().to_string().as_bytes(), 0))
}

impl Story {
    /// There will be no connection to a host.
    fn not_begun(&mut self, flags: ResponseFlags, failure: Failure) {
        self.flags.insert(flags);
        self.closes.reason = failure.reason();
    }

    fn connect_failed(&mut self, failure: ConnectFailure) {
        self.flags.insert(ResponseFlags::UPSTREAM_CONNECTION_FAILURE);
        self.failure = match failure {
            ConnectFailure::Remote(text) | ConnectFailure::Local(text) => text,
            ConnectFailure::Timeout => "connection timeout".to_owned(),
        };
    }

    fn log(&self, conn: &TcpConn) {
        let cluster = self.cluster.as_ref().map(|cluster| cluster.config());
        let timing = Timing {
            pool_ready: self.pool_ready,
            finished: Some(Instant::now()),
            ..Timing::begun(conn.connection.opened_at, conn.connection.opened)
        };
        let record = Record {
            subject: Subject::TcpSession,
            flags: self.flags,
            details: &self.details,
            termination: &self.termination,
            upstream_failure: &self.failure,
            downstream_failure: &self.handshake_failure,
            bytes_received: self.received,
            bytes_sent: self.sent,
            downstream_wire: Measured::raw(self.received, self.sent),
            upstream_wire: Measured::raw(self.sent, self.received),
            closes: self.closes,
            upstream_host: self.host.as_ref().map(|pool| &*pool.host),
            upstream: self.connection.as_deref(),
            metadata: RecordMetadata {
                cluster: cluster.and_then(|cluster| cluster.metadata.as_deref()),
                ..RecordMetadata::default()
            },
            cluster: cluster.map_or("", |cluster| &cluster.name),
            cluster_alias: cluster.and_then(|cluster| cluster.alias.as_deref()),
            attempts: self.attempts,
            ..Record::of_connection(&conn.connection, timing)
        };
        for log in &conn.settings.access_logs {
            log.log(&record, &mut conn.local.logs.borrow_mut());
        }
        log_at_listener(&record, &mut conn.local.logs.borrow_mut());
        if conn.local.tap.is_on() {
            conn.local.tap.show(&record);
        }
    }
}
