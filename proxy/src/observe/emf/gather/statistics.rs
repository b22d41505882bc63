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

impl Gatherer {
    /// Statistics of Envoy's names, grouped by their labels.
    pub(super) fn statistics_groups(
        &mut self,
        interval: &Interval,
        platform: &Platform,
        now: Duration,
    ) -> Vec<Group> {
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
            if !labels.is_empty() && !self.labels.admit(labels.iter().map(|(_, value)| value.as_str()), now) {
                labels.iter_mut().for_each(|(_, value)| *value = OTHER.to_owned());
            }
            add(groups.entry(labels).or_default().entry(name), interval.change(stat));
        }
        let sets = self.sets(platform);
        groups.into_iter().map(|(labels, metrics)| statistics_group(&labels, metrics, &sets)).collect()
    }
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
