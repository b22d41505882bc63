//! Filters around the router: requests pass them before a route's action, responses before the client.

use std::future::poll_fn;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::Exchange;
use crate::base::details::Detail;
use crate::base::error::{ProxyError, ResponseFlags};
use crate::config::filter::Levels;
use crate::config::route::RouteAction;
use crate::http::codec::Downstream;
use crate::http::filter::{Call, Running, Verdict, Waited, Waiting};
use crate::http::head::{BodyLength, ResponseHead};
use crate::http::local_reply::LocalReply;
use crate::http::replay::ReplayBuffer;
use crate::http::route::Found;
use crate::http::timers::Timers;
use crate::http::{attempt, edits};
use crate::net::deadline::Deadline;
use crate::observe::record::Record;

impl<'r> Exchange<'r> {
    /// Lets the filters see the request, route or no route.
    pub(super) fn begin_filters(&mut self) -> Verdict {
        let levels = self.aim();
        self.filters = Some(Running::new(&self.ctx.settings.filters, levels));
        self.step_filters()
    }

    /// Chooses the cluster of the route: filters ask for it before the router does. What the route says of filters.
    fn aim(&mut self) -> Levels<'r> {
        let found = self.summary.found;
        self.target = match found.map(|found| &found.route.action) {
            Some(RouteAction::Forward(forward)) => Some(self.choose(forward)),
            _ => None,
        };
        let cluster = self.target.and_then(|target| self.view.cluster(target.cluster?));
        self.summary.routed = cluster.cloned();
        found.map_or_else(Levels::default, |found| self.levels(found))
    }

    /// A filter has changed what routes look at.
    fn reroute(&mut self) {
        self.find_route();
        let levels = self.aim();
        if let Some(running) = &mut self.filters {
            running.follow(levels);
        }
    }

    fn levels(&self, found: Found<'r>) -> Levels<'r> {
        Levels([
            self.target.and_then(|target| target.entry).map(|entry| &entry.filters),
            Some(&found.route.filters),
            Some(&found.virtual_host.filters),
            self.ctx.route_table(self.view).map(|table| &table.filters),
        ])
    }

    fn step_filters(&mut self) -> Verdict {
        let found = self.summary.found;
        let cluster = self.target.and_then(|target| target.cluster);
        let Some(running) = &mut self.filters else { return Verdict::Pass };
        let mut call =
            Call { ctx: self.ctx, head: &mut self.head, summary: &mut self.summary, found, cluster };
        running.request(&mut call)
    }

    /// Does what filters wait for, until all have passed the request or one answers it.
    pub(super) async fn follow_filters(
        &mut self,
        mut verdict: Verdict,
        down: &mut Downstream<'_>,
        deadline: &mut Deadline,
    ) -> Result<Option<LocalReply>, ProxyError> {
        loop {
            match verdict {
                Verdict::Pass => return Ok(None),
                Verdict::Answer(reply) => return Ok(Some(*reply)),
                Verdict::Delay(length) => self.delay(length, down, deadline).await?,
                Verdict::Reroute => self.reroute(),
                Verdict::Wait(waiting) => {
                    let waited = self.wait(waiting, down, deadline).await?;
                    if let Some(running) = &mut self.filters {
                        running.reach(waited);
                    }
                }
                Verdict::Collect { most, partial } => {
                    if !self.collect(most, partial, down, deadline).await? {
                        self.ctx.local.stats.inc(self.ctx.settings.stats.downstream_rq_too_large);
                        let (details, body) = (Detail::REQUEST_PAYLOAD_TOO_LARGE, "Payload Too Large");
                        return Ok(Some(LocalReply::new(413, ResponseFlags::NONE, details, body)));
                    }
                }
            }
            verdict = self.step_filters();
        }
    }

    /// Whether it shows that the client leaves: on an HTTP/1 connection a body that nobody has read is in the way.
    pub(in crate::http) fn shows_leaving(&self, down: &Downstream<'_>, body: Option<&ReplayBuffer>) -> bool {
        self.head.body == BodyLength::None
            || matches!(down, Downstream::H2(_))
            || body.is_some_and(ReplayBuffer::is_ended)
    }

    /// Waits; a client that leaves ends it.
    async fn delay(
        &mut self,
        length: Duration,
        down: &mut Downstream<'_>,
        deadline: &mut Deadline,
    ) -> Result<(), ProxyError> {
        let until = Instant::now().checked_add(length);
        let shows_gone = self.shows_leaving(down, None);
        poll_fn(|cx| {
            if self.ctx.cut.get() {
                return Poll::Ready(Err(ProxyError::Cut));
            }
            if shows_gone && down.poll_gone(cx).is_ready() {
                return Poll::Ready(Err(ProxyError::ClientGone));
            }
            deadline.poll_at(cx, until).map(Ok)
        })
        .await
    }

    /// Waits for what a filter wants; a client that leaves ends it.
    async fn wait(
        &mut self,
        mut waiting: Waiting,
        down: &mut Downstream<'_>,
        deadline: &mut Deadline,
    ) -> Result<Waited, ProxyError> {
        let collected = self.filters.as_ref().and_then(|running| running.body.as_ref());
        let shows_gone = self.shows_leaving(down, collected);
        let mut timers = self.request_timers(deadline);
        poll_fn(|cx| {
            if let Poll::Ready(waited) = waiting.0.as_mut().poll(cx) {
                return Poll::Ready(Ok(waited));
            }
            if shows_gone && down.poll_gone(cx).is_ready() {
                return Poll::Ready(Err(ProxyError::ClientGone));
            }
            timers.poll(cx).map(Err)
        })
        .await
    }

    /// The clocks of a request that is not on its way yet.
    fn request_timers<'d>(&self, deadline: &'d mut Deadline) -> Timers<'d>
    where
        'r: 'd,
    {
        let (ctx, settings) = (self.ctx, &self.ctx.settings);
        let (started, idle) = (self.summary.timing.started, settings.stream_idle_timeout);
        let most = settings.max_stream_duration;
        Timers::new(deadline, &ctx.cut, &ctx.local.clock, started, Duration::ZERO, idle, most)
            .scaled_by(&ctx.local)
    }

    /// Reads the request body; false when it is longer than `most`. With `partial` its beginning is enough.
    async fn collect(
        &mut self,
        most: u32,
        partial: bool,
        down: &mut Downstream<'_>,
        deadline: &mut Deadline,
    ) -> Result<bool, ProxyError> {
        // Another filter may have collected it, or it is here because a redirect was followed inside.
        let before = self.collected_body().or_else(|| self.kept_body());
        let mut body = before.unwrap_or_default();
        self.answer_expectation(down)?;
        self.head.expects_continue = false;
        let mut timers = self.request_timers(deadline);
        timers.expect_request(self.ctx.settings.request_timeout);
        let fits = poll_fn(|cx| {
            let before = body.received();
            if let Poll::Ready(collected) = body.poll_collect(cx, down, most as usize, partial) {
                return Poll::Ready(collected.map_err(attempt::client_failure));
            }
            if body.received() != before {
                timers.touch(Instant::now());
            }
            timers.poll(cx).map(Err)
        })
        .await?;
        self.summary.bytes_received = body.received();
        if fits {
            // The length may be known now, and with it the framing.
            if body.is_ended() && !body.has_trailers() {
                self.head.body = BodyLength::Fixed(body.received());
            }
            if let Some(running) = &mut self.filters {
                running.body = Some(body);
            }
        }
        Ok(fits)
    }

    /// The request body, when a filter has collected it.
    pub(in crate::http) fn collected_body(&mut self) -> Option<ReplayBuffer> {
        self.filters.as_mut()?.body.take()
    }

    /// Lets the filters see the response.
    #[inline]
    pub(in crate::http) fn filter_response(&mut self, response: &mut ResponseHead) {
        if self.filters.is_some() {
            self.run_response_filters(response);
        }
    }

    fn run_response_filters(&mut self, response: &mut ResponseHead) {
        let found = self.summary.found;
        if let Some(running) = &mut self.filters {
            let call = Call {
                ctx: self.ctx,
                head: &mut self.head,
                summary: &mut self.summary,
                found,
                cluster: None,
            };
            running.response(&call, response);
        }
    }

    /// Adds what the filter that answered wants in its answer.
    pub(super) fn dress_answer(&mut self, response: &mut ResponseHead) {
        let adds = self.filters.as_ref().map_or(&[][..], |running| running.answer_add);
        if !adds.is_empty() {
            let record = Record { response: Some(response), ..self.summary.record(Some(&self.head)) };
            let values = edits::render(adds, &record);
            edits::add_to_response(adds, &values, &mut response.block);
        }
    }
}
