//! How documents leave: lines on stdout, or the CloudWatch agent over TCP or UDP.
//!
//! Nobody waits for any of them but the exporter's own task, and each is bounded: a target that is slow or gone
//! costs documents, the oldest first, and they are counted.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket, lookup_host};

use super::{Outcome, Target};
use crate::observe::access_log::sink::{Lines, Sinks};

/// Connecting, and writing one flush, may take this long.
const LIMIT: Duration = Duration::from_secs(2);
/// Documents kept for a target that does not take them, bytes.
const MAX_WAITING: usize = 1024 * 1024;

/// Where documents go.
#[derive(Debug)]
pub struct Transport {
    way: Way,
    outcome: Outcome,
}

#[derive(Debug)]
enum Way {
    Stdout(Lines),
    Tcp { target: String, stream: Option<TcpStream>, waiting: Waiting },
    Udp { target: String },
}

impl Transport {
    /// The way to `target`; nothing is opened yet but stdout.
    pub fn new(target: &Target, sinks: &Sinks, outcome: Outcome) -> std::io::Result<Self> {
        let way = match target {
            // The access log's writer, so that lines of both never mix.
            Target::Stdout => Way::Stdout(Lines::new(sinks.open("/dev/stdout".as_ref())?)),
            Target::Tcp(target) => {
                Way::Tcp { target: target.clone(), stream: None, waiting: Waiting::default() }
            }
            Target::Udp(target) => Way::Udp { target: target.clone() },
        };
        Ok(Self { way, outcome })
    }

    /// Sends the documents of one flush, as far as the target takes them.
    pub async fn send(&mut self, documents: Vec<String>) {
        let Outcome { stats, shard } = &self.outcome;
        match &mut self.way {
            Way::Stdout(lines) => {
                for document in documents {
                    if !lines.write(&line(document)) {
                        shard.inc(stats.dropped);
                    }
                }
            }
            Way::Udp { target } => {
                let (sent, of) = (udp(target, &documents).await, documents.len());
                shard.add(stats.dropped, of.saturating_sub(sent) as u64);
            }
            Way::Tcp { target, stream, waiting } => {
                let dropped = waiting.push(documents.into_iter().map(line));
                shard.add(stats.dropped, dropped);
                let write = tcp(target, stream, waiting);
                if !matches!(tokio::time::timeout(LIMIT, write).await, Ok(Ok(()))) {
                    // A document may have gone out by half: the next connection starts with all of it.
                    *stream = None;
                    shard.inc(stats.send_failed);
                }
            }
        }
    }
}

fn line(mut document: String) -> Vec<u8> {
    document.push('\n');
    document.into_bytes()
}

/// Documents that the target has not taken.
#[derive(Debug, Default)]
struct Waiting {
    documents: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl Waiting {
    /// Adds documents; returns how many of the oldest had to go.
    fn push(&mut self, documents: impl Iterator<Item = Vec<u8>>) -> u64 {
        let mut dropped = 0;
        for document in documents {
            self.bytes += document.len();
            self.documents.push_back(document);
            while self.bytes > MAX_WAITING {
                self.pop();
                dropped += 1;
            }
        }
        dropped
    }

    fn pop(&mut self) {
        if let Some(document) = self.documents.pop_front() {
            self.bytes -= document.len();
        }
    }
}

async fn tcp(target: &str, kept: &mut Option<TcpStream>, waiting: &mut Waiting) -> std::io::Result<()> {
    // An agent that was restarted in between has closed it.
    let mut stream = match kept.take().filter(is_open) {
        Some(stream) => stream,
        None => TcpStream::connect(target).await?,
    };
    while let Some(document) = waiting.documents.front() {
        stream.write_all(document).await?;
        waiting.pop();
    }
    *kept = Some(stream);
    Ok(())
}

/// The agent never answers, so anything to read is the end.
fn is_open(stream: &TcpStream) -> bool {
    matches!(stream.try_read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

/// Sends one datagram each; returns how many went out.
async fn udp(target: &str, documents: &[String]) -> usize {
    let mut sent = 0;
    let send = async {
        let Some(address) = lookup_host(target).await?.next() else { return Ok(()) };
        let socket = UdpSocket::bind(if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).await?;
        socket.connect(address).await?;
        for document in documents {
            // Refused means that nobody listened to an earlier one; the next may be heard.
            sent += usize::from(socket.send(document.as_bytes()).await.is_ok());
        }
        Ok::<(), std::io::Error>(())
    };
    // However far it came, the rest counts as dropped.
    let _ = tokio::time::timeout(LIMIT, send).await;
    sent
}

#[cfg(test)]
mod tests;
