//! From workers to an exporter: documents in bounded lanes, one per worker and exporter.
//!
//! A worker encodes into its lane under a lock that only it and the exporter ever take, the exporter for the time of
//! one swap. Nobody waits for I/O: what does not fit is dropped and counted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::stats::registry::{Counter, Registry, SharedShard};
use crate::stats::scope::SpanStats;

/// Most bytes in one lane.
const MAX_LANE: usize = 1024 * 1024;
/// A lane of this size is sent at once.
const FLUSH_BYTES: usize = 64 * 1024;

/// Documents one after another.
#[derive(Debug, Default)]
pub struct Documents {
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

impl Documents {
    /// Each document.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end])
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        // What a stall made large is given back.
        self.bytes.shrink_to(2 * FLUSH_BYTES);
        self.ends.shrink_to(1024);
    }
}

/// The lanes of one exporter, and its end of them. `S` is what it counts.
#[derive(Debug)]
pub struct Queue<S = SpanStats> {
    lanes: Mutex<Vec<Arc<Lane<S>>>>,
    shared: Arc<Shared<S>>,
}

/// Statistics with a counter of what found no place.
pub trait CountsDropped {
    /// That counter.
    fn dropped(&self) -> Counter;
}

impl CountsDropped for SpanStats {
    fn dropped(&self) -> Counter {
        self.spans_dropped
    }
}

/// What lanes and exporter share: wake-up and statistics.
#[derive(Debug)]
pub struct Shared<S = SpanStats> {
    /// What is counted.
    pub stats: S,
    /// Where they are counted.
    pub shard: SharedShard,
    work: Notify,
    /// A lane is large: do not wait for company.
    full: AtomicBool,
    stop: AtomicBool,
}

/// One worker's part of a queue.
#[derive(Debug)]
pub struct Lane<S = SpanStats> {
    documents: Mutex<Documents>,
    shared: Arc<Shared<S>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Queue {
    /// An empty queue that counts as `tracing.<kind>.*`.
    pub fn new(registry: &Registry, kind: &str) -> Arc<Self> {
        Self::counting(SpanStats::new(registry, &format!("tracing.{kind}.")), registry.shared().clone())
    }
}

impl<S: CountsDropped> Queue<S> {
    /// An empty queue that counts in `shard`.
    pub fn counting(stats: S, shard: SharedShard) -> Arc<Self> {
        let shared = Shared {
            stats,
            shard,
            work: Notify::new(),
            full: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        };
        Arc::new(Self { lanes: Mutex::default(), shared: Arc::new(shared) })
    }

    /// Wake-up and statistics.
    pub fn shared(&self) -> &Arc<Shared<S>> {
        &self.shared
    }

    /// A lane for one more worker.
    pub fn lane(&self) -> Arc<Lane<S>> {
        let lane = Arc::new(Lane { documents: Mutex::default(), shared: self.shared.clone() });
        lock(&self.lanes).push(lane.clone());
        lane
    }

    /// No more documents will come: the exporter ends when it has sent what is there.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.work.notify_one();
    }

    /// Whether [`Queue::stop`] was called.
    pub fn is_stopped(&self) -> bool {
        self.shared.stop.load(Ordering::Acquire)
    }

    /// Waits until there is something to send and either `company` has passed since or there is much of it.
    /// False when there is nothing and never will be.
    pub async fn ready(&self, company: Duration) -> bool {
        while lock(&self.lanes).iter().all(|lane| lane.is_empty()) {
            if self.is_stopped() {
                return false;
            }
            self.shared.work.notified().await;
        }
        let deadline = tokio::time::Instant::now() + company;
        while !self.is_stopped() && !self.shared.full.swap(false, Ordering::Relaxed) {
            if tokio::time::timeout_at(deadline, self.shared.work.notified()).await.is_err() {
                break;
            }
        }
        true
    }

    /// Waits, though not when nothing more will come.
    pub async fn pause(&self, length: Duration) {
        let deadline = tokio::time::Instant::now() + length;
        while !self.is_stopped() {
            if tokio::time::timeout_at(deadline, self.shared.work.notified()).await.is_err() {
                return;
            }
        }
    }

    /// Every lane, to be [taken](Lane::take) from.
    pub fn lanes(&self) -> Vec<Arc<Lane<S>>> {
        let mut lanes = lock(&self.lanes);
        // A lane whose worker is gone and that is empty is of no use any more.
        lanes.retain(|lane| Arc::strong_count(lane) > 1 || !lane.is_empty());
        lanes.clone()
    }
}

impl<S: CountsDropped> Lane<S> {
    /// Appends one document, or drops and counts it: when the lane is full, or when `encode` says there is none.
    #[inline]
    pub fn write(&self, encode: impl FnOnce(&mut Vec<u8>) -> bool) {
        let shared = &self.shared;
        let mut documents = lock(&self.documents);
        let before = documents.bytes.len();
        let written = before < MAX_LANE && encode(&mut documents.bytes);
        let after = documents.bytes.len();
        if !written || after > MAX_LANE {
            documents.bytes.truncate(before);
            return shared.shard.inc(shared.stats.dropped());
        }
        documents.ends.push(after);
        drop(documents);
        if before < FLUSH_BYTES && after >= FLUSH_BYTES {
            shared.full.store(true, Ordering::Relaxed);
            shared.work.notify_one();
        } else if before == 0 {
            shared.work.notify_one();
        }
    }

    /// Takes everything; what `spare` held is gone, its memory is the lane's next.
    pub fn take(&self, spare: &mut Documents) {
        spare.clear();
        std::mem::swap(&mut *lock(&self.documents), spare);
    }

    fn is_empty(&self) -> bool {
        lock(&self.documents).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::view::Value;

    fn write(lane: &Lane, document: &[u8]) {
        lane.write(|out| {
            out.extend_from_slice(document);
            true
        });
    }

    fn dropped(registry: &Registry) -> Value {
        let view = Arc::new(registry.view());
        view.value(view.find("tracing.test.spans_dropped").unwrap())
    }

    #[tokio::test]
    async fn documents_come_out_one_by_one() {
        let queue = Queue::new(&Registry::new(), "test");
        let (one, two) = (queue.lane(), queue.lane());
        for (lane, text) in [(&one, "a"), (&two, "bb"), (&one, "ccc")] {
            write(lane, text.as_bytes());
        }
        assert!(queue.ready(Duration::ZERO).await);
        let (mut spare, mut seen) = (Documents::default(), Vec::new());
        for lane in queue.lanes() {
            lane.take(&mut spare);
            seen.extend(spare.iter().map(|document| String::from_utf8_lossy(document).into_owned()));
        }
        assert_eq!(seen, ["a", "ccc", "bb"]);
        drop((one, two));
        queue.stop();
        assert!(!queue.ready(Duration::ZERO).await);
    }

    #[tokio::test]
    async fn a_full_lane_drops_and_counts_and_never_grows() {
        let registry = Registry::new();
        let queue = Queue::new(&registry, "test");
        let lane = queue.lane();
        let document = vec![b'x'; 60_000];
        for _ in 0..100 {
            write(&lane, &document);
        }
        assert!(lock(&lane.documents).bytes.len() <= MAX_LANE);
        let kept = lock(&lane.documents).len() as u64;
        assert_eq!(dropped(&registry), Value::Counter(100 - kept));
        lane.write(|out| {
            out.extend_from_slice(b"half");
            false
        });
        assert_eq!(
            dropped(&registry),
            Value::Counter(101 - kept),
            "what cannot be encoded is dropped as a whole"
        );
        assert!(queue.ready(Duration::from_secs(3600)).await, "much of it waits for no company");
    }
}
