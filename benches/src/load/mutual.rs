//! HTTP/1.1 over mutual TLS: keepalive, or a connection and a full handshake for each request.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ClientConfig, ClientConnection};
use rustls_pki_types::ServerName;

use super::h1::{Response, request};
use super::{Client as Drive, Tally};
use crate::Result;
use crate::mutual::PROXY;
use crate::poll::{Poller, Ready};
use crate::scenario::Load;

pub(super) struct Client {
    stream: TcpStream,
    tls: ClientConnection,
    config: Arc<ClientConfig>,
    target: SocketAddr,
    load: Load,
    sent: Instant,
    response: Response,
    watched: bool,
}

fn session(config: &Arc<ClientConfig>) -> Result<ClientConnection> {
    Ok(ClientConnection::new(config.clone(), ServerName::try_from(PROXY)?)?)
}

impl Client {
    pub(super) fn new(
        stream: TcpStream,
        target: SocketAddr,
        config: Arc<ClientConfig>,
        load: &Load,
    ) -> Result<Self> {
        let tls = session(&config)?;
        let response = Response::default();
        Ok(Self { stream, tls, config, target, load: *load, sent: Instant::now(), response, watched: false })
    }

    /// Ends the connection and makes the next one. A reset leaves no port in TIME_WAIT, of which there are too few.
    fn reconnect(&mut self, poller: &Poller, token: usize) -> Result<()> {
        let stream = TcpStream::connect_timeout(&self.target, Duration::from_secs(5))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        poller.add(&stream, token)?;
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))?;
        self.stream = stream;
        self.tls = session(&self.config)?;
        self.watched = false;
        Ok(())
    }

    fn flush(&mut self, poller: &Poller, token: usize) -> Result<()> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut &self.stream) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        let blocked = self.tls.wants_write();
        if blocked != std::mem::replace(&mut self.watched, blocked) {
            poller.want_write(&self.stream, token, blocked)?;
        }
        Ok(())
    }

    /// Takes what has come; true when it completes the response.
    fn take(&mut self, scratch: &mut [u8]) -> Result<bool> {
        match self.tls.read_tls(&mut &self.stream) {
            Ok(0) => return Err("the connection was closed with a request in flight".into()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        self.tls.process_new_packets()?;
        match self.tls.reader().read(scratch) {
            Ok(0) => Err("the connection was closed with a request in flight".into()),
            Ok(read) => self.response.take(&scratch[..read], self.load.body),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn ask(&mut self, poller: &Poller, token: usize) -> Result<()> {
        self.tls.writer().write_all(&request(0, &self.load))?;
        self.flush(poller, token)
    }
}

impl Drive for Client {
    fn start(&mut self, _tally: &mut Tally, poller: &Poller, token: usize) -> Result<()> {
        self.sent = Instant::now();
        self.ask(poller, token)
    }

    fn turn(&mut self, ready: Ready, scratch: &mut [u8], tally: &mut Tally, poller: &Poller) -> Result<()> {
        if ready.readable && self.take(scratch)? {
            tally.done(self.sent, self.sent, 0);
            self.sent = Instant::now();
            if self.load.fresh {
                self.reconnect(poller, ready.token)?;
            }
            return self.ask(poller, ready.token);
        }
        self.flush(poller, ready.token)
    }

    /// Requests follow each other on their own.
    fn send(&mut self, _due: Instant, _tally: &mut Tally, _poller: &Poller, _token: usize) -> Result<()> {
        Err("no fixed rate over mutual TLS".into())
    }

    fn in_flight(&self) -> u64 {
        1
    }
}
