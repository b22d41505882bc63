//! Forwarding: attempts until one stands, then the response down.

mod between;
mod hedge;
mod report;

use std::rc::Rc;
use std::time::Duration;

use super::attempt::{self, Attempt};
use super::codec::Downstream;
use super::edits;
use super::exchange::Exchange;
use super::hash_policy::Affinity;
use super::head::{BodyLength, ResponseHead};
use super::header_id::HeaderId;
use super::mirror;
use super::relay;
use super::replay::ReplayBuffer;
use super::retry::{Asked, Cause, Limits, Retries};
use super::route::Found;
use super::timeouts::Timeouts;
use super::timers::Timers;
use super::tracked::Try;
use crate::base::error::ProxyError;
use crate::config::route::{Forward, HostRewrite, WeightedCluster};
use crate::net::deadline::Deadline;
use crate::upstream::connect::millis;
use crate::upstream::destination;
use crate::upstream::lb::PickContext;
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
    /// The attempt under way, where its cluster asks for statistics of it.
    tracked: Option<Try>,
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
        self.summary.decorate(&mut self.head);
        let asked = self.asked_retries(found, entry);
        let affinity = std::mem::take(&mut self.affinity);
        self.affinity = affinity.with(cluster.config(), forward, entry, &self.head, self.ends());
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
            tracked: None,
        };
        let outcome = if timeouts.hedge && tries.retries.are_possible() {
            Box::pin(self.hedged(&mut tries, down)).await
        } else {
            self.until_one_stands(&mut tries, down).await
        };
        self.summary.bytes_received = tries.replay.received();
        let abandoned = self.count_abandoned(&tries, false);
        self.note_times(&tries.timers);
        let (mut attempt, mut response) =
            outcome.inspect_err(|error| self.count_budget(error, &tries.timers))?;
        if forward.internal_redirects.is_some()
            && self.follow_redirect(forward, found, &tries.replay, &response)
        {
            self.let_go(attempt, &mut tries);
            self.summary.downstream_wire = down.measured();
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
        attempt.stop(self.ctx);
        let moved = (attempt.request.bytes + tunnelled, self.summary.bytes_sent);
        self.end_tracked(&mut tries, moved);
        self.summary.meter(&attempt.lease);
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
            between::back_off(retry.wait, &mut tries.timers).await?;
        }
    }

    /// What an internal caller, or the route's own header edits, say about retries.
    fn asked_retries(&mut self, found: Found<'r>, entry: Option<&'r WeightedCluster>) -> Option<Box<Asked>> {
        let mut levels = edits::levels(self.ctx.route_table(self.view), found, entry);
        let may_say = self.summary.internal || levels.any(|level| !level.request_add.is_empty());
        may_say.then(|| Asked::take(&mut self.head.block)).flatten()
    }

    fn replay_buffer(&mut self, forward: &Forward, retries: &Retries<'_>) -> ReplayBuffer {
        let here = self.collected_body().or_else(|| self.kept_body());
        let redirects = forward.internal_redirects.is_some();
        if self.head.body == BodyLength::None || !(retries.wants_replay() || redirects) {
            return here.unwrap_or_default();
        }
        let by_policy = retries.are_possible() || redirects;
        let limit = forward.replay_limit.unwrap_or(self.ctx.settings.buffer_limit);
        let store = &self.ctx.local.replay;
        match here {
            Some(mut body) => {
                body.go_on_recording(store, limit, by_policy);
                body
            }
            None => ReplayBuffer::recording(store, limit, by_policy),
        }
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
        let mut timers = Timers::new(
            deadline,
            &self.ctx.cut,
            &self.ctx.local.clock,
            started,
            timeouts.route,
            idle,
            timeouts.stream,
        )
        .scaled_by(&self.ctx.local);
        timers.limit_tries(timeouts.tries);
        timers.expect_request(settings.request_timeout);
        timers
    }

    async fn attempt(&mut self, tries: &mut Tries<'_, '_>, down: &mut Downstream<'_>) -> Outcome {
        let pool = self.start_tracked(tries)?;
        let Tries { cluster, forward, timers, replay, .. } = &mut *tries;
        let client = self.shows_leaving(down, Some(replay)).then_some(&mut *down);
        let begun = attempt::begin(self.ctx, cluster, &pool, &self.head, forward, timers, client).await;
        self.summary.timing.pool_ready = Some(tries.timers.now());
        let mut attempt = match begun {
            Ok(attempt) => attempt,
            Err(error) => {
                self.report_failure(tries, &pool, &error);
                self.end_tracked(tries, (0, 0));
                return Err(error);
            }
        };
        self.attempt_connected(tries, &mut attempt, &pool);
        let Tries { replay, timers, .. } = tries;
        let response = match attempt.send(&self.head, timers) {
            Ok(()) => {
                self.summary.timing.upstream_begun = Some(timers.now());
                tries.retries.request_begun();
                attempt.response(self.ctx, down, &self.head, replay, timers).await
            }
            Err(error) => Err(error),
        };
        if let Some(tracked) = &mut tries.tracked {
            tracked.answered(&attempt.lease.stream);
        }
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
            self.announce_timeout(&tries.timeouts, tries.timers.elapsed(tries.timers.now()));
            if found.virtual_host.include_is_timeout_retry {
                let by_timeout: &[u8] = if tries.after_timeout { b"true" } else { b"false" };
                self.head.block.set(b"x-envoy-is-timeout-retry", by_timeout);
            }
        }
        Ok(pool)
    }

    /// As [`Exchange::start_attempt`], for clusters too that ask for statistics of their attempts.
    fn start_tracked(&mut self, tries: &mut Tries<'_, '_>) -> Result<Rc<HostPool>, ProxyError> {
        let pool = self.start_attempt(tries)?;
        if tries.cluster.config().tracked.is_some() {
            tries.tracked = Some(Try::begin(tries.timers.now(), &self.head));
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

    fn pick(&mut self, tries: &mut Tries<'_, '_>) -> Result<Rc<HostPool>, ProxyError> {
        self.summary.attempts += 1;
        let cluster = tries.cluster;
        let (avoid, omit, attempts) = tries.retries.avoidance();
        let named = destination::named(cluster, &self.head, &self.ctx.local);
        let destination = named.or(self.ctx.original_destination);
        let destination = destination.filter(|to| !self.view.is_own_listener(*to));
        let Affinity { hash, criteria, part, .. } = self.affinity;
        let attempted = tries.retries.attempted();
        let context = PickContext { avoid, omit, attempts, hash, criteria, part, attempted };
        let pool = cluster.pick(&self.ctx.local, context, destination, tries.forward.priority);
        let Some(pool) = pool else {
            self.ctx.local.stats.inc(cluster.config().stats.upstream_cx_none_healthy);
            return Err(ProxyError::NoHealthyUpstream);
        };
        tries.retries.tried(pool.host.uid, pool.host.priority);
        self.summary.host = Some(pool.clone());
        Ok(pool)
    }
}
