//! Workers: one thread per core with a current-thread runtime, its own listeners, pools, balancers and
//! statistics shard. They share nothing with each other but the snapshot and the live cells it reaches.

mod accept;
mod arrival;
mod authz;
mod connection_log;
mod guard;
mod overload;
mod reconcile;
mod serve;

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use fastrand::Rng;
use reconcile::ChainDrains;
use tokio::sync::Notify;

use crate::base::drain::{Drain, DrainPhase};
use crate::base::ids::ListenerId;
use crate::config::live::Overload;
use crate::config::publish::Subscriber;
use crate::stats::registry::Registry;
use crate::upstream::local::Local;

/// How long connections that are cut may take to end.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Which generation every worker has applied, and how many downstream connections each serves.
/// Readiness, admin and tests read these numbers.
#[derive(Debug)]
pub struct Progress {
    workers: Vec<WorkerProgress>,
    applied: Notify,
    /// A worker has no connection, or no accepting socket, any more.
    idle: Notify,
}

#[derive(Debug, Default)]
struct WorkerProgress {
    generation: AtomicU64,
    connections: AtomicU64,
    accepting: AtomicU64,
}

/// Signals of the whole process.
#[derive(Clone, Debug, Default)]
pub struct Drains {
    /// Every listener.
    pub all: Drain,
    /// Listeners with `traffic_direction: INBOUND`.
    pub inbound: Drain,
    /// Health checks are to be failed (`/healthcheck/fail`).
    pub failing: Arc<AtomicBool>,
}

/// Running workers.
#[derive(Debug)]
pub struct Workers {
    threads: Vec<JoinHandle<()>>,
    progress: Arc<Progress>,
}

impl Workers {
    /// Starts `count` workers that follow `snapshots`. Connections of listeners and chains that leave the
    /// configuration have `drain_time` to end.
    pub fn start(
        count: usize,
        snapshots: &Subscriber,
        registry: &Registry,
        drains: &Drains,
        drain_time: Duration,
        overload: Option<&Arc<Overload>>,
    ) -> io::Result<Self> {
        let workers = (0..count).map(|_| WorkerProgress::default()).collect();
        let progress = Arc::new(Progress { workers, applied: Notify::new(), idle: Notify::new() });
        let mut threads = Vec::with_capacity(count);
        for index in 0..count {
            let seat = Seat {
                index,
                snapshots: snapshots.clone(),
                shard: registry.shard(),
                drains: drains.clone(),
                drain_time,
                overload: overload.cloned(),
                progress: progress.clone(),
            };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let name = format!("worker-{index}");
            threads.push(std::thread::Builder::new().name(name).spawn(move || seat.run(&runtime))?);
        }
        Ok(Self { threads, progress })
    }

    /// Progress numbers.
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// Waits until every thread has ended; they end when the drain reaches `Terminating`.
    pub fn join(self) {
        for thread in self.threads {
            // A worker that panicked has already reported it; the others still end in order.
            let _ = thread.join();
        }
    }
}

impl Progress {
    /// The generation every worker has reached.
    pub fn applied(&self) -> u64 {
        self.workers.iter().map(|worker| worker.generation.load(Ordering::Acquire)).min().unwrap_or(0)
    }

    /// Waits until every worker has applied `generation`.
    pub async fn reached(&self, generation: u64) {
        loop {
            let changed = self.applied.notified();
            if self.applied() >= generation {
                return;
            }
            changed.await;
        }
    }

    /// Downstream connections open now.
    pub fn connections(&self) -> u64 {
        self.workers.iter().map(|worker| worker.connections.load(Ordering::Acquire)).sum()
    }

    /// Waits until no downstream connection is open and no socket accepts any.
    pub async fn drained(&self) {
        loop {
            let changed = self.idle.notified();
            if self.connections() + self.accepting() == 0 {
                return;
            }
            changed.await;
        }
    }

    /// Listening sockets that are being served.
    fn accepting(&self) -> u64 {
        self.workers.iter().map(|worker| worker.accepting.load(Ordering::Acquire)).sum()
    }

    fn accept_begins(&self, worker: usize) {
        if let Some(worker) = self.workers.get(worker) {
            worker.accepting.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn accept_ends(&self, worker: usize) {
        if let Some(worker) = self.workers.get(worker) {
            worker.accepting.fetch_sub(1, Ordering::AcqRel);
        }
        self.idle.notify_waiters();
    }

    fn set_applied(&self, worker: usize, generation: u64) {
        if let Some(worker) = self.workers.get(worker) {
            worker.generation.store(generation, Ordering::Release);
        }
        self.applied.notify_waiters();
    }

    fn connection_opened(&self, worker: usize) {
        if let Some(worker) = self.workers.get(worker) {
            worker.connections.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn connection_closed(&self, worker: usize) {
        let last = self
            .workers
            .get(worker)
            .is_some_and(|worker| worker.connections.fetch_sub(1, Ordering::AcqRel) == 1);
        if last {
            self.idle.notify_waiters();
        }
    }
}

/// What a worker thread starts with.
struct Seat {
    index: usize,
    snapshots: Subscriber,
    shard: crate::stats::registry::Shard,
    drains: Drains,
    drain_time: Duration,
    overload: Option<Arc<Overload>>,
    progress: Arc<Progress>,
}

impl Seat {
    fn run(self, runtime: &tokio::runtime::Runtime) {
        let tasks = tokio::task::LocalSet::new();
        tasks.block_on(runtime, async move {
            let (attention, tap) = (self.snapshots.attention().clone(), self.snapshots.tap().clone());
            let local = Local::new(self.index, self.shard, Rng::new(), attention, tap);
            let worker = Rc::new(Worker {
                local: Rc::new(local.with_process(self.overload, self.drains.failing.clone())),
                drains: self.drains,
                drain_time: self.drain_time,
                progress: self.progress,
                listeners: RefCell::default(),
            });
            tokio::task::spawn_local(reconcile::follow(worker.clone(), self.snapshots));
            tokio::task::spawn_local(reconcile::sweep(worker.clone()));
            worker.drains.all.reached(DrainPhase::Terminating).await;
            // Connections see the same signal: they end and write their logs.
            let _ = tokio::time::timeout(LAST_WORDS, worker.progress.drained()).await;
        });
    }
}

/// One worker.
#[derive(Debug)]
struct Worker {
    local: Rc<Local>,
    drains: Drains,
    drain_time: Duration,
    progress: Arc<Progress>,
    /// The drain signals of every listener that is served, for connections that another one accepted.
    listeners: RefCell<HashMap<ListenerId, ChainDrains>>,
}

#[cfg(test)]
mod tests;
