//! Who is connected and how far each client is: what the admin endpoint shows. Written by sessions, read by admin.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use dashmap::DashMap;

use super::service::Variant;
use crate::metrics::Metrics;
use crate::snapshot::{TypeUrl, Version};

/// A client's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It accepted this version.
    Ack(Version),
    /// It refused this version, with these words.
    Nack(Version, String),
}

/// How far a client is with one type.
#[derive(Debug, Clone, Default)]
pub struct TypeStatus {
    /// Version last sent, or found to be held already.
    pub sent: Option<Version>,
    /// Version last accepted.
    pub accepted: Option<Version>,
    /// Last answer and when it came.
    pub answer: Option<(Answer, SystemTime)>,
}

/// One connected stream.
#[derive(Debug)]
pub struct StreamRecord {
    /// `node.id`, as the client wrote it.
    pub node_id: String,
    /// Name and version of the client's software, as far as it says.
    pub user_agent: String,
    /// Where it connects from: an address and port, or `unix`.
    pub peer: String,
    /// Protocol variant.
    pub variant: Variant,
    /// The discovery service it uses: `ADS`, or that of a single type.
    pub service: &'static str,
    /// When the stream began.
    pub since: SystemTime,
    types: Mutex<BTreeMap<TypeUrl, TypeStatus>>,
}

impl StreamRecord {
    /// The status of every type the client has asked for.
    pub fn types(&self) -> BTreeMap<TypeUrl, TypeStatus> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<TypeUrl, TypeStatus>> {
        self.types.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a session knows of its client when it registers it.
#[derive(Debug)]
pub struct Client {
    /// See [`StreamRecord::node_id`].
    pub node_id: String,
    /// See [`StreamRecord::user_agent`].
    pub user_agent: String,
    /// See [`StreamRecord::peer`].
    pub peer: String,
    /// See [`StreamRecord::variant`].
    pub variant: Variant,
    /// See [`StreamRecord::service`].
    pub service: &'static str,
}

/// A node that is not given the current state of its definitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldBack {
    /// The canonical id.
    pub node_id: String,
    /// Why.
    pub reason: String,
    /// Whether it is served what an earlier state gave it.
    pub kept: bool,
}

/// A refusal of what was served.
#[derive(Debug, Clone)]
pub struct Refused {
    /// Who refused, as it presents itself.
    pub node_id: String,
    /// What.
    pub type_url: TypeUrl,
    /// When.
    pub at: SystemTime,
    /// In its words.
    pub text: String,
}

/// Refusals remembered.
const NACKS: usize = 50;

/// All connected streams.
#[derive(Debug, Default)]
pub struct Registry {
    streams: DashMap<u64, Arc<StreamRecord>>,
    held_back: Mutex<Vec<HeldBack>>,
    nacks: Mutex<VecDeque<Refused>>,
    next: AtomicU64,
    metrics: Arc<Metrics>,
}

impl Registry {
    /// An empty registry that counts into `metrics`.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, ..Self::default() }
    }

    /// All streams, by node id and then by age.
    pub fn streams(&self) -> Vec<Arc<StreamRecord>> {
        let mut all: Vec<_> = self.streams.iter().map(|entry| Arc::clone(entry.value())).collect();
        all.sort_by(|a, b| a.node_id.cmp(&b.node_id).then(a.since.cmp(&b.since)));
        all
    }

    /// Replaces the list of nodes that are not given the current state.
    pub fn hold_back(&self, nodes: Vec<HeldBack>) {
        *self.held_back.lock().unwrap_or_else(PoisonError::into_inner) = nodes;
    }

    /// The nodes that are not given the current state.
    pub fn held_back(&self) -> Vec<HeldBack> {
        self.held_back.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The last refusals, newest first; they outlive their streams.
    pub fn nacks(&self) -> Vec<Refused> {
        self.nacks.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn remember(&self, nack: Refused) {
        let mut nacks = self.nacks.lock().unwrap_or_else(PoisonError::into_inner);
        nacks.truncate(NACKS - 1);
        nacks.push_front(nack);
    }

    /// Enters a stream until the returned guard is dropped.
    pub fn register(self: &Arc<Self>, client: Client) -> Registration {
        let record = Arc::new(StreamRecord {
            node_id: client.node_id,
            user_agent: client.user_agent,
            peer: client.peer,
            variant: client.variant,
            service: client.service,
            since: SystemTime::now(),
            types: Mutex::default(),
        });
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.streams.insert(id, Arc::clone(&record));
        self.metrics.stream_opened(client.variant);
        Registration { registry: Arc::clone(self), id, record }
    }
}

/// A stream's place in the registry.
#[derive(Debug)]
pub struct Registration {
    registry: Arc<Registry>,
    id: u64,
    record: Arc<StreamRecord>,
}

impl Registration {
    /// The client asked for a type.
    pub fn asked(&self, type_url: &TypeUrl) {
        self.record.lock().entry(type_url.clone()).or_default();
    }

    /// A response was handed to the transport.
    pub fn sent(&self, type_url: &TypeUrl, version: Version) {
        self.record.lock().entry(type_url.clone()).or_default().sent = Some(version);
        self.registry.metrics.pushed(type_url);
    }

    /// The client holds a version that it was not sent on this stream.
    pub fn holds(&self, type_url: &TypeUrl, version: Version) {
        let mut types = self.record.lock();
        let status = types.entry(type_url.clone()).or_default();
        if status.sent.is_none() {
            (status.sent, status.accepted) = (Some(version), Some(version));
        }
    }

    /// The client accepted what was sent last.
    pub fn acked(&self, type_url: &TypeUrl) {
        let mut types = self.record.lock();
        let status = types.entry(type_url.clone()).or_default();
        let Some(version) = status.sent else { return };
        status.accepted = Some(version);
        status.answer = Some((Answer::Ack(version), SystemTime::now()));
        self.registry.metrics.acked(type_url);
    }

    /// The client refused what was sent last.
    pub fn nacked(&self, type_url: &TypeUrl, text: String) {
        let mut types = self.record.lock();
        let status = types.entry(type_url.clone()).or_default();
        let Some(version) = status.sent else { return };
        let at = SystemTime::now();
        status.answer = Some((Answer::Nack(version, text.clone()), at));
        drop(types);
        let node_id = self.record.node_id.clone();
        self.registry.remember(Refused { node_id, type_url: type_url.clone(), at, text });
        self.registry.metrics.nacked(type_url);
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.registry.streams.remove(&self.id);
        self.registry.metrics.stream_closed(self.record.variant);
    }
}
