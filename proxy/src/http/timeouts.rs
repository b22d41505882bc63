//! How long an exchange and its attempts may take: what the route says, unless a caller inside the mesh asked for
//! something else. Source: `RouteAction.timeout`, `RetryPolicy.per_try_timeout`, Envoy's router.

use std::time::Duration;

use super::grpc;
use super::head::RequestHead;
use super::header_id::HeaderId;
use super::retry::Limits;
use super::timers::TryLimits;
use crate::config::Cluster;
use crate::config::listener::HttpSettings;
use crate::config::retry::RetryPolicy;
use crate::config::route::{Forward, MaxStreamDuration};

/// Time limits of one exchange; zero durations are off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// From the complete request to the complete response, all attempts together.
    pub route: Duration,
    /// The whole stream, from its start.
    pub stream: Duration,
    /// Of each attempt.
    pub tries: TryLimits,
    /// An attempt that takes longer than it may goes on beside the next one.
    pub hedge: bool,
    /// A timeout is answered with 204.
    pub no_content: bool,
}

impl Timeouts {
    /// The limits for this request.
    pub fn decide(
        forward: &Forward,
        policy: Option<&RetryPolicy>,
        cluster: &Cluster,
        settings: &HttpSettings,
        asked: &Limits,
        head: &RequestHead,
    ) -> Self {
        let grpc_timeout = || head.block.get_by_name(b"grpc-timeout").and_then(grpc::parse_timeout);
        let (route, stream) = match forward.max_stream_duration {
            Some(limit) => (Duration::ZERO, stream_limit(&limit, grpc_timeout())),
            None => (forward.timeout, settings.max_stream_duration),
        };
        // The hop before this one may have said how long it waits.
        let expected = settings.respect_expected_rq_timeout.then(|| expected_by_caller(head)).flatten();
        let route = expected.or(asked.timeout).unwrap_or(route);
        let per_try = asked.per_try.or(policy.map(|policy| policy.per_try_timeout)).unwrap_or_default();
        let pointless = !route.is_zero() && per_try >= route;
        Self {
            route,
            stream,
            tries: TryLimits {
                whole: if pointless { Duration::ZERO } else { per_try },
                idle: policy.map_or(Duration::ZERO, |policy| policy.per_try_idle_timeout),
                stream: asked.stream.unwrap_or(cluster.max_stream_duration),
            },
            hedge: asked.hedge.unwrap_or(forward.hedge),
            no_content: asked.no_content,
        }
    }

    /// What `x-envoy-expected-rq-timeout-ms` tells the upstream `elapsed` after the request was complete: the time of
    /// one try where tries have their own and end with it. `None`: any.
    pub fn expected(&self, elapsed: Duration) -> Option<Duration> {
        let whole = if self.hedge || self.tries.whole.is_zero() { self.route } else { self.tries.whole };
        if whole.is_zero() || self.route.is_zero() {
            return (!whole.is_zero()).then_some(whole);
        }
        // Zero would mean any time; the timer that is about to fire settles the rest.
        Some(whole.min(self.route.saturating_sub(elapsed)).max(Duration::from_millis(1)))
    }
}

fn expected_by_caller(head: &RequestHead) -> Option<Duration> {
    let text = std::str::from_utf8(head.block.get(HeaderId::EnvoyExpectedTimeout)?).ok()?;
    text.trim().parse().ok().map(Duration::from_millis)
}

/// `max_stream_duration` with `grpc-timeout`, when the route honours it.
fn stream_limit(limit: &MaxStreamDuration, grpc_timeout: Option<Duration>) -> Duration {
    const AT_ONCE: Duration = Duration::from_nanos(1);
    match (limit.grpc_timeout_max, grpc_timeout) {
        (Some(max), Some(asked)) => {
            let asked = asked.checked_sub(limit.grpc_timeout_offset).unwrap_or(AT_ONCE).max(AT_ONCE);
            if max.is_zero() { asked } else { asked.min(max) }
        }
        _ => limit.max,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeouts(route: u64, per_try: u64, hedge: bool) -> Timeouts {
        let tries = TryLimits { whole: Duration::from_millis(per_try), ..Default::default() };
        Timeouts { route: Duration::from_millis(route), tries, hedge, ..Default::default() }
    }

    #[test]
    fn the_upstream_is_told_what_is_left() {
        let told = |timeouts: Timeouts, elapsed| {
            timeouts.expected(Duration::from_millis(elapsed)).map(|told| told.as_millis())
        };
        assert_eq!(told(timeouts(0, 0, false), 50), None);
        assert_eq!(told(timeouts(100, 0, false), 30), Some(70));
        assert_eq!(told(timeouts(100, 0, false), 300), Some(1));
        assert_eq!(told(timeouts(100, 40, false), 30), Some(40));
        assert_eq!(told(timeouts(100, 40, false), 80), Some(20));
        assert_eq!(told(timeouts(0, 40, false), 80), Some(40));
        assert_eq!(told(timeouts(100, 40, true), 30), Some(70), "a hedged try may use all of it");
    }
}
