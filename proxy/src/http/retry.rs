//! Whether a failed attempt is tried again, and after how long. Conditions are Envoy's `retry_on`.
//!
//! One retry needs no policy: a reused HTTP/1 connection that the upstream closed before any response
//! byte, for an idempotent request. That is the keep-alive race, the loudest cause of stray 503s.

use std::time::Duration;

use fastrand::Rng;
use smallvec::SmallVec;

use super::head::{Method, RequestHead, ResponseHead};
use super::header_id::HeaderId;
use crate::base::error::ProxyError;
use crate::config::route::{RetryOn, RetryPolicy};

/// Retry state of one exchange.
#[derive(Debug)]
pub struct Retries<'p> {
    policy: Option<&'p RetryPolicy>,
    done: u32,
    idempotent: bool,
    race_retried: bool,
    by_policy: bool,
    /// Hosts tried, by uid.
    pub tried: SmallVec<[u64; 4]>,
}

/// What to do after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The outcome stands; nothing asked for a retry.
    Stop,
    /// The outcome stands because all retries are used up (`URX`).
    LimitExceeded,
    /// Try again after this.
    Retry(Duration),
}

impl<'p> Retries<'p> {
    /// State before the first attempt.
    pub fn new(policy: Option<&'p RetryPolicy>, head: &RequestHead) -> Self {
        Self {
            policy,
            done: 0,
            idempotent: is_idempotent(head),
            race_retried: false,
            by_policy: false,
            tried: SmallVec::new(),
        }
    }

    /// Whether the request body should be kept for another attempt.
    pub fn wants_replay(&self) -> bool {
        self.idempotent || self.policy.is_some_and(|policy| policy.num_retries > 0)
    }

    /// The per-try timeout; zero is off.
    pub fn per_try_timeout(&self) -> Duration {
        self.policy.map_or(Duration::ZERO, |policy| policy.per_try_timeout)
    }

    /// Hosts the next pick should avoid and how often to re-pick for it.
    pub fn avoidance(&self) -> (&[u64], u32) {
        match self.policy {
            Some(policy) if policy.avoid_previous_hosts => (&self.tried, policy.host_selection_attempts),
            _ => (&[], 0),
        }
    }

    /// Whether the retry just decided on counts against `max_retries`. The one after a keep-alive race does not:
    /// no policy asked for it, and it happens once.
    pub fn needs_permit(&self) -> bool {
        self.by_policy
    }

    /// Retries made so far.
    pub fn made(&self) -> u32 {
        self.done
    }

    /// After a response head arrived.
    pub fn after_response(&mut self, response: &ResponseHead, grpc: bool, rng: &mut Rng) -> Decision {
        let Some(policy) = self.policy else { return Decision::Stop };
        let wanted = retriable_status(policy, response.status) || (grpc && retriable_grpc(policy, response));
        if wanted { self.schedule(policy, rng) } else { Decision::Stop }
    }

    /// After an attempt failed without a response.
    pub fn after_failure(&mut self, error: &ProxyError, rng: &mut Rng) -> Decision {
        if let Some(policy) = self.policy
            && retriable_failure(policy.on, error)
        {
            return self.schedule(policy, rng);
        }
        let race = matches!(error, ProxyError::UpstreamClosed { reused: true });
        if race && self.idempotent && !self.race_retried {
            self.race_retried = true;
            self.by_policy = false;
            return Decision::Retry(Duration::ZERO);
        }
        Decision::Stop
    }

    fn schedule(&mut self, policy: &RetryPolicy, rng: &mut Rng) -> Decision {
        if self.done >= policy.num_retries {
            return Decision::LimitExceeded;
        }
        let wait = backoff(policy, self.done, rng);
        self.done += 1;
        self.by_policy = true;
        Decision::Retry(wait)
    }
}

/// Uniform in a window that doubles from the base interval up to the maximum.
fn backoff(policy: &RetryPolicy, retry: u32, rng: &mut Rng) -> Duration {
    let window = policy.base_interval.saturating_mul(1 << retry.min(20)).min(policy.max_interval);
    window.mul_f64(rng.f64())
}

/// RFC 9110, 9.2.2.
fn is_idempotent(head: &RequestHead) -> bool {
    let known = matches!(head.method, Method::Get | Method::Head | Method::Options);
    (known || matches!(head.method_text(), b"PUT" | b"DELETE" | b"TRACE")) && head.upgrade.is_none()
}

fn retriable_status(policy: &RetryPolicy, status: u16) -> bool {
    let on = policy.on;
    (on.intersects(RetryOn::SERVER_ERROR) && (500..600).contains(&status))
        || (on.intersects(RetryOn::GATEWAY_ERROR) && (502..=504).contains(&status))
        || (on.intersects(RetryOn::RETRIABLE_4XX) && status == 409)
        || (on.intersects(RetryOn::STATUS_CODES) && policy.status_codes.binary_search(&status).is_ok())
}

fn retriable_grpc(policy: &RetryPolicy, response: &ResponseHead) -> bool {
    // Only a status in the headers counts: after data has gone downstream there is no way back.
    let condition = match response.block.get(HeaderId::GrpcStatus) {
        Some(b"1") => RetryOn::GRPC_CANCELLED,
        Some(b"4") => RetryOn::GRPC_DEADLINE_EXCEEDED,
        Some(b"8") => RetryOn::GRPC_RESOURCE_EXHAUSTED,
        Some(b"13") => RetryOn::GRPC_INTERNAL,
        Some(b"14") => RetryOn::GRPC_UNAVAILABLE,
        _ => return false,
    };
    policy.on.intersects(condition)
}

fn retriable_failure(on: RetryOn, error: &ProxyError) -> bool {
    const ANY_RESET: RetryOn = RetryOn(RetryOn::SERVER_ERROR.0 | RetryOn::GATEWAY_ERROR.0 | RetryOn::RESET.0);
    match error {
        ProxyError::ConnectFailure(_) => {
            on.intersects(ANY_RESET)
                || on.intersects(RetryOn::CONNECT_FAILURE)
                || on.intersects(RetryOn::RESET_BEFORE_REQUEST)
        }
        ProxyError::UpstreamReset { refused: true } => {
            on.intersects(ANY_RESET) || on.intersects(RetryOn::REFUSED_STREAM)
        }
        ProxyError::UpstreamReset { .. }
        | ProxyError::UpstreamClosed { .. }
        | ProxyError::UpstreamProtocol(_)
        | ProxyError::PerTryTimeout => on.intersects(ANY_RESET),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
