//! Drain signal. The server flips it, workers and connections read it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use tokio::sync::Notify;

/// How far a listener, or the process, is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum DrainPhase {
    /// Serving.
    Running = 0,
    /// Connections are asked to end (`connection: close`, GOAWAY); new ones are still served.
    Draining = 1,
    /// Listeners are closed; what is left is being finished.
    Closing = 2,
    /// The drain time is over: cut what remains.
    Terminating = 3,
}

impl DrainPhase {
    fn of(value: u8) -> Self {
        match value {
            0 => DrainPhase::Running,
            1 => DrainPhase::Draining,
            2 => DrainPhase::Closing,
            _ => DrainPhase::Terminating,
        }
    }
}

/// Which listeners a drain concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainScope {
    /// Every listener.
    All,
    /// Only listeners with `traffic_direction: INBOUND`.
    InboundOnly,
}

/// One drain signal: cheap to test on every request, awaitable while idle. Clones share the state.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    phase: AtomicU8,
    changed: Notify,
}

impl Drain {
    /// A signal in phase `Running`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves to `phase` and wakes everyone waiting; going back is ignored.
    pub fn advance(&self, phase: DrainPhase) {
        if self.shared.phase.fetch_max(phase as u8, Ordering::AcqRel) < phase as u8 {
            self.shared.changed.notify_waiters();
        }
    }

    /// The phase now: one load.
    #[inline]
    pub fn phase(&self) -> DrainPhase {
        DrainPhase::of(self.shared.phase.load(Ordering::Acquire))
    }

    /// True from `Draining` on.
    #[inline]
    pub fn is_draining(&self) -> bool {
        self.phase() >= DrainPhase::Draining
    }

    /// Waits until the phase is at least `phase`.
    pub async fn reached(&self, phase: DrainPhase) {
        loop {
            let changed = self.shared.changed.notified();
            if self.phase() >= phase {
                return;
            }
            changed.await;
        }
    }
}

/// [`Drain::reached`] for a task that wakes for many other reasons: it joins the waiting list once per phase, because
/// every change empties that list, and otherwise only looks at the phase. All polls must come from that one task.
#[derive(Debug)]
pub struct DrainWatch<'a, F> {
    drain: &'a Drain,
    phase: DrainPhase,
    reached: Pin<&'a mut F>,
    waits_since: Option<DrainPhase>,
}

impl<'a, F: Future<Output = ()>> DrainWatch<'a, F> {
    /// A watch on `drain`, where `reached` is its future for `phase`.
    pub fn new(drain: &'a Drain, phase: DrainPhase, reached: Pin<&'a mut F>) -> Self {
        Self { drain, phase, reached, waits_since: None }
    }

    /// Ready from the phase on.
    #[inline]
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = self.drain.phase();
        if now >= self.phase {
            return Poll::Ready(());
        }
        if self.waits_since == Some(now) {
            return Poll::Pending;
        }
        self.waits_since = Some(now);
        self.reached.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::AtomicUsize;
    use std::task::{Wake, Waker};

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_watch_outlives_the_phases_before_its_own() {
        let (drain, woken) = (Drain::new(), Arc::new(Count::default()));
        let waker = Waker::from(woken.clone());
        let mut cx = Context::from_waker(&waker);
        let reached = pin!(drain.reached(DrainPhase::Terminating));
        let mut watch = DrainWatch::new(&drain, DrainPhase::Terminating, reached);
        for (wakes, phase) in
            [DrainPhase::Draining, DrainPhase::Closing, DrainPhase::Terminating].into_iter().enumerate()
        {
            assert!(watch.poll(&mut cx).is_pending() && watch.poll(&mut cx).is_pending());
            assert_eq!(woken.0.load(Ordering::Relaxed), wakes);
            drain.advance(phase);
            assert_eq!(woken.0.load(Ordering::Relaxed), wakes + 1);
        }
        assert!(watch.poll(&mut cx).is_ready());
    }
}
