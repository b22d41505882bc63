//! CloudWatch metrics as embedded metric documents (EMF): to stdout, or to the CloudWatch agent.
//!
//! Nothing is counted for this on the request path: at every boundary of the interval the statistics are read,
//! and what happened since the reading before is written as documents ([`document`]). By default these are the
//! metrics that App Mesh and ECS Service Connect users have on dashboards ([`crate::observe::mesh`]); statistics
//! of Envoy's names can be added ([`select`]). Distinct dimension values are capped ([`series`]), for each is a
//! metric that is paid for.
//!
//! Source: CloudWatch embedded metric format specification.

mod document;
mod gather;
mod select;
mod series;
mod sets;
mod settings;
mod transport;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub use gather::{Gatherer, World};
pub use select::Selection;
pub use settings::{Dimensions, Settings, Target};
pub use transport::Transport;

use crate::stats::registry::SharedShard;
use crate::stats::scope::EmfStats;

/// How long the last documents may take at the end of the process.
const LAST_FLUSH: Duration = Duration::from_secs(2);

/// The running exporter.
#[derive(Debug)]
pub struct Exporter {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// What a flush leads to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Counters of `emf.*`.
    pub stats: EmfStats,
    /// Where they are.
    pub shard: SharedShard,
}

impl Exporter {
    /// Starts flushing at the boundaries of `interval`. `refresh` brings computed gauges up to date.
    pub fn start(
        gatherer: Gatherer,
        transport: Transport,
        interval: Duration,
        refresh: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let (stop, stopped) = oneshot::channel();
        let flusher = Flusher { gatherer: Some(gatherer), transport, refresh: std::sync::Arc::new(refresh) };
        Self { stop, task: tokio::spawn(flusher.run(interval, stopped)) }
    }

    /// Flushes what happened since the last boundary and ends. Bounded.
    pub async fn finish(self) {
        // The task cannot be gone: it ends on this only.
        let _ = self.stop.send(());
        if tokio::time::timeout(LAST_FLUSH, self.task).await.is_err() {
            tracing::warn!("the last metrics could not be sent in time");
        }
    }
}

struct Flusher {
    /// Away while a flush gathers.
    gatherer: Option<Gatherer>,
    transport: Transport,
    refresh: std::sync::Arc<dyn Fn() + Send + Sync>,
}

impl Flusher {
    async fn run(mut self, interval: Duration, mut stopped: oneshot::Receiver<()>) {
        if let Some(gatherer) = &mut self.gatherer {
            let started = gatherer.started(since_epoch());
            self.transport.send(started).await;
        }
        loop {
            let now = since_epoch();
            let boundary = next_boundary(now, interval);
            tokio::select! {
                () = tokio::time::sleep(boundary.saturating_sub(now)) => {
                    // The last millisecond of the interval: the documents belong to the minute they tell of.
                    self.flush(boundary.saturating_sub(Duration::from_millis(1))).await;
                }
                _ = &mut stopped => {
                    self.flush(since_epoch()).await;
                    return;
                }
            }
        }
    }

    /// Reading thousands of statistics takes milliseconds: not on the threads that drive xDS.
    async fn flush(&mut self, timestamp: Duration) {
        let Some(mut gatherer) = self.gatherer.take() else { return };
        let refresh = self.refresh.clone();
        let gather = tokio::task::spawn_blocking(move || {
            refresh();
            let documents = gatherer.documents(timestamp);
            (gatherer, documents)
        });
        match gather.await {
            Ok((gatherer, documents)) => {
                self.gatherer = Some(gatherer);
                self.transport.send(documents).await;
            }
            Err(error) => tracing::error!(%error, "gathering metrics failed; no more are sent"),
        }
    }
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The first multiple of `interval` after `now`, both since the epoch: all sidecars flush at whole minutes.
fn next_boundary(now: Duration, interval: Duration) -> Duration {
    let interval = interval.as_millis().max(1);
    let next = (now.as_millis() / interval + 1) * interval;
    Duration::from_millis(u64::try_from(next).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
