//! Hosts: identities that outlive the assignments they come from.
//!
//! A host is the same host while its cluster lists its address and hostname; then a new weight, priority, locality
//! or health is a new `Host` that shares the live cells and the uid, so pools and counters stay. The one host of a
//! LOGICAL_DNS cluster is the same whatever its address, so a DNS answer never drains a connection.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::config::cluster::HostAddress;
use crate::config::live::{Health, HealthEpoch, HostLive, Shelf};
use crate::config::{Host, HostSet};
use crate::xds::translate::{Assignment, HostSpec};

/// Gives out host uids.
#[derive(Debug, Default)]
pub struct Identities {
    last: u64,
}

/// What the settings of a cluster mean for its hosts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rules {
    /// There is one host, whatever its address.
    pub(super) logical: bool,
    /// New hosts are unhealthy until a check passed.
    pub(super) checked: bool,
    /// And until then they count in no percentage.
    pub(super) ignored_until_checked: bool,
}

/// What makes a host the same; the address is left out for logical hosts.
type Key<'a> = (Option<&'a HostAddress>, &'a str);

impl Identities {
    /// The hosts of an assignment. `old` itself when nothing differs.
    pub(super) fn host_set(
        &mut self,
        assignment: Option<&Assignment>,
        old: Option<&Arc<HostSet>>,
        rules: Rules,
    ) -> Arc<HostSet> {
        let logical = rules.logical;
        let specs = assignment.map_or(&[][..], |assignment| &assignment.hosts);
        let localities = assignment.map_or(&[][..], |assignment| &assignment.localities);
        let known: HashMap<Key<'_>, &Arc<Host>> = old
            .iter()
            .flat_map(|set| &set.hosts)
            .map(|host| (key(&host.address, &host.hostname, logical), host))
            .collect();
        let mut seen = HashSet::with_capacity(specs.len());
        let policy = assignment.map(|assignment| assignment.policy.clone()).unwrap_or_default();
        let epoch = old.map(|set| set.epoch.clone()).unwrap_or_default();
        let fresh = specs.iter().filter(|spec| seen.insert(key(&spec.address, &spec.hostname, logical)));
        let hosts: Vec<Arc<Host>> = fresh
            .map(|spec| {
                let known = known.get(&key(&spec.address, &spec.hostname, logical));
                self.host(spec, known.copied(), &epoch, rules)
            })
            .collect();
        match old {
            // Every host as it was and none gone: an assignment in another order is no change.
            Some(old)
                if hosts.len() == old.hosts.len()
                    && old.localities == localities
                    && old.policy == policy
                    && kept(&known, &hosts, logical) =>
            {
                old.clone()
            }
            _ => {
                let localities = localities.to_vec();
                Arc::new(HostSet { hosts, localities, policy, tables: Shelf::default(), epoch })
            }
        }
    }

    fn host(
        &mut self,
        spec: &HostSpec,
        known: Option<&Arc<Host>>,
        epoch: &Arc<HealthEpoch>,
        rules: Rules,
    ) -> Arc<Host> {
        if let Some(host) = known
            && is_as_told(host, spec)
        {
            return host.clone();
        }
        let (uid, live) = match known {
            Some(host) => (host.uid, host.live.clone()),
            None => (self.next(), Arc::new(unchecked(spec, epoch, rules))),
        };
        Arc::new(Host {
            uid,
            address: spec.address.clone(),
            display: display(&spec.address),
            hostname: spec.hostname.clone(),
            weight: spec.weight,
            priority: spec.priority,
            locality: spec.locality,
            health: spec.health,
            metadata: spec.metadata.clone(),
            labels: spec.labels.clone(),
            check: spec.check.clone(),
            live,
        })
    }

    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

/// Cells of a new host. Under active checks it starts as failed.
fn unchecked(spec: &HostSpec, epoch: &Arc<HealthEpoch>, rules: Rules) -> HostLive {
    let live = HostLive::new(epoch);
    if rules.checked && spec.check.as_ref().is_none_or(|check| !check.disabled) {
        let ignored = if rules.ignored_until_checked { Health::IGNORED_UNTIL_FIRST_HC } else { 0 };
        live.health.set(Health::FAILED_ACTIVE_HC | Health::PENDING_ACTIVE_HC | ignored);
    }
    live
}

fn key<'a>(address: &'a HostAddress, hostname: &'a str, logical: bool) -> Key<'a> {
    ((!logical).then_some(address), hostname)
}

fn is_as_told(host: &Host, spec: &HostSpec) -> bool {
    let told = (spec.weight, spec.priority, spec.locality, spec.health);
    let as_told = (host.weight, host.priority, host.locality, host.health) == told;
    let marked = host.metadata == spec.metadata && host.labels == spec.labels;
    as_told && marked && host.address == spec.address && host.check == spec.check
}

fn kept(known: &HashMap<Key<'_>, &Arc<Host>>, hosts: &[Arc<Host>], logical: bool) -> bool {
    let as_it_was = |host: &Arc<Host>| {
        known.get(&key(&host.address, &host.hostname, logical)).is_some_and(|old| Arc::ptr_eq(old, host))
    };
    hosts.iter().all(as_it_was)
}

fn display(address: &HostAddress) -> Box<str> {
    match address {
        HostAddress::Ip(address) => address.to_string().into(),
        HostAddress::Pipe(path) => path.display().to_string().into(),
    }
}

/// Whether hosts came or went.
pub(super) fn membership_differs(old: &HostSet, new: &HostSet) -> bool {
    let uids = |set: &HostSet| set.hosts.iter().map(|host| host.uid).collect::<HashSet<_>>();
    old.hosts.len() != new.hosts.len() || uids(old) != uids(new)
}
