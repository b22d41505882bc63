//! A name server: one answer to every question, which a test changes while it runs.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket as StdSocket};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::Result;

/// Seconds that answers may be kept: none, or a change would wait for caches.
const TTL: u32 = 0;
/// Size of a DNS message's header (RFC 1035, 4.1.1).
const HEADER: usize = 12;
/// QTYPE of an IPv4 address.
const A: u16 = 1;

/// The running server; it ends when dropped.
#[derive(Debug)]
pub struct NameServer {
    address: SocketAddr,
    answer: Arc<Mutex<Vec<Ipv4Addr>>>,
    task: JoinHandle<()>,
}

impl NameServer {
    /// Starts on a free loopback port and resolves every name to these addresses.
    pub fn start(addresses: &[Ipv4Addr]) -> Result<Self> {
        let socket = StdSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_nonblocking(true)?;
        let (address, socket) = (socket.local_addr()?, UdpSocket::from_std(socket)?);
        let answer = Arc::new(Mutex::new(addresses.to_vec()));
        Ok(Self { address, answer: answer.clone(), task: tokio::spawn(serve(socket, answer)) })
    }

    /// Where it listens, on UDP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Resolves every name to these addresses from now on.
    pub fn set(&self, addresses: &[Ipv4Addr]) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = addresses.to_vec();
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(socket: UdpSocket, answer: Arc<Mutex<Vec<Ipv4Addr>>>) {
    let mut buffer = [0; 1500];
    while let Ok((len, client)) = socket.recv_from(&mut buffer).await {
        let addresses = answer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(message) = reply(&buffer[..len], &addresses) {
            let _ = socket.send_to(&message, client).await;
        }
    }
}

/// The answer to a query of one question; `None` for what is none.
fn reply(query: &[u8], addresses: &[Ipv4Addr]) -> Option<Vec<u8>> {
    let labels = query.get(HEADER..)?;
    let mut end = 0;
    while let len @ 1.. = *labels.get(end)? {
        end += 1 + usize::from(len);
    }
    let question = labels.get(..end + 5)?;
    let kind = u16::from_be_bytes([question[end + 1], question[end + 2]]);
    let addresses = if kind == A { addresses } else { &[] };
    // Response, authoritative, recursion desired and available, no error.
    let mut message = query.get(..2)?.to_vec();
    message.extend([0x85, 0x80, 0, 1]);
    message.extend(u16::try_from(addresses.len()).ok()?.to_be_bytes());
    message.extend([0; 4]);
    message.extend(question);
    for address in addresses {
        // The name of the question, A, IN.
        message.extend([0xC0, HEADER as u8, 0, 1, 0, 1]);
        message.extend(TTL.to_be_bytes());
        message.extend([0, 4]);
        message.extend(address.octets());
    }
    Some(message)
}
