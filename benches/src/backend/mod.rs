//! The server behind the proxies: a fixed response to every request, from one thread.

mod h1;
mod h2;
mod mutual;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::ServerConfig;

use crate::poll::{Poller, Ready};
use crate::scenario::Protocol;
use crate::{Result, cores};

/// How often it looks whether it should stop.
const TICK: Duration = Duration::from_millis(50);
const SCRATCH: usize = 64 * 1024;

/// A running backend; stops when dropped.
#[derive(Debug)]
pub struct Backend {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    requests: AtomicU64,
}

impl Backend {
    /// Starts on a free port of all addresses, answering with `body`; with `tls` over HTTP/1.1 and TLS.
    pub fn start(protocol: Protocol, body: &[u8], tls: Option<Arc<ServerConfig>>) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared::default());
        let serving = {
            let (shared, body) = (shared.clone(), body.to_vec());
            move || match (protocol, tls) {
                (_, Some(tls)) => {
                    serve(&listener, &h1::response(&body), &shared, || mutual::Connection::new(&tls))
                }
                (Protocol::Http1, None) => {
                    serve(&listener, &h1::response(&body), &shared, || Ok(h1::Connection::default()))
                }
                (Protocol::Http2, None) => serve(&listener, &body, &shared, || Ok(h2::Connection::default())),
            }
        };
        let thread = std::thread::Builder::new().name("backend".into()).spawn(move || {
            let served = cores::move_to(cores::LOAD).and_then(|()| serving());
            if let Err(error) = served {
                eprintln!("the backend failed: {error}");
            }
        })?;
        Ok(Self { address: (Ipv4Addr::LOCALHOST, port).into(), shared, thread: Some(thread) })
    }

    /// Where it can be reached; any other address of loopback leads there too.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests answered.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One accepted connection of some protocol.
trait Connection {
    /// Takes what was read, and returns how many requests that completed.
    fn received(&mut self, bytes: &[u8], response: &[u8]) -> Result<u64>;
    /// Sends what is due.
    fn flush(&mut self, stream: &TcpStream, response: &[u8], poller: &Poller, token: usize)
    -> io::Result<()>;
}

fn serve<C: Connection>(
    listener: &TcpListener,
    response: &[u8],
    shared: &Shared,
    new: impl Fn() -> Result<C>,
) -> Result<()> {
    let mut poller = Poller::new()?;
    let (mut ready, mut scratch) = (Vec::new(), vec![0; SCRATCH]);
    let mut connections: Vec<Option<(TcpStream, C)>> = vec![None];
    poller.add(listener, 0)?;
    while !shared.stop.load(Ordering::Relaxed) {
        poller.wait(TICK, &mut ready)?;
        for event in &ready {
            if event.token == 0 {
                accept(listener, &poller, &mut connections, &new)?;
                continue;
            }
            let Some(connection) = &mut connections[event.token] else { continue };
            match turn(connection, *event, &mut scratch, response, &poller) {
                Ok(requests) => {
                    shared.requests.fetch_add(requests, Ordering::Relaxed);
                }
                // The peer is gone or talks nonsense; what that means shows at the generator.
                Err(_) => connections[event.token] = None,
            }
        }
    }
    Ok(())
}

fn accept<C: Connection>(
    listener: &TcpListener,
    poller: &Poller,
    connections: &mut Vec<Option<(TcpStream, C)>>,
    new: impl Fn() -> Result<C>,
) -> Result<()> {
    while let Ok((stream, _)) = listener.accept() {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let free = connections.iter().skip(1).position(Option::is_none).map(|index| index + 1);
        let token = free.unwrap_or(connections.len());
        poller.add(&stream, token)?;
        let connection = Some((stream, new()?));
        match free {
            Some(token) => connections[token] = connection,
            None => connections.push(connection),
        }
    }
    Ok(())
}

fn turn<C: Connection>(
    (stream, connection): &mut (TcpStream, C),
    event: Ready,
    scratch: &mut [u8],
    response: &[u8],
    poller: &Poller,
) -> Result<u64> {
    let mut requests = 0;
    if event.readable {
        match crate::poll::read(stream, scratch)? {
            Some(0) => return Err("closed".into()),
            Some(read) => requests = connection.received(&scratch[..read], response)?,
            None => {}
        }
    }
    connection.flush(stream, response, poller, event.token)?;
    Ok(requests)
}
