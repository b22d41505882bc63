//! What the outcome of an attempt says of its host: to balancers, outlier detection, health checks and statistics.

use super::Tries;
use crate::base::error::ProxyError;
use crate::base::grpc::status_to_http;
use crate::config::Cluster;
use crate::http::attempt::Attempt;
use crate::http::exchange::Exchange;
use crate::http::head::ResponseHead;
use crate::http::header_id::HeaderId;
use crate::http::timers::Timers;
use crate::upstream::lb::peak_ewma;
use crate::upstream::outlier::{self, LocalFailure};
use crate::upstream::pool::HostPool;
use crate::upstream::view::ClusterState;

/// A host that answers with this wants no more traffic.
const IMMEDIATE_FAIL: &[u8] = b"x-envoy-immediate-health-check-fail";

impl Exchange<'_> {
    pub(super) fn attempt_connected(
        &mut self,
        tries: &Tries<'_, '_>,
        attempt: &mut Attempt,
        pool: &HostPool,
    ) {
        if tries.cluster.config().tracked.is_some() {
            attempt.lease.stream.size_answer();
        }
        outlier::connected(tries.cluster.config(), &pool.host);
        self.summary.connected(&pool.host, &attempt.lease);
    }

    pub(super) fn attempt_answered(
        &mut self,
        tries: &mut Tries<'_, '_>,
        pool: &HostPool,
        response: &ResponseHead,
    ) {
        let now = tries.timers.now();
        let grpc = self.grpc_status(response);
        self.summary.end_attempt(&pool.host, Ok((response.status, grpc.map(u64::from))));
        self.report_response(tries.cluster, pool, response);
        if let Some(sent) = tries.timers.sent_at() {
            peak_ewma::observe(tries.cluster.config(), &pool.host, now.duration_since(sent), now);
        }
        self.summary.timing.upstream_first_byte = Some(now);
        tries.timers.touch(now);
    }

    /// The status in the head of a gRPC call's answer.
    fn grpc_status(&self, response: &ResponseHead) -> Option<u8> {
        let text = response.block.get(HeaderId::GrpcStatus).filter(|_| self.grpc)?;
        std::str::from_utf8(text).ok()?.parse().ok()
    }

    /// The attempt is over, with so many bytes of bodies sent and received.
    pub(super) fn end_tracked(&self, tries: &mut Tries<'_, '_>, moved: (u64, u64)) {
        if let (Some(begun), Some(tracked)) = (tries.tracked.take(), &tries.cluster.config().tracked) {
            let limit = tries.timeouts.tries.whole;
            begun.end(tracked, &self.ctx.local.stats, moved, tries.timers.now(), limit);
        }
    }

    /// The request failed: one that ran out of time has used it up.
    pub(super) fn count_budget(&self, error: &ProxyError, timers: &Timers<'_>) {
        let late = matches!(
            error,
            ProxyError::RequestTimeout | ProxyError::PerTryTimeout | ProxyError::PerTryIdleTimeout
        );
        if late {
            self.summary.count_budget(timers);
        }
    }

    /// What the host is judged by: the gRPC status where there is one, else the HTTP status.
    pub(super) fn report_response(&self, cluster: &ClusterState, pool: &HostPool, response: &ResponseHead) {
        let status = self.grpc_status(response).map_or(response.status, status_to_http);
        let (local, config) = (&self.ctx.local, cluster.config());
        outlier::response(local, config, &pool.host, status);
        if config.health_check.is_some() && response.block.get_by_name(IMMEDIATE_FAIL).is_some() {
            pool.host.live.health.asks_to_leave();
        }
        let listens = config.outlier.as_ref().is_some_and(|outlier| outlier.detect_degraded);
        if listens && response.block.get_by_name(b"x-envoy-degraded").is_some() {
            outlier::degraded(local, config, &pool.host);
        }
    }

    pub(super) fn report_failure(&mut self, tries: &Tries<'_, '_>, pool: &HostPool, error: &ProxyError) {
        self.summary.end_attempt(&pool.host, Err(error));
        let (cluster, local) = (tries.cluster.config(), &self.ctx.local);
        if let Some(failure) = LocalFailure::of(error) {
            outlier::failed(local, cluster, &pool.host, failure);
        }
        self.count_try_failure(cluster, error);
    }

    /// Counts why a try failed.
    pub(in crate::http) fn count_try_failure(&self, cluster: &Cluster, error: &ProxyError) {
        let (local, stats) = (&self.ctx.local, &cluster.stats);
        match error {
            ProxyError::PerTryTimeout => local.stats.inc(stats.upstream_rq_per_try_timeout),
            ProxyError::PerTryIdleTimeout => local.stats.inc(stats.upstream_rq_per_try_idle_timeout),
            ProxyError::UpstreamMaxDuration { .. } => local.stats.inc(stats.upstream_rq_max_duration_reached),
            ProxyError::UpstreamReset { .. } => local.stats.inc(stats.upstream_rq_rx_reset),
            ProxyError::UpstreamProtocol(_) => local.stats.inc(stats.upstream_cx_protocol_error),
            ProxyError::ConnectFailure(_) => local.stats.inc(stats.upstream_rq_pending_failure_eject),
            _ => {}
        }
    }
}
