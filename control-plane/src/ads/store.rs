//! The current state of the definitions and the snapshots made from it, shared by all streams.
//!
//! A published source starts a generation. Snapshots are made on demand, once per node id, kind of client and generation, on threads
//! that may block and never more than a few at a time, so that a thousand clients that reconnect at once wait for
//! one another and not for a stampede. Who needs an authority elsewhere waits for it before, among those who do. Holds
//! nothing about streams.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OnceCell, Semaphore, watch};
use tokio::time::Instant;

use crate::snapshot::{Audience, Builder, NoResources, NodeSnapshot, NotCertified, ResourceSource};

/// Above this many cached nodes, those that no stream uses are dropped.
const CACHED_NODES: usize = 4096;
/// How many snapshots are built at the same time.
const BUILDERS: usize = 2;

/// How many certificates on request are signed, or waited for, at the same time: more than one node may ask for at once.
const SIGNERS: usize = 64;
/// How many nodes' resources are waited for at the same time.
const PREPARERS: usize = 32;

/// Why there is no snapshot.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NoSnapshot {
    /// The source has none for this node.
    #[error(transparent)]
    NoResources(#[from] NoResources),
    /// The resources of the node cannot be served: a defect of ours, not of the client.
    #[error("{0}")]
    Defect(String),
}

/// Whose resources, and for what kind of client.
type Key = (Audience, String);
/// A snapshot, once it has been built.
type Cell = Arc<OnceCell<Arc<NodeSnapshot>>>;

/// One state of the definitions.
pub struct Generation {
    number: u64,
    source: Arc<dyn ResourceSource>,
    nodes: Mutex<HashMap<Key, Cell>>,
}

impl Generation {
    fn new(number: u64, source: Arc<dyn ResourceSource>) -> Arc<Self> {
        Arc::new(Self { number, source, nodes: Mutex::default() })
    }

    /// Counts published states.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The canonical form of a node id, when this state has the node.
    pub fn canonical_id(&self, node_id: &str) -> Option<String> {
        self.source.canonical_id(node_id)
    }

    /// The clusters through which a node may call others, as far as this state knows them.
    pub fn clusters_of(&self, node_id: &str) -> BTreeSet<&str> {
        let topology = self.canonical_id(node_id).zip(self.source.topology());
        topology.map(|(node, topology)| topology.clusters_of(&node)).unwrap_or_default()
    }

    fn cell(&self, key: Key) -> Cell {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if nodes.len() >= CACHED_NODES {
            nodes.retain(|_, cell| cell.get().is_some_and(|s| Arc::strong_count(s) > 1));
        }
        Arc::clone(nodes.entry(key).or_default())
    }

    fn forget(&self, key: &Key) {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

/// Publishes states and builds snapshots.
pub struct Store {
    builder: Arc<Builder>,
    current: watch::Sender<Arc<Generation>>,
    permits: Semaphore,
    signers: Arc<Semaphore>,
    preparers: Arc<Semaphore>,
}

impl Store {
    /// A store that starts with `source`.
    pub fn new(builder: Builder, source: Arc<dyn ResourceSource>) -> Self {
        let current = watch::Sender::new(Generation::new(1, source));
        Self {
            builder: Arc::new(builder),
            current,
            permits: Semaphore::new(BUILDERS),
            signers: Arc::new(Semaphore::new(SIGNERS)),
            preparers: Arc::new(Semaphore::new(PREPARERS)),
        }
    }

    /// Makes `source` the state that streams are served from.
    pub fn publish(&self, source: Arc<dyn ResourceSource>) {
        self.current.send_modify(|current| *current = Generation::new(current.number + 1, source));
        self.builder.sweep();
    }

    /// The current state.
    pub fn current(&self) -> Arc<Generation> {
        Arc::clone(&self.current.borrow())
    }

    /// Follows the current state.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Generation>> {
        self.current.subscribe()
    }

    /// The snapshot of a node in a generation, for a kind of client.
    ///
    /// # Errors
    /// When the definitions do not have the node, or its resources cannot be served.
    pub async fn snapshot(
        &self,
        generation: &Arc<Generation>,
        node_id: &str,
        audience: Audience,
    ) -> Result<Arc<NodeSnapshot>, NoSnapshot> {
        let key = (audience, node_id.to_owned());
        let cell = generation.cell(key.clone());
        let result = cell.get_or_try_init(|| self.build(generation, node_id, audience)).await.cloned();
        if result.is_err() {
            generation.forget(&key);
        }
        result
    }

    /// A certificate for a node of a state, off the network tasks.
    ///
    /// # Errors
    /// When the state cannot give one.
    pub async fn certify(
        &self,
        generation: &Generation,
        node_id: String,
        request: Vec<u8>,
    ) -> Result<String, NotCertified> {
        let failed = |error: &dyn std::fmt::Display| NotCertified::Failed(error.to_string());
        let permit = Arc::clone(&self.signers).acquire_owned().await.map_err(|e| failed(&e))?;
        let source = Arc::clone(&generation.source);
        let signed = tokio::task::spawn_blocking(move || {
            // Held to the end of the work, which goes on when nobody waits for it any more.
            let _permit = permit;
            source.certify(&node_id, &request)
        });
        signed.await.map_err(|e| failed(&e))?
    }

    /// Waits for what a node's resources need from elsewhere, and not in the way of nodes that need nothing.
    async fn prepare(
        &self,
        source: &Arc<dyn ResourceSource>,
        node_id: &str,
        audience: Audience,
    ) -> Result<(), NoSnapshot> {
        if source.is_prepared(node_id, audience) {
            return Ok(());
        }
        let defect = |e: &dyn std::fmt::Display| NoSnapshot::Defect(format!("resources of {node_id:?}: {e}"));
        let permit = Arc::clone(&self.preparers).acquire_owned().await.map_err(|e| defect(&e))?;
        let (source, id) = (Arc::clone(source), node_id.to_owned());
        let prepared = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            source.prepare(&id, audience)
        });
        Ok(prepared.await.map_err(|e| defect(&e))??)
    }

    async fn build(
        &self,
        generation: &Arc<Generation>,
        node_id: &str,
        audience: Audience,
    ) -> Result<Arc<NodeSnapshot>, NoSnapshot> {
        let defect = |e: &dyn std::fmt::Display| NoSnapshot::Defect(format!("resources of {node_id:?}: {e}"));
        self.prepare(&generation.source, node_id, audience).await?;
        let _permit = self.permits.acquire().await.map_err(|e| defect(&e))?;
        let (builder, source, id) =
            (Arc::clone(&self.builder), Arc::clone(&generation.source), node_id.to_owned());
        let built = tokio::task::spawn_blocking(move || {
            let resources = source.resources(&id, audience)?;
            builder.build(&resources).map_err(|e| NoSnapshot::Defect(format!("resources of {id:?}: {e}")))
        });
        let snapshot = built.await.map_err(|e| defect(&e))??;
        for dangling in snapshot.dangling() {
            tracing::warn!(node = node_id, "a resource refers to {dangling}, which does not exist");
        }
        Ok(Arc::new(snapshot))
    }
}

/// Passes on the newest of a series of values, at once if the last one was passed on at least `interval` ago.
///
/// What clients see of a hundred updates per second is the latest, ten times a second.
pub async fn throttle<T: Clone>(mut from: watch::Receiver<T>, interval: Duration, pass: impl Fn(T)) {
    let mut last: Option<Instant> = None;
    while from.changed().await.is_ok() {
        if let Some(last) = last {
            tokio::time::sleep_until(last + interval).await;
        }
        last = Some(Instant::now());
        let value = from.borrow_and_update().clone();
        pass(value);
    }
}

#[cfg(test)]
mod tests;
