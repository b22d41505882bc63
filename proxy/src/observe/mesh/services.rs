//! What requests to targets did, told apart by the virtual service that they were for.
//!
//! A cluster's own statistics know no service, and several may lead to one cluster. Where requests are counted by
//! service and cluster ([`ServiceStats`]), that is told and not what the cluster's own statistics say. Connections,
//! which services share, remain the target's.

use std::collections::{BTreeMap, HashMap};

use super::roles::Roles;
use super::{Metric, Metrics, Side};
use crate::stats::interval::{Change, Interval};
use crate::stats::scope::ServiceStats;

/// What requests did, by the prefix of their cluster's statistics and by service; those without traffic are here, too.
#[derive(Debug, Default)]
pub struct Services {
    clusters: HashMap<String, BTreeMap<String, BTreeMap<Metric, Change>>>,
}

impl Services {
    /// What is counted by service in `interval`. Of a service that no outbound route to the cluster is of, such as
    /// the virtual host of a listener that takes requests for the node itself, nothing is known but the target.
    pub fn of(interval: &Interval, roles: &Roles, before: &Roles) -> Self {
        let (mut found, mut name) = (Self::default(), String::new());
        for stat in interval.unlisted() {
            name.clear();
            interval.view().write_name(stat, &mut name);
            let Some((cluster, service, below)) = ServiceStats::parts(&name) else { continue };
            let prefix = format!("cluster.{cluster}.");
            let is_known = roles.leads(service, &prefix) || before.leads(service, &prefix);
            let services = found.clusters.entry(prefix).or_default();
            let change = interval.change(stat);
            if change.is_silent() {
                continue;
            }
            let metrics =
                services.entry(if is_known { service.to_owned() } else { String::new() }).or_default();
            for metric in Metric::of_target(below) {
                metrics.entry(*metric).or_insert_with(|| metric.zero()).add(&change);
            }
        }
        found
    }

    /// Whether `metric` of the statistic called `name` is told by service.
    pub fn tell(&self, name: &str, metric: Metric) -> bool {
        metric.is_of_requests()
            && !self.clusters.is_empty()
            && name.match_indices('.').any(|(dot, _)| self.clusters.contains_key(&name[..=dot]))
    }

    /// Adds what is told by service.
    pub fn add_to(self, metrics: &mut Metrics, roles: &Roles, before: &Roles) {
        for (prefix, services) in self.clusters {
            let side = roles.target(&prefix).or_else(|| before.target(&prefix));
            let Some(Side::Target { node, .. }) = side else { continue };
            for (service, changes) in services {
                let service = (!service.is_empty()).then_some(service);
                let group = metrics.entry(Side::Target { node: node.clone(), service }).or_default();
                for (metric, change) in changes {
                    group.entry(metric).or_insert_with(|| metric.zero()).add(&change);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
