//! Statistics of Envoy's names, as `/stats/prometheus` calls them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::document::{Group, Metric};
use super::super::series::OTHER;
use super::super::sets::Sets;
use super::{Gatherer, add, unit, value};
use crate::observe::platform::Platform;
use crate::observe::prometheus::metric_name;
use crate::stats::interval::{Change, Interval};

/// Statistics by the tags of their names.
type ByLabels = BTreeMap<Vec<(String, String)>, BTreeMap<String, Change>>;

impl Gatherer {
    /// Statistics of Envoy's names, grouped by their labels.
    pub(super) fn statistics_groups(
        &mut self,
        interval: &Interval,
        platform: &Platform,
        now: Duration,
    ) -> Vec<Group> {
        let mut found = ByLabels::new();
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
            let labels =
                extracted.tags.iter().map(|(tag, value)| (tag.replace('.', "_"), (*value).to_owned()));
            add(found.entry(labels.collect()).or_default().entry(name), interval.change(stat));
        }
        let groups = self.placed(found, now);
        let sets = self.sets(platform);
        groups.into_iter().map(|(labels, metrics)| statistics_group(&labels, metrics, &sets)).collect()
    }

    /// Those without a place are one, and the silent among them nothing. Who tells something comes first.
    fn placed(&mut self, found: ByLabels, now: Duration) -> ByLabels {
        let mut groups = ByLabels::new();
        let (silent, telling): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|(_, metrics)| metrics.values().all(Change::is_silent));
        for (mut labels, metrics) in telling {
            if !labels.is_empty() && !self.labels.admit(values(&labels), now) {
                labels.iter_mut().for_each(|(_, value)| *value = OTHER.to_owned());
            }
            let group = groups.entry(labels).or_default();
            metrics.into_iter().for_each(|(name, change)| add(group.entry(name), change));
        }
        for (labels, metrics) in silent {
            if labels.is_empty() || self.labels.lodge(values(&labels)) {
                groups.insert(labels, metrics);
            }
        }
        groups
    }
}

fn values(labels: &[(String, String)]) -> impl Iterator<Item = &str> {
    labels.iter().map(|(_, value)| value.as_str())
}

fn statistics_group(
    labels: &[(String, String)],
    metrics: BTreeMap<String, Change>,
    sets: &Sets<'_>,
) -> Group {
    let mut group = Group::default();
    sets.of_labels(labels, &mut group);
    sets.of_container(&mut group);
    group.metrics = metrics
        .into_iter()
        .filter(|(_, change)| !matches!(change, Change::Histogram(values) if values.is_empty()))
        .map(|(name, change)| Metric { unit: unit(&name, &change), name, value: value(change) })
        .collect();
    group
}
