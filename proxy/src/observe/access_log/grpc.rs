//! Access logs to a service: entries of Envoy's access-log service over one gRPC stream per logger.
//!
//! A worker encodes an entry into its lane of the logger's [queue](crate::observe::queue); an exporter on the main
//! runtime sends what lies there. A service that is slow or away costs entries, which are counted, and nothing else.

mod entry;
mod export;
mod stream;

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::sink::WorkerLogs;
use crate::observe::queue::{CountsDropped, Lane, Queue};
use crate::observe::record::Record;
use crate::observe::trace::tag::CustomTag;
use crate::observe::trace::transport::{Dial, Target};
use crate::stats::registry::{Counter, Registry};
use crate::stats::scope::GrpcLogStats;

/// What one logger is configured to send, and where. Equal ones share a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The cluster of the service.
    pub target: Target,
    /// `:authority`; empty: the target's name.
    pub authority: Box<str>,
    /// `log_name`.
    pub log_name: Box<str>,
    /// How long entries wait for company.
    pub flush_interval: Duration,
    /// Entries are sent in messages of about this size, in bytes.
    pub buffer_size: usize,
    /// What entries tell.
    pub entries: Entries,
    /// Tags of every entry.
    pub tags: Vec<CustomTag>,
}

/// Kinds of entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entries {
    /// Of requests, with these headers beside the usual ones; names are in lower case.
    Http {
        /// Of the request.
        request: Vec<Box<str>>,
        /// Of the response.
        response: Vec<Box<str>>,
        /// Of the response's trailers.
        trailers: Vec<Box<str>>,
    },
    /// Of connections.
    Tcp,
}

impl CountsDropped for GrpcLogStats {
    fn dropped(&self) -> Counter {
        self.logs_dropped
    }
}

/// A worker's part of a logger.
pub(super) type GrpcLane = Lane<GrpcLogStats>;

/// One logger at work. Its stream ends, after sending what is left, with its last user.
#[derive(Debug)]
pub struct GrpcLog {
    /// Never reused while the process lives.
    id: u64,
    entries: Entries,
    tags: Vec<CustomTag>,
    queue: Arc<Queue<GrpcLogStats>>,
}

impl GrpcLog {
    /// Encodes `record` into the worker's lane; drops and counts it when that is full.
    pub(super) fn log(&self, record: &Record<'_>, logs: &mut WorkerLogs) {
        logs.grpc_lane(self.id, || self.queue.lane()).write(|out| {
            entry::encode(&self.entries, &self.tags, record, out);
            true
        });
    }
}

impl Drop for GrpcLog {
    fn drop(&mut self) {
        self.queue.stop();
    }
}

/// All such loggers of the process, by their settings. Owned by the server; used when configuration is compiled.
#[derive(Debug)]
pub struct GrpcLogs {
    open: Mutex<Open>,
    registry: Registry,
    /// Where streams are driven.
    runtime: Handle,
    dial: Arc<dyn Dial>,
    /// Who we are, as an encoded `envoy.config.core.v3.Node`.
    node: Arc<[u8]>,
}

#[derive(Debug, Default)]
struct Open {
    logs: Vec<OpenLog>,
    next_id: u64,
}

#[derive(Debug)]
struct OpenLog {
    settings: Settings,
    log: Weak<GrpcLog>,
    queue: Arc<Queue<GrpcLogStats>>,
    exporter: JoinHandle<()>,
}

impl GrpcLogs {
    /// None yet; streams will be driven by `runtime` and connect with `dial`.
    pub fn new(registry: &Registry, runtime: Handle, dial: Arc<dyn Dial>, node: Arc<[u8]>) -> Self {
        Self { open: Mutex::default(), registry: registry.clone(), runtime, dial, node }
    }

    /// The logger of these settings.
    pub fn open(&self, settings: &Settings) -> Arc<GrpcLog> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.logs.retain(|known| known.log.strong_count() > 0 || !known.exporter.is_finished());
        let known = open.logs.iter().filter(|known| known.settings == *settings);
        if let Some(log) = known.filter_map(|known| known.log.upgrade()).next() {
            return log;
        }
        open.next_id += 1;
        let queue = Queue::counting(GrpcLogStats::register(&self.registry), self.registry.shared().clone());
        let export = export::export(settings.clone(), self.node.clone(), queue.clone(), self.dial.clone());
        let exporter = self.runtime.spawn(export);
        let log = Arc::new(GrpcLog {
            id: open.next_id,
            entries: settings.entries.clone(),
            tags: settings.tags.clone(),
            queue: queue.clone(),
        });
        open.logs.push(OpenLog { settings: settings.clone(), log: Arc::downgrade(&log), queue, exporter });
        log
    }

    /// Sends what is left, within `limit` in all.
    pub async fn shutdown(&self, limit: Duration) {
        let open = std::mem::take(&mut *self.open.lock().unwrap_or_else(PoisonError::into_inner));
        open.logs.iter().for_each(|log| log.queue.stop());
        let all = async {
            for log in open.logs {
                // An exporter that panicked has nothing left to say.
                let _ = log.exporter.await;
            }
        };
        if tokio::time::timeout(limit, all).await.is_err() {
            tracing::warn!("an access-log service did not take everything in time");
        }
    }
}
