//! HTTP/2 with prior knowledge: a fixed number of streams in flight per connection.

use std::collections::VecDeque;
use std::net::TcpStream;
use std::time::Instant;

use super::{Client as Drive, Tally};
use crate::Result;
use crate::frames::{self, Frame, Incoming};
use crate::poll::{Outgoing, Poller, Ready, read};
use crate::scenario::{HEADER, HOST, Load, PREFIX};

/// The connection's window is widened again after this much of it was used.
const WIDEN_AFTER: u32 = 1 << 30;
/// Names in the static table.
const AUTHORITY: u8 = 1;
const PATH: u8 = 4;
const ACCEPT: u8 = 19;
const USER_AGENT: u8 = 58;

pub(super) struct Client {
    stream: TcpStream,
    incoming: Incoming,
    outgoing: Outgoing,
    requests: Requests,
}

struct Requests {
    load: Load,
    /// In the order of their opening, which is nearly that of their ends.
    open: VecDeque<Open>,
    next_stream: u32,
    /// The first request of a connection puts its fields into the peer's table.
    table_filled: bool,
    received: u32,
}

struct Open {
    stream: u32,
    sent: Instant,
    head_seen: bool,
    body: usize,
}

impl Client {
    pub(super) fn new(stream: TcpStream, load: &Load) -> Self {
        let requests =
            Requests { load: *load, open: VecDeque::new(), next_stream: 1, table_filled: false, received: 0 };
        Self { stream, incoming: Incoming::default(), outgoing: Outgoing::default(), requests }
    }
}

impl Drive for Client {
    fn start(&mut self, tally: &mut Tally, poller: &Poller, token: usize) -> Result<()> {
        let out = self.outgoing.buffer();
        out.extend_from_slice(frames::PREFACE);
        frames::put_settings(out);
        for _ in 0..self.requests.load.streams {
            self.requests.open(tally, out);
        }
        Ok(self.outgoing.flush(&self.stream, poller, token)?)
    }

    fn turn(&mut self, ready: Ready, scratch: &mut [u8], tally: &mut Tally, poller: &Poller) -> Result<()> {
        if ready.readable {
            match read(&self.stream, scratch)? {
                Some(0) => return Err("the connection was closed with requests in flight".into()),
                Some(read) => {
                    let (requests, out) = (&mut self.requests, self.outgoing.buffer());
                    self.incoming.take(&scratch[..read], |frame| requests.take(frame, tally, out))?;
                }
                None => {}
            }
        }
        Ok(self.outgoing.flush(&self.stream, poller, ready.token)?)
    }

    /// Streams follow each other on their own; a fixed rate is for HTTP/1.
    fn send(&mut self, _due: Instant, _tally: &mut Tally, _poller: &Poller, _token: usize) -> Result<()> {
        Err("no fixed rate over HTTP/2".into())
    }

    fn in_flight(&self) -> u64 {
        self.requests.open.len() as u64
    }
}

impl Requests {
    fn take(&mut self, frame: Frame<'_>, tally: &mut Tally, out: &mut Vec<u8>) -> Result<()> {
        match frame.kind {
            frames::HEADERS => {
                if !frame.is_ok_head() {
                    return Err(format!("a response head that is no plain 200: {:x?}", frame.payload).into());
                }
                self.find(frame.stream)?.1.head_seen = true;
                self.end_if_last(frame, tally, out)
            }
            frames::DATA => {
                let length = frame.payload.len();
                self.find(frame.stream)?.1.body += length;
                self.widen(length as u32, out);
                self.end_if_last(frame, tally, out)
            }
            frames::SETTINGS if frame.flags & frames::ACK == 0 => {
                if !frame.keeps_table() {
                    return Err("the peer keeps no header table".into());
                }
                frames::put(out, frames::SETTINGS, frames::ACK, 0, &[]);
                Ok(())
            }
            frames::PING if frame.flags & frames::ACK == 0 => {
                frames::put(out, frames::PING, frames::ACK, 0, frame.payload);
                Ok(())
            }
            frames::RST_STREAM => Err(format!("a stream was reset with code {}", frame.number()).into()),
            frames::GOAWAY => Err("the peer is going away".into()),
            _ => Ok(()),
        }
    }

    fn find(&mut self, stream: u32) -> Result<(usize, &mut Open)> {
        let found = self.open.iter_mut().enumerate().find(|(_, open)| open.stream == stream);
        found.ok_or_else(|| format!("a frame for stream {stream}, which is not open").into())
    }

    fn end_if_last(&mut self, frame: Frame<'_>, tally: &mut Tally, out: &mut Vec<u8>) -> Result<()> {
        if frame.flags & frames::END_STREAM == 0 {
            return Ok(());
        }
        let expected = self.load.body;
        let (index, open) = self.find(frame.stream)?;
        if !open.head_seen || open.body != expected {
            return Err(format!("a body of {} bytes in place of {expected}", open.body).into());
        }
        tally.done(open.sent, open.sent, frame.payload.last().copied().unwrap_or(0));
        self.open.remove(index);
        self.open(tally, out);
        Ok(())
    }

    fn open(&mut self, tally: &mut Tally, out: &mut Vec<u8>) {
        let block = self.block(tally);
        frames::put(out, frames::HEADERS, frames::END_HEADERS | frames::END_STREAM, self.next_stream, &block);
        self.open.push_back(Open { stream: self.next_stream, sent: tally.now, head_seen: false, body: 0 });
        self.next_stream += 2;
    }

    /// GET and http by their static entries, constant fields by their table entries, what varies in full.
    fn block(&mut self, tally: &mut Tally) -> Vec<u8> {
        let mut block = vec![0x82, 0x86];
        let first = !std::mem::replace(&mut self.table_filled, true);
        match (self.load.varying, first) {
            (false, true) => {
                frames::indexed_field(&mut block, PATH, &format!("{PREFIX}items/0123456789abcdef"))
            }
            (false, false) => block.push(0x80 | 66),
            (true, _) => {
                tally.next_id += 1;
                frames::field(&mut block, PATH, &format!("{PREFIX}items/{:016x}", tally.next_id));
            }
        }
        if first {
            frames::indexed_field(&mut block, AUTHORITY, HOST);
            frames::indexed_field(&mut block, USER_AGENT, "load/1");
            frames::indexed_field(&mut block, ACCEPT, "*/*");
            frames::indexed_new_field(&mut block, HEADER.0, HEADER.1);
        } else {
            block.extend_from_slice(&[0x80 | 65, 0x80 | 64, 0x80 | 63, 0x80 | 62]);
        }
        if self.load.varying {
            frames::new_field(&mut block, "x-request-id", &format!("{:032x}", tally.next_id));
        }
        block
    }

    fn widen(&mut self, used: u32, out: &mut Vec<u8>) {
        self.received += used;
        if self.received >= WIDEN_AFTER {
            frames::put(out, frames::WINDOW_UPDATE, 0, 0, &self.received.to_be_bytes());
            self.received = 0;
        }
    }
}
