//! Compiled clusters and their hosts.
//! Source: `envoy.config.cluster.v3.Cluster`, `ClusterLoadAssignment`, `HttpProtocolOptions`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::balance::Balancing;
use super::health::{HealthCheck, HostCheck};
use super::listener::{HeaderCase, Http2Settings};
use super::live::{Breakers, Health, HealthEpoch, HostLive, Priority, Shelf};
use super::metadata::{BALANCING, Namespaces};
use super::outlier::Outlier;
use super::retry::RetryPolicy;
use super::secret::ClientTls;
use super::subset::Metadata;
use crate::base::ids::ClusterId;
use crate::stats::registry::Shard;
use crate::stats::scope::{ClusterStats, RemainingStats, ServiceStats, TrackedStats};

/// A cluster in a snapshot: settings and the hosts it has now.
#[derive(Debug)]
pub struct ClusterSlot {
    /// Settings; the same pointer while the resource is unchanged.
    pub config: Arc<Cluster>,
    /// Hosts; the same pointer while membership, weights and health as told by discovery are unchanged.
    pub hosts: Arc<HostSet>,
}

/// Settings of one cluster.
#[derive(Debug)]
pub struct Cluster {
    /// xDS resource name.
    pub name: Box<str>,
    /// How hosts are found.
    pub discovery: Discovery,
    /// Load balancing.
    pub balancing: Arc<Balancing>,
    /// TCP connect plus TLS handshake.
    pub connect_timeout: Duration,
    /// Protocol towards the hosts.
    pub protocol: UpstreamProtocol,
    /// HTTP/1 header case.
    pub header_case: HeaderCase,
    /// Forward trailers on HTTP/1.
    pub http1_trailers: bool,
    /// HTTP/2 settings.
    pub http2: Http2Settings,
    /// Idle connections close after this; zero is off.
    pub idle_timeout: Duration,
    /// Longest life of a connection; zero is off.
    pub max_connection_duration: Duration,
    /// Longest life of a request to a host; zero is off.
    pub max_stream_duration: Duration,
    /// Retries, instead of the route's.
    pub retry: Option<Arc<RetryPolicy>>,
    /// Requests per connection; zero is no limit.
    pub max_requests_per_connection: u32,
    /// Response head limit, bytes.
    pub max_head_bytes: usize,
    /// Response field count limit.
    pub max_fields: usize,
    /// Most bytes that wait in a connection (`per_connection_buffer_limit_bytes`).
    pub buffer_limit: usize,
    /// TLS origination; `None` is plaintext.
    pub tls: Option<Arc<ClientTls>>,
    /// TCP keepalive.
    pub keepalive: Option<Keepalive>,
    /// Close connections to a host that left the set.
    pub close_connections_on_host_set_change: bool,
    /// Active health check of the hosts.
    pub health_check: Option<HealthCheck>,
    /// Hosts count in no percentage until they were checked.
    pub ignore_new_hosts_until_first_hc: bool,
    /// Outlier detection, when there is any.
    pub outlier: Option<Arc<Outlier>>,
    /// Circuit breakers: default priority, high priority.
    pub breakers: [Arc<Breakers>; 2],
    /// Gauges of what the circuit breakers leave, where they are wanted (`track_remaining`).
    pub remaining: [Option<RemainingStats>; 2],
    /// `alt_stat_name`: what logs call it instead.
    pub alias: Option<Box<str>>,
    /// Metadata, for logs.
    pub metadata: Option<Arc<Namespaces>>,
    /// Handles of `cluster.<name>.*`.
    pub stats: ClusterStats,
    /// What requests count in that come by no service's route, where somebody asks for services: copies, questions of
    /// filters, those of an aggregate's members, those whose header names the cluster.
    pub of_no_service: Option<ServiceStats>,
    /// Of those that it asks for.
    pub tracked: Option<Box<TrackedStats>>,
}

impl Cluster {
    /// Counts one response, by service as well where that is asked for; `service` is what requests to this cluster
    /// count in by their route.
    #[inline]
    pub fn count_response(&self, shard: &Shard, status: u16, internal: bool, service: Option<&ServiceStats>) {
        self.stats.count_response(shard, status, internal);
        if let Some(service) = service.or(self.of_no_service.as_ref()) {
            shard.status(service.upstream_rq, status);
        }
    }

    /// Records the time of one complete response, in ms, by service as well.
    #[inline]
    pub fn record_time(&self, shard: &Shard, took: u64, internal: bool, service: Option<&ServiceStats>) {
        self.stats.record_time(shard, took, internal);
        if let Some(service) = service.or(self.of_no_service.as_ref()) {
            shard.record(service.upstream_rq_time, took);
        }
    }

    /// The circuit breakers that requests of this priority count against.
    #[inline]
    pub fn breakers(&self, priority: Priority) -> &Breakers {
        self.shared_breakers(priority)
    }

    /// The same, to be held on to.
    #[inline]
    pub fn shared_breakers(&self, priority: Priority) -> &Arc<Breakers> {
        let [default, high] = &self.breakers;
        match priority {
            Priority::Default => default,
            Priority::High => high,
        }
    }
}

/// Where hosts come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// Written in the cluster.
    Static,
    /// Every address of each name is a host.
    StrictDns(DnsSettings),
    /// One logical host at the first address.
    LogicalDns(DnsSettings),
    /// EDS resource of this name.
    Eds {
        /// `service_name`, else the cluster's name.
        service_name: Box<str>,
    },
    /// The hosts of these clusters, in their order.
    Aggregate(Vec<ClusterId>),
    /// The connection's original destination.
    OriginalDst {
        /// Take the destination from this header (lower case) instead.
        header: Option<Box<str>>,
        /// Use this port instead of the original one.
        port_override: Option<u16>,
        /// Idle hosts are forgotten after this.
        cleanup_interval: Duration,
    },
}

/// DNS cluster settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsSettings {
    /// Names to resolve.
    pub names: Vec<DnsName>,
    /// How their addresses share load.
    pub policy: AssignmentPolicy,
    /// Between refreshes.
    pub refresh: Duration,
    /// After the first failure; jittered, and growing with every further one.
    pub failure_refresh: Duration,
    /// Longest time between attempts after failures.
    pub failure_refresh_max: Duration,
    /// Use the records' TTL instead of `refresh`.
    pub respect_ttl: bool,
    /// Address families.
    pub family: LookupFamily,
}

/// One configured name of a DNS cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsName {
    /// Name to resolve, or an IP address; a trailing dot makes it absolute.
    pub hostname: Box<str>,
    /// [`Host::hostname`] of every address: what host rewrites send.
    pub authority: Box<str>,
    /// Port of every address.
    pub port: u16,
    /// Weight of every address.
    pub weight: u32,
    /// Priority of every address.
    pub priority: u32,
    /// Where every address is.
    pub locality: Locality,
    /// `envoy.lb` metadata of every address.
    pub metadata: Option<Arc<Metadata>>,
    /// Other metadata of every address, for logs.
    pub labels: Option<Arc<Namespaces>>,
    /// How every address is checked, when it says so.
    pub check: Option<Arc<HostCheck>>,
}

/// `dns_lookup_family`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupFamily {
    /// v6, else v4.
    Auto,
    /// v4, else v6.
    V4Preferred,
    /// Only v4.
    V4Only,
    /// Only v6.
    V6Only,
    /// Both.
    All,
}

/// Protocol towards a cluster's hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2: prior knowledge on plaintext, ALPN on TLS.
    Http2,
    /// What ALPN says; needs TLS.
    Auto,
    /// What the downstream spoke.
    Downstream,
}

/// TCP keepalive of upstream connections; `None` inside is the kernel's default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Unanswered probes before the connection is dead.
    pub probes: Option<u32>,
    /// Idle time before the first probe.
    pub time: Option<Duration>,
    /// Between probes.
    pub interval: Option<Duration>,
}

/// Where a host listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostAddress {
    /// TCP.
    Ip(SocketAddr),
    /// Unix stream socket.
    Pipe(PathBuf),
}

/// Health of a host as discovery tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiscoveryHealth {
    /// UNKNOWN or HEALTHY.
    Healthy,
    /// DEGRADED.
    Degraded,
    /// UNHEALTHY or TIMEOUT.
    Unhealthy,
    /// DRAINING: like unhealthy, but it is on its way out and counts in no percentage.
    Draining,
}

impl DiscoveryHealth {
    /// Not to be used outside panic.
    fn is_bad(self) -> bool {
        matches!(self, Self::Unhealthy | Self::Draining)
    }
}

/// One host of a cluster.
#[derive(Debug)]
pub struct Host {
    /// Unique in the process, never reused: keys pools across snapshots.
    pub uid: u64,
    /// Address.
    pub address: HostAddress,
    /// `addr:port` for logs and stats, formatted once.
    pub display: Box<str>,
    /// DNS name or endpoint hostname; empty when there is none.
    pub hostname: Box<str>,
    /// At least 1.
    pub weight: u32,
    /// 0 is highest.
    pub priority: u32,
    /// Index into [`HostSet::localities`].
    pub locality: u32,
    /// As told by discovery.
    pub health: DiscoveryHealth,
    /// `envoy.lb` metadata, when there is any.
    pub metadata: Option<Arc<Metadata>>,
    /// Its other metadata, for logs.
    pub labels: Option<Arc<Namespaces>>,
    /// How it is checked, when discovery says so.
    pub check: Option<Arc<HostCheck>>,
    /// Counters and health bits that survive updates.
    pub live: Arc<HostLive>,
}

/// How far a host may be used: what discovery and this process' own findings come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoarseHealth {
    /// Like any other.
    Healthy,
    /// When there are not enough healthy ones.
    Degraded,
    /// In panic only.
    Unhealthy,
}

impl Host {
    /// A host like any other, of which nothing more is told than its address.
    pub fn at(uid: u64, address: SocketAddr) -> Self {
        Self {
            uid,
            address: HostAddress::Ip(address),
            display: address.to_string().into(),
            hostname: "".into(),
            weight: 1,
            priority: 0,
            locality: 0,
            health: DiscoveryHealth::Healthy,
            metadata: None,
            labels: None,
            check: None,
            live: Arc::default(),
        }
    }

    /// Names of the namespaces of its metadata, sorted.
    pub fn namespaces(&self) -> Vec<&str> {
        let labels = self.labels.iter().flat_map(|labels| labels.names());
        let mut names: Vec<_> = labels.chain(self.metadata.is_some().then_some(BALANCING)).collect();
        names.sort_unstable();
        names
    }

    /// One namespace of its metadata.
    pub fn namespace(&self, name: &str) -> Option<&Metadata> {
        if name == BALANCING {
            return self.metadata.as_deref();
        }
        self.labels.as_ref()?.get(name)
    }

    /// Unhealthy when anyone says so, else degraded when anyone says so. Source: `HostImpl::coarseHealth`.
    pub fn coarse_health(&self) -> CoarseHealth {
        let flags = self.live.health.flags();
        if self.health.is_bad() || flags & Health::FAILED != 0 {
            CoarseHealth::Unhealthy
        } else if self.health == DiscoveryHealth::Degraded || flags & Health::DEGRADED != 0 {
            CoarseHealth::Degraded
        } else {
            CoarseHealth::Healthy
        }
    }

    /// Whether it is left out of the number that availability is a share of.
    pub fn is_excluded(&self) -> bool {
        self.live.health.has(Health::EXCLUDED) || self.health == DiscoveryHealth::Draining
    }
}

/// Region, zone and sub-zone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Locality {
    /// Region.
    pub region: Box<str>,
    /// Zone.
    pub zone: Box<str>,
    /// Sub-zone.
    pub sub_zone: Box<str>,
}

/// What an assignment says about sharing load. Source: `ClusterLoadAssignment.Policy`, `LocalityLbEndpoints`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssignmentPolicy {
    /// Percent of its share of healthy hosts for which a priority or a locality counts as available.
    pub overprovisioning: u32,
    /// Availability is by the weight of hosts, not by their number.
    pub weighted_health: bool,
    /// Of localities that have a weight, each once per priority.
    pub locality_weights: Vec<LocalityWeight>,
}

impl Default for AssignmentPolicy {
    /// Envoy's defaults.
    fn default() -> Self {
        Self { overprovisioning: 140, weighted_health: false, locality_weights: Vec::new() }
    }
}

impl AssignmentPolicy {
    /// The weight of a locality within a priority; 0 when it has none.
    pub fn locality_weight(&self, priority: u32, locality: u32) -> u32 {
        let is_it = |entry: &&LocalityWeight| entry.priority == priority && entry.locality == locality;
        self.locality_weights.iter().find(is_it).map_or(0, |entry| entry.weight)
    }
}

/// The weight of one locality within one priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalityWeight {
    /// Priority.
    pub priority: u32,
    /// Index into the localities.
    pub locality: u32,
    /// At least 1.
    pub weight: u32,
}

/// All hosts of a cluster at one moment.
#[derive(Debug, Default)]
pub struct HostSet {
    /// Hosts in discovery order.
    pub hosts: Vec<Arc<Host>>,
    /// Localities hosts refer to.
    pub localities: Vec<Locality>,
    /// How they share load.
    pub policy: AssignmentPolicy,
    /// Tables that balancers of all workers pick from.
    pub tables: Shelf,
    /// Counts changes of the hosts' health flags; the same for all sets of a cluster.
    pub epoch: Arc<HealthEpoch>,
}

impl HostSet {
    /// Hosts of this health now.
    pub fn count(&self, health: CoarseHealth) -> usize {
        self.hosts.iter().filter(|host| host.coarse_health() == health).count()
    }

    /// Hosts that are excluded now, see [`Host::is_excluded`].
    pub fn excluded(&self) -> usize {
        self.hosts.iter().filter(|host| host.is_excluded()).count()
    }
}
