//! Whether a failed attempt is tried again, and after how long. Conditions are Envoy's `retry_on`.
//!
//! One retry needs no policy: a reused HTTP/1 connection that the upstream closed before any response
//! byte, for an idempotent request. That is the keep-alive race, the loudest cause of stray 503s.

mod asked;
mod wait;

use std::time::{Duration, SystemTime};

use fastrand::Rng;
use smallvec::SmallVec;

use super::head::{HeaderBlock, Method, RequestHead, ResponseHead};
use super::header_id::HeaderId;
use super::route;
use crate::base::error::ProxyError;
use crate::config::retry::{Avoid, RetryOn, RetryPolicy};
use crate::upstream::lb::Attempted;

pub use asked::{Asked, Limits};

/// 425 Too Early.
const TOO_EARLY: u16 = 425;

/// Retry state of one exchange.
#[derive(Debug)]
pub struct Retries<'p> {
    policy: Option<&'p RetryPolicy>,
    asked: Option<Box<Asked>>,
    on: RetryOn,
    max: u32,
    done: u32,
    idempotent: bool,
    /// The client sent it as early data, and is to decide itself on a 425.
    was_early: bool,
    race_retried: bool,
    /// The attempt under way handed its request to a connection.
    begun: bool,
    /// Hosts tried, by uid.
    tried: SmallVec<[u64; 4]>,
    /// Their priorities.
    priorities: SmallVec<[u32; 4]>,
}

/// What to do after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The outcome stands; nothing asked for a retry.
    Stop,
    /// The outcome stands because all retries are used up (`URX`).
    LimitExceeded,
    /// Try again.
    Retry(Retry),
}

/// A retry decided on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// After this.
    pub wait: Duration,
    /// Why, and why then.
    pub cause: Cause,
}

/// Why there is a retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A condition of the policy; exponential back-off.
    Policy,
    /// A condition of the policy; the response said when.
    RateLimited,
    /// 425: the request was too early on its connection, and is late enough now (RFC 8470).
    TooEarly,
    /// A kept-alive connection was closed under the request. No policy asked, it happens once and holds no permit.
    KeepAliveRace,
}

impl<'p> Retries<'p> {
    /// State before the first attempt of `head`, whose caller `asked` for something of his own.
    pub fn new(policy: Option<&'p RetryPolicy>, asked: Option<Box<Asked>>, head: &RequestHead) -> Self {
        let mut on = policy.map_or(RetryOn::default(), |policy| policy.on);
        let mut max = policy.map_or(1, |policy| policy.num_retries);
        if let Some(asked) = &asked {
            on.insert(asked.on);
            max = asked.max_retries.unwrap_or(max);
        }
        if head.asks_for_tunnel() || policy.is_some_and(|policy| !wants_retries(policy, head)) {
            on = RetryOn::default();
        }
        Self {
            policy,
            asked,
            on,
            max,
            done: 0,
            idempotent: is_idempotent(head),
            was_early: on.intersects(RetryOn::STATUS_CODES)
                && head.block.get_by_name(b"early-data").is_some(),
            race_retried: false,
            begun: false,
            tried: SmallVec::new(),
            priorities: SmallVec::new(),
        }
    }

    /// Whether a policy may ask for retries.
    pub fn are_possible(&self) -> bool {
        !self.on.is_empty() && self.max > 0
    }

    /// Whether the request body should be kept for another attempt.
    pub fn wants_replay(&self) -> bool {
        self.idempotent || self.are_possible()
    }

    /// Hosts the next pick should avoid, by uid and otherwise, and how often to re-pick for it. The first one avoids
    /// none.
    pub fn avoidance(&self) -> (&[u64], Option<&'p Avoid>, u32) {
        match self.policy.filter(|_| !self.tried.is_empty()) {
            Some(policy) => {
                let tried: &[u64] = if policy.avoid.previous { &self.tried } else { &[] };
                (tried, Some(&policy.avoid), policy.host_selection_attempts)
            }
            None => (&[], None, 0),
        }
    }

    /// The priorities of the attempts so far, where retries are to keep away from them.
    pub fn attempted(&self) -> Attempted<'_> {
        let every = self.policy.map_or(0, |policy| policy.avoid_priorities_every);
        Attempted { priorities: &self.priorities, every }
    }

    /// An attempt goes to the host of this uid and priority.
    pub fn tried(&mut self, host: u64, priority: u32) {
        const REMEMBERED: usize = 64;
        if self.tried.len() < REMEMBERED {
            self.tried.push(host);
            self.priorities.push(priority);
        }
    }

    /// Retries made so far because a policy asked for them.
    pub fn made(&self) -> u32 {
        self.done
    }

    /// An attempt starts, without a connection yet.
    pub fn attempt_starts(&mut self) {
        self.begun = false;
    }

    /// The attempt's request went to a connection: from here on the upstream may have begun to process it.
    pub fn request_begun(&mut self) {
        self.begun = true;
    }

    /// Whether a condition covers this response, however many retries are left. Of an upstream that limits its
    /// rate (`x-envoy-ratelimited`) only the condition of that name asks for more.
    pub fn covers_response(&self, response: &ResponseHead) -> bool {
        let limited = || response.block.get_by_name(b"x-envoy-ratelimited").is_some();
        if self.on.intersects(RetryOn::RATE_LIMITED) && limited() {
            return true;
        }
        let covered = self.covers_status(response.status)
            || self.covers_headers(response)
            || self.covers_grpc(&response.block);
        covered && !limited()
    }

    /// After a response head arrived. `clock` is the wall clock, for responses that name a point in time.
    pub fn after_response(
        &mut self,
        response: &ResponseHead,
        rng: &mut Rng,
        clock: impl FnOnce() -> SystemTime,
    ) -> Decision {
        if self.on.is_empty() || !self.covers_response(response) {
            return Decision::Stop;
        }
        let told = self.policy.and_then(|policy| wait::told(policy, &response.block, rng, clock));
        let retry = match told {
            _ if response.status == TOO_EARLY => Retry { wait: Duration::ZERO, cause: Cause::TooEarly },
            Some(wait) => Retry { wait, cause: Cause::RateLimited },
            None => self.backed_off(rng),
        };
        self.schedule(retry)
    }

    /// After an attempt failed without a response.
    pub fn after_failure(&mut self, error: &ProxyError, rng: &mut Rng) -> Decision {
        if self.covers_failure(error) {
            let retry = self.backed_off(rng);
            return self.schedule(retry);
        }
        let race = matches!(error, ProxyError::UpstreamClosed { reused: true });
        if race && self.idempotent && !self.race_retried {
            self.race_retried = true;
            return Decision::Retry(Retry { wait: Duration::ZERO, cause: Cause::KeepAliveRace });
        }
        Decision::Stop
    }

    /// After an attempt took too long that goes on beside the next one: conditions do not matter.
    pub fn after_slow_try(&mut self, rng: &mut Rng) -> Decision {
        if self.on.is_empty() {
            return Decision::Stop;
        }
        let retry = self.backed_off(rng);
        self.schedule(retry)
    }

    fn backed_off(&self, rng: &mut Rng) -> Retry {
        Retry { wait: wait::exponential(self.policy, self.done, rng), cause: Cause::Policy }
    }

    fn schedule(&mut self, retry: Retry) -> Decision {
        if self.done >= self.max {
            return Decision::LimitExceeded;
        }
        self.done += 1;
        Decision::Retry(retry)
    }

    fn covers_status(&self, status: u16) -> bool {
        let listed = || (status != TOO_EARLY || !self.was_early) && self.is_listed(status);
        (self.on.intersects(RetryOn::SERVER_ERROR) && (500..600).contains(&status))
            || (self.on.intersects(RetryOn::GATEWAY_ERROR) && (502..=504).contains(&status))
            || (self.on.intersects(RetryOn::RETRIABLE_4XX) && status == 409)
            || (self.on.intersects(RetryOn::STATUS_CODES) && listed())
    }

    fn is_listed(&self, status: u16) -> bool {
        self.policy.is_some_and(|policy| policy.status_codes.binary_search(&status).is_ok())
            || self.asked.as_ref().is_some_and(|asked| asked.status_codes.contains(&status))
    }

    fn covers_headers(&self, response: &ResponseHead) -> bool {
        if !self.on.intersects(RetryOn::HEADERS) {
            return false;
        }
        let block = &response.block;
        let mut text = itoa::Buffer::new();
        let status = text.format(response.status).as_bytes();
        let by_policy = self.policy.is_some_and(|policy| {
            policy.response_headers.iter().any(|matcher| match &*matcher.name {
                ":status" => matcher.matches(Some(status)),
                name => {
                    matcher.matches(block.fields_named(name.as_bytes()).map(|field| block.bytes(field.value)))
                }
            })
        });
        let named = |asked: &Asked| asked.header_names.iter().any(|name| block.get_by_name(name).is_some());
        by_policy || self.asked.as_deref().is_some_and(named)
    }

    fn covers_grpc(&self, block: &HeaderBlock) -> bool {
        // Only a status in the headers counts: after data has gone downstream there is no way back.
        let condition = match block.get(HeaderId::GrpcStatus) {
            Some(b"1") => RetryOn::GRPC_CANCELLED,
            Some(b"4") => RetryOn::GRPC_DEADLINE_EXCEEDED,
            Some(b"8") => RetryOn::GRPC_RESOURCE_EXHAUSTED,
            Some(b"13") => RetryOn::GRPC_INTERNAL,
            Some(b"14") => RetryOn::GRPC_UNAVAILABLE,
            _ => return false,
        };
        self.on.intersects(condition)
    }

    fn covers_failure(&self, error: &ProxyError) -> bool {
        const ANY: RetryOn = RetryOn(RetryOn::SERVER_ERROR.0 | RetryOn::GATEWAY_ERROR.0 | RetryOn::RESET.0);
        let own = match error {
            ProxyError::ConnectFailure(_) => RetryOn::CONNECT_FAILURE,
            ProxyError::UpstreamReset { refused: true } => RetryOn::REFUSED_STREAM,
            ProxyError::UpstreamReset { .. }
            | ProxyError::UpstreamClosed { .. }
            | ProxyError::UpstreamProtocol(_)
            | ProxyError::PerTryTimeout
            | ProxyError::PerTryIdleTimeout
            | ProxyError::UpstreamMaxDuration { .. } => RetryOn::default(),
            _ => return false,
        };
        let unsent = !self.begun && self.on.intersects(RetryOn::RESET_BEFORE_REQUEST);
        unsent || self.on.intersects(ANY) || self.on.intersects(own)
    }
}

/// `retriable_request_headers`: one has to match, when there are any.
fn wants_retries(policy: &RetryPolicy, head: &RequestHead) -> bool {
    let mut matchers = policy.request_headers.iter();
    policy.request_headers.is_empty() || matchers.any(|matcher| route::header_matches(matcher, head))
}

/// RFC 9110, 9.2.2.
fn is_idempotent(head: &RequestHead) -> bool {
    let known = matches!(head.method, Method::Get | Method::Head | Method::Options);
    (known || matches!(head.method_text(), b"PUT" | b"DELETE" | b"TRACE")) && head.upgrade.is_none()
}

#[cfg(test)]
mod tests;
