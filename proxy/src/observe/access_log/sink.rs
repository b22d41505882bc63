//! Sinks: one per path, with one lane per worker.
//!
//! A lane is a bounded buffer behind a lock that only two threads ever take: its worker, for the time of
//! formatting one line, and the writer, for the time of swapping one pointer. So neither waits for I/O.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::grpc::GrpcLane;
use super::writer::{self, Writer};
use crate::stats::registry::SharedShard;
use crate::stats::scope::AccessLogStats;

/// A lane is written out when it holds this many bytes, or after [`FLUSH_INTERVAL`].
pub(super) const FLUSH_BYTES: usize = 64 * 1024;
/// Longest time a line waits in a lane.
pub(super) const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// A lane never holds more: further lines are dropped until the writer has caught up.
const MAX_LANE: usize = 1024 * 1024;

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One worker's part of a sink.
#[derive(Debug)]
pub struct Lane {
    buffer: Mutex<LaneBuffer>,
    /// What is written here begins on a line of its own, whatever was written before it.
    pub(super) whole_lines: bool,
    shared: Arc<Shared>,
}

/// Lines not yet taken by the writer.
#[derive(Debug, Default)]
pub(super) struct LaneBuffer {
    pub(super) bytes: Vec<u8>,
    pub(super) lines: u64,
}

/// What the lanes and the writer of one sink share: wake-up and statistics.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) stats: AccessLogStats,
    pub(super) shard: SharedShard,
    /// A lane reached [`FLUSH_BYTES`]: do not wait for the interval.
    pub(super) full: AtomicBool,
    /// Open the file again: somebody renamed it.
    pub(super) reopen: AtomicBool,
    /// Nobody logs here any more: write what is left and end.
    pub(super) stop: AtomicBool,
    pub(super) thread: OnceLock<std::thread::Thread>,
}

impl Shared {
    pub(super) fn new(stats: AccessLogStats, shard: SharedShard) -> Self {
        Self {
            stats,
            shard,
            full: AtomicBool::default(),
            reopen: AtomicBool::default(),
            stop: AtomicBool::default(),
            thread: OnceLock::new(),
        }
    }

    fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.unpark();
    }

    pub(super) fn unpark(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

impl Lane {
    /// Appends what `format` appends, or drops it when the lane is full; false then.
    #[inline]
    pub(super) fn write(&self, format: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut lane = lock(&self.buffer);
        let before = lane.bytes.len();
        if before < MAX_LANE {
            format(&mut lane.bytes);
        }
        let after = lane.bytes.len();
        if before >= MAX_LANE || after > MAX_LANE {
            lane.bytes.truncate(before);
            // Counted here, as the writer may be stuck for good.
            self.shared.shard.inc(self.shared.stats.dropped);
            return false;
        }
        lane.lines += 1;
        drop(lane);
        if before == 0 {
            self.shared.unpark();
        } else if before < FLUSH_BYTES && after >= FLUSH_BYTES {
            self.shared.full.store(true, Ordering::Relaxed);
            self.shared.unpark();
        }
        true
    }

    /// Takes everything; `empty` becomes the lane's next buffer.
    pub(super) fn take(&self, empty: &mut LaneBuffer) {
        std::mem::swap(&mut *lock(&self.buffer), empty);
    }

    pub(super) fn is_empty(&self) -> bool {
        lock(&self.buffer).bytes.is_empty()
    }
}

/// Where lines go: a file that is appended to, `/dev/stdout` or `/dev/stderr`. The writer thread ends,
/// after writing what is left, when the last logger of the path is gone.
#[derive(Debug)]
pub struct Sink {
    /// Never reused while the process lives.
    id: u64,
    lanes: Lanes,
    shared: Arc<Shared>,
}

/// The lanes of one sink, shared with its writer.
pub(super) type Lanes = Arc<Mutex<Vec<Arc<Lane>>>>;

impl Sink {
    fn new_lane(&self, whole_lines: bool) -> Arc<Lane> {
        let lane = Arc::new(Lane { buffer: Mutex::default(), whole_lines, shared: self.shared.clone() });
        lock(&self.lanes).push(lane.clone());
        lane
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

/// All sinks of the process, by path. Owned by the server; used when configuration is compiled.
#[derive(Debug)]
pub struct Sinks {
    /// Sinks in use, and those whose writer has not ended yet.
    open: Mutex<Vec<OpenSink>>,
    next_id: AtomicU64,
    stats: AccessLogStats,
    shard: SharedShard,
}

#[derive(Debug)]
struct OpenSink {
    path: PathBuf,
    sink: Weak<Sink>,
    shared: Arc<Shared>,
    ended: Receiver<()>,
}

impl Sinks {
    /// No sink yet; `stats` counts lines and writes of all of them.
    pub fn new(stats: AccessLogStats, shard: SharedShard) -> Self {
        Self { open: Mutex::default(), next_id: AtomicU64::new(0), stats, shard }
    }

    /// The sink of `path`. Fails when a file cannot be opened for appending now, so that a wrong path is
    /// refused with its configuration; later failures are retried.
    pub fn open(&self, path: &Path) -> std::io::Result<Arc<Sink>> {
        let mut open = lock(&self.open);
        open.retain(|sink| sink.sink.strong_count() > 0 || sink.ended.try_recv().is_err());
        if let Some(sink) = open.iter().filter(|sink| sink.path == path).find_map(|sink| sink.sink.upgrade())
        {
            return Ok(sink);
        }
        let file = writer::open(path)?;
        let lanes = Lanes::default();
        let shared = Arc::new(Shared::new(self.stats.clone(), self.shard.clone()));
        let ended = spawn(Writer::new(path.to_owned(), file, lanes.clone(), shared.clone()), &shared)?;
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let sink = Arc::new(Sink { id, lanes, shared: shared.clone() });
        open.push(OpenSink { path: path.to_owned(), sink: Arc::downgrade(&sink), shared, ended });
        Ok(sink)
    }

    /// Makes every writer open its file again, after log rotation renamed it.
    pub fn reopen(&self) {
        for sink in lock(&self.open).iter() {
            sink.shared.reopen.store(true, Ordering::Relaxed);
        }
    }

    /// Writes out what the workers left and ends the writers; waits for that at most `limit` in all.
    /// Blocks: call it from a thread that may.
    pub fn shutdown(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        let open = std::mem::take(&mut *lock(&self.open));
        open.iter().for_each(|sink| sink.shared.stop());
        for sink in &open {
            let left = deadline.saturating_duration_since(Instant::now());
            if sink.ended.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
                tracing::warn!(path = %sink.path.display(), "an access log could not be written out in time");
            }
        }
    }
}

/// Starts the writer's thread; the receiver hears of its end.
fn spawn(writer: Writer, shared: &Shared) -> std::io::Result<Receiver<()>> {
    let (end, ended) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name("access-log".into()).spawn(move || {
        writer.run();
        // The receiver may be gone: then nobody waits for this.
        let _ = end.send(());
    })?;
    // Set once, here; the thread looks for work before it first sleeps.
    let _ = shared.thread.set(thread.thread().clone());
    Ok(ended)
}

/// A worker's lanes and the random numbers of sampling filters. One per worker.
#[derive(Debug)]
pub struct WorkerLogs {
    /// By sink id. Few: one per path in use.
    lanes: Vec<(u64, Arc<Lane>)>,
    /// Those of loggers to services, by their id.
    grpc: Vec<(u64, Arc<GrpcLane>)>,
    random: fastrand::Rng,
}

impl WorkerLogs {
    /// Logs of one worker; `seed` makes sampling repeatable.
    pub fn new(seed: u64) -> Self {
        Self { lanes: Vec::new(), grpc: Vec::new(), random: fastrand::Rng::with_seed(seed) }
    }

    /// A random number.
    pub(super) fn random(&mut self) -> u32 {
        self.random.u32(..)
    }

    #[inline]
    pub(super) fn lane(&mut self, sink: &Arc<Sink>) -> &Lane {
        let at = self.lanes.iter().position(|(id, _)| *id == sink.id);
        let at = at.unwrap_or_else(|| self.join(sink));
        &self.lanes[at].1
    }

    /// The lane of the logger `id`, made by `join` when there is none yet.
    #[inline]
    pub(super) fn grpc_lane(&mut self, id: u64, join: impl FnOnce() -> Arc<GrpcLane>) -> &GrpcLane {
        let at = self.grpc.iter().position(|(known, _)| *known == id);
        let at = at.unwrap_or_else(|| {
            // A lane that only we hold is one whose exporter has ended.
            self.grpc.retain(|(_, lane)| Arc::strong_count(lane) > 1);
            self.grpc.push((id, join()));
            self.grpc.len() - 1
        });
        &self.grpc[at].1
    }

    /// Adds a lane to `sink` and forgets those whose writer has ended.
    #[cold]
    fn join(&mut self, sink: &Arc<Sink>) -> usize {
        self.lanes.retain(|(_, lane)| Arc::strong_count(lane) > 1);
        self.lanes.push((sink.id, sink.new_lane(false)));
        self.lanes.len() - 1
    }
}

/// Whole lines from the main runtime, such as events, beside the access logs of the same path, whose formats need
/// not end in a newline.
#[derive(Debug)]
pub struct Lines {
    lane: Arc<Lane>,
    /// Its writer runs for as long as this lives.
    _sink: Arc<Sink>,
}

impl Lines {
    /// A lane of its own in `sink`.
    pub fn new(sink: Arc<Sink>) -> Self {
        Self { lane: sink.new_lane(true), _sink: sink }
    }

    /// Appends a line, which ends in a newline; drops and counts it when the sink is too slow: false then.
    pub fn write(&self, line: &[u8]) -> bool {
        self.lane.write(|out| out.extend_from_slice(line))
    }
}
