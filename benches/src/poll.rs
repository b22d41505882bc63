//! Readiness of many sockets on one thread: what generator, backend and relay wait on.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::{AsFd, OwnedFd};

const EVENTS: usize = 256;

/// One ready socket.
#[derive(Debug, Clone, Copy)]
pub struct Ready {
    /// The number it was added under.
    pub token: usize,
    /// Bytes, the end of the stream, or an error are waiting.
    pub readable: bool,
    /// There is room to write, as was asked.
    pub writable: bool,
}

/// A level-triggered set of sockets.
pub struct Poller {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

impl Poller {
    /// An empty set.
    pub fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?, events: Vec::with_capacity(EVENTS) })
    }

    /// Watches `socket` for reading under `token`.
    pub fn add(&self, socket: impl AsFd, token: usize) -> io::Result<()> {
        let data = epoll::EventData::new_u64(token as u64);
        Ok(epoll::add(&self.epoll, socket, data, epoll::EventFlags::IN)?)
    }

    /// Watches for room to write too, or no longer.
    pub fn want_write(&self, socket: impl AsFd, token: usize, wanted: bool) -> io::Result<()> {
        let data = epoll::EventData::new_u64(token as u64);
        let flags =
            if wanted { epoll::EventFlags::IN | epoll::EventFlags::OUT } else { epoll::EventFlags::IN };
        Ok(epoll::modify(&self.epoll, socket, data, flags)?)
    }

    /// Fills `ready`, after at most `limit`.
    pub fn wait(&mut self, limit: Duration, ready: &mut Vec<Ready>) -> io::Result<()> {
        let timeout = Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: limit.subsec_nanos().into() };
        self.events.clear();
        ready.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        ready.extend(self.events.iter().map(|event| {
            let (flags, data) = (event.flags, event.data);
            let writable = flags.contains(epoll::EventFlags::OUT);
            Ready {
                token: data.u64() as usize,
                writable,
                readable: flags.intersects(!epoll::EventFlags::OUT),
            }
        }));
        Ok(())
    }
}

/// Reads once; `None` when nothing is there, 0 at the end of the stream.
pub fn read(mut stream: &TcpStream, into: &mut [u8]) -> io::Result<Option<usize>> {
    match stream.read(into) {
        Ok(read) => Ok(Some(read)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes once; 0 when there is no room.
pub fn write(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    match stream.write(bytes) {
        Ok(written) => Ok(written),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(0),
        Err(error) => Err(error),
    }
}

/// Bytes on their way out of a socket that may not take them at once.
#[derive(Debug, Default)]
pub struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
    watched: bool,
}

impl Outgoing {
    /// Where to append what is to be sent.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Sends what the socket takes now and watches for room while something is left.
    pub fn flush(&mut self, stream: &TcpStream, poller: &Poller, token: usize) -> io::Result<()> {
        while self.sent < self.bytes.len() {
            match write(stream, &self.bytes[self.sent..])? {
                0 => break,
                written => self.sent += written,
            }
        }
        let blocked = self.sent < self.bytes.len();
        if !blocked {
            self.bytes.clear();
            self.sent = 0;
        }
        if blocked != std::mem::replace(&mut self.watched, blocked) {
            poller.want_write(stream, token, blocked)?;
        }
        Ok(())
    }
}
