//! What this process sends about itself: where it runs, and the exporters.

use std::sync::Arc;

use super::bootstrap::Settings;
use super::environment::ProcessSettings;
use crate::config::publish::Subscriber;
use crate::observe::access_log::sink::Sinks;
use crate::observe::collect::Collector;
use crate::observe::emf::{self, Exporter, Gatherer, Outcome, Transport};
use crate::observe::mesh::Identity;
use crate::observe::platform::Place;
use crate::stats::registry::Registry;
use crate::stats::scope::EmfStats;

/// The running exporters.
#[derive(Debug)]
pub(super) struct Telemetry {
    emf: Option<Exporter>,
}

/// What the exporters look at.
pub(super) struct Sources<'s> {
    pub(super) registry: &'s Registry,
    pub(super) snapshots: &'s Subscriber,
    pub(super) collector: &'s Arc<Collector>,
    pub(super) sinks: &'s Sinks,
}

impl Telemetry {
    /// Starts what is configured. Nothing here waits for the network.
    pub(super) fn start(
        process: &ProcessSettings,
        settings: &Settings,
        sources: &Sources<'_>,
    ) -> Result<Self, String> {
        let place = Place::find(process.cluster_name.as_deref());
        if let Some(endpoint) = process.ecs_metadata.clone().filter(|_| process.emf.is_some()) {
            tokio::spawn(place.clone().ask_ecs(endpoint));
        }
        let emf = process.emf.as_ref().map(|emf| start_emf(emf, settings, sources, place)).transpose();
        Ok(Self { emf: emf.map_err(|error| format!("cannot open stdout for metrics: {error}"))? })
    }

    /// Sends what happened last, when nothing happens any more. Bounded.
    pub(super) async fn finish(self) {
        if let Some(emf) = self.emf {
            emf.finish().await;
        }
    }
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
        snapshots: (*snapshots).clone(),
        stats_config: Arc::new(settings.stats.clone()),
        identity: Identity::parse(&settings.node.id),
        node_cluster: settings.node.cluster.clone(),
        place,
    };
    let transport = Transport::new(&emf.target, sinks, outcome.clone())?;
    let gatherer = Gatherer::new(world, emf.clone(), outcome);
    let collector = Arc::clone(collector);
    Ok(Exporter::start(gatherer, transport, emf.interval, move || collector.refresh()))
}
