//! Sends what lies in a logger's lanes. While the service is away entries wait there, up to the lanes' bound.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::stream::Stream;
use super::{Entries, Settings};
use crate::observe::protobuf::Message;
use crate::observe::queue::{Documents, Queue};
use crate::observe::trace::transport::{Dial, Target};
use crate::stats::scope::GrpcLogStats;

/// Connecting, and one message, must be done within this.
const LIMIT: Duration = Duration::from_secs(5);
/// Between attempts to open the stream: first, and at most.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Most of the end is left to the service: it may want to write things down.
const FINISH: Duration = Duration::from_secs(1);
/// `StreamAccessLogsMessage`.
const IDENTIFIER: u32 = 1;
const HTTP_LOGS: u32 = 2;
const TCP_LOGS: u32 = 3;

struct Exporter {
    settings: Settings,
    node: Arc<[u8]>,
    authority: String,
    queue: Arc<Queue<GrpcLogStats>>,
    dial: Arc<dyn Dial>,
    stream: Option<Stream>,
    /// When it was.
    opened: Option<Instant>,
    /// The stream has not heard who we are.
    introduce: bool,
    pause: Duration,
}

/// Sends what comes through `queue` until it is stopped and empty. `node` is an encoded `Node`.
pub(super) async fn export(
    settings: Settings,
    node: Arc<[u8]>,
    queue: Arc<Queue<GrpcLogStats>>,
    dial: Arc<dyn Dial>,
) {
    let authority = match (&settings.target, settings.authority.is_empty()) {
        (Target::Cluster(name), true) => name.to_string(),
        (Target::Address(host, port), true) => format!("{host}:{port}"),
        _ => settings.authority.to_string(),
    };
    let company = if settings.buffer_size == 0 { Duration::ZERO } else { settings.flush_interval };
    let mut exporter = Exporter {
        settings,
        node,
        authority,
        queue,
        dial,
        stream: None,
        opened: None,
        introduce: true,
        pause: PAUSE_FIRST,
    };
    let mut spare = Documents::default();
    while exporter.queue.ready(company).await {
        for lane in exporter.queue.lanes() {
            lane.take(&mut spare);
            exporter.send_all(&spare).await;
        }
    }
    if let Some(stream) = exporter.stream {
        // Whoever does not answer in time has heard everything all the same.
        let _ = tokio::time::timeout(FINISH, stream.finish()).await;
    }
}

impl Exporter {
    /// Waits for a stream; gives up only when the logger ends.
    async fn connected(&mut self) {
        loop {
            if self.stream.as_mut().is_some_and(|stream| !stream.is_over()) {
                return;
            }
            self.stream = None;
            self.rest_after_a_short_stream().await;
            let open = Stream::open(&self.settings.target, &self.authority, &self.dial);
            let why = match tokio::time::timeout(LIMIT, open).await {
                Ok(Ok(stream)) => {
                    (self.stream, self.introduce, self.opened) = (Some(stream), true, Some(Instant::now()));
                    return;
                }
                Ok(Err(error)) => error,
                Err(_) => format!("no connection within {} s", LIMIT.as_secs()),
            };
            tracing::debug!(target = ?self.settings.target, error = %why, "the access-log service is away");
            if self.queue.is_stopped() {
                return;
            }
            self.rest().await;
        }
    }

    /// A service that takes calls and ends them at once is not called again at once.
    async fn rest_after_a_short_stream(&mut self) {
        let Some(opened) = self.opened.take() else { return };
        if opened.elapsed() > PAUSE_MAX {
            self.pause = PAUSE_FIRST;
        } else if !self.queue.is_stopped() {
            self.rest().await;
        }
    }

    async fn rest(&mut self) {
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }

    async fn send_all(&mut self, documents: &Documents) {
        let mut documents = documents.iter().peekable();
        while documents.peek().is_some() {
            self.connected().await;
            let (mut entries, mut count) = (Vec::new(), 0);
            while let Some(entry) =
                documents.next_if(|_| count == 0 || entries.len() < self.settings.buffer_size)
            {
                entries.extend_from_slice(entry);
                count += 1;
            }
            let sent = self.send(&entries).await;
            let (stats, shard) = (&self.queue.shared().stats, &self.queue.shared().shard);
            shard.add(if sent { stats.logs_written } else { stats.logs_dropped }, count);
        }
    }

    /// Sends one message; after a failure the stream is gone, as nobody knows what of it arrived.
    async fn send(&mut self, entries: &[u8]) -> bool {
        let message = self.message(entries);
        let Some(stream) = &mut self.stream else { return false };
        let why = match tokio::time::timeout(LIMIT, stream.send(message)).await {
            Ok(Ok(())) => {
                self.introduce = false;
                return true;
            }
            Ok(Err(error)) => error,
            Err(_) => format!("nothing was read for {} s", LIMIT.as_secs()),
        };
        tracing::debug!(target = ?self.settings.target, error = %why, "entries of an access log were not taken");
        self.stream = None;
        false
    }

    /// A message of gRPC: no compression, its length, a `StreamAccessLogsMessage`.
    fn message(&self, entries: &[u8]) -> Bytes {
        let mut out = vec![0; 5];
        let mut message = Message(&mut out);
        if self.introduce {
            message.message(IDENTIFIER, |identifier| {
                identifier.bytes(1, &self.node);
                identifier.bytes(2, self.settings.log_name.as_bytes());
            });
        }
        let field = if self.settings.entries == Entries::Tcp { TCP_LOGS } else { HTTP_LOGS };
        message.bytes(field, entries);
        let length = (out.len() - 5) as u32;
        out[1..5].copy_from_slice(&length.to_be_bytes());
        out.into()
    }
}
