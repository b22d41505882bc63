//! What lies between a request's body and one copy of it: bytes that were read and not yet sent.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::config::Cluster;
use crate::http::codec::{BodySource, Fill, StreamError};
use crate::http::head::HeaderBlock;
use crate::upstream::local::Local;

/// Most bytes that a copy may be behind.
pub const MOST_BEHIND: usize = 1 << 20;

/// How far the original is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    Ended,
    /// The original ended early, or the copy was too slow.
    Abandoned,
}

/// Filled by the original, emptied by the copy.
#[derive(Debug)]
pub(super) struct Feed {
    local: Rc<Local>,
    /// The original's cluster, which counts copies that are given up.
    cluster: Arc<Cluster>,
    stage: Cell<Stage>,
    /// Read and not yet taken by the copy.
    waiting: RefCell<Vec<u8>>,
    /// Read and not yet sent.
    behind: Cell<usize>,
    trailers: RefCell<Option<HeaderBlock>>,
    waker: RefCell<Option<Waker>>,
}

impl Feed {
    pub(super) fn new(local: &Rc<Local>, cluster: &Arc<Cluster>) -> Rc<Self> {
        Rc::new(Self {
            local: local.clone(),
            cluster: cluster.clone(),
            stage: Cell::new(Stage::Open),
            waiting: RefCell::default(),
            behind: Cell::new(0),
            trailers: RefCell::default(),
            waker: RefCell::default(),
        })
    }

    pub(super) fn push(&self, bytes: &[u8]) {
        if self.stage.get() != Stage::Open {
            return;
        }
        let behind = self.behind.get() + bytes.len();
        if behind > MOST_BEHIND || !self.local.replay.take(bytes.len()) {
            self.local.stats.inc(self.cluster.stats.retry_or_shadow_abandoned);
            return self.abandon();
        }
        self.behind.set(behind);
        self.waiting.borrow_mut().extend_from_slice(bytes);
        self.wake();
    }

    pub(super) fn finish(&self, trailers: Option<HeaderBlock>) {
        if self.stage.get() == Stage::Open {
            self.stage.set(Stage::Ended);
            *self.trailers.borrow_mut() = trailers;
            self.wake();
        }
    }

    pub(super) fn abandon(&self) {
        if self.stage.replace(Stage::Abandoned) != Stage::Abandoned {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    fn sent(&self, bytes: usize) {
        self.local.replay.give(bytes);
        self.behind.set(self.behind.get().saturating_sub(bytes));
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.local.replay.give(self.behind.get());
    }
}

/// The body as the copy reads it.
#[derive(Debug)]
pub(super) struct Body {
    feed: Rc<Feed>,
    current: Vec<u8>,
    at: usize,
}

impl Body {
    pub(super) fn of(feed: Rc<Feed>) -> Self {
        Self { feed, current: Vec::new(), at: 0 }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        // Nobody reads on: nothing more is kept.
        self.feed.stage.set(Stage::Abandoned);
    }
}

impl BodySource for Body {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<Fill, StreamError>> {
        if self.feed.stage.get() == Stage::Abandoned {
            return Poll::Ready(Err(StreamError::Closed));
        }
        if self.at == self.current.len() {
            self.current.clear();
            self.at = 0;
            std::mem::swap(&mut self.current, &mut self.feed.waiting.borrow_mut());
        }
        if !self.current.is_empty() {
            return Poll::Ready(Ok(Fill::Data));
        }
        if self.feed.stage.get() == Stage::Ended {
            return Poll::Ready(Ok(Fill::End));
        }
        *self.feed.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }

    fn chunk(&self) -> &[u8] {
        &self.current[self.at..]
    }

    fn consume(&mut self, count: usize) {
        let taken = count.min(self.current.len() - self.at);
        self.at += taken;
        self.feed.sent(taken);
    }

    fn take_trailers(&mut self) -> Option<HeaderBlock> {
        self.feed.trailers.borrow_mut().take()
    }
}
