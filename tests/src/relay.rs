//! A wire that is listened in on: passes bytes on to a server, and keeps what went over it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::Result;

/// A relay; ends when dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    /// One text per direction of each connection.
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
    _tasks: JoinSet<()>,
}

impl Relay {
    /// Listens on loopback and leads to `server`.
    pub async fn start(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (address, seen) = (listener.local_addr()?, Arc::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, server, Arc::clone(&seen)));
        Ok(Self { address, seen, _tasks: tasks })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What went over the wire so far, one connection after the other: to the server, and back.
    pub fn connections(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.chunks_exact(2).map(|both| (both[0].clone(), both[1].clone())).collect()
    }

    /// How often a text went over the wire so far.
    pub fn count(&self, text: &str) -> usize {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let windows = seen.iter().flat_map(|bytes| bytes.windows(text.len()));
        windows.filter(|window| *window == text.as_bytes()).count()
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, seen: Arc<Mutex<Vec<Vec<u8>>>>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let Ok(upstream) = TcpStream::connect(server).await else { continue };
        let ((from_client, to_client), (from_server, to_server)) =
            (client.into_split(), upstream.into_split());
        let place = {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.extend([Vec::new(), Vec::new()]);
            seen.len() - 2
        };
        connections.spawn(pass(from_client, to_server, Arc::clone(&seen), place));
        connections.spawn(pass(from_server, to_client, Arc::clone(&seen), place + 1));
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
    place: usize,
) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if let Some(bytes) = seen.lock().unwrap_or_else(PoisonError::into_inner).get_mut(place) {
            bytes.extend_from_slice(&buffer[..length]);
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
    // The other side may have gone first.
    let _ = to.shutdown().await;
}
