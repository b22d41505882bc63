//! What clusters that ask for it are told of requests of our own.

use std::time::{Duration, Instant};

use super::Subrequest;
use crate::http::tracked::{self, Try};

/// The statistics of one try that its cluster asks for, told on every way out.
pub(super) struct Tracking<'a> {
    of: &'a Subrequest,
    begun: Instant,
    pub(super) attempt: Try,
    pub(super) sent: u64,
    pub(super) received: u64,
}

impl<'a> Tracking<'a> {
    /// The request has a host; `None` where nobody asks.
    pub(super) fn begin(of: &'a Subrequest) -> Option<Self> {
        of.cluster.config().tracked.as_ref()?;
        let begun = Instant::now();
        Some(Self { of, begun, attempt: Try::begin(begun, &of.head), sent: 0, received: 0 })
    }

    /// The answer is complete, or time is up.
    pub(super) fn count_budget(&self) {
        if let Some(tracked) = &self.of.cluster.config().tracked {
            let took = self.begun.elapsed();
            tracked::request_ended(tracked, &self.of.local.stats, took, self.of.limit);
        }
    }
}

impl Drop for Tracking<'_> {
    fn drop(&mut self) {
        if let Some(tracked) = &self.of.cluster.config().tracked {
            let (shard, moved) = (&self.of.local.stats, (self.sent, self.received));
            // It has the time of the whole request, none of its own.
            self.attempt.end(tracked, shard, moved, Instant::now(), Duration::ZERO);
        }
    }
}
