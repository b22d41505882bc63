//! Forwarding: attempts until one stands, then the response down.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::attempt::{self, Attempt};
use super::codec::Downstream;
use super::exchange::Exchange;
use super::head::{BodyLength, ResponseHead};
use super::header_id::HeaderId;
use super::relay;
use super::replay::ReplayBuffer;
use super::retry::{Decision, Retries};
use super::route::Found;
use super::timers::Timers;
use crate::base::error::{ProxyError, ResponseFlags};
use crate::config::route::{Forward, HostRewrite, MaxStreamDuration};
use crate::net::deadline::Deadline;
use crate::upstream::breaker::RetryPermit;
use crate::upstream::lb::PickContext;
use crate::upstream::outlier::{self, LocalFailure};
use crate::upstream::pool::HostPool;
use crate::upstream::view::ClusterState;

impl<'r> Exchange<'r> {
    pub(in crate::http) async fn forward(
        &mut self,
        found: Found<'r>,
        forward: &'r Forward,
        down: &mut Downstream<'_>,
        deadline: &mut Deadline,
    ) -> Result<(), ProxyError> {
        self.check_upgrade(forward)?;
        let (cluster, entry) = self.choose_cluster(forward)?;
        self.edit_request(found, forward, entry);
        self.answer_expectation(down)?;
        let mut timers = self.timers(forward, deadline);
        timers.expect_request(self.ctx.settings.request_timeout);
        let mut retries = Retries::new(forward.retry.as_deref(), &self.head);
        let mut replay = ReplayBuffer::new(retries.wants_replay() && self.head.body != BodyLength::None);
        // Held from the moment a retry is decided on until its own outcome.
        let mut permit = None;
        let outcome = loop {
            let tried = self.attempt(&cluster, forward, down, &mut replay, &mut retries, &mut timers).await;
            drop(permit.take());
            let Some(wait) = self.decide(&tried, &mut retries, &replay, &cluster) else { break tried };
            if retries.needs_permit() {
                permit = RetryPermit::take(&self.ctx.local, &cluster, forward.priority);
                if permit.is_none() {
                    self.refuse_retry(&cluster);
                    break tried;
                }
            }
            self.give_up(tried, &cluster);
            self.back_off(wait, &mut timers).await?;
        };
        self.summary.bytes_received = replay.received();
        self.note_times(&timers);
        let (mut attempt, mut response) = outcome?;
        self.edit_response(&mut response, found, entry);
        let tunnelled = relay::run(self, &mut attempt, response, down, &mut replay, &mut timers).await;
        self.summary.bytes_received = replay.received() + tunnelled;
        self.note_times(&timers);
        attempt.lease.finish(&self.ctx.local, cluster.config());
        Ok(())
    }

    fn note_times(&mut self, timers: &Timers<'_>) {
        self.summary.timing.request_complete = timers.request_completed_at();
        self.summary.timing.upstream_sent = timers.sent_at();
    }

    /// The client waits for permission to send its body: give it, or pass the question on.
    fn answer_expectation(&mut self, down: &mut Downstream<'_>) -> Result<(), ProxyError> {
        if !self.head.expects_continue {
            return Ok(());
        }
        if self.ctx.settings.proxy_100_continue {
            self.head.block.append(b"expect", b"100-continue");
            return Ok(());
        }
        let go_on = ResponseHead {
            block: Default::default(),
            status: 100,
            version: self.head.version,
            body: BodyLength::None,
            upgrade: None,
        };
        down.send_informational(&go_on).map_err(attempt::client_failure)
    }

    fn timers<'d>(&self, forward: &Forward, deadline: &'d mut Deadline) -> Timers<'d>
    where
        'r: 'd,
    {
        let settings = &self.ctx.settings;
        let idle = forward.idle_timeout.unwrap_or(settings.stream_idle_timeout);
        let grpc_timeout = self.head.block.get_by_name(b"grpc-timeout").and_then(super::grpc::parse_timeout);
        let (route, stream) = match forward.max_stream_duration {
            Some(limit) => (Duration::ZERO, stream_limit(&limit, grpc_timeout)),
            None => (forward.timeout, settings.max_stream_duration),
        };
        Timers::new(deadline, &self.ctx.cut, self.summary.timing.started, route, idle, stream)
    }

    async fn attempt(
        &mut self,
        cluster: &Rc<ClusterState>,
        forward: &Forward,
        down: &mut Downstream<'_>,
        replay: &mut ReplayBuffer,
        retries: &mut Retries<'_>,
        timers: &mut Timers<'_>,
    ) -> Result<(Attempt, ResponseHead), ProxyError> {
        let pool = self.pick(cluster, retries)?;
        if matches!(forward.host_rewrite, Some(HostRewrite::Auto)) && !pool.host.hostname.is_empty() {
            self.set_authority(pool.host.hostname.as_bytes(), forward);
        }
        if let Some(found) = self.summary.found
            && found.virtual_host.include_request_attempt_count
        {
            let mut text = itoa::Buffer::new();
            let count = text.format(self.summary.attempts).as_bytes();
            self.head.block.replace(HeaderId::EnvoyAttemptCount, count);
        }
        let begun = attempt::begin(self.ctx, cluster, &pool, &self.head, forward, timers).await;
        let mut attempt = begun.inspect_err(|error| self.report_failure(cluster, &pool, error))?;
        outlier::connected(cluster.config(), &pool.host);
        self.summary.upstream_protocol = attempt.lease.version();
        self.summary.upstream_local_address = attempt.lease.local_address;
        let per_try = retries.per_try_timeout();
        let response = attempt.response(self.ctx, down, &self.head, replay, timers, per_try).await;
        match response {
            Ok(response) => {
                let now = Instant::now();
                self.report_response(cluster, &pool, &response);
                self.summary.timing.upstream_first_byte = Some(now);
                timers.touch(now);
                Ok((attempt, response))
            }
            Err(error) => {
                self.report_failure(cluster, &pool, &error);
                attempt.lease.stream.cancel();
                attempt.lease.finish(&self.ctx.local, cluster.config());
                Err(error)
            }
        }
    }

    /// What the host is judged by: the gRPC status where there is one, else the HTTP status.
    fn report_response(&self, cluster: &ClusterState, pool: &HostPool, response: &ResponseHead) {
        let grpc = response.block.get(HeaderId::GrpcStatus).filter(|_| self.grpc);
        let code = grpc.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
        let status = code.map_or(response.status, super::grpc::status_to_http);
        outlier::response(&self.ctx.local, cluster.config(), &pool.host, status);
    }

    fn report_failure(&self, cluster: &ClusterState, pool: &HostPool, error: &ProxyError) {
        if let Some(failure) = LocalFailure::of(error) {
            outlier::failed(&self.ctx.local, cluster.config(), &pool.host, failure);
        }
    }

    fn pick(
        &mut self,
        cluster: &Rc<ClusterState>,
        retries: &mut Retries<'_>,
    ) -> Result<Rc<HostPool>, ProxyError> {
        let (avoid, attempts) = retries.avoidance();
        let destination = self.ctx.original_destination.filter(|to| !self.view.is_own_listener(*to));
        let pool = cluster.pick(&self.ctx.local, PickContext { avoid, attempts }, destination);
        let Some(pool) = pool else {
            self.ctx.local.stats.inc(cluster.config().stats.upstream_cx_none_healthy);
            return Err(ProxyError::NoHealthyUpstream);
        };
        retries.tried.push(pool.host.uid);
        self.summary.attempts += 1;
        self.summary.host = Some(pool.clone());
        Ok(pool)
    }

    /// Counts the outcome of an attempt and says whether to try again, after how long.
    fn decide(
        &mut self,
        tried: &Result<(Attempt, ResponseHead), ProxyError>,
        retries: &mut Retries<'_>,
        replay: &ReplayBuffer,
        cluster: &Rc<ClusterState>,
    ) -> Option<Duration> {
        let stats = &cluster.config().stats;
        let local = &self.ctx.local;
        let decision = local.random(|rng| match tried {
            Ok((_, response)) => retries.after_response(response, self.grpc, rng),
            Err(error) => retries.after_failure(error, rng),
        });
        match decision {
            Decision::Retry(wait) if self.head.body == BodyLength::None || replay.can_replay() => Some(wait),
            Decision::LimitExceeded => {
                local.stats.inc(stats.upstream_rq_retry_limit_exceeded);
                self.summary.flags.insert(ResponseFlags::UPSTREAM_RETRY_LIMIT_EXCEEDED);
                None
            }
            Decision::Retry(_) | Decision::Stop => {
                if retries.made() > 0 && matches!(tried, Ok((_, response)) if response.status < 500) {
                    local.stats.inc(stats.upstream_rq_retry_success);
                }
                None
            }
        }
    }

    /// The `max_retries` breaker is open: the outcome stands.
    fn refuse_retry(&mut self, cluster: &ClusterState) {
        self.ctx.local.stats.inc(cluster.config().stats.upstream_rq_retry_overflow);
        self.summary.flags.insert(ResponseFlags::UPSTREAM_OVERFLOW);
    }

    /// Lets go of an attempt that another one follows.
    fn give_up(&self, tried: Result<(Attempt, ResponseHead), ProxyError>, cluster: &ClusterState) {
        let (stats, local) = (&cluster.config().stats, &self.ctx.local);
        local.stats.inc(stats.upstream_rq_retry);
        if let Ok((mut attempt, response)) = tried {
            stats.count_retried_response(&local.stats, response.status);
            attempt.lease.stream.cancel();
            attempt.lease.finish(local, cluster.config());
        }
    }

    async fn back_off(&mut self, wait: Duration, timers: &mut Timers<'_>) -> Result<(), ProxyError> {
        if wait.is_zero() {
            return Ok(());
        }
        let mut sleep = std::pin::pin!(tokio::time::sleep(wait));
        std::future::poll_fn(|cx| match sleep.as_mut().poll(cx) {
            std::task::Poll::Ready(()) => std::task::Poll::Ready(Ok(())),
            std::task::Poll::Pending => timers.poll(cx).map(Err),
        })
        .await
    }
}

/// `max_stream_duration` with `grpc-timeout`, when the route honours it.
fn stream_limit(limit: &MaxStreamDuration, grpc_timeout: Option<Duration>) -> Duration {
    const AT_ONCE: Duration = Duration::from_nanos(1);
    match (limit.grpc_timeout_max, grpc_timeout) {
        (Some(max), Some(asked)) => {
            let asked = asked.checked_sub(limit.grpc_timeout_offset).unwrap_or(AT_ONCE).max(AT_ONCE);
            if max.is_zero() { asked } else { asked.min(max) }
        }
        _ => limit.max,
    }
}
