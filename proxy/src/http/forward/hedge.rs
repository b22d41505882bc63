//! Attempts side by side (`hedge_on_per_try_timeout`): one that takes longer than the per-try timeout goes on while
//! another is made, and the first good response wins. There are never more attempts than the policy allows retries.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use super::{Outcome, Tries};
use crate::base::error::ProxyError;
use crate::http::attempt::{self, Attempt};
use crate::http::codec::Downstream;
use crate::http::exchange::Exchange;
use crate::http::head::ResponseHead;
use crate::http::retry::Retry;
use crate::http::timers::{TryLimits, after};
use crate::http::tracked::Try;
use crate::net::deadline::{Deadline, earlier};
use crate::upstream::breaker::RetryPermit;
use crate::upstream::outlier::{self, LocalFailure};
use crate::upstream::pool::HostPool;

/// Attempts under way and retries that are waiting for their time.
struct Race {
    runners: Vec<Runner>,
    waiting: Vec<Waiting>,
    /// Of the next one that is late or due.
    clock: Deadline,
    /// The per-try timeout.
    limit: Duration,
    /// The attempt whose response goes down.
    winner: Option<Try>,
}

/// One attempt.
struct Runner {
    pool: Rc<HostPool>,
    stage: Stage,
    /// When it is late; `None` before its request is sent, and once it was.
    late_at: Option<Instant>,
    /// It was late: another attempt was asked for in its stead, and whatever comes of it asks for no more.
    replaced: bool,
    /// Of the retry that it is.
    _permit: Option<RetryPermit>,
    tracked: Option<Try>,
}

/// Boxed: hedging is rare, and what moves should be small.
enum Stage {
    Connecting(Pin<Box<dyn Future<Output = Result<Attempt, ProxyError>>>>),
    Sent(Box<Attempt>),
}

/// A retry decided on.
struct Waiting {
    at: Instant,
    permit: RetryPermit,
}

/// What happened to the attempt of this index, or to all of them.
enum Event {
    Connected(usize, Box<Attempt>),
    Answered(usize, ResponseHead),
    Failed(usize, ProxyError),
    Late(usize),
    Due(usize),
    Over(ProxyError),
}

impl Exchange<'_> {
    /// Makes attempts until one wins or none is left.
    pub(super) async fn hedged(&mut self, tries: &mut Tries<'_, '_>, down: &mut Downstream<'_>) -> Outcome {
        let limits = tries.timeouts.tries;
        // Each attempt has a clock of its own here.
        tries.timers.limit_tries(TryLimits::default());
        let mut race = Race {
            runners: Vec::new(),
            waiting: Vec::new(),
            clock: Deadline::default(),
            limit: limits.whole,
            winner: None,
        };
        self.start_runner(&mut race, None, tries)?;
        let outcome = loop {
            let event = poll_fn(|cx| race.poll(cx, self, tries, down)).await;
            if let Some(outcome) = self.after_event(event, &mut race, tries) {
                break outcome;
            }
        };
        for loser in race.runners.drain(..) {
            self.drop_runner(loser, tries);
        }
        if outcome.is_ok() {
            tries.tracked = race.winner;
            tries.timers.take_over_try(Instant::now(), limits);
        }
        outcome
    }

    /// What follows from an event; `Some` when the race is over.
    fn after_event(&mut self, event: Event, race: &mut Race, tries: &mut Tries<'_, '_>) -> Option<Outcome> {
        match event {
            Event::Over(error) => Some(Err(error)),
            Event::Connected(index, mut attempt) => {
                let pool = race.runners[index].pool.clone();
                self.attempt_connected(tries, &mut attempt, &pool);
                self.summary.timing.pool_ready = Some(tries.timers.now());
                race.runners[index].stage = Stage::Sent(attempt);
                let sent = race.runners[index].send(self, tries);
                if sent.is_ok() {
                    self.summary.timing.upstream_begun = Some(tries.timers.now());
                    tries.retries.request_begun();
                }
                sent.err().and_then(|error| self.after_failure(index, error, race, tries))
            }
            Event::Answered(index, response) => self.after_answer(index, response, race, tries),
            Event::Failed(index, error) => self.after_failure(index, error, race, tries),
            Event::Late(index) => {
                self.after_late(index, race, tries);
                None
            }
            Event::Due(index) => {
                let waiting = race.waiting.swap_remove(index);
                let started = self.start_runner(race, Some(waiting.permit), tries);
                started.err().filter(|_| race.is_over()).map(Err)
            }
        }
    }

    fn start_runner(
        &mut self,
        race: &mut Race,
        permit: Option<RetryPermit>,
        tries: &mut Tries<'_, '_>,
    ) -> Result<(), ProxyError> {
        let pool = self.start_tracked(tries)?;
        let connecting = attempt::begin_apart(self.ctx, tries.cluster, &pool, &self.head, tries.forward)
            .inspect_err(|_| self.end_tracked(tries, (0, 0)))?;
        race.runners.push(Runner {
            pool,
            stage: Stage::Connecting(Box::pin(connecting)),
            late_at: None,
            replaced: false,
            _permit: permit,
            tracked: tries.tracked.take(),
        });
        Ok(())
    }

    /// A response: it wins unless a retry was made or is made instead, or it is bad and others may do better.
    fn after_answer(
        &mut self,
        index: usize,
        response: ResponseHead,
        race: &mut Race,
        tries: &mut Tries<'_, '_>,
    ) -> Option<Outcome> {
        let mut runner = race.runners.swap_remove(index);
        self.attempt_answered(tries, &runner.pool, &response);
        let is_bad = tries.retries.covers_response(&response);
        let retry = if runner.replaced {
            None
        } else {
            tries.after_timeout = false;
            let decide = |rng: &mut _| tries.retries.after_response(&response, rng, SystemTime::now);
            let decision = self.ctx.local.random(decide);
            self.settle(decision, true, tries)
        };
        let retried = retry.is_some_and(|retry| self.schedule(retry, race, tries));
        if retried || (is_bad && !race.is_over()) {
            if retried {
                let stats = &tries.cluster.config().stats;
                stats.count_retried_response(&self.ctx.local.stats, response.status);
            }
            self.drop_runner(runner, tries);
            return None;
        }
        runner.note_answer();
        let Runner { pool, stage, tracked, .. } = runner;
        let Stage::Sent(attempt) = stage else { return None };
        self.summary.chose(&attempt.lease);
        self.summary.host = Some(pool);
        race.winner = tracked;
        Some(Ok((*attempt, response)))
    }

    /// An attempt ended without a response: the exchange fails with it when nothing else is under way.
    fn after_failure(
        &mut self,
        index: usize,
        error: ProxyError,
        race: &mut Race,
        tries: &mut Tries<'_, '_>,
    ) -> Option<Outcome> {
        let runner = race.runners.swap_remove(index);
        self.report_failure(tries, &runner.pool, &error);
        if !runner.replaced {
            tries.after_timeout = false;
            let decision = self.ctx.local.random(|rng| tries.retries.after_failure(&error, rng));
            if let Some(retry) = self.settle(decision, false, tries) {
                self.schedule(retry, race, tries);
            }
        }
        self.drop_runner(runner, tries);
        race.is_over().then_some(Err(error))
    }

    /// An attempt takes too long: it goes on, and so does the next one if there may be one.
    fn after_late(&mut self, index: usize, race: &mut Race, tries: &mut Tries<'_, '_>) {
        let runner = &mut race.runners[index];
        runner.late_at = None;
        outlier::failed(&self.ctx.local, tries.cluster.config(), &runner.pool.host, LocalFailure::Timeout);
        tries.after_timeout = true;
        let decision = self.ctx.local.random(|rng| tries.retries.after_slow_try(rng));
        if let Some(retry) = self.settle(decision, false, tries) {
            race.runners[index].replaced = self.schedule(retry, race, tries);
        }
    }

    /// Lets a retry wait for its time, if the circuit breakers allow it.
    fn schedule(&mut self, retry: Retry, race: &mut Race, tries: &Tries<'_, '_>) -> bool {
        let Some(permit) = self.retry_permit(tries) else { return false };
        self.count_retry(retry.cause, tries);
        race.waiting.push(Waiting { at: Instant::now() + retry.wait, permit });
        true
    }

    fn drop_runner(&mut self, mut runner: Runner, tries: &mut Tries<'_, '_>) {
        runner.note_answer();
        tries.tracked = runner.tracked;
        match runner.stage {
            Stage::Sent(attempt) => self.let_go(*attempt, tries),
            Stage::Connecting(_) => self.end_tracked(tries, (0, 0)),
        }
    }
}

impl Race {
    /// Nothing is under way any more.
    fn is_over(&self) -> bool {
        self.runners.is_empty() && self.waiting.is_empty()
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange<'_>,
        tries: &mut Tries<'_, '_>,
        down: &mut Downstream<'_>,
    ) -> Poll<Event> {
        for (index, runner) in self.runners.iter_mut().enumerate() {
            if let Poll::Ready(event) = runner.poll(cx, index, self.limit, exchange, tries, down) {
                return Poll::Ready(event);
            }
        }
        if tries.timers.is_request_complete() && down.poll_gone(cx).is_ready() {
            return Poll::Ready(Event::Over(ProxyError::ClientGone));
        }
        if let Poll::Ready(error) = tries.timers.poll(cx) {
            return Poll::Ready(Event::Over(error));
        }
        self.poll_clock(cx)
    }

    /// The next attempt that is late, or retry that is due.
    fn poll_clock(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        loop {
            let late = self.runners.iter().map(|runner| runner.late_at).fold(None, earlier);
            let due = self.waiting.iter().map(|waiting| Some(waiting.at)).fold(None, earlier);
            std::task::ready!(self.clock.poll_at(cx, earlier(late, due)));
            let now = Instant::now();
            if let Some(index) = self.waiting.iter().position(|waiting| waiting.at <= now) {
                return Poll::Ready(Event::Due(index));
            }
            let is_late = |runner: &Runner| runner.late_at.is_some_and(|at| at <= now);
            if let Some(index) = self.runners.iter().position(is_late) {
                return Poll::Ready(Event::Late(index));
            }
        }
    }
}

impl Runner {
    /// The response heads that came so far are all that count.
    fn note_answer(&mut self) {
        if let (Some(tracked), Stage::Sent(attempt)) = (&mut self.tracked, &self.stage) {
            tracked.answered(&attempt.lease.stream);
        }
    }

    /// Queues the request head on the connection.
    fn send(&mut self, exchange: &Exchange<'_>, tries: &mut Tries<'_, '_>) -> Result<(), ProxyError> {
        match &mut self.stage {
            Stage::Sent(attempt) => attempt.send(&exchange.head, &mut tries.timers),
            Stage::Connecting(_) => Ok(()),
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        index: usize,
        limit: Duration,
        exchange: &Exchange<'_>,
        tries: &mut Tries<'_, '_>,
        down: &mut Downstream<'_>,
    ) -> Poll<Event> {
        let attempt = match &mut self.stage {
            Stage::Connecting(connecting) => {
                return match std::task::ready!(connecting.as_mut().poll(cx)) {
                    Ok(attempt) => Poll::Ready(Event::Connected(index, Box::new(attempt))),
                    Err(error) => Poll::Ready(Event::Failed(index, error)),
                };
            }
            Stage::Sent(attempt) => attempt,
        };
        let was_done = attempt.request.is_done();
        if let Err(error) = attempt.poll_request(cx, exchange.ctx, down, &mut tries.replay, &mut tries.timers)
        {
            return Poll::Ready(Event::Over(error));
        }
        if !was_done && attempt.request.is_done() && !self.replaced {
            self.late_at = after(Instant::now(), limit);
        }
        match std::task::ready!(attempt.poll_response(cx, exchange.ctx, down)) {
            Ok(response) => Poll::Ready(Event::Answered(index, response)),
            Err(error @ ProxyError::ClientGone) => Poll::Ready(Event::Over(error)),
            Err(error) => Poll::Ready(Event::Failed(index, error)),
        }
    }
}
