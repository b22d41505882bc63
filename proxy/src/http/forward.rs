//! Forwarding: attempts until one stands, then the response down.

mod hedge;

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime};

use super::attempt::{self, Attempt};
use super::codec::{BodySource, Downstream, Fill};
use super::edits;
use super::exchange::Exchange;
use super::hash_policy::{Affinity, Ends};
use super::head::{BodyLength, ResponseHead};
use super::header_id::HeaderId;
use super::mirror;
use super::relay;
use super::replay::ReplayBuffer;
use super::retry::{Asked, Cause, Decision, Limits, Retries, Retry};
use super::route::Found;
use super::timeouts::Timeouts;
use super::timers::Timers;
use crate::base::error::{ProxyError, ResponseFlags};
use crate::config::route::{Forward, HostRewrite, WeightedCluster};
use crate::net::deadline::Deadline;
use crate::upstream::breaker::RetryPermit;
use crate::upstream::connect::millis;
use crate::upstream::lb::{PickContext, peak_ewma};
use crate::upstream::outlier::{self, LocalFailure};
use crate::upstream::pool::HostPool;
use crate::upstream::view::ClusterState;

/// What the attempts of one exchange share.
struct Tries<'a, 'd> {
    cluster: &'a Rc<ClusterState>,
    forward: &'a Forward,
    timeouts: Timeouts,
    retries: Retries<'a>,
    replay: ReplayBuffer,
    timers: Timers<'d>,
    /// The attempt about to be made follows one that timed out.
    after_timeout: bool,
}

/// How one attempt ended: with a response to pass on or to retry, or without.
type Outcome = Result<(Attempt, ResponseHead), ProxyError>;

impl<'r> Exchange<'r> {
    /// Sends the request on and relays the response. False: the response redirects the request inside.
    pub(in crate::http) async fn forward(
        &mut self,
        found: Found<'r>,
        forward: &'r Forward,
        down: &mut Downstream<'_>,
        deadline: &mut Deadline,
    ) -> Result<bool, ProxyError> {
        self.check_upgrade(forward)?;
        let (cluster, entry) = self.choose_cluster(forward)?;
        let policy = cluster.config().retry.as_deref().or(forward.retry.as_deref());
        let limits =
            if self.summary.internal { Limits::take(&mut self.head.block) } else { Limits::default() };
        let timeouts =
            Timeouts::decide(forward, policy, cluster.config(), &self.ctx.settings, &limits, &self.head);
        self.no_content_on_timeout = timeouts.no_content;
        self.announce_timeout(&timeouts, Duration::ZERO);
        self.edit_request(found, forward, entry);
        self.summary.inject_span(&mut self.head);
        let asked = self.asked_retries(found, entry);
        let ends = Ends { client: self.summary.client, destination: self.ctx.destination };
        let affinity = std::mem::take(&mut self.affinity);
        self.affinity = affinity.with(cluster.config(), forward, entry, &self.head, ends);
        self.answer_expectation(down)?;
        let retries = Retries::new(policy, asked, &self.head);
        let mut tries = Tries {
            cluster: &cluster,
            forward,
            timeouts,
            replay: self.replay_buffer(forward, &retries),
            retries,
            timers: self.timers(forward, &timeouts, deadline),
            after_timeout: false,
        };
        let outcome = if timeouts.hedge && tries.retries.are_possible() {
            Box::pin(self.hedged(&mut tries, down)).await
        } else {
            self.until_one_stands(&mut tries, down).await
        };
        self.summary.bytes_received = tries.replay.received();
        let abandoned = self.count_abandoned(&tries, false);
        self.note_times(&tries.timers);
        let (mut attempt, mut response) = outcome?;
        if forward.internal_redirects.is_some()
            && self.follow_redirect(forward, found, &tries.replay, &response)
        {
            self.let_go(attempt, &tries);
            self.summary.redirected(&self.head, response);
            self.keep_body(tries.replay);
            return Ok(false);
        }
        self.affinity.set_cookies(&mut response.block);
        self.edit_response(&mut response, found, entry);
        let Tries { replay, timers, .. } = &mut tries;
        let tunnelled = relay::run(self, &mut attempt, response, down, replay, timers).await;
        self.summary.bytes_received = replay.received() + tunnelled;
        self.note_times(timers);
        self.count_abandoned(&tries, abandoned);
        attempt.lease.finish(&self.ctx.local, cluster.config());
        Ok(true)
    }

    fn note_times(&mut self, timers: &Timers<'_>) {
        self.summary.timing.request_complete = timers.request_completed_at();
        self.summary.timing.upstream_sent = timers.sent_at();
    }

    /// One attempt after the other.
    async fn until_one_stands(&mut self, tries: &mut Tries<'_, '_>, down: &mut Downstream<'_>) -> Outcome {
        // Held from the moment a retry is decided on until its own outcome.
        let mut permit = None;
        loop {
            let tried = self.attempt(tries, down).await;
            drop(permit.take());
            let Some(retry) = self.decide(&tried, tries) else { return tried };
            if retry.cause != Cause::KeepAliveRace {
                permit = self.retry_permit(tries);
                if permit.is_none() {
                    return tried;
                }
            }
            self.give_up(tried, retry.cause, tries);
            back_off(retry.wait, &mut tries.timers).await?;
        }
    }

    /// What an internal caller, or the route's own header edits, say about retries.
    fn asked_retries(&mut self, found: Found<'r>, entry: Option<&'r WeightedCluster>) -> Option<Box<Asked>> {
        let mut levels = edits::levels(self.ctx.route_table(self.view), found, entry);
        let may_say = self.summary.internal || levels.any(|level| !level.request_add.is_empty());
        may_say.then(|| Asked::take(&mut self.head.block)).flatten()
    }

    fn replay_buffer(&mut self, forward: &Forward, retries: &Retries<'_>) -> ReplayBuffer {
        if let Some(body) = self.collected_body().or_else(|| self.kept_body()) {
            return body;
        }
        let redirects = forward.internal_redirects.is_some();
        if self.head.body == BodyLength::None || !(retries.wants_replay() || redirects) {
            return ReplayBuffer::new();
        }
        let by_policy = retries.are_possible() || redirects;
        ReplayBuffer::recording(&self.ctx.local.replay, forward.replay_limit, by_policy)
    }

    /// Tells the upstream how long we are going to wait for it.
    fn announce_timeout(&mut self, timeouts: &Timeouts, elapsed: Duration) {
        let expected = timeouts.expected(elapsed);
        if let Some(told) = timeouts.told_by_grpc(expected) {
            let text = super::grpc::timeout_text(told);
            self.head.block.replace(HeaderId::GrpcTimeout, text.as_bytes());
        }
        if let (Some(expected), false) = (expected, self.ctx.settings.suppress_envoy_headers) {
            let mut text = itoa::Buffer::new();
            self.head.block.replace(HeaderId::EnvoyExpectedTimeout, text.format(millis(expected)).as_bytes());
        }
    }

    /// Counts, once, that the body outgrew what is kept for retries.
    fn count_abandoned(&self, tries: &Tries<'_, '_>, counted: bool) -> bool {
        let abandoned = tries.replay.overflowed() && tries.retries.are_possible();
        if abandoned && !counted {
            self.ctx.local.stats.inc(tries.cluster.config().stats.retry_or_shadow_abandoned);
        }
        abandoned
    }

    /// The client waits for permission to send its body: give it, or pass the question on.
    pub(in crate::http) fn answer_expectation(
        &mut self,
        down: &mut Downstream<'_>,
    ) -> Result<(), ProxyError> {
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

    fn timers<'d>(&self, forward: &Forward, timeouts: &Timeouts, deadline: &'d mut Deadline) -> Timers<'d>
    where
        'r: 'd,
    {
        let settings = &self.ctx.settings;
        let idle = forward.idle_timeout.unwrap_or(settings.stream_idle_timeout);
        let started = self.summary.timing.started;
        let mut timers = Timers::new(deadline, &self.ctx.cut, started, timeouts.route, idle, timeouts.stream);
        timers.limit_tries(timeouts.tries);
        timers.expect_request(settings.request_timeout);
        timers
    }

    async fn attempt(&mut self, tries: &mut Tries<'_, '_>, down: &mut Downstream<'_>) -> Outcome {
        let pool = self.start_attempt(tries)?;
        let begun =
            attempt::begin(self.ctx, tries.cluster, &pool, &self.head, tries.forward, &mut tries.timers)
                .await;
        let mut attempt = begun.inspect_err(|error| self.report_failure(tries, &pool, error))?;
        self.attempt_connected(tries, &attempt, &pool);
        let Tries { replay, timers, .. } = tries;
        let response = match attempt.send(&self.head, timers) {
            Ok(()) => {
                tries.retries.request_begun();
                attempt.response(self.ctx, down, &self.head, replay, timers).await
            }
            Err(error) => Err(error),
        };
        match response {
            Ok(response) => {
                tries.timers.response_begins();
                self.attempt_answered(tries, &pool, &response);
                Ok((attempt, response))
            }
            Err(error) => {
                tries.timers.end_try();
                self.report_failure(tries, &pool, &error);
                attempt.lease.cut(matches!(error, ProxyError::UpstreamClosed { .. }));
                self.let_go(attempt, tries);
                Err(error)
            }
        }
    }

    /// Picks the host of the next attempt and says so in the request.
    fn start_attempt(&mut self, tries: &mut Tries<'_, '_>) -> Result<Rc<HostPool>, ProxyError> {
        tries.retries.attempt_starts();
        let pool = self.pick(tries)?;
        if matches!(tries.forward.host_rewrite, Some(HostRewrite::Auto)) && !pool.host.hostname.is_empty() {
            self.set_authority(pool.host.hostname.as_bytes(), tries.forward);
        }
        if self.summary.attempts == 1 {
            self.mirror(tries);
        }
        self.summary.begin_attempt(&mut self.head);
        let Some(found) = self.summary.found else { return Ok(pool) };
        if found.virtual_host.include_request_attempt_count {
            let mut text = itoa::Buffer::new();
            let count = text.format(self.summary.attempts).as_bytes();
            self.head.block.replace(HeaderId::EnvoyAttemptCount, count);
        }
        if self.summary.attempts > 1 {
            self.announce_timeout(&tries.timeouts, tries.timers.elapsed(Instant::now()));
            if found.virtual_host.include_is_timeout_retry {
                let by_timeout: &[u8] = if tries.after_timeout { b"true" } else { b"false" };
                self.head.block.set(b"x-envoy-is-timeout-retry", by_timeout);
            }
        }
        Ok(pool)
    }

    /// Starts the copies that the route asks for, once there is a host for the original. Bytes of a tunnel have none.
    fn mirror(&self, tries: &mut Tries<'_, '_>) {
        if let Some(mirrors) = tries.forward.mirrors.as_deref().filter(|_| !self.head.asks_for_tunnel()) {
            let copies = mirror::start(self, mirrors, tries.cluster, tries.timeouts.route);
            tries.replay.share_with(copies);
        }
    }

    fn attempt_connected(&mut self, tries: &Tries<'_, '_>, attempt: &Attempt, pool: &HostPool) {
        outlier::connected(tries.cluster.config(), &pool.host);
        self.summary.upstream_protocol = attempt.lease.version();
        self.summary.upstream_local_address = attempt.lease.local_address;
    }

    fn attempt_answered(&mut self, tries: &mut Tries<'_, '_>, pool: &HostPool, response: &ResponseHead) {
        let now = Instant::now();
        self.summary.end_attempt(&pool.host, Ok(response.status));
        self.report_response(tries.cluster, pool, response);
        if let Some(sent) = tries.timers.sent_at() {
            peak_ewma::observe(tries.cluster.config(), &pool.host, now.duration_since(sent), now);
        }
        self.summary.timing.upstream_first_byte = Some(now);
        tries.timers.touch(now);
    }

    /// What the host is judged by: the gRPC status where there is one, else the HTTP status.
    fn report_response(&self, cluster: &ClusterState, pool: &HostPool, response: &ResponseHead) {
        let grpc = response.block.get(HeaderId::GrpcStatus).filter(|_| self.grpc);
        let code = grpc.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
        let status = code.map_or(response.status, super::grpc::status_to_http);
        let (local, config) = (&self.ctx.local, cluster.config());
        outlier::response(local, config, &pool.host, status);
        let listens = config.outlier.as_ref().is_some_and(|outlier| outlier.detect_degraded);
        if listens && response.block.get_by_name(b"x-envoy-degraded").is_some() {
            outlier::degraded(local, config, &pool.host);
        }
    }

    fn report_failure(&mut self, tries: &Tries<'_, '_>, pool: &HostPool, error: &ProxyError) {
        self.summary.end_attempt(&pool.host, Err(error));
        let (cluster, local) = (tries.cluster.config(), &self.ctx.local);
        if let Some(failure) = LocalFailure::of(error) {
            outlier::failed(local, cluster, &pool.host, failure);
        }
        let stats = &cluster.stats;
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

    fn pick(&mut self, tries: &mut Tries<'_, '_>) -> Result<Rc<HostPool>, ProxyError> {
        self.summary.attempts += 1;
        let cluster = tries.cluster;
        let (avoid, omit, attempts) = tries.retries.avoidance();
        let destination = self.ctx.original_destination.filter(|to| !self.view.is_own_listener(*to));
        let Affinity { hash, criteria, part, .. } = self.affinity;
        let context = PickContext { avoid, omit, attempts, hash, criteria, part };
        let pool = cluster.pick(&self.ctx.local, context, destination, tries.forward.priority);
        let Some(pool) = pool else {
            self.ctx.local.stats.inc(cluster.config().stats.upstream_cx_none_healthy);
            return Err(ProxyError::NoHealthyUpstream);
        };
        tries.retries.tried(pool.host.uid);
        self.summary.host = Some(pool.clone());
        Ok(pool)
    }

    /// Whether to try again after this outcome, and when.
    fn decide(&mut self, tried: &Outcome, tries: &mut Tries<'_, '_>) -> Option<Retry> {
        let decision = self.ctx.local.random(|rng| match tried {
            Ok((_, response)) => tries.retries.after_response(response, rng, SystemTime::now),
            Err(error) => tries.retries.after_failure(error, rng),
        });
        tries.after_timeout = matches!(tried, Err(ProxyError::PerTryTimeout | ProxyError::PerTryIdleTimeout));
        self.settle(decision, tried.is_ok(), tries)
    }

    /// A decision with what it means for statistics, flags and a body that is gone.
    fn settle(&mut self, decision: Decision, answered: bool, tries: &mut Tries<'_, '_>) -> Option<Retry> {
        let stats = &tries.cluster.config().stats;
        let local = &self.ctx.local;
        match decision {
            Decision::Retry(retry) if self.head.body == BodyLength::None || tries.replay.can_replay() => {
                Some(retry)
            }
            Decision::Retry(_) => {
                self.summary.note = Some("request_payload_exceeded_retry_buffer_limit");
                None
            }
            Decision::LimitExceeded => {
                local.stats.inc(stats.upstream_rq_retry_limit_exceeded);
                self.summary.flags.insert(ResponseFlags::UPSTREAM_RETRY_LIMIT_EXCEEDED);
                None
            }
            Decision::Stop => {
                if tries.retries.made() > 0 && answered {
                    local.stats.inc(stats.upstream_rq_retry_success);
                }
                None
            }
        }
    }

    /// Permission of the circuit breakers for one more retry. Without it the outcome stands.
    fn retry_permit(&mut self, tries: &Tries<'_, '_>) -> Option<RetryPermit> {
        let permit = RetryPermit::take(&self.ctx.local, tries.cluster, tries.forward.priority);
        if permit.is_none() {
            self.ctx.local.stats.inc(tries.cluster.config().stats.upstream_rq_retry_overflow);
            self.summary.flags.insert(ResponseFlags::UPSTREAM_OVERFLOW);
        }
        permit
    }

    fn count_retry(&self, cause: Cause, tries: &Tries<'_, '_>) {
        let (stats, shard) = (&tries.cluster.config().stats, &self.ctx.local.stats);
        if cause == Cause::KeepAliveRace {
            return shard.inc(stats.upstream_rq_retry_keepalive_race);
        }
        shard.inc(stats.upstream_rq_retry);
        match cause {
            Cause::Policy => shard.inc(stats.upstream_rq_retry_backoff_exponential),
            Cause::RateLimited => shard.inc(stats.upstream_rq_retry_backoff_ratelimited),
            Cause::TooEarly | Cause::KeepAliveRace => {}
        }
    }

    /// Lets go of an attempt that another one follows.
    fn give_up(&self, tried: Outcome, cause: Cause, tries: &mut Tries<'_, '_>) {
        self.count_retry(cause, tries);
        if let Ok((attempt, response)) = tried {
            tries.timers.end_try();
            let stats = &tries.cluster.config().stats;
            stats.count_retried_response(&self.ctx.local.stats, response.status);
            self.let_go(attempt, tries);
        }
    }

    /// Ends an attempt whose response nobody reads to its end. One without a body is at its end already, and its
    /// connection can be used again.
    fn let_go(&self, mut attempt: Attempt, tries: &Tries<'_, '_>) {
        let mut cx = Context::from_waker(Waker::noop());
        let answered = matches!(attempt.lease.stream.poll_fill(&mut cx), Poll::Ready(Ok(Fill::End)));
        if !answered || !attempt.request.is_done() {
            attempt.lease.cut(false);
            attempt.lease.stream.cancel();
        }
        attempt.lease.finish(&self.ctx.local, tries.cluster.config());
    }
}

/// Waits before a retry, under the exchange's clocks.
async fn back_off(wait: Duration, timers: &mut Timers<'_>) -> Result<(), ProxyError> {
    if wait.is_zero() {
        return Ok(());
    }
    let mut sleep = std::pin::pin!(tokio::time::sleep(wait));
    poll_fn(|cx| match sleep.as_mut().poll(cx) {
        Poll::Ready(()) => Poll::Ready(Ok(())),
        Poll::Pending => timers.poll(cx).map(Err),
    })
    .await
}
