//! From statistics to documents: reads an interval, groups its metrics by dimensions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::Outcome;
use super::document::{Frame, Group, Metric, Value};
use super::series::{OTHER, Series};
use super::settings::Settings;
use crate::observe::mesh::{self, Identity, Side};
use crate::observe::platform::{Place, Platform};
use crate::observe::prometheus::metric_name;
use crate::stats::interval::{Change, Interval, Recorder};
use crate::stats::registry::{Gauge, Registry};
use crate::stats::tags::StatsConfig;

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
    world: World,
    settings: Settings,
    outcome: Outcome,
    recorder: Recorder,
    series: Series,
}

impl Gatherer {
    /// A gatherer whose first interval begins with the process.
    pub fn new(world: World, settings: Settings, outcome: Outcome) -> Self {
        let recorder = Recorder::new(&world.registry);
        let series = Series::new(settings.max_series);
        Self { world, settings, outcome, recorder, series }
    }

    /// What happened since the call before, as documents without newlines.
    pub fn documents(&mut self, timestamp: Duration) -> Vec<String> {
        let interval = self.recorder.advance();
        let place = self.world.place.clone();
        let platform = place.now();
        let mut groups = self.mesh_groups(&interval, platform);
        if self.settings.selection.wants_statistics() {
            groups.extend(self.statistics_groups(&interval, platform));
        }
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
        self.tell(self.outcome.stats.series_folded, self.series.folded() as u64);
        self.outcome.shard.add(self.outcome.stats.documents, documents.len() as u64);
        documents
    }

    fn tell(&self, gauge: Gauge, value: u64) {
        self.outcome.shard.gauge_set(gauge, i64::try_from(value).unwrap_or(i64::MAX));
    }

    /// App Mesh's metrics: one group for what came in, one for each target.
    fn mesh_groups(&mut self, interval: &Interval, platform: &Platform) -> Vec<Group> {
        let metrics = self.world.mesh.metrics(interval);
        let mut groups = BTreeMap::new();
        for (side, metrics) in metrics {
            let selection = &self.settings.selection;
            let tells = |(metric, change): (&mesh::Metric, &Change)| {
                selection.admits(metric.name()) && !is_silent(change)
            };
            // A target that has nothing to tell takes no place of another's.
            if side == Side::Inbound || metrics.iter().any(tells) {
                merge(groups.entry(self.admitted(side)).or_default(), metrics);
            }
        }
        let groups = groups.into_iter().map(|(side, metrics)| self.mesh_group(&side, metrics, platform));
        groups.flatten().collect()
    }

    /// The side, or what stands for those beyond the cap.
    fn admitted(&mut self, side: Side) -> Side {
        match &side {
            Side::Target { node, service } => {
                let values = [node.as_str(), service.as_deref().unwrap_or_default()];
                let known = self.series.admit(values.into_iter());
                if known { side } else { Side::Target { node: OTHER.to_owned(), service: None } }
            }
            Side::Inbound => side,
        }
    }

    fn mesh_group(
        &self,
        side: &Side,
        metrics: BTreeMap<mesh::Metric, Change>,
        platform: &Platform,
    ) -> Option<Group> {
        let selected =
            metrics.into_iter().filter(|(metric, _)| self.settings.selection.admits(metric.name()));
        let metrics = selected.map(|(metric, change)| Metric {
            name: format!("{}{}", self.settings.prefix, metric.name()),
            unit: unit(metric.name(), &change),
            value: value(change),
        });
        let mut group = Group { metrics: metrics.collect(), ..Group::default() };
        self.mesh_sets(side, &mut group);
        self.service_connect_sets(side, platform, &mut group);
        self.container_sets(platform, &mut group);
        // Silence of a target is no news; silence of the node itself is.
        (!group.metrics.is_empty() && (*side == Side::Inbound || !group.is_silent())).then_some(group)
    }

    /// The node's own dimensions: of a mesh, or its cluster's name.
    fn own(&self) -> Vec<(&'static str, &str)> {
        match self.world.mesh.identity() {
            Some(Identity { mesh, kind, name }) => vec![("Mesh", mesh), (kind.dimension(), name)],
            None if self.world.node_cluster.is_empty() => Vec::new(),
            None => vec![("NodeCluster", &self.world.node_cluster)],
        }
    }

    fn mesh_sets(&self, side: &Side, group: &mut Group) {
        if !self.settings.dimensions.mesh {
            return;
        }
        let own = self.own();
        group.add(&own);
        if let Side::Target { node, service } = side {
            group.add(&[own.as_slice(), &[("TargetVirtualNode", node)]].concat());
            if let Some(service) = service {
                let target = [("TargetVirtualService", service.as_str()), ("TargetVirtualNode", node)];
                group.add(&[own.as_slice(), &target].concat());
            }
        }
    }

    fn service_connect_sets(&self, side: &Side, platform: &Platform, group: &mut Group) {
        let own = self.world.mesh.identity().map_or(self.world.node_cluster.as_str(), |own| &own.name);
        if !self.settings.dimensions.service_connect || own.is_empty() {
            return;
        }
        let name = match side {
            Side::Inbound => ("DiscoveryName", own),
            Side::Target { node, .. } => ("TargetDiscoveryName", node.as_str()),
        };
        group.add(&[name]);
        let service = [("ServiceName", &*platform.service_name), ("ClusterName", &*platform.cluster_name)];
        if service.iter().all(|(_, value)| !value.is_empty()) {
            group.add(&[&[name], service.as_slice()].concat());
        }
    }

    fn container_sets(&self, platform: &Platform, group: &mut Group) {
        if !self.settings.dimensions.container_insights || platform.cluster_name.is_empty() {
            return;
        }
        let cluster = ("ClusterName", platform.cluster_name.as_str());
        if !platform.task_family.is_empty() {
            group.add(&[cluster, ("TaskDefinitionFamily", &platform.task_family)]);
        } else if !platform.namespace.is_empty() {
            group.add(&[cluster, ("Namespace", &platform.namespace)]);
        }
    }

    /// Statistics of Envoy's names, grouped by their labels.
    fn statistics_groups(&mut self, interval: &Interval, platform: &Platform) -> Vec<Group> {
        let mut groups: BTreeMap<Vec<(String, String)>, BTreeMap<String, Change>> = BTreeMap::new();
        let config = self.world.stats_config.clone();
        for stat in interval.stats() {
            let full = interval.view().name(stat);
            let extracted = config.tags.extract(&full);
            let name = metric_name(&extracted.name);
            if !self.settings.selection.admits(&name)
                || !config.matcher.admits(&full)
                || !interval.view().is_used(stat)
            {
                continue;
            }
            let mut labels: Vec<_> = extracted
                .tags
                .iter()
                .map(|(tag, value)| (tag.replace('.', "_"), (*value).to_owned()))
                .collect();
            if !labels.is_empty() && !self.series.admit(labels.iter().map(|(_, value)| value.as_str())) {
                labels.iter_mut().for_each(|(_, value)| *value = OTHER.to_owned());
            }
            add(groups.entry(labels).or_default().entry(name), interval.change(stat));
        }
        groups.into_iter().map(|(labels, metrics)| self.statistics_group(labels, metrics, platform)).collect()
    }

    fn statistics_group(
        &self,
        labels: Vec<(String, String)>,
        metrics: BTreeMap<String, Change>,
        platform: &Platform,
    ) -> Group {
        let mut group = Group::default();
        let own = self.own().into_iter();
        let labels = labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        group.add(&own.chain(labels).collect::<Vec<_>>());
        self.container_sets(platform, &mut group);
        group.metrics = metrics
            .into_iter()
            .filter(|(_, change)| !matches!(change, Change::Histogram(values) if values.is_empty()))
            .map(|(name, change)| Metric { unit: unit(&name, &change), name, value: value(change) })
            .collect();
        group
    }
}

impl Group {
    /// Adds a dimension set with its values; an empty one is the set without dimensions.
    fn add(&mut self, set: &[(&str, &str)]) {
        for (name, value) in set {
            if !self.dimensions.iter().any(|(known, _)| known == name) {
                self.dimensions.push(((*name).to_owned(), (*value).to_owned()));
            }
        }
        self.sets.push(set.iter().map(|(name, _)| (*name).to_owned()).collect());
    }
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

fn is_silent(change: &Change) -> bool {
    match change {
        Change::Counter(value) | Change::Gauge(value) => *value == 0,
        Change::Histogram(values) => values.is_empty(),
    }
}

fn merge(into: &mut BTreeMap<mesh::Metric, Change>, metrics: BTreeMap<mesh::Metric, Change>) {
    metrics.into_iter().for_each(|(metric, change)| add(into.entry(metric), change));
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
    } else if is_histogram && (name.ends_with("_ms") || name.ends_with("time")) {
        "Milliseconds"
    } else if is_histogram && name.ends_with("_percent_used") {
        "Percent"
    } else {
        "Count"
    }
}
