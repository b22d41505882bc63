//! The byte stream an HTTP/2 connection runs over: bytes read while detecting the protocol come first,
//! and wire bytes are counted.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::Frames;
use super::refused::Openings;
use crate::net::buffer::Buf;
use crate::net::stream::Stream;

/// Wire bytes received and sent.
#[derive(Debug, Default)]
pub struct WireBytes {
    received: Cell<u64>,
    sent: Cell<u64>,
}

impl WireBytes {
    /// Bytes since the last call.
    pub fn take(&self) -> (u64, u64) {
        (self.received.take(), self.sent.take())
    }
}

/// A stream with bytes in front.
#[derive(Debug)]
pub struct Counted {
    inner: Stream,
    preread: Buf,
    used: usize,
    bytes: Rc<WireBytes>,
    frames: Option<Rc<Frames>>,
    openings: Option<Rc<Openings>>,
}

impl Counted {
    /// `preread` is delivered before what `inner` has.
    pub fn new(inner: Stream, preread: Buf, frames: Option<Rc<Frames>>) -> (Self, Rc<WireBytes>) {
        let bytes = Rc::new(WireBytes::default());
        (Self { inner, preread, used: 0, bytes: bytes.clone(), frames, openings: None }, bytes)
    }

    /// Shows `openings` the frames as well.
    pub fn watched_by(mut self, openings: Rc<Openings>) -> Self {
        self.openings = Some(openings);
        self
    }

    fn note_sent(&self, bytes: &[u8]) {
        if let Some(frames) = &self.frames {
            frames.sent(bytes);
        }
        if let Some(openings) = &self.openings {
            openings.sent(bytes);
        }
    }

    fn count_sent(&self, count: usize) {
        self.bytes.sent.set(self.bytes.sent.get() + count as u64);
    }

    fn read_ahead(&mut self, buf: &mut ReadBuf<'_>) -> usize {
        let left = &self.preread.filled()[self.used..];
        let count = left.len().min(buf.remaining());
        buf.put_slice(&left[..count]);
        self.used += count;
        if self.used == self.preread.len() {
            self.preread = Buf::default();
            self.used = 0;
        }
        count
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        if self.preread.is_empty() || self.read_ahead(buf) == 0 {
            ready!(AsyncRead::poll_read(Pin::new(&mut self.inner), cx, buf))?;
        }
        let count = (buf.filled().len() - before) as u64;
        self.bytes.received.set(self.bytes.received.get() + count);
        if let Some(frames) = &self.frames {
            frames.received(&buf.filled()[before..]);
        }
        if let Some(openings) = &self.openings {
            openings.received(&buf.filled()[before..]);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let count = ready!(self.inner.poll_write(cx, buf))?;
        self.count_sent(count);
        self.note_sent(&buf[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let count = ready!(self.inner.poll_write_vectored(cx, bufs))?;
        self.count_sent(count);
        let mut left = count;
        for buf in bufs {
            let of_this = left.min(buf.len());
            self.note_sent(&buf[..of_this]);
            left -= of_this;
        }
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.inner.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.inner.poll_shutdown(cx)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(frames) = &self.frames {
            frames.close();
        }
    }
}
