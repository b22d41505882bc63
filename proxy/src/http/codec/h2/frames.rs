//! What each stream of a connection takes on the wire, read off the frames as they pass (RFC 9113, section 4.1).
//!
//! The `h2` crate tells sizes of bodies and nothing of frames. Access logs that name them have them counted here; without
//! such a log a connection has none of this.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::http::codec::Measured;

/// Length of a frame's own header, bytes.
const FRAME_HEADER: usize = 9;
/// Length of the content of RST_STREAM, bytes.
const ERROR_CODE: usize = 4;
/// Length of what a client sends before its first frame, bytes.
pub(super) const PREFACE: usize = 24;
/// Streams of a peer that are counted at once and that nobody has asked for. The codec may drop some without a word
/// (those after its last GOAWAY); those of one read are asked for after it.
const MAX_UNCLAIMED: usize = 4096;

const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Frames of one connection.
#[derive(Debug)]
pub struct Frames {
    state: RefCell<State>,
}

#[derive(Debug)]
struct State {
    received: Reader,
    sent: Reader,
    streams: HashMap<u32, Stream>,
    /// Newest stream that the peer has opened; `None` where we open them.
    newest: Option<u32>,
    /// Of `streams`.
    unclaimed: usize,
    closed: bool,
}

/// One stream.
#[derive(Debug, Default)]
struct Stream {
    bytes: Measured,
    /// Somebody will ask for it. A stream that the codec refused by itself is nobody's.
    claimed: bool,
    /// END_STREAM was in a head that has not ended.
    ending: bool,
    /// Our last frame was sent, or the stream was reset.
    over: bool,
    waker: Option<Waker>,
}

/// Which way a frame passes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    In,
    Out,
}

/// A stream's part in its connection's frames. Forgets the stream when it is dropped.
#[derive(Debug)]
pub struct Share {
    frames: Rc<Frames>,
    id: u32,
}

impl Frames {
    /// Of a connection whose streams the peer opens.
    pub fn of_server() -> Rc<Self> {
        Self::new(Reader::after(PREFACE), Reader::after(0), Some(0))
    }

    /// Of a connection whose streams we open.
    pub fn of_client() -> Rc<Self> {
        Self::new(Reader::after(0), Reader::after(PREFACE), None)
    }

    fn new(received: Reader, sent: Reader, newest: Option<u32>) -> Rc<Self> {
        let state = State { received, sent, streams: HashMap::new(), newest, unclaimed: 0, closed: false };
        Rc::new(Self { state: RefCell::new(state) })
    }

    /// The stream `id` is somebody's.
    pub fn claim(self: &Rc<Self>, id: u32) -> Share {
        let state = &mut *self.state.borrow_mut();
        let stream = state.streams.entry(id).or_insert_with(|| {
            state.unclaimed += 1;
            // The peer's stream was reset before anybody asked for it: no frame of ours ends it any more.
            Stream { over: state.newest.is_some(), ..Stream::default() }
        });
        if !std::mem::replace(&mut stream.claimed, true) {
            state.unclaimed -= 1;
        }
        Share { frames: self.clone(), id }
    }

    /// Bytes that were read.
    pub fn received(&self, bytes: &[u8]) {
        let state = &mut *self.state.borrow_mut();
        let State { received, streams, newest, unclaimed, .. } = state;
        received.pass(bytes, |frame| {
            let opens = frame.kind == HEADERS && newest.is_some_and(|newest| frame.stream > newest);
            if opens && *unclaimed < MAX_UNCLAIMED {
                *newest = Some(frame.stream);
                if let Entry::Vacant(place) = streams.entry(frame.stream) {
                    place.insert(Stream::default());
                    *unclaimed += 1;
                }
            }
            *unclaimed -= usize::from(count(streams, &frame, Way::In));
        });
    }

    /// Bytes that were written.
    pub fn sent(&self, bytes: &[u8]) {
        let state = &mut *self.state.borrow_mut();
        let State { sent, streams, unclaimed, .. } = state;
        sent.pass(bytes, |frame| *unclaimed -= usize::from(count(streams, &frame, Way::Out)));
    }

    /// The connection is gone.
    pub fn close(&self) {
        let mut state = self.state.borrow_mut();
        state.closed = true;
        state.streams.values_mut().filter_map(|stream| stream.waker.take()).for_each(Waker::wake);
    }
}

impl Share {
    /// What the stream took so far.
    pub fn measured(&self) -> Measured {
        self.frames.state.borrow().streams.get(&self.id).map(|stream| stream.bytes).unwrap_or_default()
    }

    /// Fields arrived that are this long without compression.
    pub fn decoded(&self, length: u64) {
        self.with(|bytes| bytes.decoded_received += length);
    }

    /// Fields are sent that are this long without compression.
    pub fn encoded(&self, length: u64) {
        self.with(|bytes| bytes.decoded_sent += length);
    }

    fn with(&self, change: impl FnOnce(&mut Measured)) {
        if let Some(stream) = self.frames.state.borrow_mut().streams.get_mut(&self.id) {
            change(&mut stream.bytes);
        }
    }

    /// Ready when our last frame of the stream is out, or there will be no more.
    pub fn poll_over(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.frames.state.borrow_mut();
        let closed = state.closed;
        match state.streams.get_mut(&self.id) {
            Some(stream) if !stream.over && !closed => {
                stream.waker = Some(cx.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.frames.state.borrow_mut().streams.remove(&self.id);
    }
}

/// Adds one frame to its stream, if it has one. True when the stream is forgotten, which nobody had asked for.
fn count(streams: &mut HashMap<u32, Stream>, frame: &Frame, way: Way) -> bool {
    let Some(stream) = streams.get_mut(&frame.stream) else { return false };
    let length = (FRAME_HEADER + frame.length) as u64;
    let of_head = if matches!(frame.kind, HEADERS | CONTINUATION) { length } else { 0 };
    let bytes = &mut stream.bytes;
    match way {
        Way::In => {
            (bytes.received, bytes.heads_received) = (bytes.received + length, bytes.heads_received + of_head)
        }
        Way::Out => (bytes.sent, bytes.heads_sent) = (bytes.sent + length, bytes.heads_sent + of_head),
    }
    let is_reset = frame.kind == RST_STREAM;
    if is_reset && !stream.claimed {
        return streams.remove(&frame.stream).is_some();
    } else if is_reset || (way == Way::Out && ends(stream, frame)) {
        stream.over = true;
        stream.waker.take().into_iter().for_each(Waker::wake);
    }
    false
}

/// Whether a frame of ours is the last one of its stream.
fn ends(stream: &mut Stream, frame: &Frame) -> bool {
    if matches!(frame.kind, DATA | HEADERS) {
        stream.ending = frame.flags & END_STREAM != 0;
    }
    stream.ending && (frame.kind == DATA || frame.flags & END_HEADERS != 0)
}

/// Header of a frame.
pub(super) struct Frame {
    length: usize,
    pub(super) kind: u8,
    flags: u8,
    pub(super) stream: u32,
    /// Of RST_STREAM, its error code.
    pub(super) code: u32,
}

/// Finds the headers of frames in a stream of bytes, however it is cut.
#[derive(Debug)]
pub(super) struct Reader {
    head: [u8; FRAME_HEADER + ERROR_CODE],
    have: usize,
    /// Bytes until the next header.
    skip: usize,
}

impl Reader {
    /// The first header comes after `skip` bytes.
    pub(super) fn after(skip: usize) -> Self {
        Self { head: [0; FRAME_HEADER + ERROR_CODE], have: 0, skip }
    }

    pub(super) fn pass(&mut self, mut bytes: &[u8], mut with: impl FnMut(Frame)) {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let count = (self.needs() - self.have).min(bytes.len());
            self.head[self.have..self.have + count].copy_from_slice(&bytes[..count]);
            self.have += count;
            bytes = &bytes[count..];
            if self.have == self.needs() {
                let [l2, l1, l0, kind, flags, s3, s2, s1, s0, code @ ..] = self.head;
                let length = u32::from_be_bytes([0, l2, l1, l0]) as usize;
                let stream = u32::from_be_bytes([s3 & 0x7f, s2, s1, s0]);
                self.skip = length - (self.have - FRAME_HEADER);
                self.have = 0;
                with(Frame { length, kind, flags, stream, code: u32::from_be_bytes(code) });
            }
        }
    }

    /// Bytes that tell what a frame is: its header, and of RST_STREAM its content.
    fn needs(&self) -> usize {
        let is_reset = self.have >= FRAME_HEADER
            && self.head[3] == RST_STREAM
            && self.head[..3] == (ERROR_CODE as u32).to_be_bytes()[1..];
        if is_reset { FRAME_HEADER + ERROR_CODE } else { FRAME_HEADER }
    }
}

#[cfg(test)]
mod tests;
