//! Filters around the router: requests pass them before a route's action, responses before the client.

use std::future::poll_fn;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::Exchange;
use crate::base::error::{ProxyError, ResponseFlags};
use crate::config::filter::Levels;
use crate::config::route::RouteAction;
use crate::http::codec::Downstream;
use crate::http::filter::{Call, Running, Verdict};
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
        let found = self.summary.found;
        self.target = match found.map(|found| &found.route.action) {
            Some(RouteAction::Forward(forward)) => Some(self.choose(forward)),
            _ => None,
        };
        let cluster = self.target.and_then(|target| self.view.cluster(target.cluster?));
        self.summary.routed = cluster.cloned();
        let levels = found.map_or_else(Levels::default, |found| self.levels(found));
        self.filters = Some(Running::new(&self.ctx.settings.filters, levels));
        self.step_filters()
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
                Verdict::Collect(limit) => {
                    if !self.collect(limit, down, deadline).await? {
                        self.ctx.local.stats.inc(self.ctx.settings.stats.downstream_rq_too_large);
                        let (details, body) = ("request_payload_too_large", "Payload Too Large");
                        return Ok(Some(LocalReply::new(413, ResponseFlags::NONE, details, body)));
                    }
                }
            }
            verdict = self.step_filters();
        }
    }

    /// Waits; a client that leaves ends it.
    async fn delay(
        &mut self,
        length: Duration,
        down: &mut Downstream<'_>,
        deadline: &mut Deadline,
    ) -> Result<(), ProxyError> {
        let until = Instant::now().checked_add(length);
        let bodiless = self.head.body == BodyLength::None;
        poll_fn(|cx| {
            if self.ctx.cut.get() {
                return Poll::Ready(Err(ProxyError::Cut));
            }
            if bodiless && down.poll_gone(cx).is_ready() {
                return Poll::Ready(Err(ProxyError::ClientGone));
            }
            deadline.poll_at(cx, until).map(Ok)
        })
        .await
    }

    /// Reads the whole request body; false when it is longer than `limit`.
    async fn collect(
        &mut self,
        limit: u32,
        down: &mut Downstream<'_>,
        deadline: &mut Deadline,
    ) -> Result<bool, ProxyError> {
        if let Some(kept) = self.kept_body() {
            // A redirect was followed inside: the body is here already.
            let fits = kept.received() <= limit.into();
            if let Some(running) = &mut self.filters {
                running.body = Some(kept);
            }
            return Ok(fits);
        }
        self.answer_expectation(down)?;
        self.head.expects_continue = false;
        let settings = &self.ctx.settings;
        let started = self.summary.timing.started;
        let idle = settings.stream_idle_timeout;
        let mut timers = Timers::new(
            deadline,
            &self.ctx.cut,
            &self.ctx.local.clock,
            started,
            Duration::ZERO,
            idle,
            settings.max_stream_duration,
        );
        timers.expect_request(settings.request_timeout);
        let mut body = ReplayBuffer::new();
        let fits = poll_fn(|cx| {
            let before = body.received();
            if let Poll::Ready(collected) = body.poll_collect(cx, down, limit as usize) {
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
            // The length is known now, and with it the framing.
            if !body.has_trailers() {
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
