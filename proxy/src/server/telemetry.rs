//! What this process sends about itself: where it runs, and the exporters.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::bootstrap::Settings;
use super::environment::ProcessSettings;
use crate::config::publish::Subscriber;
use crate::observe::access_log::sink::Sinks;
use crate::observe::collect::Collector;
use crate::observe::emf::{self, Exporter, Gatherer, Outcome, Transport};
use crate::observe::mesh::{Identity, Reader, Totals};
use crate::observe::platform::Place;
use crate::observe::statsd::Pusher;
use crate::stats::registry::Registry;
use crate::stats::scope::EmfStats;

/// The running exporters.
#[derive(Debug)]
pub(super) struct Telemetry {
    emf: Option<Exporter>,
    statsd: Option<Pushing>,
}

/// The task that pushes to StatsD sinks; it hands the pusher back when told to stop.
#[derive(Debug)]
struct Pushing {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Option<Pusher>>,
}

/// What the exporters look at.
pub(super) struct Sources<'s> {
    pub(super) registry: &'s Registry,
    pub(super) snapshots: &'s Subscriber,
    pub(super) collector: &'s Arc<Collector>,
    pub(super) sinks: &'s Sinks,
}

/// Where we run. ECS is asked once: providers of traces that want to know may come with the configuration.
pub(super) fn place(process: &ProcessSettings) -> Place {
    let place = Place::find(process.cluster_name.as_deref());
    if let Some(endpoint) = process.ecs_metadata.clone() {
        tokio::spawn(place.clone().ask_ecs(endpoint));
    }
    place
}

impl Telemetry {
    /// Starts what is configured. Nothing here waits for the network.
    pub(super) fn start(
        process: &ProcessSettings,
        settings: &Settings,
        sources: &Sources<'_>,
        place: Place,
    ) -> Result<Self, String> {
        let emf = process.emf.as_ref().map(|emf| start_emf(emf, settings, sources, place)).transpose();
        let statsd = (!settings.stats_sinks.is_empty()).then(|| start_statsd(process, settings, sources));
        Ok(Self { emf: emf.map_err(|error| format!("cannot open stdout for metrics: {error}"))?, statsd })
    }

    /// Sends what happened last, when nothing happens any more. Bounded.
    pub(super) async fn finish(self) {
        if let Some(emf) = self.emf {
            emf.finish().await;
        }
        if let Some(Pushing { stop, task }) = self.statsd {
            // The task cannot be gone: it ends on this only.
            let _ = stop.send(());
            if let Ok(Some(mut pusher)) = task.await {
                let _ = tokio::task::spawn_blocking(move || pusher.push()).await;
            }
        }
    }
}

fn start_statsd(process: &ProcessSettings, settings: &Settings, sources: &Sources<'_>) -> Pushing {
    let mesh = process.metrics_extension.then(|| mesh_reader(settings, sources.snapshots));
    let config = Arc::new(settings.stats.clone());
    let pusher = Pusher::new(sources.registry, config, mesh, &settings.stats_sinks);
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(push(pusher, settings.stats_flush, Arc::clone(sources.collector), stopped));
    Pushing { stop, task }
}

/// Pushes at every flush interval until told to stop. `None` when a push failed for good.
async fn push(
    mut pusher: Pusher,
    every: Duration,
    collector: Arc<Collector>,
    mut stopped: oneshot::Receiver<()>,
) -> Option<Pusher> {
    loop {
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            _ = &mut stopped => return Some(pusher),
        }
        let collector = collector.clone();
        // Thousands of statistics take milliseconds: not on the threads that drive xDS.
        let pushed = tokio::task::spawn_blocking(move || {
            collector.refresh();
            pusher.push();
            pusher
        });
        pusher =
            pushed.await.inspect_err(|error| tracing::error!(%error, "statistics are not pushed")).ok()?;
    }
}

fn mesh_reader(settings: &Settings, snapshots: &Subscriber) -> Reader {
    Reader::new(snapshots.clone(), Identity::parse(&settings.node.id))
}

/// App Mesh's metrics for who scrapes, when the extension is on.
pub(super) fn mesh_totals(
    process: &ProcessSettings,
    settings: &Settings,
    registry: &Registry,
    snapshots: &Subscriber,
) -> Option<Totals> {
    process.metrics_extension.then(|| Totals::new(registry, mesh_reader(settings, snapshots)))
}

fn start_emf(
    emf: &emf::Settings,
    settings: &Settings,
    sources: &Sources<'_>,
    place: Place,
) -> std::io::Result<Exporter> {
    let Sources { registry, snapshots, collector, sinks } = sources;
    let outcome = Outcome { stats: EmfStats::register(registry), shard: registry.shared().clone() };
    let world = emf::World {
        registry: (*registry).clone(),
        mesh: mesh_reader(settings, snapshots),
        stats_config: Arc::new(settings.stats.clone()),
        node_cluster: settings.node.cluster.clone(),
        place,
    };
    let transport = Transport::new(&emf.target, sinks, outcome.clone())?;
    let gatherer = Gatherer::new(world, emf.clone(), outcome);
    let collector = Arc::clone(collector);
    Ok(Exporter::start(gatherer, transport, emf.interval, move || collector.refresh()))
}
