//! Between two attempts: whether there is another one, who permits it, and what becomes of the one before.

use std::future::poll_fn;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use super::{Outcome, Tries};
use crate::base::details::Detail;
use crate::base::error::{ProxyError, ResponseFlags};
use crate::http::attempt::Attempt;
use crate::http::codec::{BodySource, Fill};
use crate::http::exchange::Exchange;
use crate::http::head::BodyLength;
use crate::http::retry::{Cause, Decision, Retry};
use crate::http::timers::Timers;
use crate::upstream::breaker::RetryPermit;

impl Exchange<'_> {
    /// Whether to try again after this outcome, and when.
    pub(super) fn decide(&mut self, tried: &Outcome, tries: &mut Tries<'_, '_>) -> Option<Retry> {
        let decision = self.ctx.local.random(|rng| match tried {
            Ok((_, response)) => tries.retries.after_response(response, rng, SystemTime::now),
            Err(error) => tries.retries.after_failure(error, rng),
        });
        tries.after_timeout = matches!(tried, Err(ProxyError::PerTryTimeout | ProxyError::PerTryIdleTimeout));
        self.settle(decision, tried.is_ok(), tries)
    }

    /// A decision with what it means for statistics, flags and a body that is gone.
    pub(super) fn settle(
        &mut self,
        decision: Decision,
        answered: bool,
        tries: &mut Tries<'_, '_>,
    ) -> Option<Retry> {
        let stats = &tries.cluster.config().stats;
        let local = &self.ctx.local;
        match decision {
            Decision::Retry(retry) if self.head.body == BodyLength::None || tries.replay.can_replay() => {
                Some(retry)
            }
            Decision::Retry(_) => {
                self.summary.note = Some(Detail::RETRY_BUFFER_EXCEEDED);
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
    pub(super) fn retry_permit(&mut self, tries: &Tries<'_, '_>) -> Option<RetryPermit> {
        let permit = RetryPermit::take(&self.ctx.local, tries.cluster, tries.forward.priority);
        if permit.is_none() {
            self.ctx.local.stats.inc(tries.cluster.config().stats.upstream_rq_retry_overflow);
            self.summary.flags.insert(ResponseFlags::UPSTREAM_OVERFLOW);
        }
        permit
    }

    pub(super) fn count_retry(&self, cause: Cause, tries: &Tries<'_, '_>) {
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
    pub(super) fn give_up(&mut self, tried: Outcome, cause: Cause, tries: &mut Tries<'_, '_>) {
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
    pub(super) fn let_go(&mut self, mut attempt: Attempt, tries: &mut Tries<'_, '_>) {
        let mut cx = Context::from_waker(Waker::noop());
        let answered = matches!(attempt.lease.stream.poll_fill(&mut cx), Poll::Ready(Ok(Fill::End)));
        if !answered || !attempt.request.is_done() {
            attempt.lease.cut(false);
            attempt.lease.stream.cancel();
        }
        attempt.stop(self.ctx);
        self.end_tracked(tries, (attempt.request.bytes, 0));
        self.summary.meter(&attempt.lease);
        attempt.lease.finish(&self.ctx.local, tries.cluster.config());
    }
}

/// Waits before a retry, under the exchange's clocks.
pub(super) async fn back_off(wait: Duration, timers: &mut Timers<'_>) -> Result<(), ProxyError> {
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
