//! One request, from head to log: the visible pipeline. Each step is a call; the steps live elsewhere.

use std::borrow::Cow;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::attempt::{self, Attempt};
use super::codec::Downstream;
use super::context::ConnContext;
use super::head::{BodyLength, RequestHead, ResponseHead};
use super::header_id::HeaderId;
use super::local_reply::LocalReply;
use super::normalize::{Normalized, normalize};
use super::replay::ReplayBuffer;
use super::retry::{Decision, Retries};
use super::route::{self, Found};
use super::summary::Summary;
use super::timers::Timers;
use super::{edits, redirect, relay, request_headers, response_headers, rewrite};
use crate::base::error::{ConnectFailure, ProxyError, ResponseFlags};
use crate::config::route::{Forward, HostRewrite, RouteAction, VirtualHost, WeightedCluster};
use crate::net::deadline::Deadline;
use crate::upstream::breaker::RetryPermit;
use crate::upstream::connect::millis;
use crate::upstream::lb::PickContext;
use crate::upstream::outlier::{self, LocalFailure};
use crate::upstream::pool::HostPool;
use crate::upstream::view::{ClusterState, View};

/// How an exchange left its connection.
#[derive(Debug)]
pub struct Outcome {
    /// The request head, for its storage.
    pub head: RequestHead,
    /// The connection must not carry another request.
    pub close: bool,
    /// When it was over.
    pub ended: Instant,
}

/// A request being served.
pub struct Exchange<'r> {
    pub(super) ctx: &'r ConnContext,
    view: &'r View,
    pub(super) head: RequestHead,
    pub(super) summary: Summary<'r>,
    grpc: bool,
    random: u64,
    /// Ask the client to close: drain, request limit.
    pub(super) last: bool,
    /// The connection cannot be used again.
    pub(super) broken: bool,
    /// An upgrade or CONNECT that the configuration allows.
    upgraded: bool,
}

/// How serving ended when nothing failed.
enum Served {
    /// The upstream's response went down (or was cut, which is already accounted for).
    Relayed,
    /// An answer of our own.
    Reply(LocalReply),
}

/// Serves one request. `last`: this connection takes no further request.
pub async fn run(
    ctx: &ConnContext,
    down: &mut Downstream<'_>,
    head: RequestHead,
    deadline: &mut Deadline,
    last: bool,
) -> Outcome {
    let view = ctx.local.view();
    let mut exchange = Exchange {
        ctx,
        view: &view,
        grpc: head.is_grpc(),
        random: ctx.local.random(|rng| rng.u64(..)),
        summary: Summary::begin(ctx, head.version),
        head,
        last,
        broken: false,
        upgraded: false,
    };
    let reply = match exchange.serve(down, deadline).await {
        Ok(Served::Relayed) => None,
        Ok(Served::Reply(reply)) => Some(reply),
        Err(error) => exchange.fail(error, down),
    };
    if let Some(reply) = reply {
        exchange.reply(reply, down, deadline).await;
    }
    if exchange.upgraded {
        ctx.local.stats.gauge_add(ctx.settings.stats.downstream_cx_upgrades_active, -1);
    }
    let ended = exchange.summary.finish(&exchange.head);
    Outcome { close: exchange.broken || exchange.last, head: exchange.head, ended }
}

impl<'r> Exchange<'r> {
    async fn serve(
        &mut self,
        down: &mut Downstream<'_>,
        deadline: &mut Deadline,
    ) -> Result<Served, ProxyError> {
        let ctx = self.ctx;
        request_headers::check_names(&mut self.head, ctx.settings.underscores)?;
        request_headers::strip_port(&mut self.head, ctx.settings.strip_host_port, ctx.destination.port());
        if let Some(reply) = self.normalize_path()? {
            return Ok(Served::Reply(reply));
        }
        let caller = request_headers::prepare(&mut self.head, &ctx.settings, &ctx.local, ctx.peer, ctx.tls);
        (self.summary.client, self.summary.internal) = (caller.client, caller.internal);
        if let Some(table) = ctx.route_table(self.view).filter(|_| !caller.internal) {
            request_headers::strip_internal(&mut self.head, &table.internal_only_headers);
        }
        let virtual_host = self.find_virtual_host()?;
        if redirect::wants_tls(virtual_host.require_tls, &self.head, caller.internal) {
            ctx.local.stats.inc(ctx.settings.stats.rq_direct_response);
            let mut reply = LocalReply::new(301, ResponseFlags::NONE, "direct_response", "");
            reply.location = Some(redirect::to_https(&self.head));
            return Ok(Served::Reply(reply));
        }
        let found = self.find_route(virtual_host)?;
        match &found.route.action {
            RouteAction::Forward(forward) => {
                self.forward(found, forward, down, deadline).await?;
                Ok(Served::Relayed)
            }
            RouteAction::Redirect(redirect) => {
                ctx.local.stats.inc(ctx.settings.stats.rq_direct_response);
                let location = redirect::location(redirect, found, &self.head);
                let mut reply = LocalReply::new(redirect.status, ResponseFlags::NONE, "direct_response", "");
                reply.location = Some(location);
                Ok(Served::Reply(reply))
            }
            RouteAction::Direct(direct) => {
                ctx.local.stats.inc(ctx.settings.stats.rq_direct_response);
                let mut reply = LocalReply::new(direct.status, ResponseFlags::NONE, "direct_response", "");
                reply.body = Cow::Owned(direct.body.to_vec());
                Ok(Served::Reply(reply))
            }
        }
    }

    fn normalize_path(&mut self) -> Result<Option<LocalReply>, ProxyError> {
        let stats = &self.ctx.settings.stats;
        match normalize(self.head.path_and_query(), &self.ctx.settings) {
            Normalized::Unchanged => Ok(None),
            Normalized::Changed(path) => {
                self.head.set_path(&path);
                Ok(None)
            }
            Normalized::Redirect(path) => {
                self.ctx.local.stats.inc(stats.downstream_rq_redirected_with_normalized_path);
                let mut reply = LocalReply::new(307, ResponseFlags::NONE, "path_normalization_redirect", "");
                reply.location = Some(path);
                Ok(Some(reply))
            }
            Normalized::Rejected => {
                self.ctx.local.stats.inc(stats.downstream_rq_failed_path_normalization);
                Err(ProxyError::BadPath)
            }
        }
    }

    fn find_virtual_host(&self) -> Result<&'r VirtualHost, ProxyError> {
        let table = self.ctx.route_table(self.view);
        let found = table.and_then(|table| route::find_virtual_host(table, self.head.authority()));
        found.ok_or_else(|| self.no_route())
    }

    fn find_route(&mut self, virtual_host: &'r VirtualHost) -> Result<Found<'r>, ProxyError> {
        let found = route::find(virtual_host, &self.head, self.random);
        self.summary.found = found;
        found.ok_or_else(|| self.no_route())
    }

    fn no_route(&self) -> ProxyError {
        self.ctx.local.stats.inc(self.ctx.settings.stats.no_route);
        ProxyError::NoRoute
    }

    async fn forward(
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
        let (mut attempt, mut response) = outcome?;
        self.edit_response(&mut response, found, entry);
        let tunnelled = relay::run(self, &mut attempt, response, down, &mut replay, &mut timers).await;
        self.summary.bytes_received = replay.received() + tunnelled;
        attempt.lease.finish(&self.ctx.local, cluster.config());
        Ok(())
    }

    /// Upgrades must be allowed by the route, else by the connection manager.
    fn check_upgrade(&mut self, forward: &Forward) -> Result<(), ProxyError> {
        if !self.head.asks_for_tunnel() {
            return Ok(());
        }
        let kind = self.head.upgrade.map_or(&b"connect"[..], |kind| self.head.block.bytes(kind));
        let stats = &self.ctx.settings.stats;
        let by_route = forward.upgrades.iter().find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(kind));
        let allowed = match by_route {
            Some((_, enabled)) => *enabled,
            None => self.ctx.settings.upgrades.iter().any(|name| name.as_bytes().eq_ignore_ascii_case(kind)),
        };
        if !allowed {
            self.ctx.local.stats.inc(stats.downstream_rq_ws_on_non_ws_route);
            return Err(ProxyError::UpgradeNotAllowed);
        }
        self.ctx.local.stats.inc(stats.downstream_cx_upgrades_total);
        self.ctx.local.stats.gauge_add(stats.downstream_cx_upgrades_active, 1);
        self.upgraded = true;
        Ok(())
    }

    fn choose_cluster(
        &mut self,
        forward: &'r Forward,
    ) -> Result<(Rc<ClusterState>, Option<&'r WeightedCluster>), ProxyError> {
        let target = route::choose_cluster(&forward.clusters, &self.view.snapshot, &self.head, self.random);
        let cluster = target.cluster.and_then(|id| self.view.cluster(id));
        let Some(cluster) = cluster.cloned() else {
            self.ctx.local.stats.inc(self.ctx.settings.stats.no_cluster);
            return Err(ProxyError::NoCluster { status: forward.cluster_not_found_status });
        };
        self.ctx.local.stats.inc(self.ctx.settings.stats.rq_total);
        self.summary.cluster = Some(cluster.clone());
        Ok((cluster, target.entry))
    }

    fn edit_request(&mut self, found: Found<'r>, forward: &'r Forward, entry: Option<&'r WeightedCluster>) {
        for level in edits::levels(self.ctx.route_table(self.view), found, entry) {
            if !level.request_is_empty() {
                let values = edits::render(&level.request_add, &self.summary.record(Some(&self.head)));
                edits::apply_request(level, &values, &mut self.head.block);
            }
        }
        if let Some(rewritten) = &forward.path_rewrite {
            let path = rewrite::path(rewritten, &found.route.matches.path, self.head.path_and_query());
            let original = self.head.path_and_query().to_vec();
            if !self.ctx.settings.suppress_envoy_headers {
                self.head.block.set(b"x-envoy-original-path", &original);
            }
            self.head.set_path(&path);
            self.summary.original_path = Some(original);
        }
        let literal = entry.and_then(|entry| entry.host_rewrite.as_deref());
        match (literal, &forward.host_rewrite) {
            (Some(host), _) => self.set_authority(host.as_bytes(), forward),
            (None, Some(HostRewrite::Auto) | None) => {}
            (None, Some(other)) => {
                if let Some(host) = rewrite::host(other, &self.head, "").map(Cow::into_owned) {
                    self.set_authority(&host, forward);
                }
            }
        }
        let expected = forward.expected_timeout();
        if !expected.is_zero() && !self.ctx.settings.suppress_envoy_headers {
            let mut text = itoa::Buffer::new();
            self.head.block.replace(HeaderId::EnvoyExpectedTimeout, text.format(millis(expected)).as_bytes());
        }
    }

    fn set_authority(&mut self, host: &[u8], forward: &Forward) {
        let original = self.head.authority().to_vec();
        if forward.append_x_forwarded_host {
            self.head.block.append(b"x-forwarded-host", &original);
        }
        if !self.ctx.settings.suppress_envoy_headers {
            self.head.block.set(b"x-envoy-original-host", &original);
        }
        self.head.set_authority(host);
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

    fn edit_response(
        &mut self,
        response: &mut ResponseHead,
        found: Found<'r>,
        entry: Option<&'r WeightedCluster>,
    ) {
        let timing = &self.summary.timing;
        let now = timing.upstream_first_byte.unwrap_or(timing.started);
        let service = millis(now.duration_since(timing.started));
        response_headers::mark_upstream(response, &self.ctx.settings, service);
        if found.virtual_host.include_attempt_count_in_response {
            let mut text = itoa::Buffer::new();
            let count = text.format(self.summary.attempts).as_bytes();
            response.block.replace(HeaderId::EnvoyAttemptCount, count);
        }
        self.apply_response_edits(response, found, entry);
        response_headers::finish(response, &self.head, &self.ctx.settings, &self.ctx.local, now);
    }

    fn apply_response_edits(
        &mut self,
        response: &mut ResponseHead,
        found: Found<'r>,
        entry: Option<&'r WeightedCluster>,
    ) {
        for level in edits::levels(self.ctx.route_table(self.view), found, entry) {
            if !level.response_is_empty() {
                let record = crate::observe::record::Record {
                    response: Some(response),
                    ..self.summary.record(Some(&self.head))
                };
                let values = edits::render(&level.response_add, &record);
                edits::apply_response(level, &values, &mut response.block);
            }
        }
    }

    /// A failure: its flags and details for the log, and the answer unless the client is gone.
    fn fail(&mut self, error: ProxyError, down: &mut Downstream<'_>) -> Option<LocalReply> {
        if let ProxyError::ConnectFailure(ConnectFailure::Remote(text) | ConnectFailure::Local(text)) = &error
        {
            self.summary.upstream_failure.clone_from(text);
        }
        self.count_failure(&error);
        let reply = LocalReply::for_error(&error);
        if reply.is_none() {
            self.summary.flags.insert(ResponseFlags::DOWNSTREAM_CONNECTION_TERMINATION);
            self.summary.details = match error {
                ProxyError::Cut => "downstream_local_disconnect(drain_time_over)".into(),
                _ => "downstream_remote_disconnect".into(),
            };
            self.ctx.local.stats.inc(self.ctx.settings.stats.downstream_rq_rx_reset);
            self.broken = true;
            down.reset();
        }
        reply
    }

    fn count_failure(&self, error: &ProxyError) {
        let http = &self.ctx.settings.stats;
        let Some(cluster) = &self.summary.cluster else { return };
        let stats = &cluster.config().stats;
        let shard = &self.ctx.local.stats;
        match error {
            ProxyError::RequestTimeout => shard.inc(stats.upstream_rq_timeout),
            ProxyError::PerTryTimeout => shard.inc(stats.upstream_rq_per_try_timeout),
            ProxyError::StreamIdle { .. } => shard.inc(http.downstream_rq_idle_timeout),
            ProxyError::RequestArrivalTimeout => shard.inc(http.downstream_rq_timeout),
            ProxyError::MaxStreamDuration { .. } => shard.inc(stats.upstream_rq_max_duration_reached),
            ProxyError::UpstreamReset { .. } => shard.inc(stats.upstream_rq_rx_reset),
            ProxyError::UpstreamProtocol(_) => shard.inc(stats.upstream_cx_protocol_error),
            ProxyError::ConnectFailure(_) => shard.inc(stats.upstream_rq_pending_failure_eject),
            ProxyError::ClientGone => shard.inc(stats.upstream_rq_cancelled),
            _ => {}
        }
    }

    async fn reply(&mut self, reply: LocalReply, down: &mut Downstream<'_>, deadline: &mut Deadline) {
        self.summary.flags.insert(reply.flags);
        self.summary.details = reply.details.clone();
        self.summary.status = reply.status;
        self.last |= reply.close;
        self.summary.count_upstream(reply.status);
        let (mut response, body) = reply.into_response(self.grpc);
        self.summary.status = if self.grpc { 200 } else { self.summary.status };
        if let Some(found) = self.summary.found {
            self.apply_response_edits(&mut response, found, None);
        }
        let now = Instant::now();
        response_headers::finish(&mut response, &self.head, &self.ctx.settings, &self.ctx.local, now);
        self.summary.local_body = body;
        relay::local(self, response, down, deadline).await;
    }
}

/// `max_stream_duration` with `grpc-timeout`, when the route honours it.
fn stream_limit(limit: &crate::config::route::MaxStreamDuration, grpc_timeout: Option<Duration>) -> Duration {
    const AT_ONCE: Duration = Duration::from_nanos(1);
    match (limit.grpc_timeout_max, grpc_timeout) {
        (Some(max), Some(asked)) => {
            let asked = asked.checked_sub(limit.grpc_timeout_offset).unwrap_or(AT_ONCE).max(AT_ONCE);
            if max.is_zero() { asked } else { asked.min(max) }
        }
        _ => limit.max,
    }
}
