//! Requests of our own to a cluster: through this worker's pools, under the cluster's breakers, TLS and statistics.
//! Copies for mirrors and the questions of filters are such requests. One that is dropped is cancelled.

mod tracking;

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep_until, timeout_at};

use super::codec::{BodySource, Fill};
use super::head::{HeaderBlock, RequestHead, ResponseHead};
use super::pump::{Fixed, Pump, PumpError};
use super::retry::{Cause, Decision, Retries, Retry};
use crate::base::details::Detail;
use crate::base::error::ProxyError;
use crate::config::live::Priority;
use crate::config::retry::RetryPolicy;
use crate::upstream::breaker::{ActiveRequest, RetryPermit};
use crate::upstream::destination;
use crate::upstream::lb::{Part, PickContext};
use crate::upstream::local::Local;
use crate::upstream::outlier::{self, LocalFailure};
use crate::upstream::pool::{HostPool, Lease, connect};
use crate::upstream::view::ClusterState;
use tracking::Tracking;

/// Longest life of a request that has no timeout of its own.
pub const LONGEST: Duration = Duration::from_secs(300);

/// A request on its way.
#[derive(Debug)]
pub struct Subrequest {
    /// Its head.
    pub head: RequestHead,
    /// The worker that sends it.
    pub local: Rc<Local>,
    /// Where it goes.
    pub cluster: Rc<ClusterState>,
    /// Which hosts of it, where an aggregate has chosen them.
    pub part: Option<Part>,
    /// From the pick of a host to the end of the answer; zero is [`LONGEST`].
    pub limit: Duration,
    /// What becomes of the answer's body.
    pub keep: Keep,
}

/// What becomes of the body of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// It is read and thrown away.
    Nothing,
    /// It is kept; one with more bytes than this is an error.
    AtMost(usize),
    /// So many bytes of it are kept.
    Start(usize),
}

/// A complete answer.
#[derive(Debug)]
pub struct Answer {
    /// Its head.
    pub head: ResponseHead,
    /// Its body, as far as it was to be kept.
    pub body: Vec<u8>,
    /// Its trailers.
    pub trailers: Option<HeaderBlock>,
}

/// A lease that is given back on every way out.
struct Held<'a> {
    lease: Option<Lease>,
    of: &'a Subrequest,
    /// The exchange went through to its end: the connection can be used again.
    complete: bool,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let Some(mut lease) = self.lease.take() else { return };
        if !self.complete {
            lease.stream.cancel();
        }
        lease.finish(&self.of.local, self.of.cluster.config());
    }
}

impl Subrequest {
    /// Sends the request with its body and reads the answer, and counts how it went.
    ///
    /// # Errors
    /// Whatever kept the answer away; [`ProxyError::UpstreamProtocol`] when it was too long.
    pub async fn run(&self, body: &mut impl BodySource) -> Result<Answer, ProxyError> {
        self.attempt(body, self.deadline()).await
    }

    /// The same for a question: one with a body that is here, and that does no harm when it is asked twice. So a
    /// connection that was closed under it is no reason for a failure, and the policy may ask for more.
    ///
    /// # Errors
    /// As with [`Subrequest::run`].
    pub async fn ask(&self, body: &[u8], policy: Option<&RetryPolicy>) -> Result<Answer, ProxyError> {
        let deadline = self.deadline();
        let mut retries = Retries::new(policy, None, &self.head);
        let mut repeated = false;
        let mut permit = None;
        loop {
            retries.attempt_starts();
            let outcome = self.attempt(&mut Fixed { left: body }, deadline).await;
            drop(permit.take());
            if matches!(outcome, Err(ProxyError::UpstreamClosed { reused: true })) && !repeated {
                repeated = true;
                self.local.stats.inc(self.cluster.config().stats.upstream_rq_retry_keepalive_race);
                continue;
            }
            let Some(retry) = self.decide(&mut retries, &outcome) else { return outcome };
            permit = RetryPermit::take(&self.local, &self.cluster, Priority::Default);
            let at = Instant::now() + retry.wait;
            if permit.is_none() || at >= deadline {
                return outcome;
            }
            sleep_until(at).await;
        }
    }

    fn decide(&self, retries: &mut Retries<'_>, outcome: &Result<Answer, ProxyError>) -> Option<Retry> {
        let (stats, shard) = (&self.cluster.config().stats, &self.local.stats);
        let decision = self.local.random(|rng| match outcome {
            Ok(answer) => retries.after_response(&answer.head, rng, SystemTime::now),
            Err(ProxyError::RequestTimeout) => Decision::Stop,
            Err(error) => retries.after_failure(error, rng),
        });
        match decision {
            Decision::Retry(retry) if retry.cause != Cause::KeepAliveRace => {
                shard.inc(stats.upstream_rq_retry);
                Some(retry)
            }
            Decision::LimitExceeded => {
                shard.inc(stats.upstream_rq_retry_limit_exceeded);
                None
            }
            Decision::Stop | Decision::Retry(_) => None,
        }
    }

    fn deadline(&self) -> Instant {
        let limit = if self.limit.is_zero() { LONGEST } else { self.limit };
        // A century is longer than the clock reaches on no machine.
        Instant::now() + limit
    }

    async fn attempt(&self, body: &mut impl BodySource, deadline: Instant) -> Result<Answer, ProxyError> {
        let (config, shard) = (self.cluster.config(), &self.local.stats);
        let pick = PickContext { part: self.part, ..PickContext::default() };
        let destination = destination::named(&self.cluster, &self.head, &self.local);
        let destination = destination.filter(|to| !self.local.view().is_own_listener(*to));
        let Some(pool) = self.cluster.pick(&self.local, pick, destination, Priority::Default) else {
            shard.inc(config.stats.upstream_cx_none_healthy);
            self.count(503);
            return Err(ProxyError::NoHealthyUpstream);
        };
        let mut tracking = Tracking::begin(self);
        let Some(mut active) = ActiveRequest::begin(&self.local, &self.cluster, &pool, Priority::Default)
        else {
            shard.inc(config.stats.upstream_rq_active_overflow);
            self.count(503);
            return Err(ProxyError::Overflow);
        };
        let carried = timeout_at(deadline, self.carry(&pool, &mut active, body, tracking.as_mut())).await;
        let outcome = carried.unwrap_or(Err(ProxyError::RequestTimeout));
        if let (Some(tracking), Ok(_) | Err(ProxyError::RequestTimeout)) = (&tracking, &outcome) {
            tracking.count_budget();
        }
        match &outcome {
            Ok(answer) => {
                outlier::response(&self.local, config, &pool.host, answer.head.status);
                self.count(answer.head.status);
            }
            Err(error) => self.count_failure(&pool, error),
        }
        outcome
    }

    fn count(&self, status: u16) {
        self.cluster.config().count_response(&self.local.stats, status, true, None);
    }

    fn count_failure(&self, pool: &HostPool, error: &ProxyError) {
        let config = self.cluster.config();
        if let Some(failure) = LocalFailure::of(error) {
            outlier::failed(&self.local, config, &pool.host, failure);
        }
        let late = matches!(error, ProxyError::RequestTimeout);
        if late {
            self.local.stats.inc(config.stats.upstream_rq_timeout);
        }
        self.count(if late { 504 } else { 503 });
    }

    async fn carry(
        &self,
        pool: &Rc<HostPool>,
        active: &mut ActiveRequest,
        body: &mut impl BodySource,
        tracking: Option<&mut Tracking<'_>>,
    ) -> Result<Answer, ProxyError> {
        let lease = match pool.checkout(self.cluster.config(), self.head.version) {
            Some(lease) => lease,
            None => Box::pin(connect(&self.local, &self.cluster, pool, self.head.version)).await?,
        };
        active.sent();
        outlier::connected(self.cluster.config(), &pool.host);
        let reused = lease.reused;
        let mut held = Held { lease: Some(lease), of: self, complete: false };
        let Some(lease) = &mut held.lease else { return Err(ProxyError::UpstreamClosed { reused }) };
        if tracking.is_some() {
            lease.stream.size_answer();
        }
        let sent = lease.stream.send_head(&self.head, self.head.body);
        sent.map_err(|_| ProxyError::UpstreamClosed { reused })?;
        let mut passage = Passage {
            body,
            request: Pump::new(),
            stuck: false,
            keep: self.keep,
            head: None,
            kept: Vec::new(),
            tracking,
        };
        let answer = poll_fn(|cx| passage.poll(cx, lease)).await;
        let request_is_done = passage.request.is_done();
        held.complete = answer.is_ok() && request_is_done;
        answer
    }
}

/// The two bodies of a request of ours.
struct Passage<'b, 't, B> {
    body: &'b mut B,
    request: Pump,
    /// The upstream takes no more of the request.
    stuck: bool,
    keep: Keep,
    head: Option<ResponseHead>,
    kept: Vec<u8>,
    tracking: Option<&'b mut Tracking<'t>>,
}

impl<B: BodySource> Passage<'_, '_, B> {
    fn poll(&mut self, cx: &mut Context<'_>, lease: &mut Lease) -> Poll<Result<Answer, ProxyError>> {
        let closed = ProxyError::UpstreamClosed { reused: lease.reused };
        if !self.stuck && !self.request.is_done() {
            match self.request.poll(cx, self.body, &mut lease.stream) {
                Poll::Ready(Err(PumpError::Source(_))) => return Poll::Ready(Err(ProxyError::ClientGone)),
                Poll::Ready(Err(PumpError::Sink(_))) => self.stuck = true,
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
            if let Some(tracking) = &mut self.tracking {
                tracking.sent = self.request.bytes;
            }
        }
        while self.head.is_none() {
            match lease.stream.poll_head(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(closed)),
                Poll::Ready(Ok(head)) => self.head = (head.status >= 200).then_some(head),
            }
            if let Some(tracking) = &mut self.tracking {
                tracking.attempt.answered(&lease.stream);
            }
        }
        loop {
            match lease.stream.poll_fill(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(closed)),
                Poll::Ready(Ok(Fill::End)) => {
                    let trailers = lease.stream.take_trailers();
                    let answer = self.head.take().map(|head| Answer {
                        head,
                        body: std::mem::take(&mut self.kept),
                        trailers,
                    });
                    return Poll::Ready(answer.ok_or(closed));
                }
                Poll::Ready(Ok(Fill::Data)) => {
                    let chunk = lease.stream.chunk();
                    let count = chunk.len();
                    match self.keep {
                        Keep::Nothing => {}
                        Keep::AtMost(most) if self.kept.len() + count > most => {
                            return Poll::Ready(Err(ProxyError::UpstreamProtocol(Detail::ANSWER_TOO_LONG)));
                        }
                        Keep::AtMost(_) => self.kept.extend_from_slice(chunk),
                        Keep::Start(most) => {
                            let left = most.saturating_sub(self.kept.len());
                            self.kept.extend_from_slice(&chunk[..count.min(left)]);
                        }
                    }
                    lease.stream.consume(count);
                    if let Some(tracking) = &mut self.tracking {
                        tracking.received += count as u64;
                    }
                }
            }
        }
    }
}
