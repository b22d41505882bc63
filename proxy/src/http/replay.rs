//! A request body that can be sent again. While a retry is possible, what was read from the client is
//! kept, up to a bound; beyond it the request is still forwarded but no longer retried.

use std::rc::Rc;
use std::task::{Context, Poll};

use super::codec::{BodySource, Downstream, Fill, StreamError};
use super::head::HeaderBlock;
use super::mirror::Copies;
use crate::config::retry::LARGEST_REPLAY;
use crate::upstream::local::ReplayStore;

/// Most bytes kept for the one retry that no policy asks for.
const WITHOUT_POLICY: usize = 64 * 1024;

/// What was read from the client so far.
#[derive(Debug, Default)]
pub struct ReplayBuffer {
    kept: Vec<u8>,
    trailers: Option<HeaderBlock>,
    ended: bool,
    overflowed: bool,
    received: u64,
    limit: usize,
    /// Where kept bytes are accounted for; `None`: nothing is kept.
    store: Option<Rc<ReplayStore>>,
    /// The whole body was read before the first attempt.
    whole: bool,
    /// Copies of the request that take the same body.
    copies: Option<Box<Copies>>,
}

impl ReplayBuffer {
    /// A buffer that passes bytes through.
    pub fn new() -> Self {
        Self::default()
    }

    /// A buffer that records while there is room in `store`. `limit`: as configured. `by_policy`: a policy may ask
    /// for the bytes again.
    pub fn recording(store: &Rc<ReplayStore>, limit: usize, by_policy: bool) -> Self {
        let own = if by_policy { LARGEST_REPLAY } else { WITHOUT_POLICY };
        let mut buffer = Self::new();
        buffer.limit = limit.min(own);
        buffer.store = Some(store.clone());
        buffer
    }

    /// Hands the body to copies of the request too: what was read before, and what will be.
    pub fn share_with(&mut self, copies: Option<Box<Copies>>) {
        let Some(mut copies) = copies else { return };
        copies.push(&self.kept);
        if self.ended {
            copies.finish(self.trailers.as_ref());
        } else {
            self.copies = Some(copies);
        }
    }

    /// Whether another attempt could send the same body.
    pub fn can_replay(&self) -> bool {
        self.whole || (self.store.is_some() && !self.overflowed)
    }

    /// Whether the body grew past the bound.
    pub fn overflowed(&self) -> bool {
        self.overflowed
    }

    /// Whether the client has sent its whole request.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// Body bytes read from the client.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Whether the client sent trailers.
    pub fn has_trailers(&self) -> bool {
        self.trailers.is_some()
    }

    /// What is kept of the body.
    pub fn kept(&self) -> &[u8] {
        &self.kept
    }

    /// Reads the body before the first attempt: ready with false when it is longer than `limit` bytes. With `partial`
    /// its first `limit` bytes are enough. A whole one can then be sent as often as wanted; it is in nobody's account.
    pub fn poll_collect(
        &mut self,
        cx: &mut Context<'_>,
        down: &mut Downstream<'_>,
        limit: usize,
        partial: bool,
    ) -> Poll<Result<bool, StreamError>> {
        loop {
            if self.ended {
                return Poll::Ready(Ok(partial || self.kept.len() <= limit));
            }
            let full = partial && self.kept.len() >= limit;
            match down.poll_fill(cx)? {
                Poll::Ready(Fill::End) => {
                    (self.ended, self.whole) = (true, true);
                    self.trailers = down.take_trailers();
                }
                // Whether more will come is not known yet.
                Poll::Pending if !full => return Poll::Pending,
                Poll::Ready(Fill::Data) if !full => {
                    let chunk = down.chunk();
                    let room = limit.saturating_sub(self.kept.len());
                    if chunk.len() > room && !partial {
                        self.received += chunk.len() as u64;
                        return Poll::Ready(Ok(false));
                    }
                    let count = chunk.len().min(room);
                    self.kept.extend_from_slice(&chunk[..count]);
                    self.received += count as u64;
                    down.consume(count);
                }
                Poll::Pending | Poll::Ready(Fill::Data) => return Poll::Ready(Ok(true)),
            }
        }
    }

    /// Of a body whose beginning was collected the rest is recorded too, as by [`ReplayBuffer::recording`].
    pub fn go_on_recording(&mut self, store: &Rc<ReplayStore>, limit: usize, by_policy: bool) {
        let recording = Self::recording(store, limit, by_policy);
        if !self.whole && self.kept.len() <= recording.limit && store.take(self.kept.len()) {
            (self.limit, self.store) = (recording.limit, recording.store.clone());
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let Some(store) = self.store.as_ref().filter(|_| !self.overflowed) else { return };
        if self.kept.len() + bytes.len() > self.limit || !store.take(bytes.len()) {
            self.overflowed = true;
            store.give(self.kept.len());
            self.kept = Vec::new();
            return;
        }
        self.kept.extend_from_slice(bytes);
    }
}

impl Drop for ReplayBuffer {
    fn drop(&mut self) {
        if let Some(store) = &self.store {
            store.give(self.kept.len());
        }
    }
}

/// The body as one attempt sees it: first what was kept, then what the client still sends.
#[derive(Debug)]
pub struct RequestBody<'a, 'conn> {
    /// The client's side.
    pub down: &'a mut Downstream<'conn>,
    /// What was kept.
    pub replay: &'a mut ReplayBuffer,
    /// How much of it this attempt has sent.
    pub sent: &'a mut usize,
}

impl RequestBody<'_, '_> {
    fn replaying(&self) -> bool {
        *self.sent < self.replay.kept.len()
    }
}

impl BodySource for RequestBody<'_, '_> {
    #[inline]
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<Fill, StreamError>> {
        if self.replaying() {
            return Poll::Ready(Ok(Fill::Data));
        }
        if self.replay.ended {
            return Poll::Ready(Ok(Fill::End));
        }
        if self.replay.copies.as_mut().is_some_and(|copies| copies.turn_is_over()) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let fill = self.down.poll_fill(cx);
        if let Poll::Ready(Ok(Fill::End)) = fill {
            self.replay.ended = true;
            self.replay.trailers = self.down.take_trailers();
            if let Some(mut copies) = self.replay.copies.take() {
                copies.finish(self.replay.trailers.as_ref());
            }
        }
        fill
    }

    #[inline]
    fn chunk(&self) -> &[u8] {
        if self.replaying() { &self.replay.kept[*self.sent..] } else { self.down.chunk() }
    }

    #[inline]
    fn consume(&mut self, count: usize) {
        if self.replaying() {
            *self.sent += count;
            return;
        }
        let chunk = self.down.chunk();
        let taken = &chunk[..count.min(chunk.len())];
        self.replay.received += taken.len() as u64;
        self.replay.keep(taken);
        if let Some(copies) = &mut self.replay.copies {
            copies.push(taken);
        }
        *self.sent = self.replay.kept.len();
        self.down.consume(count);
    }

    fn take_trailers(&mut self) -> Option<HeaderBlock> {
        match self.replay.can_replay() {
            true => self.replay.trailers.as_ref().map(HeaderBlock::copy),
            false => self.replay.trailers.take(),
        }
    }
}
