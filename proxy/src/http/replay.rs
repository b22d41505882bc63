//! A request body that can be sent again. While a retry is possible, what was read from the client is
//! kept, up to a bound; beyond it the request is still forwarded but no longer retried.

use std::task::{Context, Poll};

use super::codec::{BodySource, Downstream, Fill, StreamError};
use super::head::HeaderBlock;

/// Most bytes kept for one request.
pub const MAX_REPLAY: usize = 64 * 1024;

/// What was read from the client so far.
#[derive(Debug, Default)]
pub struct ReplayBuffer {
    kept: Vec<u8>,
    trailers: Option<HeaderBlock>,
    ended: bool,
    overflowed: bool,
    wanted: bool,
    received: u64,
}

impl ReplayBuffer {
    /// A buffer that records when `wanted`, else passes bytes through.
    pub fn new(wanted: bool) -> Self {
        Self { wanted, ..Self::default() }
    }

    /// Whether another attempt could send the same body.
    pub fn can_replay(&self) -> bool {
        self.wanted && !self.overflowed
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

    fn keep(&mut self, bytes: &[u8]) {
        if !self.can_replay() {
            return;
        }
        if self.kept.len() + bytes.len() > MAX_REPLAY {
            self.overflowed = true;
            self.kept = Vec::new();
            return;
        }
        self.kept.extend_from_slice(bytes);
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
        let fill = self.down.poll_fill(cx);
        if let Poll::Ready(Ok(Fill::End)) = fill {
            self.replay.ended = true;
            self.replay.trailers = self.down.take_trailers();
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
        *self.sent = self.replay.kept.len();
        self.down.consume(count);
    }

    fn take_trailers(&mut self) -> Option<HeaderBlock> {
        self.replay.trailers.take()
    }
}
