//! PING keepalive (Envoy `connection_keepalive`): a peer that does not answer in time is gone.

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use h2::{Ping, PingPong};

use crate::net::deadline::Deadline;

/// The PING clock of one connection.
pub struct Keepalive {
    ping: PingPong,
    interval: Duration,
    timeout: Duration,
    next: Instant,
    answer_by: Option<Instant>,
    deadline: Deadline,
}

impl std::fmt::Debug for Keepalive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keepalive").field("interval", &self.interval).field("timeout", &self.timeout).finish()
    }
}

impl Keepalive {
    /// A clock that pings every `interval`; `None` when that is zero.
    pub fn new(ping: Option<PingPong>, interval: Duration, timeout: Duration) -> Option<Self> {
        if interval.is_zero() {
            return None;
        }
        let next = Instant::now() + interval;
        Some(Self { ping: ping?, interval, timeout, next, answer_by: None, deadline: Deadline::default() })
    }

    /// Ready when the peer failed to answer.
    pub fn poll_dead(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(limit) = self.answer_by {
                match self.ping.poll_pong(cx) {
                    Poll::Ready(Ok(_)) => {
                        self.answer_by = None;
                        self.next = Instant::now() + self.interval;
                    }
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => return self.deadline.poll_at(cx, Some(limit)),
                }
            } else if self.deadline.poll_at(cx, Some(self.next)).is_ready() {
                if self.ping.send_ping(Ping::opaque()).is_err() {
                    return Poll::Ready(());
                }
                self.answer_by = Some(Instant::now() + self.timeout.max(Duration::from_millis(1)));
            } else {
                return Poll::Pending;
            }
        }
    }
}
