//! Building blocks for tests of this folder: resources, sockets that are none, and a model control plane.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use outrigger_xds_protos::any::{self, Typed};
use outrigger_xds_protos::json;
use outrigger_xds_protos::v3::cluster::Cluster;
use outrigger_xds_protos::v3::endpoint::ClusterLoadAssignment;
use outrigger_xds_protos::v3::listener::Listener;
use outrigger_xds_protos::v3::route::RouteConfiguration;
use outrigger_xds_protos::v3::wkt::Any;

use super::resource::ResourceType;
use super::store::Now;
use crate::config::Snapshot;
use crate::config::live::ListenerSockets;
use crate::config::outside::Ports;

pub(super) mod ads;
pub(super) mod rig;
pub(super) mod server;

fn read<M: Typed>(text: &str) -> Any {
    any::pack(&json::from_text::<M>(text).unwrap())
}

/// An EDS cluster; `timeout` tells its versions apart.
pub(super) fn eds_cluster(name: &str, timeout: u32) -> Any {
    read::<Cluster>(&format!(
        "{{name: {name}, type: EDS, connect_timeout: {timeout}s, eds_cluster_config: {{eds_config: {{ads: {{}}}}}}}}"
    ))
}

/// The same with an active health check.
pub(super) fn checked_cluster(name: &str, timeout: u32) -> Any {
    read::<Cluster>(&format!(
        "{{name: {name}, type: EDS, connect_timeout: {timeout}s, eds_cluster_config: {{eds_config: {{ads: {{}}}}}},
          health_checks: [{{timeout: 1s, interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1,
            tcp_health_check: {{}}}}]}}"
    ))
}

/// A STATIC cluster with one host.
pub(super) fn static_cluster(name: &str, port: u16) -> Any {
    read::<Cluster>(&format!(
        "{{name: {name}, type: STATIC, load_assignment: {{cluster_name: {name}, endpoints: [{{lb_endpoints: [
            {{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}}}]}}]}}}}"
    ))
}

/// A STRICT_DNS or LOGICAL_DNS cluster.
pub(super) fn dns_cluster(name: &str, kind: &str, host: &str, timeout: u32) -> Any {
    read::<Cluster>(&format!(
        "{{name: {name}, type: {kind}, connect_timeout: {timeout}s, load_assignment: {{cluster_name: {name},
          endpoints: [{{lb_endpoints: [
            {{endpoint: {{address: {{socket_address: {{address: {host}, port_value: 80}}}}}}}}]}}]}}}}"
    ))
}

/// A cluster that is refused for its load-balancing policy.
pub(super) fn bad_cluster(name: &str) -> Any {
    read::<Cluster>(&format!(
        "{{name: {name}, type: STATIC, lb_policy: CLUSTER_PROVIDED, preconnect_policy: {{}}}}"
    ))
}

/// An assignment of `(port, weight)` on 10.0.0.1.
pub(super) fn assignment(name: &str, hosts: &[(u16, u32)]) -> Any {
    let host = |(port, weight): &(u16, u32)| {
        format!(
            "{{load_balancing_weight: {weight}, endpoint: {{address: {{socket_address:
               {{address: 10.0.0.1, port_value: {port}}}}}}}}}"
        )
    };
    let hosts: Vec<String> = hosts.iter().map(host).collect();
    read::<ClusterLoadAssignment>(&format!(
        "{{cluster_name: {name}, endpoints: [{{lb_endpoints: [{}]}}]}}",
        hosts.join(", ")
    ))
}

fn manager(routes: &str) -> String {
    format!(
        "{{name: hcm, typed_config: {{
           '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,
           stat_prefix: in, {routes},
           http_filters: [{{name: router, typed_config:
             {{'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}}]}}}}"
    )
}

fn listener(name: &str, port: u16, routes: &str) -> Any {
    let manager = manager(routes);
    read::<Listener>(&format!(
        "{{name: {name}, address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}},
          filter_chains: [{{filters: [{manager}]}}]}}"
    ))
}

/// A listener that takes its routes over RDS.
pub(super) fn rds_listener(name: &str, port: u16, routes: &str) -> Any {
    listener(name, port, &format!("rds: {{route_config_name: {routes}, config_source: {{ads: {{}}}}}}"))
}

/// A listener with its own routes, to `cluster`.
pub(super) fn inline_listener(name: &str, port: u16, cluster: &str) -> Any {
    listener(name, port, &format!("route_config: {}", table("inline", cluster)))
}

fn table(name: &str, cluster: &str) -> String {
    format!(
        "{{name: {name}, validate_clusters: false, virtual_hosts: [{{name: all, domains: ['*'], routes: [
           {{match: {{prefix: /}}, route: {{cluster: {cluster}}}}}]}}]}}"
    )
}

/// A route table that sends everything to `cluster`.
pub(super) fn routes(name: &str, cluster: &str) -> Any {
    read::<RouteConfiguration>(&table(name, cluster))
}

/// The moment, `millis` after a fixed start.
#[derive(Clone, Copy)]
pub(super) struct Clock(Instant, u64);

impl Clock {
    pub(super) fn new() -> Self {
        Self(Instant::now(), 0)
    }

    pub(super) fn advance(&mut self, step: Duration) {
        self.1 += step.as_millis() as u64;
    }

    pub(super) fn now(&self) -> Now {
        let since = Duration::from_millis(self.1);
        Now { instant: self.0 + since, wall: SystemTime::UNIX_EPOCH + since }
    }
}

/// Sockets that exist on paper only.
#[derive(Clone, Default)]
pub(super) struct PaperPorts {
    /// Addresses that are taken by somebody else.
    pub(super) taken: Arc<Mutex<BTreeSet<String>>>,
    /// What was bound and what listened, in order.
    pub(super) log: Arc<Mutex<Vec<String>>>,
}

impl PaperPorts {
    pub(super) fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lock().unwrap())
    }
}

impl Ports for PaperPorts {
    fn bind(&self, listener: &crate::config::Listener) -> io::Result<ListenerSockets> {
        let address = listener.address.to_string();
        if self.taken.lock().unwrap().contains(&address) {
            return Err(io::Error::from_raw_os_error(98));
        }
        self.log.lock().unwrap().push(format!("bind {address}"));
        Ok(ListenerSockets { address: listener.address, sockets: Vec::new() })
    }

    fn listen(&self, sockets: &ListenerSockets, _backlog: u32) -> io::Result<()> {
        self.log.lock().unwrap().push(format!("listen {}", sockets.address));
        Ok(())
    }
}

/// What a snapshot says, in words: comparable across engines, whose ids and pointers differ.
pub(super) fn describe(snapshot: &Snapshot) -> BTreeMap<String, String> {
    let mut words = BTreeMap::new();
    for slot in snapshot.clusters.iter().flatten() {
        let mut hosts: Vec<String> =
            slot.hosts.hosts.iter().map(|host| format!("{}*{}", host.display, host.weight)).collect();
        hosts.sort();
        let text = format!("{:?} {}", slot.config.connect_timeout, hosts.join(" "));
        words.insert(format!("cluster {}", slot.config.name), text);
    }
    for slot in snapshot.listeners.iter().flatten() {
        words.insert(format!("listener {}", slot.config.name), slot.config.address.to_string());
    }
    let name_of = |id: crate::base::ids::ClusterId| {
        snapshot.cluster(id).map_or("nothing".to_owned(), |slot| slot.config.name.to_string())
    };
    for table in snapshot.route_tables.iter().flatten() {
        let mut targets = Vec::new();
        for route in table.virtual_hosts.iter().flat_map(|host| &host.routes) {
            if let crate::config::route::RouteAction::Forward(forward) = &route.action
                && let crate::config::route::ClusterChoice::One(id) = forward.clusters
            {
                targets.push(name_of(id));
            }
        }
        words.insert(format!("routes {}", table.name), targets.join(" "));
    }
    words
}

/// The resources of one node by type and name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct World(pub(super) BTreeMap<ResourceType, BTreeMap<String, Any>>);

impl World {
    pub(super) fn set(&mut self, kind: ResourceType, name: &str, resource: Any) {
        self.0.entry(kind).or_default().insert(name.to_owned(), resource);
    }

    pub(super) fn unset(&mut self, kind: ResourceType, name: &str) {
        self.0.entry(kind).or_default().remove(name);
    }

    pub(super) fn of(&self, kind: ResourceType) -> BTreeMap<String, Any> {
        self.0.get(&kind).cloned().unwrap_or_default()
    }
}
