//! The end of a server: the reason, the drain, and the last words of everything that reports.

use std::sync::Arc;
use std::time::Duration;

use super::process::Lifecycle;
use super::serve::Server;
use super::signals::Signals;
use super::telemetry::Telemetry;
use crate::admin::ServerState;
use crate::base::drain::DrainPhase;
use crate::worker::Progress;

/// How long a draining process still accepts connections that were on their way.
const ACCEPT_GRACE: Duration = Duration::from_secs(1);

impl Server {
    /// Waits for a reason to end, drains if there is time, and stops the workers.
    pub(super) async fn until_the_end(self, telemetry: Telemetry) {
        let mut signals = Signals::listen();
        let graceful = signals.reason_to_end(&self.lifecycle).await;
        self.lifecycle.enter(ServerState::Draining);
        let progress = self.workers.progress().clone();
        if graceful {
            tokio::select! {
                () = drain(self.lifecycle.clone(), progress) => {}
                _ = signals.reason_to_end(&self.lifecycle) => tracing::info!("told again: ending at once"),
            }
        }
        self.lifecycle.drains().all.advance(DrainPhase::Terminating);
        let workers = self.workers;
        // Threads: off the runtime, bounded by what they wait for.
        let _ = tokio::task::spawn_blocking(move || workers.join()).await;
        // Workers count to their end, and the last metrics may be lines of a sink.
        telemetry.finish().await;
        self.outlets.finish().await;
    }
}

/// Asks connections to end, then stops accepting, and waits for the last one within the drain time.
async fn drain(lifecycle: Arc<Lifecycle>, progress: Arc<Progress>) {
    let deadline = tokio::time::Instant::now() + lifecycle.drain_time();
    tracing::info!(connections = progress.connections(), "draining");
    lifecycle.drains().all.advance(DrainPhase::Draining);
    let grace = ACCEPT_GRACE.min(lifecycle.drain_time() / 2);
    // With nobody connected there is nobody whose next connection is on its way.
    if progress.connections() > 0 {
        tokio::time::sleep(grace).await;
    }
    lifecycle.drains().all.advance(DrainPhase::Closing);
    if tokio::time::timeout_at(deadline, progress.drained()).await.is_err() {
        tracing::warn!(connections = progress.connections(), "drain time is over; cutting what remains");
    }
}
