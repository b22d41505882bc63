//! What is known about an exchange, gathered while it runs and told once when it ends: statistics and
//! access log, on every way out.

use std::borrow::Cow;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::codec::{Downstream, Measured};
use super::context::ConnContext;
use super::head::{HeaderBlock, RequestHead, ResponseHead, Version};
use super::local_reply::LocalReply;
use super::route::Found;
use super::timers::{Timers, after};
use super::tracked;
use crate::base::details::{Detail, Details};
use crate::base::error::{ProxyError, ResponseFlags};
use crate::base::metadata::DynamicMetadata;
use crate::config::Host;
use crate::net::deadline::Deadline;
use crate::observe::connection::UpstreamConnection;
use crate::observe::record::{Record, RecordMetadata, Subject, Timing};
use crate::observe::trace::attempt::AttemptSpan;
use crate::observe::trace::span::Span;
use crate::observe::trace::tracer::RouteTracing;
use crate::stats::scope::ServiceStats;
use crate::upstream::connect::millis;
use crate::upstream::local::Local;
use crate::upstream::pool::{HostPool, Lease};
use crate::upstream::view::ClusterState;

/// The story of one exchange.
#[derive(Debug)]
pub struct Summary<'r> {
    ctx: &'r ConnContext,
    /// Response flags.
    pub flags: ResponseFlags,
    /// Response-code details.
    pub details: Details,
    /// What the details add in braces.
    pub note: Option<Detail>,
    /// Why connecting failed.
    pub upstream_failure: String,
    /// Status sent downstream; 0 while none was.
    pub status: u16,
    /// Request body bytes.
    pub bytes_received: u64,
    /// Response body bytes.
    pub bytes_sent: u64,
    /// What the client's stream took on the wire.
    pub downstream_wire: Measured,
    /// What attempts took on the wire, all together.
    pub upstream_wire: Measured,
    /// Attempts made.
    pub attempts: u32,
    /// Matched route.
    pub found: Option<Found<'r>>,
    /// The cluster of the route, before the router chose it: filters may answer in its name. Nothing is charged to it.
    pub routed: Option<Rc<ClusterState>>,
    /// Chosen cluster.
    pub cluster: Option<Rc<ClusterState>>,
    /// What its requests of the route's service count in, where they do.
    pub service: Option<&'r ServiceStats>,
    /// Host tried last.
    pub host: Option<Rc<HostPool>>,
    /// Protocol spoken to it.
    pub upstream_protocol: Option<Version>,
    /// The connection to it.
    pub connection: Option<Rc<UpstreamConnection>>,
    /// Those of attempts before.
    pub earlier: Vec<Rc<UpstreamConnection>>,
    /// Head sent downstream.
    pub response: Option<ResponseHead>,
    /// Trailers sent downstream.
    pub trailers: Option<HeaderBlock>,
    /// Body of a local reply.
    pub local_body: Cow<'static, [u8]>,
    /// Path before a rewrite.
    pub original_path: Option<Vec<u8>>,
    /// The caller counts as internal (`x-envoy-internal`).
    pub internal: bool,
    /// Client as trusted.
    pub client: SocketAddr,
    /// Points in time.
    pub timing: Timing,
    /// It asks whether the process is well: told apart in logs, and counted nowhere as a response.
    pub health_check: bool,
    /// Its trace, when the connection manager traces.
    pub span: Option<Span>,
    /// What filters leave for others.
    pub metadata: Option<Box<DynamicMetadata>>,
}

impl<'r> Summary<'r> {
    /// An exchange begins: counts it.
    pub fn begin(ctx: &'r ConnContext, version: Version) -> Self {
        let stats = &ctx.settings.stats;
        let shard = &ctx.local.stats;
        shard.inc(stats.downstream_rq_total);
        shard.gauge_add(stats.downstream_rq_active, 1);
        shard.inc(if version == Version::Http2 {
            stats.downstream_rq_http2_total
        } else {
            stats.downstream_rq_http1_total
        });
        let started = ctx.local.clock.now();
        Self {
            ctx,
            flags: ResponseFlags::NONE,
            details: Details::default(),
            note: None,
            upstream_failure: String::new(),
            status: 0,
            bytes_received: 0,
            bytes_sent: 0,
            downstream_wire: Measured::default(),
            upstream_wire: Measured::default(),
            attempts: 0,
            found: None,
            routed: None,
            cluster: None,
            service: None,
            health_check: false,
            host: None,
            upstream_protocol: None,
            connection: None,
            earlier: Vec::new(),
            response: None,
            trailers: None,
            local_body: Cow::Borrowed(b""),
            original_path: None,
            internal: false,
            client: ctx.connection.peer,
            timing: Timing::begun(ctx.local.clock.wall(started), started),
            span: None,
            metadata: None,
        }
    }

    /// The first byte of the request came then, where that is known.
    pub fn began(&mut self, at: Option<Instant>) {
        if let Some(started) = at {
            self.timing = Timing::begun(self.ctx.local.clock.wall(started), started);
        }
    }

    /// The request may be traced: decides that, once, when it is known who calls and what
    /// its route.
    pub fn begin_span(&mut self, head: &RequestHead) {
        let Some(tracing) = self.ctx.settings.tracing.as_ref().filter(|_| self.span.is_none()) else {
            return;
        };
        let Local { spans, stats, .. } = &*self.ctx.local;
        let (route, worker) = (route_tracing(self.found), &mut spans.borrow_mut());
        self.span = Some(tracing.begin(head, route, self.timing.started, self.internal, worker, stats));
    }

    /// At an edge nothing that the caller says of traces goes any further: neither to filters' services nor to hosts.
    pub fn distrust_trace(&self, head: &mut RequestHead) {
        if let Some(tracing) = &self.ctx.settings.tracing {
            tracing.distrust(head);
        }
    }

    /// Tells the next hop of the trace.
    pub fn inject_span(&self, head: &mut RequestHead) {
        if let (Some(tracing), Some(span)) = (&self.ctx.settings.tracing, &self.span) {
            tracing.inject(span, head);
        }
    }

    /// The request goes on: who names the operation is told in it, or has said so.
    pub fn decorate(&mut self, head: &mut RequestHead) {
        let found = self.found;
        if let (Some(tracing), Some(span)) = (&self.ctx.settings.tracing, &mut self.span) {
            tracing.decorate_request(span, route_tracing(found), head);
        }
    }

    /// A try of the chosen host begins.
    pub fn begin_attempt(&mut self, head: &mut RequestHead) {
        let (Some(tracing), Some(span)) = (&self.ctx.settings.tracing, &mut self.span) else { return };
        if let Some(pool) = &self.host {
            tracing.begin_attempt(span, &pool.host, head, &mut self.ctx.local.spans.borrow_mut());
        }
    }

    /// A try of `host` has its stream.
    pub fn connected(&mut self, host: &Arc<Host>, lease: &Lease) {
        if let Some(attempt) = self.open_attempt(host) {
            attempt.sent = true;
        }
        self.upstream_protocol = lease.version();
        self.earlier.extend(std::mem::replace(&mut self.connection, lease.connection.clone()));
    }

    /// Of several tries side by side this one's response goes down.
    pub fn chose(&mut self, lease: &Lease) {
        let Some(chosen) = &lease.connection else { return };
        self.upstream_protocol = lease.version();
        if let Some(at) = self.earlier.iter().position(|known| Rc::ptr_eq(known, chosen)) {
            let chosen = self.earlier.remove(at);
            self.earlier.extend(self.connection.replace(chosen));
        }
    }

    /// The try of `host` that nothing is known of yet.
    fn open_attempt(&mut self, host: &Arc<Host>) -> Option<&mut AttemptSpan> {
        let mut tries = self.span.as_mut()?.attempts.iter_mut().rev();
        tries.find(|one| one.is_open() && Arc::ptr_eq(&one.host, host))
    }

    /// The try of `host` has brought a response, with a gRPC status in its head or not, or failed.
    pub fn end_attempt(&mut self, host: &Arc<Host>, outcome: Result<(u16, Option<u64>), &ProxyError>) {
        let Some(attempt) = self.open_attempt(host) else { return };
        match outcome {
            Ok((status, grpc)) => (attempt.status, attempt.grpc) = (status, grpc),
            Err(error) => {
                attempt.ended = Some(Instant::now());
                let details = LocalReply::for_error(error).map(|reply| reply.details);
                attempt.failure = Some(details.unwrap_or_default().to_string().into_boxed_str());
            }
        }
    }

    /// Tells the caller of the trace, if it asked, and of the operation's name.
    pub fn answer_span(&mut self, response: &mut ResponseHead) {
        let found = self.found;
        if let (Some(tracing), Some(span)) = (&self.ctx.settings.tracing, &mut self.span) {
            tracing.answer(span, response);
            tracing.decorate_response(span, route_tracing(found), response);
        }
    }

    /// The record loggers and header formats read.
    pub fn record<'a>(&'a self, head: Option<&'a RequestHead>) -> Record<'a> {
        let cluster = self.cluster.as_ref().or(self.routed.as_ref()).map(|it| it.config());
        Record {
            subject: Subject::Request,
            request: head,
            original_path: self.original_path.as_deref(),
            response: self.response.as_ref(),
            trailers: self.trailers.as_ref(),
            status: self.status,
            flags: self.flags,
            details: &self.details,
            upstream_failure: &self.upstream_failure,
            protocol: head.map(|head| head.version),
            upstream_protocol: self.upstream_protocol,
            bytes_received: self.bytes_received,
            bytes_sent: self.bytes_sent,
            downstream_wire: self.downstream_wire,
            upstream_wire: self.upstream_wire,
            upstream_host: self.host.as_ref().map(|pool| &*pool.host),
            upstream: self.connection.as_deref(),
            earlier: &self.earlier,
            metadata: RecordMetadata {
                route: self.found.and_then(|found| found.route.metadata.as_deref()),
                virtual_host: self.found.and_then(|found| found.virtual_host.metadata.as_deref()),
                cluster: cluster.and_then(|cluster| cluster.metadata.as_deref()),
            },
            cluster: cluster.map_or("", |cluster| &cluster.name),
            cluster_alias: cluster.and_then(|cluster| cluster.alias.as_deref()),
            route_name: self.found.map_or("", |found| &found.route.name),
            virtual_host: self.found.map_or("", |found| &found.virtual_host.name),
            attempts: self.attempts,
            downstream_remote: self.client,
            trace: self
                .ctx
                .settings
                .tracing
                .as_ref()
                .zip(self.span.as_ref())
                .map(|(tracing, span)| tracing.told(span)),
            local_reply_body: &self.local_body,
            health_check: self.health_check,
            dynamic: self.metadata.as_deref(),
            ..Record::of_connection(&self.ctx.connection, self.timing)
        }
    }

    /// A try is over: what it took on the wire, where that is measured.
    pub fn meter(&mut self, lease: &Lease) {
        if self.ctx.local.measures.get() {
            self.upstream_wire += lease.stream.measured();
        }
    }

    /// All of the response was handed over: waits until it is on the wire where that is measured, at most as long as
    /// a stream may be idle.
    pub async fn measure(&mut self, down: &Downstream<'_>, deadline: &mut Deadline) {
        let (settings, cut) = (&self.ctx.settings, &self.ctx.cut);
        let mut limit = None;
        poll_fn(|cx| {
            if down.poll_measured(cx).is_ready() || cut.get() {
                return Poll::Ready(());
            }
            let limit = *limit.get_or_insert_with(|| after(Instant::now(), settings.stream_idle_timeout));
            deadline.poll_at(cx, limit)
        })
        .await;
        self.downstream_wire = down.measured();
    }

    /// The response redirects the request inside: its own line in the access log, and the next turn starts afresh.
    /// As in Envoy the cluster does not count it among its responses.
    pub fn redirected(&mut self, head: &RequestHead, response: ResponseHead) {
        (self.status, self.details) = (response.status, Detail::INTERNAL_REDIRECT.into());
        self.response = Some(response);
        for log in &self.ctx.settings.access_logs {
            log.log(&self.record(Some(head)), &mut self.ctx.local.logs.borrow_mut());
        }
        (self.status, self.details, self.response) = (0, Details::default(), None);
        (self.attempts, self.host, self.cluster, self.routed, self.found) = (0, None, None, None, None);
        self.service = None;
        (self.connection, self.earlier, self.upstream_wire) = (None, Vec::new(), Measured::default());
    }

    /// The exchange is over, now: counts the outcome and writes the access log.
    pub fn finish(&mut self, head: &RequestHead) -> Instant {
        let now = self.ctx.local.clock.now();
        self.timing.finished = Some(now);
        if let Some(note) = self.note {
            self.details = self.details.and(note);
        }
        self.count(now.duration_since(self.timing.started));
        for log in &self.ctx.settings.access_logs {
            log.log(&self.record(Some(head)), &mut self.ctx.local.logs.borrow_mut());
        }
        // One that failed before it had a route.
        self.begin_span(head);
        if let (Some(tracing), Some(span)) = (&self.ctx.settings.tracing, &self.span) {
            tracing.end(
                span,
                route_tracing(self.found),
                &self.record(Some(head)),
                head,
                &mut self.ctx.local.spans.borrow_mut(),
            );
        }
        if self.ctx.local.tap.is_on() {
            self.ctx.local.tap.show(&self.record(Some(head)));
        }
        now
    }

    fn count(&self, took: Duration) {
        let stats = &self.ctx.settings.stats;
        let shard = &self.ctx.local.stats;
        shard.gauge_add(stats.downstream_rq_active, -1);
        shard.record(stats.downstream_rq_time, millis(took));
        if self.status > 0 && !self.health_check {
            stats.count_response(shard, self.status);
        }
    }

    /// Records how long the complete response took, from the end of the request. A response that was complete
    /// before its request has no such time.
    pub fn count_upstream_time(&self, request_complete: Option<Instant>) {
        let (Some(cluster), Some(since)) = (&self.cluster, request_complete) else { return };
        let took = millis(self.ctx.local.clock.now().saturating_duration_since(since));
        cluster.config().record_time(&self.ctx.local.stats, took, self.internal, self.service);
    }

    /// Records how much of its time the request has used up, where the cluster asks for it: of a response that was
    /// complete before its request, nothing.
    pub fn count_budget(&self, timers: &Timers<'_>) {
        let tracked = self.cluster.as_ref().and_then(|cluster| cluster.config().tracked.as_deref());
        if let Some(tracked) = tracked {
            let took = timers.elapsed(timers.now());
            tracked::request_ended(tracked, &self.ctx.local.stats, took, timers.route_timeout());
        }
    }

    /// Counts a response charged to the chosen cluster: from a host, or our own reply on its behalf.
    pub fn count_upstream(&self, status: u16) {
        let Some(cluster) = self.cluster.as_ref().filter(|_| !self.health_check) else { return };
        cluster.config().count_response(&self.ctx.local.stats, status, self.internal, self.service);
    }
}

/// What a route says of its requests' spans.
fn route_tracing(found: Option<Found<'_>>) -> Option<&RouteTracing> {
    found.and_then(|found| found.route.tracing.as_deref())
}
