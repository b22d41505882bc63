//! HTTP/1.1 over TLS, from clients that have a certificate.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::{ServerConfig, ServerConnection};

use super::Connection as Serve;
use super::h1;
use crate::Result;
use crate::poll::Poller;

pub(super) struct Connection {
    tls: ServerConnection,
    requests: h1::Connection,
    plain: Vec<u8>,
    watched: bool,
}

impl Connection {
    pub(super) fn new(config: &Arc<ServerConfig>) -> Result<Self> {
        let tls = ServerConnection::new(config.clone())?;
        Ok(Self { tls, requests: h1::Connection::default(), plain: vec![0; 16 * 1024], watched: false })
    }
}

impl Serve for Connection {
    fn received(&mut self, mut bytes: &[u8], response: &[u8]) -> Result<u64> {
        let mut requests = 0;
        while !bytes.is_empty() {
            self.tls.read_tls(&mut bytes)?;
            self.tls.process_new_packets()?;
            loop {
                match self.tls.reader().read(&mut self.plain) {
                    Ok(0) => return Err("closed".into()),
                    Ok(read) => requests += self.requests.received(&self.plain[..read], response)?,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        for _ in 0..requests {
            self.tls.writer().write_all(response)?;
        }
        Ok(requests)
    }

    fn flush(
        &mut self,
        mut stream: &TcpStream,
        _response: &[u8],
        poller: &Poller,
        token: usize,
    ) -> io::Result<()> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut stream) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        let blocked = self.tls.wants_write();
        if blocked != std::mem::replace(&mut self.watched, blocked) {
            poller.want_write(stream, token, blocked)?;
        }
        Ok(())
    }
}
