//! Load balancing of one cluster, compiled: the policy, and what decides before it.
//! Source: `Cluster.lb_policy` and its configurations, `envoy.extensions.load_balancing_policies.*`.

use std::sync::Arc;
use std::time::Duration;

use regex::bytes::Regex;

use super::subset::Subsets;
use crate::stats::scope::TableStats;

/// Envoy's default `healthy_panic_threshold`, percent.
pub const PANIC_THRESHOLD: u32 = 50;

/// How a cluster's requests are spread over its hosts.
#[derive(Clone, Debug)]
pub struct Balancing {
    /// Which host of a list.
    pub policy: LbPolicy,
    /// Share of healthy hosts (percent) below which all hosts are used; 0 never.
    pub panic_threshold: u32,
    /// Which zone.
    pub locality: LocalityRouting,
    /// How hosts that just became healthy are spared; for round robin and least request.
    pub slow_start: Option<SlowStart>,
    /// What the consistent-hashing policies share.
    pub hashing: Hashing,
    /// Which subset of the hosts, by metadata.
    pub subsets: Option<Arc<Subsets>>,
}

impl Balancing {
    /// A policy with Envoy's defaults around it.
    pub fn of(policy: LbPolicy) -> Self {
        Self {
            policy,
            panic_threshold: PANIC_THRESHOLD,
            locality: LocalityRouting::ZoneAware(ZoneAware::default()),
            slow_start: None,
            hashing: Hashing::default(),
            subsets: None,
        }
    }
}

/// Load-balancing policies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LbPolicy {
    /// Weighted round robin.
    RoundRobin,
    /// Fewest active requests.
    LeastRequest {
        /// Among how many hosts.
        among: Among,
        /// Exponent of active requests that divides weights; 0 is weighted round robin.
        bias: f64,
    },
    /// Uniform.
    Random,
    /// Ketama ring.
    RingHash {
        /// Hash of hosts and of nothing else; requests are always hashed with xxHash.
        function: HashFunction,
        /// Least and most entries of the ring.
        size: (u64, u64),
    },
    /// Maglev table of this many entries, a prime.
    Maglev(u32),
    /// Least cost of two random hosts: peak-sensitive mean latency times active requests.
    PeakEwma(PeakEwma),
    /// The cluster type decides (`ORIGINAL_DST`, aggregate).
    ClusterProvided,
}

impl LbPolicy {
    /// Whether the hash of a request decides.
    pub fn is_hash(self) -> bool {
        matches!(self, Self::RingHash { .. } | Self::Maglev(_))
    }
}

/// Latency-aware balancing. Source: `envoy.extensions.load_balancing_policies.peak_ewma.v3alpha.PeakEwma`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PeakEwma {
    /// How fast measurements lose their weight.
    pub decay: Duration,
    /// Latency of hosts that were not measured yet.
    pub default_latency: Duration,
    /// Cost of hosts that have requests and were not measured yet, in milliseconds.
    pub penalty: f64,
}

/// Which hosts least request compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Among {
    /// This many random ones, at least 2, with replacement.
    Choices(u32),
    /// All.
    All,
}

/// `RingHash.hash_function`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashFunction {
    /// XX_HASH.
    Xx,
    /// MURMUR_HASH_2.
    Murmur2,
}

/// `ConsistentHashingLbConfig`.
#[derive(Clone, Debug, Default)]
pub struct Hashing {
    /// Hosts are hashed by hostname, not by address.
    pub use_hostname: bool,
    /// No host gets more than this percentage of the mean load.
    pub balance_factor: Option<u32>,
    /// What of a request is hashed, instead of what its route says.
    pub policies: Option<Arc<[HashPolicy]>>,
    /// Gauges about the table.
    pub stats: Option<TableStats>,
}

/// `locality_config_specifier`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LocalityRouting {
    /// By the localities' weights.
    Weighted,
    /// The own zone first; takes a local cluster in the bootstrap.
    ZoneAware(ZoneAware),
}

/// Zone-aware routing. Source: `LocalityLbConfig.ZoneAwareLbConfig`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ZoneAware {
    /// Percent of requests it holds for.
    pub routing_enabled: u32,
    /// Fewer healthy hosts than this are used whatever their zone.
    pub min_cluster_size: u64,
    /// In panic no host is used instead of all.
    pub fail_on_panic: bool,
    /// Only the own zone is used while it has this many healthy hosts.
    pub force_local: Option<u32>,
    /// Zones are compared by the weight of their hosts, not by their number.
    pub by_weight: bool,
}

impl Default for ZoneAware {
    /// Envoy's defaults.
    fn default() -> Self {
        Self {
            routing_enabled: 100,
            min_cluster_size: 6,
            fail_on_panic: false,
            force_local: None,
            by_weight: false,
        }
    }
}

/// Hosts that became healthy less than `window` ago weigh less. Source: `SlowStartConfig`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlowStart {
    /// How long.
    pub window: Duration,
    /// Above 1 weights grow faster at first, below 1 slower; above 0.
    pub aggression: f64,
    /// The least part of its weight that a host has, 0 to 1.
    pub min_weight: f64,
}

impl SlowStart {
    /// The part of its weight that a host has when it is healthy for `age`.
    pub fn factor(&self, age: Duration) -> f64 {
        if age >= self.window {
            return 1.0;
        }
        let elapsed = age.max(Duration::from_millis(1)).as_secs_f64() / self.window.as_secs_f64();
        let elapsed = if self.aggression == 1.0 { elapsed } else { elapsed.powf(1.0 / self.aggression) };
        elapsed.max(self.min_weight)
    }
}

/// One source of a request's hash. Source: `RouteAction.HashPolicy`, `type.v3.HashPolicy`.
#[derive(Clone, Debug)]
pub struct HashPolicy {
    /// What is hashed.
    pub input: HashInput,
    /// When there is a hash now, those that follow do not count.
    pub terminal: bool,
}

/// What of a request is hashed.
#[derive(Clone, Debug)]
pub enum HashInput {
    /// All values of a header, sorted.
    Header {
        /// Lower-case name.
        name: Box<str>,
        /// Pattern and replacement, in the regex crate's notation, applied to every value first.
        rewrite: Option<(Regex, Box<[u8]>)>,
    },
    /// A cookie.
    Cookie(Cookie),
    /// The client's IP address as text.
    SourceIp,
    /// The first value of this query parameter, not decoded.
    Query(Box<str>),
}

/// A cookie that tells clients apart.
#[derive(Clone, Debug)]
pub struct Cookie {
    /// Name.
    pub name: Box<str>,
    /// What `set-cookie` says after name and value; `None`: the cookie is never set here.
    pub attributes: Option<Box<str>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_host_grows_into_its_weight() {
        let slow =
            |aggression, min_weight| SlowStart { window: Duration::from_secs(100), aggression, min_weight };
        let seconds = Duration::from_secs;
        assert_eq!(slow(1.0, 0.1).factor(seconds(0)), 0.1);
        assert_eq!(slow(1.0, 0.1).factor(seconds(50)), 0.5);
        assert_eq!(slow(1.0, 0.1).factor(seconds(100)), 1.0);
        assert_eq!(slow(2.0, 0.1).factor(seconds(25)), 0.5);
        assert_eq!(slow(0.5, 0.0).factor(seconds(50)), 0.25);
        assert_eq!(slow(1.0, 0.0).factor(seconds(0)), 0.00001);
    }
}
