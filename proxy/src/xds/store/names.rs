//! DNS clusters: which names are being resolved for whom, and the hosts that came out.
//!
//! A resolution belongs to one cluster and one set of DNS settings, so a cluster that changes its circuit
//! breakers keeps its hosts, and one that changes its names keeps the old hosts until the new ones are known.
//! Source: Envoy STRICT_DNS and LOGICAL_DNS clusters.

use std::collections::HashSet;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use crate::config::cluster::{DiscoveryHealth, DnsName, DnsSettings, HostAddress, Locality};
use crate::config::outside::{QueryId, Resolution, ResolveCommand};
use crate::xds::translate::{Assignment, HostSpec};

/// What one resolution is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Cluster name.
    pub cluster: Arc<str>,
    /// One host at the first address instead of one per address.
    pub logical: bool,
    /// Names and intervals.
    pub settings: DnsSettings,
}

/// All resolutions.
#[derive(Debug, Default)]
pub struct Names {
    queries: BTreeMap<QueryId, Query>,
    by_cluster: HashMap<Arc<str>, Vec<QueryId>>,
    last_id: u64,
}

#[derive(Debug)]
struct Query {
    wanted: Wanted,
    hosts: Option<Arc<Assignment>>,
    trouble: Option<Trouble>,
}

/// The last lookup that brought nothing.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// The name and the resolver's reason.
    pub what: Arc<str>,
    /// When it was answered.
    pub at: Instant,
    /// Every name has resolved since.
    pub over: bool,
}

impl Names {
    /// Makes `wanted` the running resolutions; what to tell the resolver.
    pub fn want(&mut self, wanted: Vec<Wanted>) -> Vec<ResolveCommand> {
        let mut commands = Vec::new();
        let mut kept = HashSet::new();
        for one in wanted {
            let id = self.find(&one.cluster, one.logical, &one.settings).map(|(id, _)| *id);
            let id = id.unwrap_or_else(|| self.start(one, &mut commands));
            kept.insert(id);
        }
        let gone: Vec<QueryId> = self.queries.keys().filter(|id| !kept.contains(id)).copied().collect();
        for id in gone {
            self.stop(id);
            commands.push(ResolveCommand::Stop(id));
        }
        commands
    }

    fn start(&mut self, wanted: Wanted, commands: &mut Vec<ResolveCommand>) -> QueryId {
        self.last_id += 1;
        let id = QueryId(self.last_id);
        let (cluster, settings) = (wanted.cluster.clone(), wanted.settings.clone());
        self.by_cluster.entry(cluster.clone()).or_default().push(id);
        self.queries.insert(id, Query { wanted, hosts: None, trouble: None });
        commands.push(ResolveCommand::Start { id, cluster, settings });
        id
    }

    fn stop(&mut self, id: QueryId) {
        let Some(query) = self.queries.remove(&id) else { return };
        if let Some(ids) = self.by_cluster.get_mut(&query.wanted.cluster) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_cluster.remove(&query.wanted.cluster);
            }
        }
    }

    fn find(&self, cluster: &str, logical: bool, settings: &DnsSettings) -> Option<(&QueryId, &Query)> {
        let ids = self.by_cluster.get(cluster)?;
        let mut queries = ids.iter().filter_map(|id| self.queries.get_key_value(id));
        queries.find(|(_, query)| query.wanted.logical == logical && query.wanted.settings == *settings)
    }

    /// The hosts of a cluster with these settings: `None` before the first answer.
    pub fn hosts(&self, cluster: &str, logical: bool, settings: &DnsSettings) -> Option<&Arc<Assignment>> {
        self.find(cluster, logical, settings)?.1.hosts.as_ref()
    }

    /// What has gone wrong last, by cluster.
    pub fn troubles(&self) -> impl Iterator<Item = (&Arc<str>, &Trouble)> {
        self.queries.values().filter_map(|query| Some((&query.wanted.cluster, query.trouble.as_ref()?)))
    }

    /// Takes an answer; the cluster and whether its hosts changed. `None` for a resolution that was stopped.
    pub fn resolved(&mut self, answer: &Resolution) -> Option<(Arc<str>, bool)> {
        let query = self.queries.get_mut(&answer.id)?;
        match (&answer.problem, &mut query.trouble) {
            (Some(what), trouble) => {
                *trouble = Some(Trouble { what: what.clone(), at: Instant::now(), over: false });
            }
            (None, Some(trouble)) => trouble.over = true,
            (None, None) => {}
        }
        let hosts = assignment(&query.wanted, &answer.addresses);
        // The one host of a logical cluster stays until there is another: nothing resolved is no reason to drop it.
        let nothing_new = query.wanted.logical && hosts.hosts.is_empty() && query.hosts.is_some();
        let changed = !nothing_new && query.hosts.as_deref() != Some(&hosts);
        if changed {
            query.hosts = Some(Arc::new(hosts));
        }
        Some((query.wanted.cluster.clone(), changed))
    }
}

/// The hosts behind the answers. Strict ones are sorted, because servers rotate their answers and a rotation
/// is no change; the logical one is the first address, which is how rotation spreads load there.
fn assignment(wanted: &Wanted, addresses: &[Option<Vec<IpAddr>>]) -> Assignment {
    let mut seen = HashSet::new();
    let mut hosts = Vec::new();
    let mut localities: Vec<Locality> = Vec::new();
    for (name, found) in wanted.settings.names.iter().zip(addresses) {
        let mut found: Vec<IpAddr> = found.iter().flatten().copied().collect();
        if wanted.logical {
            found.truncate(1);
        } else {
            found.sort_unstable();
        }
        // In the order of the names: the policy's weights refer to it.
        let known = localities.iter().position(|known| *known == name.locality);
        let locality = known.unwrap_or_else(|| {
            localities.push(name.locality.clone());
            localities.len() - 1
        });
        let fresh = found.into_iter().filter(|ip| seen.insert((*ip, name.port)));
        hosts.extend(fresh.map(|ip| host(name, ip, locality as u32)));
    }
    let policy = wanted.settings.policy.clone();
    Assignment { name: wanted.cluster.to_string(), hosts, localities, policy }
}

fn host(name: &DnsName, ip: IpAddr, locality: u32) -> HostSpec {
    HostSpec {
        address: HostAddress::Ip(SocketAddr::new(ip, name.port)),
        hostname: name.authority.clone(),
        weight: name.weight,
        priority: name.priority,
        locality,
        health: DiscoveryHealth::Healthy,
        metadata: name.metadata.clone(),
        labels: name.labels.clone(),
        check: name.check.clone(),
    }
}
