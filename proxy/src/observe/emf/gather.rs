//! From statistics to documents: reads an interval, groups its metrics by dimensions.

mod statistics;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::Outcome;
use super::document::{Frame, Group, Metric, Value};
use super::series::{OTHER, Series};
use super::sets::Sets;
use super::settings::{Dimensions, Settings};
use crate::observe::mesh::{self, Metrics, Side};
use crate::observe::platform::{Place, Platform};
use crate::stats::interval::{Change, Interval, Recorder};
use crate::stats::registry::{Gauge, Registry};
use crate::stats::scope::ServerStats;
use crate::stats::tags::StatsConfig;

/// `server.seconds_until_first_cert_expiring` where there is no certificate.
const NO_CERTIFICATE: u64 = u32::MAX as u64;

/// What the exporter looks at.
#[derive(Debug)]
pub struct World {
    /// Statistics.
    pub registry: Registry,
    /// App Mesh's metrics, and whose proxy this is.
    pub mesh: mesh::Reader,
    /// Tags and the matcher.
    pub stats_config: Arc<StatsConfig>,
    /// `node.cluster`, the name of a proxy outside a mesh.
    pub node_cluster: String,
    /// Where it runs.
    pub place: Place,
}

/// Makes the documents of one flush after the other.
#[derive(Debug)]
pub struct Gatherer {
    pub(super) world: World,
    settings: Settings,
    outcome: Outcome,
    recorder: Recorder,
    server: ServerStats,
    targets: Series,
    labels: Series,
    /// Told while there was no dimension set to publish it under. Bounded, as targets are.
    held: Sides,
    /// It was said that metrics wait for a set.
    waits: bool,
    /// Families under which the start of the process is still to be told: their names may come late.
    unstarted: Dimensions,
}

type Sides = BTreeMap<Side, BTreeMap<mesh::Metric, Change>>;

impl Gatherer {
    /// A gatherer whose first interval begins with the process.
    pub fn new(world: World, settings: Settings, outcome: Outcome) -> Self {
        let recorder = Recorder::new(&world.registry);
        let server = ServerStats::register(&world.registry);
        let series = |of| Series::new(of, settings.max_series, settings.interval);
        let (targets, labels) = (series("targets"), series("statistics"));
        let (held, waits, unstarted) = (Sides::new(), false, settings.dimensions);
        Self { world, settings, outcome, recorder, server, targets, labels, held, waits, unstarted }
    }

    /// Tells that the process has started, and nothing else: one that fails over and over lives for no interval.
    pub fn started(&mut self, timestamp: Duration) -> Vec<String> {
        let place = self.world.place.clone();
        let groups: Vec<_> = self.start(place.now()).into_iter().collect();
        self.write(&groups, place.now(), timestamp)
    }

    /// The start of the process, under the families whose names have become known.
    fn start(&mut self, platform: &Platform) -> Option<Group> {
        let sets = Sets { families: self.unstarted, ..self.sets(platform) };
        let mut group = self.group([(mesh::Metric::ProxyStartCount, Change::Counter(1))].into());
        sets.of_mesh(&Side::Inbound, &mut group);
        sets.of_service_connect(&Side::Inbound, &mut group);
        sets.of_container(&mut group);
        let known = sets.known();
        self.unstarted = self.unstarted.without(known);
        (known != Dimensions::NONE && !group.metrics.is_empty()).then_some(group)
    }

    /// What happened since the call before, as documents without newlines. `timestamp` is since the epoch.
    pub fn documents(&mut self, timestamp: Duration) -> Vec<String> {
        let interval = self.recorder.advance();
        let place = self.world.place.clone();
        let platform = place.now();
        let mut metrics = self.world.mesh.metrics(&interval);
        self.add_process(&interval, metrics.entry(Side::Inbound).or_default());
        let mut groups = self.mesh_groups(metrics, platform, timestamp);
        groups.extend(self.start(platform));
        if self.settings.selection.wants_statistics() {
            groups.extend(self.statistics_groups(&interval, platform, timestamp));
        }
        self.tell(self.outcome.stats.series_folded, (self.targets.folded() + self.labels.folded()) as u64);
        self.write(&groups, platform, timestamp)
    }

    fn write(&self, groups: &[Group], platform: &Platform, timestamp: Duration) -> Vec<String> {
        let properties = properties(platform);
        let frame = Frame {
            timestamp: u64::try_from(timestamp.as_millis()).unwrap_or(u64::MAX),
            namespace: &self.settings.namespace,
            resolution: self.settings.resolution,
            log_group: self.settings.log_group.as_deref(),
            properties: &properties,
        };
        let mut documents = Vec::new();
        groups.iter().for_each(|group| group.write(&frame, &mut documents));
        self.outcome.shard.add(self.outcome.stats.documents, documents.len() as u64);
        documents
    }

    fn tell(&self, gauge: Gauge, value: u64) {
        self.outcome.shard.gauge_set(gauge, i64::try_from(value).unwrap_or(i64::MAX));
    }

    /// What is about the process and not about its traffic. Without certificates there is no time to tell.
    fn add_process(&self, interval: &Interval, own: &mut BTreeMap<mesh::Metric, Change>) {
        let left = interval.gauge(self.server.seconds_until_first_cert_expiring);
        if let Some(left) = left.filter(|left| *left != NO_CERTIFICATE) {
            own.insert(mesh::Metric::CertificateSecondsToExpiry, Change::Gauge(left));
        }
        // Starts are told apart, see `start`; alarms want zeros between them.
        own.insert(mesh::Metric::ProxyStartCount, Change::Counter(0));
    }

    fn sets<'w>(&'w self, platform: &'w Platform) -> Sets<'w> {
        Sets {
            families: self.settings.dimensions,
            identity: self.world.mesh.identity(),
            node_cluster: &self.world.node_cluster,
            platform,
        }
    }

    /// App Mesh's metrics: what came in, and each target.
    fn mesh_groups(&mut self, metrics: Metrics, platform: &Platform, now: Duration) -> Vec<Group> {
        for (side, metrics) in metrics {
            let selection = &self.settings.selection;
            let tells = |(metric, change): (&mesh::Metric, &Change)| {
                selection.admits(metric.name()) && !change.is_silent()
            };
            // A target that has nothing to tell takes no place of another's.
            if side == Side::Inbound || metrics.iter().any(tells) {
                let side = self.admitted(side, now);
                hold(self.held.entry(side).or_default(), metrics);
            }
        }
        if !self.sets(platform).exist() {
            self.wait();
            return Vec::new();
        }
        let sides = std::mem::take(&mut self.held);
        let sets = self.sets(platform);
        sides.into_iter().flat_map(|(side, metrics)| self.side_groups(&side, metrics, &sets)).collect()
    }

    fn wait(&mut self) {
        if !std::mem::replace(&mut self.waits, true) {
            tracing::warn!(
                "OUTRIGGER_EMF_DIMENSIONS: metrics wait until there are names for a dimension set: ECS tells them, \
                 elsewhere OUTRIGGER_CLUSTER_NAME and POD_NAMESPACE do"
            );
        }
    }

    /// The side, or what stands for those beyond the cap.
    fn admitted(&mut self, side: Side, now: Duration) -> Side {
        match &side {
            Side::Target { node, service } => {
                let values = [node.as_str(), service.as_deref().unwrap_or_default()];
                let known = self.targets.admit(values.into_iter(), now) && self.holds(&side);
                if known { side } else { others() }
            }
            Side::Inbound => side,
        }
    }

    /// Whether what this target did is held by itself: while there is no set, places change hands.
    fn holds(&self, side: &Side) -> bool {
        let shared = [Side::Inbound, others()];
        let shared = shared.iter().filter(|side| self.held.contains_key(side)).count();
        self.held.contains_key(side) || self.held.len() - shared < self.settings.max_series
    }

    /// One group, or two where families do not mean the same: Service Connect's `RequestCount` has gRPC calls in
    /// it, App Mesh's has not.
    fn side_groups(
        &self,
        side: &Side,
        metrics: BTreeMap<mesh::Metric, Change>,
        sets: &Sets<'_>,
    ) -> Vec<Group> {
        let calls = metrics.get(&mesh::Metric::GrpcRequestCount).cloned();
        let calls = calls.filter(|_| self.settings.dimensions.service_connect);
        let apart = calls.map(|calls| {
            let mut metrics = metrics.clone();
            add(metrics.entry(mesh::Metric::RequestCount), calls);
            self.group(metrics)
        });
        let mut group = self.group(metrics);
        sets.of_mesh(side, &mut group);
        sets.of_container(&mut group);
        let apart = match apart {
            Some(mut apart) => {
                sets.of_service_connect(side, &mut apart);
                Some(apart)
            }
            None => {
                sets.of_service_connect(side, &mut group);
                None
            }
        };
        // Silence of a target is no news; silence of the node itself is.
        let tells = |group: &Group| {
            let silent = group.metrics.is_empty() || (*side != Side::Inbound && group.is_silent());
            !silent && !group.sets.is_empty()
        };
        [Some(group), apart].into_iter().flatten().filter(tells).collect()
    }

    fn group(&self, metrics: BTreeMap<mesh::Metric, Change>) -> Group {
        let selected =
            metrics.into_iter().filter(|(metric, _)| self.settings.selection.admits(metric.name()));
        let metrics = selected.map(|(metric, change)| Metric {
            name: format!("{}{}", self.settings.prefix, metric.name()),
            unit: unit(metric.name(), &change),
            value: value(change),
        });
        Group { metrics: metrics.collect(), ..Group::default() }
    }
}

/// All targets beyond the cap.
fn others() -> Side {
    Side::Target { node: OTHER.to_owned(), service: None }
}

/// Plain properties: searchable, and no metric of their own.
fn properties(platform: &Platform) -> Vec<(&'static str, &str)> {
    let all = [
        ("TaskId", platform.task_id.as_str()),
        ("PodName", &platform.pod),
        ("AvailabilityZone", &platform.zone),
    ];
    all.into_iter().filter(|(_, value)| !value.is_empty()).collect()
}

/// Adds what happened later; of what is a state, the later one holds. Targets that share a place are states side by
/// side, but no metric of a target is a state.
fn hold(into: &mut BTreeMap<mesh::Metric, Change>, metrics: BTreeMap<mesh::Metric, Change>) {
    for (metric, change) in metrics {
        match change {
            Change::Gauge(_) => {
                into.insert(metric, change);
            }
            change => add(into.entry(metric), change),
        }
    }
}

fn add<K: Ord>(entry: std::collections::btree_map::Entry<'_, K, Change>, change: Change) {
    use std::collections::btree_map::Entry;
    match entry {
        Entry::Occupied(mut sum) => sum.get_mut().add(&change),
        Entry::Vacant(place) => {
            place.insert(change);
        }
    }
}

fn value(change: Change) -> Value {
    match change {
        Change::Counter(value) | Change::Gauge(value) => Value::One(value),
        Change::Histogram(values) => Value::Many(values),
    }
}

/// CloudWatch's unit, by the customs of Envoy's names.
fn unit(name: &str, change: &Change) -> &'static str {
    let name = name.to_ascii_lowercase();
    let is_histogram = matches!(change, Change::Histogram(_));
    if name.contains("bytes") || name.contains("memory_") || (is_histogram && name.ends_with("_size")) {
        "Bytes"
    } else if name.ends_with("secondstoexpiry") {
        "Seconds"
    } else if is_histogram && (name.ends_with("_ms") || name.ends_with("time")) {
        "Milliseconds"
    } else if is_histogram && name.ends_with("_percent_used") {
        "Percent"
    } else {
        "Count"
    }
}
