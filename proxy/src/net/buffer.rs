//! Byte buffers and the worker's pool of them.
//!
//! A [`Buf`] is fully initialised storage with a filled part, so that sockets can read into it without
//! `unsafe` and without clearing it again for every read. Idle connections hold none: they take one from
//! the worker's [`BufPool`] when bytes arrive and give it back when they have no more.

use std::cell::{Cell, RefCell};

/// Size of a pooled buffer: one head of usual size and a small body, bytes.
pub const BUF_SIZE: usize = crate::base::USUAL_BUFFER;

/// Size of a buffer for the text of one head of usual size, bytes. Requests hold theirs while they are served.
pub const HEAD_SIZE: usize = 2 * 1024;

/// Size of a buffer for long bodies, bytes. There is nothing in between.
pub const LARGE_SIZE: usize = crate::base::LARGEST_BUFFER;

/// Initialised storage with a filled part.
#[derive(Debug, Default)]
pub struct Buf {
    bytes: Vec<u8>,
    filled: usize,
}

impl Buf {
    /// An empty buffer that can take `capacity` bytes before it grows.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { bytes: vec![0; capacity], filled: 0 }
    }

    /// What was put in.
    #[inline]
    pub fn filled(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }

    /// What was put in, to change in place.
    #[inline]
    pub fn filled_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.filled]
    }

    /// Room to read into; commit with [`Buf::advance`].
    #[inline]
    pub fn spare_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.filled..]
    }

    /// Declares `count` bytes of the spare room filled; more than there is counts as all.
    #[inline]
    pub fn advance(&mut self, count: usize) {
        self.filled = (self.filled + count).min(self.bytes.len());
    }

    /// Appends `data`, growing when needed.
    #[inline]
    pub fn extend(&mut self, data: &[u8]) {
        let end = self.filled + data.len();
        if end > self.bytes.len() {
            self.reserve(data.len());
        }
        self.bytes[self.filled..end].copy_from_slice(data);
        self.filled = end;
    }

    /// Appends `one` and then `other`.
    #[inline]
    pub fn extend_both(&mut self, one: &[u8], other: &[u8]) {
        let (middle, end) = (self.filled + one.len(), self.filled + one.len() + other.len());
        if end > self.bytes.len() {
            self.reserve(one.len() + other.len());
        }
        self.bytes[self.filled..middle].copy_from_slice(one);
        self.bytes[middle..end].copy_from_slice(other);
        self.filled = end;
    }

    /// Appends `name: value` CR LF.
    #[inline]
    pub fn extend_line(&mut self, name: &[u8], value: &[u8]) {
        let length = name.len() + value.len() + 4;
        let end = self.filled + length;
        if end > self.bytes.len() {
            self.reserve(length);
        }
        let line = &mut self.bytes[self.filled..end];
        let (of_name, rest) = line.split_at_mut(name.len());
        let (colon, rest) = rest.split_at_mut(2);
        let (of_value, line_end) = rest.split_at_mut(value.len());
        of_name.copy_from_slice(name);
        colon.copy_from_slice(b": ");
        of_value.copy_from_slice(value);
        line_end.copy_from_slice(b"\r\n");
        self.filled = end;
    }

    /// Makes room for `count` more bytes.
    pub fn reserve(&mut self, count: usize) {
        let want = self.filled + count;
        if want > self.bytes.len() {
            self.bytes.resize(want.next_power_of_two(), 0);
        }
    }

    /// Keeps the first `len` bytes.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        self.filled = self.filled.min(len);
    }

    /// Forgets the content, keeps the room.
    #[inline]
    pub fn clear(&mut self) {
        self.filled = 0;
    }

    /// Drops the first `count` bytes, moving the rest to the front.
    pub fn drop_front(&mut self, count: usize) {
        let count = count.min(self.filled);
        self.bytes.copy_within(count..self.filled, 0);
        self.filled -= count;
    }

    /// Number of filled bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.filled
    }

    /// True when nothing is filled.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Bytes it can hold without growing.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.bytes.len()
    }
}

/// Free buffers of one worker. Bounded: what would exceed [`BufPool::KEEP`] or has an odd size
/// is freed, so a burst does not stay in memory. Large buffers are few per worker, whoever holds them.
#[derive(Debug, Default)]
pub struct BufPool {
    heads: RefCell<Vec<Buf>>,
    free: RefCell<Vec<Buf>>,
    large: RefCell<Vec<Buf>>,
    large_out: Cell<usize>,
}

impl BufPool {
    /// Buffers for heads kept for reuse.
    const KEEP_HEADS: usize = 256;
    /// Buffers kept for reuse.
    const KEEP: usize = 64;
    /// Large buffers kept for reuse.
    const KEEP_LARGE: usize = 4;
    /// Large buffers in use at once.
    const MAX_LARGE: usize = 16;

    /// An empty buffer of at least [`BUF_SIZE`].
    #[inline]
    pub fn take(&self) -> Buf {
        self.free.borrow_mut().pop().unwrap_or_else(|| Buf::with_capacity(BUF_SIZE))
    }

    /// An empty buffer of at least [`HEAD_SIZE`].
    #[inline]
    pub fn take_for_head(&self) -> Buf {
        self.heads.borrow_mut().pop().unwrap_or_else(|| Buf::with_capacity(HEAD_SIZE))
    }

    /// An empty buffer of [`LARGE_SIZE`] for a long body; one of [`BUF_SIZE`] when slow readers hold all
    /// large ones. Give it back with [`BufPool::give`].
    pub fn take_large(&self) -> Buf {
        if self.large_out.get() >= Self::MAX_LARGE {
            return self.take();
        }
        self.large_out.set(self.large_out.get() + 1);
        self.large.borrow_mut().pop().unwrap_or_else(|| Buf::with_capacity(LARGE_SIZE))
    }

    /// Frees what nobody uses.
    pub fn shrink(&self) {
        self.heads.take();
        self.free.take();
        self.large.take();
    }

    /// Gives a buffer back.
    #[inline]
    pub fn give(&self, mut buf: Buf) {
        buf.clear();
        match buf.capacity() {
            BUF_SIZE => keep(&self.free, Self::KEEP, buf),
            HEAD_SIZE => keep(&self.heads, Self::KEEP_HEADS, buf),
            LARGE_SIZE => self.give_large(buf),
            _ => {}
        }
    }

    fn give_large(&self, buf: Buf) {
        self.large_out.set(self.large_out.get().saturating_sub(1));
        keep(&self.large, Self::KEEP_LARGE, buf);
    }
}

#[inline]
fn keep(shelf: &RefCell<Vec<Buf>>, most: usize, buf: Buf) {
    let mut shelf = shelf.borrow_mut();
    if shelf.len() < most {
        shelf.push(buf);
    }
}
