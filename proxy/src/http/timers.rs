//! The clocks of one exchange, folded into one timer: route timeout, per-try timeout, stream idle
//! timeout, longest stream duration.

use std::cell::Cell;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use crate::base::error::ProxyError;
use crate::base::turn::TurnClock;
use crate::config::overload::ScaledTimer;
use crate::net::deadline::{Deadline, earlier};
use crate::upstream::local::Local;

/// How long one attempt may take; zero durations are off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TryLimits {
    /// From the request being sent to the response head.
    pub whole: Duration,
    /// Silence, until the response is complete.
    pub idle: Duration,
    /// From the connection to the end of the response.
    pub stream: Duration,
}

/// The clocks of one exchange.
#[derive(Debug)]
pub struct Timers<'d> {
    deadline: &'d mut Deadline,
    route_timeout: Duration,
    route: Option<Instant>,
    tries: TryLimits,
    per_try: Option<Instant>,
    /// The attempt's idle clock runs.
    try_idles: bool,
    try_stream: Option<Instant>,
    stream: Option<Instant>,
    /// The whole request must have arrived by then.
    arrival: Option<Instant>,
    idle: Duration,
    /// Shrinks the idle timeout under pressure.
    scaling: Option<&'d Local>,
    active: Instant,
    /// When the whole request had arrived.
    request_complete: Option<Instant>,
    /// When the last attempt had sent all of it.
    sent: Option<Instant>,
    cut: &'d Cell<bool>,
    clock: &'d TurnClock,
}

impl<'d> Timers<'d> {
    /// Clocks that started at `now`. Zero durations are off. `stream` ends the whole exchange, and so does `cut`
    /// once it is set.
    pub fn new(
        deadline: &'d mut Deadline,
        cut: &'d Cell<bool>,
        clock: &'d TurnClock,
        now: Instant,
        route_timeout: Duration,
        idle: Duration,
        stream: Duration,
    ) -> Self {
        Self {
            deadline,
            route_timeout,
            route: None,
            tries: TryLimits::default(),
            per_try: None,
            try_idles: false,
            try_stream: None,
            stream: after(now, stream),
            arrival: None,
            idle,
            scaling: None,
            active: now,
            request_complete: None,
            sent: None,
            cut,
            clock,
        }
    }

    /// The idle timeout shrinks as the overload manager says.
    pub fn scaled_by(mut self, local: &'d Local) -> Self {
        self.scaling = Some(local).filter(|local| local.overload.is_some());
        self
    }

    /// When nothing has moved for too long.
    #[inline]
    fn idle_end(&self) -> Option<Instant> {
        let scaled = |local: &Local| local.scaled(ScaledTimer::StreamIdle, self.idle);
        after(self.active, self.scaling.map_or(self.idle, scaled))
    }

    /// The time.
    #[inline]
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Bounds the arrival of the whole request; zero is off.
    pub fn expect_request(&mut self, timeout: Duration) {
        self.arrival = after(self.active, timeout);
    }

    /// The whole request has arrived: the route timeout starts.
    pub fn request_complete(&mut self, now: Instant) {
        if self.request_complete.is_none() {
            self.request_complete = Some(now);
            self.arrival = None;
            self.route = after(now, self.route_timeout);
            self.active = now;
        }
    }

    /// Bounds every attempt.
    pub fn limit_tries(&mut self, tries: TryLimits) {
        self.tries = tries;
    }

    /// How long ago the whole request had arrived; zero while it has not.
    pub fn elapsed(&self, now: Instant) -> Duration {
        self.request_complete.map_or(Duration::ZERO, |at| now.saturating_duration_since(at))
    }

    /// Whether the whole request has arrived.
    pub fn is_request_complete(&self) -> bool {
        self.request_complete.is_some()
    }

    /// When the whole request had arrived.
    pub fn request_completed_at(&self) -> Option<Instant> {
        self.request_complete
    }

    /// When the last attempt had sent the whole request.
    pub fn sent_at(&self) -> Option<Instant> {
        self.sent
    }

    /// The whole request went up.
    pub fn sent(&mut self, now: Instant) {
        self.sent = Some(now);
    }

    /// An attempt has its connection.
    pub fn begin_try(&mut self) {
        if !self.tries.stream.is_zero() {
            self.try_stream = after(self.now(), self.tries.stream);
        }
    }

    /// An attempt has sent its request.
    pub fn start_try(&mut self, now: Instant) {
        self.sent(now);
        self.per_try = after(now, self.tries.whole);
        self.try_idles = !self.tries.idle.is_zero();
        if self.try_idles {
            self.active = now;
        }
    }

    /// An attempt that had a clock of its own is the only one left, and its response has begun.
    pub fn take_over_try(&mut self, now: Instant, tries: TryLimits) {
        self.tries = tries;
        self.begin_try();
        self.try_idles = !tries.idle.is_zero();
        self.active = now;
    }

    /// The response of the attempt has begun: what is left to bound is silence and the whole stream.
    pub fn response_begins(&mut self) {
        self.per_try = None;
    }

    /// The attempt is over.
    pub fn end_try(&mut self) {
        self.per_try = None;
        self.try_idles = false;
        self.try_stream = None;
    }

    /// Something moved.
    #[inline]
    pub fn touch(&mut self, now: Instant) {
        self.active = now;
    }

    /// The route timeout, zero when there is none.
    pub fn route_timeout(&self) -> Duration {
        self.route_timeout
    }

    /// A tunnel has no route timeout, only the idle one.
    pub fn enter_tunnel(&mut self) {
        (self.route, self.route_timeout) = (None, Duration::ZERO);
        self.per_try = None;
        self.try_idles = false;
        self.arrival = None;
    }

    /// Ready with the clock that ran out.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ProxyError> {
        if self.cut.get() {
            return Poll::Ready(ProxyError::Cut);
        }
        loop {
            let idle = self.idle_end();
            let look = self.scaling.map_or(idle, |local| local.look_at(&[ScaledTimer::StreamIdle], idle));
            let first = earlier(earlier(self.route, self.per_try), earlier(self.stream, look));
            let first = earlier(first, earlier(self.arrival, self.try_stream));
            let first =
                if self.try_idles { earlier(first, after(self.active, self.tries.idle)) } else { first };
            ready!(self.deadline.poll_at(cx, first));
            if let Some(error) = self.expired(Instant::now(), idle) {
                return Poll::Ready(error);
            }
        }
    }

    fn expired(&self, now: Instant, idle: Option<Instant>) -> Option<ProxyError> {
        let request_complete = self.is_request_complete();
        let past = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if past(self.arrival) {
            return Some(ProxyError::RequestArrivalTimeout);
        }
        if past(self.route) {
            return Some(ProxyError::RequestTimeout);
        }
        if past(self.per_try) {
            return Some(ProxyError::PerTryTimeout);
        }
        if self.try_idles && past(after(self.active, self.tries.idle)) {
            return Some(ProxyError::PerTryIdleTimeout);
        }
        if past(self.try_stream) {
            return Some(ProxyError::UpstreamMaxDuration { request_complete });
        }
        if past(self.stream) {
            return Some(ProxyError::MaxStreamDuration { request_complete });
        }
        past(idle).then_some(ProxyError::StreamIdle { request_complete })
    }
}

/// `start + timeout`; a zero timeout is off.
pub fn after(start: Instant, timeout: Duration) -> Option<Instant> {
    if timeout.is_zero() { None } else { start.checked_add(timeout) }
}
