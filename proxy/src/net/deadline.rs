//! One timer for many deadlines.
//!
//! Re-arming a runtime timer for every request costs more than it is worth: most deadlines never fire.
//! A [`Deadline`] keeps its timer armed at some moment not later than wanted; when it fires early, it
//! looks at the clock and sleeps on. A keep-alive connection so touches the timer wheel once per timeout,
//! not once per request.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::time::Sleep;

/// A reusable timer of one task. Created lazily: a task that never waits never makes one.
#[derive(Debug, Default)]
pub struct Deadline {
    sleep: Option<Pin<Box<Sleep>>>,
    /// The timer will wake the task: it was polled since it was set.
    armed: bool,
}

impl Deadline {
    /// Ready once `at` has passed; registers the task otherwise. `None` never fires.
    pub fn poll_at(&mut self, cx: &mut Context<'_>, at: Option<Instant>) -> Poll<()> {
        let Some(at) = at else { return Poll::Pending };
        let at = tokio::time::Instant::from_std(at);
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if sleep.deadline() > at {
            sleep.as_mut().reset(at);
        } else if self.armed && !sleep.is_elapsed() {
            return Poll::Pending;
        }
        self.armed = true;
        while sleep.as_mut().poll(cx).is_ready() {
            if tokio::time::Instant::now() >= at {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(at);
        }
        Poll::Pending
    }
}

/// The earlier of two optional moments.
#[inline]
pub fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
