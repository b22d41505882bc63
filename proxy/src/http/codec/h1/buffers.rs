//! What a connection has received and not yet used, and what it has still to send.
//!
//! Owns bytes only; [`super::wire`] moves them. Storage is the worker's: it goes back as soon as nothing
//! is in it, at the latest when the connection is dropped.

use std::rc::Rc;

use crate::http::head::HeadPool;
use crate::net::buffer::{BUF_SIZE, Buf, HEAD_SIZE, LARGE_SIZE};

/// Unread input and unsent output.
#[derive(Debug)]
pub(super) struct Buffers {
    pool: Rc<HeadPool>,
    input: Buf,
    /// Bytes of `input` that were used.
    used: usize,
    output: Buf,
    /// Bytes of `output` that the socket took.
    sent: usize,
}

impl Buffers {
    pub(super) fn new(preread: Buf, pool: Rc<HeadPool>) -> Self {
        Self { pool, input: preread, used: 0, output: Buf::default(), sent: 0 }
    }

    #[inline]
    pub(super) fn pool(&self) -> &Rc<HeadPool> {
        &self.pool
    }

    /// Received, not yet used.
    #[inline]
    pub(super) fn unread(&self) -> &[u8] {
        &self.input.filled()[self.used..]
    }

    /// The same, to rewrite in place.
    #[inline]
    pub(super) fn unread_mut(&mut self) -> &mut [u8] {
        &mut self.input.filled_mut()[self.used..]
    }

    /// Number of unread bytes.
    #[inline]
    pub(super) fn unread_len(&self) -> usize {
        self.input.len() - self.used
    }

    /// Uses up `count` unread bytes. A buffer without any left goes back at once, so that the worker's
    /// connections take turns with few buffers, which stay in the processor's cache.
    #[inline]
    pub(super) fn consume(&mut self, count: usize) {
        self.used = self.used.saturating_add(count).min(self.input.len());
        if self.used == self.input.len() {
            self.used = 0;
            self.input.clear();
            self.release_input();
        }
    }

    /// Takes the first `len` unread bytes out as the text of a head. One of usual size moves to a small buffer, so that
    /// requests being served do not hold large ones; else whichever is shorter moves, the head or what follows it.
    pub(super) fn split_head(&mut self, len: usize) -> Buf {
        if len <= HEAD_SIZE / 2 {
            return self.copy_head(len, self.pool.bufs().take_for_head());
        }
        let rest = self.unread_len().saturating_sub(len);
        if self.used != 0 || rest > len {
            return self.copy_head(len, self.pool.bufs().take());
        }
        let mut text = std::mem::take(&mut self.input);
        if rest > 0 {
            self.input = self.pool.bufs().take();
            self.input.extend(&text.filled()[len..]);
        }
        text.truncate(len);
        text
    }

    fn copy_head(&mut self, len: usize, mut text: Buf) -> Buf {
        text.extend(&self.unread()[..len]);
        self.consume(len);
        text
    }

    /// Room to read into. `large`: an empty input buffer becomes a large one.
    pub(super) fn room(&mut self, large: bool) -> &mut [u8] {
        if self.input.is_empty() {
            self.fit_input(large);
        } else {
            self.extend_room();
        }
        self.input.spare_mut()
    }

    /// Declares `count` bytes of the room received.
    #[inline]
    pub(super) fn received(&mut self, count: usize) {
        self.input.advance(count);
    }

    /// Chooses the size of an empty input buffer.
    fn fit_input(&mut self, large: bool) {
        let want = if large { LARGE_SIZE } else { BUF_SIZE };
        if self.input.capacity() != want {
            self.release_input();
            let bufs = self.pool.bufs();
            self.input = if large { bufs.take_large() } else { bufs.take() };
        }
    }

    /// Makes room behind unread bytes: by moving them to the front, else by growing.
    fn extend_room(&mut self) {
        if self.used > 0 && self.input.spare_mut().len() < BUF_SIZE / 4 {
            self.input.drop_front(self.used);
            self.used = 0;
        }
        if self.input.spare_mut().is_empty() {
            self.input.reserve(BUF_SIZE);
        }
    }

    /// Gives an empty input buffer back.
    #[inline]
    pub(super) fn release_input(&mut self) {
        if self.input.is_empty() && self.input.capacity() != 0 {
            self.pool.bufs().give(std::mem::take(&mut self.input));
        }
    }

    /// Output not yet taken by the socket, to append to.
    #[inline]
    pub(super) fn output(&mut self) -> &mut Buf {
        if self.output.capacity() == 0 {
            self.output = self.pool.bufs().take();
        }
        &mut self.output
    }

    /// What the socket has not taken.
    #[inline]
    pub(super) fn unsent(&self) -> &[u8] {
        &self.output.filled()[self.sent..]
    }

    /// Declares `count` bytes of the output sent.
    #[inline]
    pub(super) fn sent(&mut self, count: usize) {
        self.sent += count;
        if self.sent >= self.output.len() && self.output.capacity() != 0 {
            self.sent = 0;
            self.pool.bufs().give(std::mem::take(&mut self.output));
        }
    }

    /// Takes the unread bytes out.
    pub(super) fn take_unread(&mut self) -> Buf {
        let mut rest = self.pool.bufs().take();
        rest.extend(self.unread());
        self.consume(usize::MAX);
        rest
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        self.pool.bufs().give(std::mem::take(&mut self.input));
        self.pool.bufs().give(std::mem::take(&mut self.output));
    }
}
