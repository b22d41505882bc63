//! HTTP/1.1: every empty line ends a request without a body and is answered.

use std::io;
use std::net::TcpStream;

use memchr::memmem;

use super::Connection as Serve;
use crate::Result;
use crate::poll::{Poller, write};

/// The bytes of the one response.
pub(super) fn response(body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {length}\r\nX-Backend: yes\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

const END: [u8; 4] = *b"\r\n\r\n";

#[derive(Debug, Default)]
pub(super) struct Connection {
    /// How much of an empty line the last read ended with.
    matched: usize,
    /// Responses not yet sent completely, and how much of the first one is.
    owed: u64,
    sent: usize,
    watched: bool,
}

impl Connection {
    /// Takes one byte; true when it ends an empty line.
    fn step(&mut self, byte: u8) -> bool {
        self.matched = if byte == END[self.matched] { self.matched + 1 } else { usize::from(byte == b'\r') };
        let complete = self.matched == END.len();
        if complete {
            self.matched = 0;
        }
        complete
    }
}

impl Serve for Connection {
    fn received(&mut self, bytes: &[u8], _response: &[u8]) -> Result<u64> {
        let (mut rest, mut requests) = (bytes, 0);
        while self.matched > 0
            && let Some((byte, after)) = rest.split_first()
        {
            rest = after;
            requests += u64::from(self.step(*byte));
        }
        let mut searched = 0;
        for start in memmem::find_iter(rest, &END) {
            requests += 1;
            searched = start + END.len();
        }
        for byte in &rest[searched.max(rest.len().saturating_sub(END.len() - 1))..] {
            self.step(*byte);
        }
        self.owed += requests;
        Ok(requests)
    }

    fn flush(
        &mut self,
        stream: &TcpStream,
        response: &[u8],
        poller: &Poller,
        token: usize,
    ) -> io::Result<()> {
        while self.owed > 0 {
            let written = write(stream, &response[self.sent..])?;
            self.sent += written;
            if written == 0 {
                break;
            }
            if self.sent == response.len() {
                self.sent = 0;
                self.owed -= 1;
            }
        }
        let blocked = self.owed > 0;
        if blocked != std::mem::replace(&mut self.watched, blocked) {
            poller.want_write(stream, token, blocked)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Connection, Serve};

    #[test]
    fn requests_are_counted_whatever_the_cuts() {
        let wire = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
        for first in 0..=wire.len() {
            for second in first..=wire.len() {
                let mut connection = Connection::default();
                let parts = [&wire[..first], &wire[first..second], &wire[second..]];
                let counted: u64 = parts
                    .iter()
                    .filter(|p| !p.is_empty())
                    .map(|p| connection.received(p, b"").unwrap())
                    .sum();
                assert_eq!(counted, 2, "cut at {first} and {second}");
            }
        }
    }
}
