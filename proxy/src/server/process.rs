//! State of the process and its commands: what admin and signals drive.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::admin::{DrainRequest, Process, ServerState};
use crate::base::drain::{Drain, DrainPhase, DrainScope};
use crate::observe::access_log::sink::Sinks;
use crate::worker::Drains;

/// Shared by admin, signals and the main task.
pub struct Lifecycle {
    state: AtomicU8,
    drains: Drains,
    drain_time: Duration,
    quit: Notify,
    sinks: Arc<Sinks>,
    runtime: Handle,
}

impl Lifecycle {
    /// A process that is initialising.
    pub fn new(drains: Drains, drain_time: Duration, sinks: Arc<Sinks>, runtime: Handle) -> Arc<Self> {
        Arc::new(Self {
            state: AtomicU8::new(ServerState::PreInitializing as u8),
            drains,
            drain_time,
            quit: Notify::new(),
            sinks,
            runtime,
        })
    }

    /// Moves on; a draining process stays so.
    pub fn enter(&self, state: ServerState) {
        let keep_draining = |now: u8| (now != ServerState::Draining as u8).then_some(state as u8);
        // Failing to update is the point: the process is ending.
        let _ = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, keep_draining);
    }

    /// Waits for `/quitquitquit`.
    pub async fn quit_requested(&self) {
        self.quit.notified().await;
    }

    /// Drain signals.
    pub fn drains(&self) -> &Drains {
        &self.drains
    }

    /// Longest drain at shutdown.
    pub fn drain_time(&self) -> Duration {
        self.drain_time
    }
}

impl Process for Lifecycle {
    fn state(&self) -> ServerState {
        if self.drains.failing.load(Ordering::Acquire) {
            return ServerState::Draining;
        }
        match self.state.load(Ordering::Acquire) {
            0 => ServerState::Live,
            1 => ServerState::Draining,
            2 => ServerState::PreInitializing,
            _ => ServerState::Initializing,
        }
    }

    fn drain(&self, request: DrainRequest) {
        let drain = match request.scope {
            DrainScope::All => self.drains.all.clone(),
            DrainScope::InboundOnly => self.drains.inbound.clone(),
        };
        if !request.graceful {
            drain.advance(DrainPhase::Closing);
            return;
        }
        drain.advance(DrainPhase::Draining);
        if !request.skip_exit {
            self.runtime.spawn(close_later(drain, self.drain_time));
        }
    }

    fn fail_health_checks(&self, failing: bool) {
        self.drains.failing.store(failing, Ordering::Release);
    }

    fn quit(&self) {
        self.quit.notify_one();
    }

    fn reopen_logs(&self) {
        self.sinks.reopen();
    }
}

async fn close_later(drain: Drain, after: Duration) {
    tokio::time::sleep(after).await;
    drain.advance(DrainPhase::Closing);
}
