//! One try of a recorded request: a span of its own, where the tracer tells of tries.

use std::sync::Arc;
use std::time::Instant;

use super::id::SpanId;
use super::span::{Finished, Outcome};
use crate::config::cluster::Host;

/// Tries told of at most; those behind are part of the request's own span.
pub const MAX_ATTEMPTS: usize = 32;

/// One try.
#[derive(Debug)]
pub struct AttemptSpan {
    /// Itself: the parent of what the next hop does.
    pub id: SpanId,
    /// When it began.
    pub begun: Instant,
    /// When it was given up; `None`: with the request.
    pub ended: Option<Instant>,
    /// It had a stream: who is there can have heard of it.
    pub sent: bool,
    /// Of the response; 0 without one.
    pub status: u16,
    /// gRPC's, where the head has it.
    pub grpc: Option<u64>,
    /// Why there is no response, as response-code details.
    pub failure: Option<Box<str>>,
    /// Where it went.
    pub host: Arc<Host>,
}

impl AttemptSpan {
    /// Nothing is known of its outcome. At the end of the request: it was given up for another.
    pub fn is_open(&self) -> bool {
        self.status == 0 && self.failure.is_none()
    }

    /// A try of `host` that begins.
    pub fn begun(id: SpanId, begun: Instant, host: Arc<Host>) -> Self {
        Self { id, begun, ended: None, sent: false, status: 0, grpc: None, failure: None, host }
    }

    /// The status of a gRPC call. That of the answer which went down stands in the request's trailers.
    pub fn grpc_status(&self, finished: &Finished<'_>) -> Option<u64> {
        let stood = self.status > 0 && self.ended.is_none();
        self.grpc.or_else(|| finished.grpc_status().filter(|_| stood))
    }

    /// How it went.
    pub fn outcome(&self, finished: &Finished<'_>) -> Outcome {
        if self.is_open() { Outcome::default() } else { Outcome::of(self.status, self.grpc_status(finished)) }
    }

    /// Beginning and end, microseconds since the epoch.
    pub fn times(&self, finished: &Finished<'_>) -> (u64, u64) {
        let at = |moment: Instant| {
            let since = moment.saturating_duration_since(finished.record.timing.started);
            (finished.start + since.as_micros() as u64).min(finished.end)
        };
        (at(self.begun), self.ended.map_or(finished.end, at))
    }
}
