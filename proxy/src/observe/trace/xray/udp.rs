//! Segments to the daemon: one datagram each, a header line and the document. Nothing answers.
//! Source: AWS X-Ray "Sending trace data to X-Ray", daemon protocol.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UdpSocket, lookup_host};
use tokio::time::Instant;

use super::{Daemon, MAX_DOCUMENT};
use crate::observe::queue::{Documents, Queue};

const HEADER: &[u8] = b"{\"format\":\"json\",\"version\":1}\n";
/// How long segments wait for company.
const COMPANY: Duration = Duration::from_millis(100);
/// Between attempts to find a daemon whose name does not resolve.
const RETRY: Duration = Duration::from_secs(5);
/// How long an address of the daemon's name serves, unless datagrams come back.
const ADDRESS_LIFE: Duration = Duration::from_secs(60);

/// Sends what comes through `queue` until it is stopped and empty.
pub async fn export(daemon: Daemon, queue: Arc<Queue>) {
    let mut sender = Sender { daemon, socket: None, look_at: Instant::now(), packet: HEADER.to_vec() };
    let mut spare = Documents::default();
    while queue.ready(COMPANY).await {
        for lane in queue.lanes() {
            lane.take(&mut spare);
            sender.send(&spare, &queue).await;
        }
    }
}

struct Sender {
    daemon: Daemon,
    socket: Option<UdpSocket>,
    /// When the name is looked up next.
    look_at: Instant,
    packet: Vec<u8>,
}

impl Sender {
    async fn send(&mut self, documents: &Documents, queue: &Queue) {
        let (stats, shard) = (&queue.shared().stats, &queue.shared().shard);
        if documents.is_empty() {
            return;
        }
        self.connect().await;
        let Some(socket) = &self.socket else { return shard.add(stats.spans_failed, documents.len() as u64) };
        for document in documents.iter() {
            if document.len() > MAX_DOCUMENT {
                shard.inc(stats.spans_dropped);
                continue;
            }
            self.packet.truncate(HEADER.len());
            self.packet.extend_from_slice(document);
            let mut sent = socket.send(&self.packet).await;
            if sent.is_err() {
                // What the kernel reports is the fate of an earlier datagram; this one has not gone yet.
                shard.inc(stats.spans_failed);
                sent = socket.send(&self.packet).await;
                self.look_at = self.look_at.min(Instant::now() + RETRY);
            }
            match sent {
                Ok(_) => shard.inc(stats.spans_sent),
                Err(_) => shard.inc(stats.spans_failed),
            }
        }
    }

    /// Opens the socket once the daemon's name resolves, and a new one where it has moved to. While the name does not
    /// resolve the old address serves.
    async fn connect(&mut self) {
        if Instant::now() < self.look_at {
            return;
        }
        match find(&self.daemon).await {
            Ok(found) => {
                self.look_at = Instant::now() + ADDRESS_LIFE;
                let peer = self.socket.as_ref().and_then(|socket| socket.peer_addr().ok());
                if peer.is_some_and(|peer| found.contains(&peer)) {
                    return;
                }
                match open(&found).await {
                    Ok(socket) => self.socket = Some(socket),
                    Err(error) => self.lost(&error),
                }
            }
            Err(error) => self.lost(&error),
        }
    }

    fn lost(&mut self, error: &std::io::Error) {
        let Daemon { host, port } = &self.daemon;
        self.look_at = Instant::now() + RETRY;
        match self.socket {
            None => {
                tracing::warn!(%error, "no way to the X-Ray daemon at {host}:{port}; its segments are lost")
            }
            Some(_) => tracing::debug!(%error, "the X-Ray daemon at {host}:{port} was not found again"),
        }
    }
}

async fn find(daemon: &Daemon) -> std::io::Result<Vec<SocketAddr>> {
    Ok(lookup_host((&*daemon.host, daemon.port)).await?.collect())
}

async fn open(found: &[SocketAddr]) -> std::io::Result<UdpSocket> {
    let mut last = std::io::ErrorKind::NotFound.into();
    for &address in found {
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any).await?;
        match socket.connect(address).await {
            Ok(()) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::registry::Registry;

    /// Looked up again when its time has come, and soon after datagrams came back.
    #[tokio::test]
    async fn a_daemon_that_has_moved_is_found() {
        let bound = || async { UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap() };
        let (old, new, gone) = (bound().await, bound().await, bound().await.local_addr().unwrap());
        let towards = |at| async move { open(&[at]).await.unwrap() };
        let mut sender = Sender {
            daemon: Daemon { host: "localhost".into(), port: new.local_addr().unwrap().port() },
            socket: Some(towards(old.local_addr().unwrap()).await),
            look_at: Instant::now() + ADDRESS_LIFE,
            packet: HEADER.to_vec(),
        };
        let queue = Queue::new(&Registry::new(), "xray");
        let lane = queue.lane();
        let mut documents = Documents::default();
        let mut next = |text: &str| {
            lane.write(|out| {
                out.extend_from_slice(text.as_bytes());
                true
            });
            lane.take(&mut documents);
            std::mem::take(&mut documents)
        };
        let mut buffer = [0; 64];
        sender.send(&next("one"), &queue).await;
        let length = old.recv(&mut buffer).await.unwrap();
        assert_eq!(&buffer[HEADER.len()..length], b"one");
        sender.look_at = Instant::now();
        sender.send(&next("two"), &queue).await;
        let length = new.recv(&mut buffer).await.unwrap();
        assert_eq!(&buffer[HEADER.len()..length], b"two");
        assert!(sender.look_at > Instant::now() + RETRY);
        sender.socket = Some(towards(gone).await);
        while sender.look_at > Instant::now() + RETRY {
            sender.send(&next("lost"), &queue).await;
        }
    }

    #[tokio::test]
    async fn each_document_is_a_datagram_with_its_header_line() {
        let daemon = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let at = Daemon { host: "localhost".into(), port: daemon.local_addr().unwrap().port() };
        let queue = Queue::new(&Registry::new(), "xray");
        let lane = queue.lane();
        for document in [vec![b'a'; 3], vec![b'x'; MAX_DOCUMENT + 1], vec![b'b'; MAX_DOCUMENT]] {
            lane.write(|out| {
                out.extend_from_slice(&document);
                true
            });
        }
        drop(lane);
        queue.stop();
        export(at, queue).await;
        let mut buffer = vec![0; 70_000];
        let length = daemon.recv(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..length], b"{\"format\":\"json\",\"version\":1}\naaa");
        let length = daemon.recv(&mut buffer).await.unwrap();
        assert_eq!(
            (length, buffer[length - 1]),
            (HEADER.len() + MAX_DOCUMENT, b'b'),
            "what is too long is left out"
        );
    }
}
