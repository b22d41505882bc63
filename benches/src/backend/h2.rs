//! HTTP/2 with prior knowledge: every HEADERS frame is a request without a body and is answered.

use std::collections::VecDeque;
use std::io;
use std::net::TcpStream;

use super::Connection as Serve;
use crate::Result;
use crate::frames::{self, Frame, Incoming};
use crate::poll::{Outgoing, Poller};

pub(super) struct Connection {
    preface_left: usize,
    incoming: Incoming,
    outgoing: Outgoing,
    state: State,
}

struct State {
    /// What the peer lets us send on the whole connection; responses that do not fit wait.
    window: i64,
    waiting: VecDeque<u32>,
    answered_before: bool,
}

impl Default for Connection {
    fn default() -> Self {
        let mut outgoing = Outgoing::default();
        frames::put_settings(outgoing.buffer());
        let state =
            State { window: frames::FIRST_WINDOW.into(), waiting: VecDeque::new(), answered_before: false };
        Self { preface_left: frames::PREFACE.len(), incoming: Incoming::default(), outgoing, state }
    }
}

impl Serve for Connection {
    fn received(&mut self, bytes: &[u8], body: &[u8]) -> Result<u64> {
        let (state, out) = (&mut self.state, self.outgoing.buffer());
        let mut requests = 0;
        let skipped = self.preface_left.min(bytes.len());
        self.preface_left -= skipped;
        self.incoming.take(&bytes[skipped..], |frame| {
            requests += u64::from(frame.kind == frames::HEADERS);
            state.take(frame, body, out)
        })?;
        Ok(requests)
    }

    fn flush(&mut self, stream: &TcpStream, _body: &[u8], poller: &Poller, token: usize) -> io::Result<()> {
        self.outgoing.flush(stream, poller, token)
    }
}

impl State {
    fn take(&mut self, frame: Frame<'_>, body: &[u8], out: &mut Vec<u8>) -> Result<()> {
        match frame.kind {
            frames::HEADERS => self.waiting.push_back(frame.stream),
            frames::SETTINGS if frame.flags & frames::ACK == 0 => {
                if !frame.keeps_table() {
                    return Err("the peer keeps no header table".into());
                }
                frames::put(out, frames::SETTINGS, frames::ACK, 0, &[]);
            }
            frames::PING if frame.flags & frames::ACK == 0 => {
                frames::put(out, frames::PING, frames::ACK, 0, frame.payload);
            }
            frames::WINDOW_UPDATE if frame.stream == 0 => self.window += i64::from(frame.number()),
            frames::GOAWAY => return Err("the peer is going away".into()),
            _ => {}
        }
        while self.window >= body.len() as i64
            && let Some(stream) = self.waiting.pop_front()
        {
            self.window -= body.len() as i64;
            self.answer(stream, body, out);
        }
        Ok(())
    }

    /// The first answer of a connection puts its fields into the peer's table, the others refer to them.
    fn answer(&mut self, stream: u32, body: &[u8], out: &mut Vec<u8>) {
        const CONTENT_LENGTH: u8 = 28;
        const CONTENT_TYPE: u8 = 31;
        let mut block = vec![0x88];
        if std::mem::replace(&mut self.answered_before, true) {
            block.extend_from_slice(&[0x80 | 64, 0x80 | 63, 0x80 | 62]);
        } else {
            frames::indexed_field(&mut block, CONTENT_LENGTH, &body.len().to_string());
            frames::indexed_field(&mut block, CONTENT_TYPE, "application/octet-stream");
            frames::indexed_new_field(&mut block, "x-backend", "yes");
        }
        frames::put(out, frames::HEADERS, frames::END_HEADERS, stream, &block);
        frames::put(out, frames::DATA, frames::END_STREAM, stream, body);
    }
}
