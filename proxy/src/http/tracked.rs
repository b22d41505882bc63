//! What clusters that ask for it (`track_cluster_stats`) are told of each try: its sizes, and how much of the time that
//! it and its request had is used up.
//!
//! As in Envoy a try counts from the moment a host is chosen, whatever becomes of it: one that got no connection has
//! sent a head and no body. Response sizes are those of tries that had a response head.

use std::time::{Duration, Instant};

use super::codec::Upstream;
use super::head::{HeadSize, RequestHead};
use crate::stats::registry::Shard;
use crate::stats::scope::{BudgetStats, SizeStats, TrackedStats};

/// One try under way.
#[derive(Clone, Copy, Debug)]
pub struct Try {
    begun: Instant,
    request: HeadSize,
    answer: Option<HeadSize>,
}

impl Try {
    /// A host was chosen for the request.
    pub fn begin(now: Instant, head: &RequestHead) -> Self {
        Self { begun: now, request: head.size(), answer: None }
    }

    /// All response heads that there will be have arrived on `stream`.
    pub fn answered(&mut self, stream: &Upstream) {
        self.answer = stream.answered();
    }

    /// The try is over: `sent` and `received` bytes of bodies went up and came down. `limit`: the per-try timeout, zero
    /// is none.
    pub fn end(
        self,
        tracked: &TrackedStats,
        shard: &Shard,
        (sent, received): (u64, u64),
        now: Instant,
        limit: Duration,
    ) {
        if let Some(BudgetStats { upstream_rq_timeout_budget_per_try_percent_used, .. }) = tracked.budgets {
            let took = now.saturating_duration_since(self.begun);
            shard.record(upstream_rq_timeout_budget_per_try_percent_used, percent(took, limit));
        }
        if let Some(stats) = &tracked.sizes {
            self.tell_sizes(stats, shard, sent, received);
        }
    }

    fn tell_sizes(&self, stats: &SizeStats, shard: &Shard, sent: u64, received: u64) {
        shard.record(stats.upstream_rq_headers_size, self.request.bytes);
        shard.record(stats.upstream_rq_headers_count, self.request.fields);
        shard.record(stats.upstream_rq_body_size, sent);
        if let Some(answer) = self.answer {
            shard.record(stats.upstream_rs_headers_size, answer.bytes);
            shard.record(stats.upstream_rs_headers_count, answer.fields);
            shard.record(stats.upstream_rs_body_size, received);
        }
    }
}

/// A request is over that had a complete response or ran out of time, `took` after it was complete. `limit`: its
/// timeout, zero is none.
pub fn request_ended(tracked: &TrackedStats, shard: &Shard, took: Duration, limit: Duration) {
    if let Some(stats) = &tracked.budgets {
        shard.record(stats.upstream_rq_timeout_budget_percent_used, percent(took, limit));
    }
}

/// Whole percent of `limit`, more than 100 when it was overdrawn. Of an endless time nothing is ever used.
fn percent(took: Duration, limit: Duration) -> u64 {
    let used = (took.as_millis() * 100).checked_div(limit.as_millis());
    used.map_or(0, |used| u64::try_from(used).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_time_is_in_whole_percent() {
        let of = |took, limit| percent(Duration::from_micros(took), Duration::from_micros(limit));
        assert_eq!(of(0, 1_000_000), 0);
        assert_eq!(of(259_999, 1_000_000), 25);
        assert_eq!(of(1_500_000, 1_000_000), 150);
        assert_eq!(of(1_500_000, 0), 0, "no timeout");
        assert_eq!(of(1_000, 900), 0, "below what Envoy measures in");
    }
}
