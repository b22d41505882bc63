//! A wire that is listened in on: passes bytes on to a server, and keeps what went over it. Answers can be held back.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::Result;

/// A relay; ends when dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    /// One text per direction of each connection.
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
    open: watch::Sender<bool>,
    _tasks: JoinSet<()>,
}

impl Relay {
    /// Listens on loopback and leads to `server`.
    pub async fn start(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (address, seen) = (listener.local_addr()?, Arc::default());
        let (mut tasks, open) = (JoinSet::new(), watch::Sender::new(true));
        tasks.spawn(accept(listener, server, Arc::clone(&seen), open.subscribe()));
        Ok(Self { address, seen, open, _tasks: tasks })
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

    /// From now on nothing that the server says arrives.
    pub fn hold_answers(&self) {
        self.open.send_replace(false);
    }

    /// What was held arrives, and all that comes.
    pub fn release_answers(&self) {
        self.open.send_replace(true);
    }

    /// How often a text went over the wire so far.
    pub fn count(&self, text: &str) -> usize {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let windows = seen.iter().flat_map(|bytes| bytes.windows(text.len()));
        windows.filter(|window| *window == text.as_bytes()).count()
    }
}

async fn accept(
    listener: TcpListener,
    server: SocketAddr,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
    open: watch::Receiver<bool>,
) {
    let always = watch::Sender::new(true).subscribe();
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
        connections.spawn(pass(from_client, to_server, Arc::clone(&seen), place, always.clone()));
        connections.spawn(pass(from_server, to_client, Arc::clone(&seen), place + 1, open.clone()));
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
    place: usize,
    mut open: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if let Some(bytes) = seen.lock().unwrap_or_else(PoisonError::into_inner).get_mut(place) {
            bytes.extend_from_slice(&buffer[..length]);
        }
        // Without a sender it stays as it is.
        let _ = open.wait_for(|open| *open).await;
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
    // The other side may have gone first.
    let _ = to.shutdown().await;
}
