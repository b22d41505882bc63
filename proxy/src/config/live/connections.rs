//! Connections to the hosts of one cluster and priority: how many there may be, and who waits for the next one.
//!
//! Who finds the limit reached gets in line, behind those of every worker; a connection that ends gives its place to
//! the first in line, whatever thread that is on. The line is touched at the limit only.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::{HostLive, Limit};

/// The limits on connections, and the line.
#[derive(Debug)]
pub struct Connections {
    limit: Limit,
    /// `per_host_thresholds.max_connections`.
    per_host: Option<u32>,
    /// Length of the line, to be seen without its lock.
    waiting: AtomicUsize,
    line: Mutex<VecDeque<Arc<Ticket>>>,
}

/// A place in the line.
#[derive(Debug)]
struct Ticket {
    worker: usize,
    host: Arc<HostLive>,
    granted: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Connections {
    /// At most as many connections as `limit` has permits, and `per_host` to each host.
    pub fn new(limit: Limit, per_host: Option<u32>) -> Self {
        Self { limit, per_host, waiting: AtomicUsize::new(0), line: Mutex::default() }
    }

    /// Takes a place for one more connection of `worker` to `host`, unless there is none or others wait for it.
    pub fn try_acquire(&self, worker: usize, host: &HostLive) -> bool {
        !self.has_waiting() && self.take(worker, host)
    }

    /// Takes a place beyond the limits; to be given back like any other.
    pub fn acquire_over(&self, host: &HostLive) {
        host.cx_active.fetch_add(1, Ordering::Relaxed);
        self.limit.acquire_over();
    }

    /// Gives a place back: to the first in line who can use it, if there is one.
    pub fn release(&self, worker: usize, host: &HostLive) {
        host.cx_active.fetch_sub(1, Ordering::Relaxed);
        self.limit.release(worker);
        // Either who gets in line sees this place, or we see them in line.
        fence(Ordering::SeqCst);
        if self.has_waiting() {
            self.serve();
        }
    }

    /// Whether anybody waits for a connection.
    #[inline]
    pub fn has_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// The limit on all hosts together.
    pub fn limit(&self) -> &Limit {
        &self.limit
    }

    fn take(&self, worker: usize, host: &HostLive) -> bool {
        let max = self.per_host.map_or(i64::MAX, i64::from);
        let one_more = |active: i64| (active < max).then(|| active + 1);
        if host.cx_active.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_err() {
            return false;
        }
        let taken = self.limit.try_acquire(worker);
        if !taken {
            host.cx_active.fetch_sub(1, Ordering::Relaxed);
        }
        taken
    }

    /// Gets in line.
    fn enter(&self, worker: usize, host: Arc<HostLive>) -> Arc<Ticket> {
        let ticket =
            Arc::new(Ticket { worker, host, granted: AtomicBool::new(false), waker: Mutex::default() });
        let mut line = self.line();
        line.push_back(ticket.clone());
        self.waiting.store(line.len(), Ordering::Relaxed);
        drop(line);
        fence(Ordering::SeqCst);
        self.serve();
        ticket
    }

    /// Gets out of line; `false` when it was this one's turn already.
    fn leave(&self, ticket: &Arc<Ticket>) -> bool {
        let mut line = self.line();
        let place = line.iter().position(|other| Arc::ptr_eq(other, ticket));
        let waited = place.and_then(|place| line.remove(place)).is_some();
        self.waiting.store(line.len(), Ordering::Relaxed);
        waited
    }

    /// Gives every free place to the first in line who can use it.
    fn serve(&self) {
        let mut line = self.line();
        let mut place = 0;
        while let Some(ticket) = line.get(place) {
            if self.take(ticket.worker, &ticket.host) {
                if let Some(ticket) = line.remove(place) {
                    ticket.grant();
                }
            } else if self.per_host.is_none() || self.limit.is_open() {
                break;
            } else {
                // Only this one's host is full.
                place += 1;
            }
        }
        self.waiting.store(line.len(), Ordering::Relaxed);
    }

    fn line(&self) -> MutexGuard<'_, VecDeque<Arc<Ticket>>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    fn grant(&self) {
        self.granted.store(true, Ordering::Release);
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Somebody in line. Gets out of line when dropped, and gives back a place that came too late.
#[derive(Debug)]
pub struct Waiting {
    connections: Arc<Connections>,
    ticket: Arc<Ticket>,
    /// The place was handed on to the caller of [`Waiting::poll`].
    taken: bool,
}

impl Waiting {
    /// Gets in line for a connection of `worker` to `host`.
    pub fn enter(connections: &Arc<Connections>, worker: usize, host: &Arc<HostLive>) -> Self {
        let ticket = connections.enter(worker, host.clone());
        Self { connections: connections.clone(), ticket, taken: false }
    }

    /// Ready once with a place, which is the caller's to give back.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let waker = || self.ticket.waker.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.ticket.granted.load(Ordering::Acquire) {
            *waker() = Some(cx.waker().clone());
        }
        // Again: it may have come between the look and the waker.
        if self.ticket.granted.load(Ordering::Acquire) && !self.taken {
            self.taken = true;
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.taken && !self.connections.leave(&self.ticket) {
            self.connections.release(self.ticket.worker, &self.ticket.host);
        }
    }
}

#[cfg(test)]
mod tests;
