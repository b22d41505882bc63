//! Which statistics are inbound and which are a target's, as the snapshot in effect says.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::{Identity, Metric, Metrics, Side};
use crate::config::listener::{Direction, FilterChain, Listener, NetworkFilter, RouteSource};
use crate::config::route::RouteAction;
use crate::config::service::is_own_cluster;
use crate::config::{RouteTable, Snapshot};
use crate::stats::scope::sanitize;

/// Sides by prefix of statistics' names.
#[derive(Clone, Debug, Default)]
pub struct Roles {
    /// Prefixes with their last dot.
    prefixes: HashMap<String, Role>,
    /// The virtual services that lead to targets, by the targets' prefixes.
    services: HashMap<String, BTreeSet<Box<str>>>,
}

#[derive(Clone, Debug)]
enum Role {
    /// Connections to this node.
    Listener,
    /// Requests and bytes to this node.
    Manager { grpc: bool },
    /// A cluster that is not the local application.
    Target(Side),
}

impl Roles {
    /// The roles in `snapshot`.
    pub fn new(snapshot: &Snapshot, identity: Option<&Identity>) -> Self {
        let mut found = Finder { snapshot, identity, prefixes: HashMap::new(), services: BTreeMap::new() };
        let listeners = snapshot.listeners.iter().flatten();
        listeners.for_each(|slot| found.listener(&slot.config));
        found.finish()
    }

    /// The side and the metrics that the statistic called `name` belongs to.
    pub(super) fn find(&self, name: &str) -> Option<(&Side, &'static [Metric])> {
        name.match_indices('.').find_map(|(dot, _)| {
            let (prefix, below) = name.split_at(dot + 1);
            let (side, metrics) = match self.prefixes.get(prefix)? {
                Role::Target(side) => (side, Metric::of_target(below)),
                Role::Manager { grpc } => {
                    // Connections are the listener's to count.
                    let mine = below.starts_with("downstream_rq") || below.contains("bytes");
                    (&Side::Inbound, if mine { Metric::of_inbound(below, *grpc) } else { &[] })
                }
                Role::Listener => (&Side::Inbound, Metric::of_inbound(below, false)),
            };
            (!metrics.is_empty()).then_some((side, metrics))
        })
    }

    /// The target that the statistics below this prefix are of.
    pub(super) fn target(&self, prefix: &str) -> Option<&Side> {
        match self.prefixes.get(prefix)? {
            Role::Target(side) => Some(side),
            Role::Listener | Role::Manager { .. } => None,
        }
    }

    /// Whether a route of `service` leads to the target whose statistics are below this prefix.
    pub(super) fn leads(&self, service: &str, prefix: &str) -> bool {
        self.services.get(prefix).is_some_and(|services| services.contains(service))
    }

    /// All that is sent even when it is zero.
    pub(super) fn empty() -> Metrics {
        const INBOUND: [Metric; 4] = [
            Metric::ActiveConnectionCount,
            Metric::NewConnectionCount,
            Metric::ProcessedBytes,
            Metric::RequestCount,
        ];
        let zeros = INBOUND.into_iter().map(|metric| (metric, metric.zero())).collect();
        [(Side::Inbound, zeros)].into()
    }
}

struct Finder<'s> {
    snapshot: &'s Snapshot,
    identity: Option<&'s Identity>,
    prefixes: HashMap<String, Role>,
    /// The virtual services behind which each cluster was found.
    services: BTreeMap<Box<str>, BTreeSet<Box<str>>>,
}

impl Finder<'_> {
    fn listener(&mut self, listener: &Listener) {
        let inbound = listener.direction != Direction::Outbound;
        if inbound {
            self.prefixes.insert(listener.stats_prefix.to_string(), Role::Listener);
        }
        for chain in listener.chains.iter().chain(&listener.default_chain) {
            self.chain(chain, inbound);
        }
    }

    fn chain(&mut self, chain: &Arc<FilterChain>, inbound: bool) {
        match &chain.filter {
            NetworkFilter::Tcp(settings) if inbound => {
                let prefix = format!("tcp.{}.", sanitize(&settings.stat_prefix));
                self.prefixes.insert(prefix, Role::Manager { grpc: false });
            }
            NetworkFilter::Http(settings) => {
                let table = match &settings.routes {
                    RouteSource::Rds(id) => self.snapshot.route_table(*id),
                    RouteSource::Inline(table) => Some(table),
                };
                if inbound {
                    let grpc = settings.stat_prefix.starts_with("ingress.grpc.")
                        || table.is_some_and(|table| table.name.starts_with("rds_ingress_grpc_"));
                    let prefix = format!("http.{}.", sanitize(&settings.stat_prefix));
                    self.prefixes.insert(prefix, Role::Manager { grpc });
                } else if let Some(table) = table.cloned() {
                    self.table(&table);
                }
            }
            NetworkFilter::Tcp(_) => {}
        }
    }

    fn table(&mut self, table: &RouteTable) {
        let routes = table.virtual_hosts.iter().flat_map(|host| &host.routes);
        let forwards = routes.filter_map(|route| match &route.action {
            RouteAction::Forward(forward) => Some(forward),
            _ => None,
        });
        for forward in forwards {
            for slot in forward.clusters.named().into_iter().filter_map(|id| self.snapshot.cluster(id)) {
                let services = self.services.entry(slot.config.name.clone()).or_default();
                services.insert(forward.service.name.clone());
            }
        }
    }

    fn finish(mut self) -> Roles {
        let mut leading = HashMap::new();
        for slot in self.snapshot.clusters.iter().flatten() {
            let name = &slot.config.name;
            if is_own_cluster(name) {
                continue;
            }
            let prefix = format!("cluster.{}.", sanitize(name));
            let services = self.services.get(name);
            let only = services.filter(|services| services.len() == 1).and_then(BTreeSet::first);
            let side = Side::Target {
                node: target_node(name, self.identity),
                service: only.filter(|name| !name.is_empty()).map(|name| name.to_string()),
            };
            if let Some(services) = self.services.remove(name) {
                leading.insert(prefix.clone(), services);
            }
            self.prefixes.insert(prefix, Role::Target(side));
        }
        Roles { prefixes: self.prefixes, services: leading }
    }
}

/// `cds_egress_<mesh>_<node>_<protocol>_<port>` is the node; any other name is itself.
fn target_node(cluster: &str, identity: Option<&Identity>) -> String {
    let Some(rest) = cluster.strip_prefix("cds_egress_") else { return cluster.to_owned() };
    let rest = match identity {
        Some(identity) => rest.strip_prefix(&*identity.mesh).and_then(|rest| rest.strip_prefix('_')),
        None => None,
    };
    let Some(rest) = rest else { return cluster.to_owned() };
    let mut parts = rest.rsplitn(3, '_');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(port), Some("http" | "http2" | "grpc" | "tcp"), Some(node)) if port.parse::<u16>().is_ok() => {
            node.to_owned()
        }
        _ => rest.to_owned(),
    }
}
