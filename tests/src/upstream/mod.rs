//! Servers behind a data plane: one file per behaviour, good and bad, each counting what reached it.

mod banner;
mod closing;
mod echo;
mod endless;
mod garbage;
mod grpc_echo;
mod judge;
mod key_server;
mod scripted;
mod sequence;
mod slow;
mod tally;
mod tcp_echo;
mod tunnel;

pub use banner::Banner;
pub use closing::Closing;
pub use echo::Echo;
pub use endless::Endless;
pub use garbage::Garbage;
pub use grpc_echo::GrpcEcho;
pub use judge::{Judge, Seen};
pub use key_server::{Control, KeyServer};
pub use scripted::Scripted;
pub use sequence::{Requests, Sequence, Step};
pub use slow::Slow;
pub use tally::Tally;
pub use tcp_echo::TcpEcho;
pub use tunnel::Tunnel;

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::Result;

/// What an upstream does with each of its connections.
pub trait Behaviour: Send + Sync + 'static {
    /// Serves one connection to its end; adds one to `counts.requests` per request (or per stream, or per connection
    /// where the behaviour knows neither).
    fn serve(self: Arc<Self>, stream: TcpStream, counts: Arc<Counts>) -> impl Future<Output = ()> + Send;
}

/// What reached an upstream so far.
#[derive(Debug, Default)]
pub struct Counts {
    connections: AtomicU64,
    open: AtomicU64,
    requests: AtomicU64,
}

impl Counts {
    /// Connections accepted.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Connections open now.
    pub fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// Requests received.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Counts one request.
    pub fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }
}

/// A running upstream; it and its connections end when dropped.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    counts: Arc<Counts>,
    acceptor: JoinHandle<()>,
}

impl Upstream {
    /// Starts on a free loopback port.
    pub fn start(behaviour: impl Behaviour) -> Result<Self> {
        Self::start_on(StdListener::bind((Ipv4Addr::LOCALHOST, 0))?, behaviour)
    }

    /// Starts on a listener made elsewhere: a fixed port, another namespace.
    pub fn start_on(listener: StdListener, behaviour: impl Behaviour) -> Result<Self> {
        listener.set_nonblocking(true)?;
        let (address, counts) = (listener.local_addr()?, Arc::new(Counts::default()));
        let accepting = accept(TcpListener::from_std(listener)?, Arc::new(behaviour), counts.clone());
        Ok(Self { address, counts, acceptor: tokio::spawn(accepting) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What reached it.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

async fn accept<B: Behaviour>(listener: TcpListener, behaviour: Arc<B>, counts: Arc<Counts>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        counts.connections.fetch_add(1, Ordering::Relaxed);
        connections.spawn(serve_counted(behaviour.clone(), stream, counts.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve_counted<B: Behaviour>(behaviour: Arc<B>, stream: TcpStream, counts: Arc<Counts>) {
    counts.open.fetch_add(1, Ordering::Relaxed);
    behaviour.serve(stream, counts.clone()).await;
    counts.open.fetch_sub(1, Ordering::Relaxed);
}
