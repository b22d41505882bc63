//! HTTP/1.1: one request in flight per connection, its response read strictly.

use std::net::TcpStream;
use std::time::Instant;

use super::{Client as Drive, Tally};
use crate::Result;
use crate::poll::{Outgoing, Poller, Ready, read};
use crate::scenario::{HEADER, HOST, Load, PREFIX, numbered_host};

const MAX_HEAD: usize = 16 * 1024;

/// The request in text; `id` is all that varies.
pub(super) fn request(id: u64, load: &Load) -> Vec<u8> {
    let (name, value) = HEADER;
    let varying = load.varying;
    let host = match load.hosts {
        0 => HOST.to_owned(),
        hosts => numbered_host(id % hosts),
    };
    let id_line = if varying { format!("X-Request-Id: {id:032x}\r\n") } else { String::new() };
    let path =
        if varying { format!("{PREFIX}items/{id:016x}") } else { format!("{PREFIX}items/0123456789abcdef") };
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: load/1\r\nAccept: */*\r\n{name}: {value}\r\n{id_line}\r\n")
        .into_bytes()
}

pub(super) struct Client {
    stream: TcpStream,
    request: Vec<u8>,
    load: Load,
    outgoing: Outgoing,
    due: Instant,
    sent: Instant,
    response: Response,
}

impl Client {
    pub(super) fn new(stream: TcpStream, load: &Load) -> Self {
        Self {
            stream,
            request: request(0, load),
            load: *load,
            outgoing: Outgoing::default(),
            due: Instant::now(),
            sent: Instant::now(),
            response: Response::default(),
        }
    }
}

impl Drive for Client {
    fn start(&mut self, tally: &mut Tally, poller: &Poller, token: usize) -> Result<()> {
        if tally.goes_on(token) { self.send(Instant::now(), tally, poller, token) } else { Ok(()) }
    }

    fn send(&mut self, due: Instant, tally: &mut Tally, poller: &Poller, token: usize) -> Result<()> {
        if self.load.varying || self.load.hosts > 0 {
            tally.next_id += 1;
            self.request = request(tally.next_id, &self.load);
        }
        (self.due, self.sent) = (due, Instant::now());
        self.outgoing.buffer().extend_from_slice(&self.request);
        Ok(self.outgoing.flush(&self.stream, poller, token)?)
    }

    fn turn(&mut self, ready: Ready, scratch: &mut [u8], tally: &mut Tally, poller: &Poller) -> Result<()> {
        if ready.writable {
            self.outgoing.flush(&self.stream, poller, ready.token)?;
        }
        if !ready.readable {
            return Ok(());
        }
        let Some(read) = read(&self.stream, scratch)? else { return Ok(()) };
        if read == 0 {
            return Err("the connection was closed with a request in flight".into());
        }
        if !self.response.take(&scratch[..read], self.load.body)? {
            return Ok(());
        }
        tally.done(self.due, self.sent, scratch[read - 1]);
        if tally.goes_on(ready.token) { self.send(tally.now, tally, poller, ready.token) } else { Ok(()) }
    }

    fn in_flight(&self) -> u64 {
        1
    }
}

/// Where in a response the reader is.
pub(super) enum Response {
    /// Within the head, of which this much has come.
    Head(Vec<u8>),
    /// Within the body, of which this much is left.
    Body(usize),
}

impl Default for Response {
    fn default() -> Self {
        Self::Head(Vec::new())
    }
}

impl Response {
    /// Takes bytes; true when they complete a 200 with a body of `expected` bytes and nothing more.
    pub(super) fn take(&mut self, bytes: &[u8], expected: usize) -> Result<bool> {
        let left = match self {
            Self::Body(left) => left.checked_sub(bytes.len()),
            Self::Head(kept) if kept.is_empty() => match head(bytes, expected)? {
                Some(body_start) => expected.checked_sub(bytes.len() - body_start),
                None => {
                    kept.extend_from_slice(bytes);
                    return Ok(false);
                }
            },
            Self::Head(kept) => {
                kept.extend_from_slice(bytes);
                match head(kept, expected)? {
                    Some(body_start) => expected.checked_sub(kept.len() - body_start),
                    None => return Ok(false),
                }
            }
        };
        let left = left.ok_or("bytes after the end of the response")?;
        *self = if left == 0 { Self::default() } else { Self::Body(left) };
        Ok(left == 0)
    }
}

/// Where the body starts, once the head is complete; an error unless it is a 200 of the expected length.
fn head(bytes: &[u8], expected: usize) -> Result<Option<usize>> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(length) = response.parse(bytes)? else {
        return if bytes.len() > MAX_HEAD { Err("endless response head".into()) } else { Ok(None) };
    };
    if response.code != Some(200) {
        return Err(format!("status {:?}", response.code).into());
    }
    let announced = response.headers.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"));
    let announced = announced.and_then(|field| std::str::from_utf8(field.value).ok()?.parse().ok());
    if announced != Some(expected) {
        return Err(format!("content-length {announced:?} in place of {expected}").into());
    }
    Ok(Some(length))
}

#[cfg(test)]
mod tests {
    use super::Response;

    #[test]
    fn responses_complete_whatever_the_cut() {
        let wire = b"HTTP/1.1 200 OK\r\nserver: x\r\ncontent-length: 5\r\n\r\nhello";
        for cut in 1..wire.len() {
            let mut response = Response::default();
            assert!(!response.take(&wire[..cut], 5).unwrap(), "complete at {cut}");
            assert!(response.take(&wire[cut..], 5).unwrap(), "incomplete after {cut}");
        }
        assert!(Response::default().take(b"HTTP/1.1 503 No\r\ncontent-length: 5\r\n\r\nhello", 5).is_err());
        assert!(Response::default().take(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello!", 5).is_err());
    }
}
