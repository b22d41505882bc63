//! Requests that found no free connection and may open none. A connection that comes back goes to the first of its
//! pool, a place for a new one to the first of the process; whoever gets either leaves both lines.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::guard::ConnectionGuard;
use super::{HostPool, h1};
use crate::config::Cluster;
use crate::config::live::Waiting;
use crate::upstream::local::Local;

/// Those who wait in one pool, in order.
#[derive(Debug, Default)]
pub(super) struct Queue(RefCell<VecDeque<Rc<Slot>>>);

/// Where one of them finds what he waits for.
#[derive(Debug, Default)]
struct Slot {
    connection: RefCell<Option<h1::Idle>>,
    /// A stream ended: there may be room for another on its connection.
    room: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// What waiting came to.
#[derive(Debug)]
pub(super) enum Turn {
    /// An HTTP/1 connection that came back.
    Connection(h1::Idle),
    /// Room for a stream, unless somebody took it.
    Room,
    /// A place for a new connection.
    Place(ConnectionGuard),
}

impl Queue {
    /// Nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// Gives a connection to the first in line; back to the caller when there is nobody.
    pub(super) fn offer(&self, connection: h1::Idle) -> Option<h1::Idle> {
        let Some(slot) = self.0.borrow_mut().pop_front() else { return Some(connection) };
        slot.connection.replace(Some(connection));
        slot.wake();
        None
    }

    /// Tells the first in line that a stream ended.
    pub(super) fn room(&self) {
        if let Some(slot) = self.0.borrow_mut().pop_front() {
            slot.room.set(true);
            slot.wake();
        }
    }

    /// Tells all of them that there is a new connection.
    pub(super) fn much_room(&self) {
        while !self.is_empty() {
            self.room();
        }
    }
}

impl Slot {
    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

/// One request in both lines; out of them when dropped, and what came too late goes on to the next.
struct Waiter<'a> {
    local: &'a Rc<Local>,
    cluster: &'a Arc<Cluster>,
    pool: &'a Rc<HostPool>,
    slot: Rc<Slot>,
    place: Waiting,
}

/// Waits for whatever comes first.
pub(super) async fn wait(local: &Rc<Local>, cluster: &Arc<Cluster>, pool: &Rc<HostPool>) -> Turn {
    let slot = Rc::<Slot>::default();
    pool.queue.0.borrow_mut().push_back(slot.clone());
    let connections = &cluster.breakers(pool.priority).connections;
    let place = Waiting::enter(connections, local.index, &pool.host.live);
    let mut waiter = Waiter { local, cluster, pool, slot, place };
    poll_fn(|cx| waiter.poll(cx)).await
}

impl Waiter<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        if let Some(connection) = self.slot.connection.take() {
            return Poll::Ready(Turn::Connection(connection));
        }
        if self.slot.room.take() {
            return Poll::Ready(Turn::Room);
        }
        if self.place.poll(cx).is_ready() {
            let guard = ConnectionGuard::with_place(self.local, self.cluster, self.pool);
            return Poll::Ready(Turn::Place(guard));
        }
        self.slot.waker.replace(Some(cx.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.pool.queue.0.borrow_mut().retain(|slot| !Rc::ptr_eq(slot, &self.slot));
        if let Some(connection) = self.slot.connection.take() {
            self.pool.keep(connection, self.cluster);
        }
        if self.slot.room.get() {
            self.pool.queue.room();
        }
    }
}
