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
    /// What `grpc-timeout` tells the upstream of a gRPC request.
    pub grpc: GrpcTimeout,
}

/// What becomes of `grpc-timeout`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GrpcTimeout {
    /// It passes, or there is none.
    #[default]
    AsItIs,
    /// It is the time of the whole stream.
    Stream,
    /// It is the time that the upstream may take.
    Expected,
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
        let (route, stream) = match (forward.max_stream_duration, forward.max_grpc_timeout) {
            (Some(limit), _) => {
                (Duration::ZERO, stream_limit(&limit, settings.max_stream_duration, grpc_timeout))
            }
            (None, Some(max)) if head.is_grpc() => {
                (older_limit(max, forward.grpc_timeout_offset, grpc_timeout()), settings.max_stream_duration)
            }
            (None, _) => (forward.timeout, settings.max_stream_duration),
        };
        let grpc = match forward.max_grpc_timeout {
            _ if !head.is_grpc() => GrpcTimeout::AsItIs,
            _ if !stream.is_zero() => GrpcTimeout::Stream,
            Some(_) if forward.max_stream_duration.is_none() => GrpcTimeout::Expected,
            _ => GrpcTimeout::AsItIs,
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
            grpc,
        }
    }

    /// What `grpc-timeout` says with `expected` left for the upstream; `None` leaves it alone.
    pub fn told_by_grpc(&self, expected: Option<Duration>) -> Option<Duration> {
        match self.grpc {
            GrpcTimeout::AsItIs => None,
            GrpcTimeout::Stream => Some(self.stream),
            GrpcTimeout::Expected => expected,
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

/// `max_stream_duration` with `grpc-timeout`, when the route honours it: capped, then less the offset.
fn stream_limit(
    limit: &MaxStreamDuration,
    by_manager: Duration,
    grpc_timeout: impl FnOnce() -> Option<Duration>,
) -> Duration {
    const AT_ONCE: Duration = Duration::from_nanos(1);
    let asked = limit.grpc_timeout_max.and_then(|max| Some((max, grpc_timeout()?)));
    let Some((max, asked)) = asked else { return limit.max.unwrap_or(by_manager) };
    let capped = if max.is_zero() { asked } else { asked.min(max) };
    capped.saturating_sub(limit.grpc_timeout_offset).max(AT_ONCE)
}

/// `max_grpc_timeout` with `grpc_timeout_offset`: an offset that leaves nothing is not applied, no time asked for is
/// any, and zero is off.
fn older_limit(max: Duration, offset: Duration, asked: Option<Duration>) -> Duration {
    let asked = asked.unwrap_or_default();
    let asked = if offset < asked { asked - offset } else { asked };
    let too_long = asked.is_zero() || asked > max;
    if !max.is_zero() && too_long { max } else { asked }
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

    #[test]
    fn what_a_grpc_call_asks_for_is_capped_and_shortened() {
        let ms = Duration::from_millis;
        let limit = |max: u64, offset: u64, asked: u64| {
            let limit = MaxStreamDuration {
                max: Some(ms(7)),
                grpc_timeout_max: Some(ms(max)),
                grpc_timeout_offset: ms(offset),
            };
            stream_limit(&limit, ms(9), || Some(ms(asked)))
        };
        assert_eq!(limit(50, 0, 100), ms(50));
        assert_eq!(limit(50, 10, 100), ms(40));
        assert_eq!(limit(0, 10, 100), ms(90));
        assert_eq!(limit(0, 100, 100), Duration::from_nanos(1));
        let plain = MaxStreamDuration { max: None, ..Default::default() };
        assert_eq!(stream_limit(&plain, ms(9), || Some(ms(1))), ms(9));
    }

    #[test]
    fn the_older_fields_take_the_place_of_the_route_timeout() {
        let ms = Duration::from_millis;
        assert_eq!(older_limit(ms(50), ms(0), None), ms(50));
        assert_eq!(older_limit(ms(50), ms(5), Some(ms(30))), ms(25));
        assert_eq!(older_limit(ms(50), ms(30), Some(ms(30))), ms(30));
        assert_eq!(older_limit(ms(0), ms(0), None), ms(0));
        assert_eq!(older_limit(ms(0), ms(0), Some(ms(30))), ms(30));
    }
}
