//! Where the control plane is: a static cluster's hosts, an address, or a name that the resolver follows.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::{Ads, Driver, EVENTS};
use crate::config::cluster::{AssignmentPolicy, DnsName, DnsSettings, HostAddress, Locality, LookupFamily};
use crate::config::outside::{QueryId, Resolution, ResolveCommand};
use crate::config::{ClusterSlot, Snapshot};
use crate::xds::client::{Client, Reach, Service};
use crate::xds::settings::{AdsSettings, Target};

/// The resolution of the control plane's own name; clusters start at 1.
pub(super) const QUERY: QueryId = QueryId(0);

/// Envoy's `dns_refresh_rate`.
const REFRESH: Duration = Duration::from_secs(5);
/// Longest pause after failures.
const REFRESH_MAX: Duration = Duration::from_secs(30);

impl Ads {
    pub(super) fn new(settings: AdsSettings) -> Self {
        let target = settings.target.clone();
        let first = match &target {
            Target::Address(address) => vec![address.clone()],
            Target::Cluster(_) | Target::Name { .. } => Vec::new(),
        };
        let (reach, reached) = watch::channel(Reach { addresses: first, ..Reach::default() });
        let (sender, events) = mpsc::channel(EVENTS);
        let client = Client::new(Service::Aggregated, settings, reached, sender);
        Self { target, reach, events, requests: None, client: Some(client) }
    }
}

impl Driver {
    /// Starts to follow the control plane's name, when it is reached by one.
    pub(super) fn follow_target(&self) {
        let Some(Target::Name { host, port }) = self.ads.as_ref().map(|ads| &ads.target) else { return };
        let hostname: Box<str> = host.as_str().into();
        let name = DnsName {
            authority: hostname.clone(),
            hostname,
            port: *port,
            weight: 1,
            priority: 0,
            locality: Locality::default(),
            metadata: None,
            labels: None,
            check: None,
        };
        let settings = DnsSettings {
            names: vec![name],
            policy: AssignmentPolicy::default(),
            refresh: REFRESH,
            failure_refresh: REFRESH,
            failure_refresh_max: REFRESH_MAX,
            respect_ttl: false,
            family: LookupFamily::All,
        };
        let cluster: Arc<str> = "control plane".into();
        // Without a resolver the client goes on waiting for an address.
        let _ = self.resolve.send(ResolveCommand::Start { id: QUERY, cluster, settings });
    }

    /// Tells the client the addresses behind the control plane's name. A failed round changes nothing.
    pub(super) fn reach_name(&self, answer: &Resolution) {
        let Some(Ads { target: Target::Name { port, .. }, reach, .. }) = &self.ads else { return };
        let found = answer.addresses.iter().flatten().flatten();
        let addresses: Vec<_> = found.map(|ip| HostAddress::Ip((*ip, *port).into())).collect();
        if !addresses.is_empty() {
            update(reach, Reach { addresses, ..Reach::default() });
        }
    }

    /// Tells the client the hosts of the control plane's cluster.
    pub(super) fn reach_cluster(&self, snapshot: &Snapshot) {
        let Some(Ads { target: Target::Cluster(name), reach, .. }) = &self.ads else { return };
        let id = snapshot.cluster_names.get(name.as_str());
        if let Some(slot) = id.and_then(|id| snapshot.cluster(*id)) {
            update(reach, reach_of(slot));
        }
    }
}

pub(super) fn reach_of(slot: &ClusterSlot) -> Reach {
    let cluster = &slot.config;
    Reach {
        addresses: slot.hosts.hosts.iter().map(|host| host.address.clone()).collect(),
        tls: cluster.tls.clone(),
        connect_timeout: cluster.connect_timeout,
        ping: (cluster.http2.keepalive_interval, cluster.http2.keepalive_timeout),
    }
}

pub(super) fn update(reach: &watch::Sender<Reach>, next: Reach) {
    reach.send_if_modified(|current| {
        let same_tls = match (&current.tls, &next.tls) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        let changed = !same_tls
            || current.addresses != next.addresses
            || (current.connect_timeout, current.ping) != (next.connect_timeout, next.ping);
        if changed {
            *current = next;
        }
        changed
    });
}
