//! One lookup: literal, hosts file, name servers.
//!
//! Owns the resolver and its options. Nothing is cached: how often a name is asked for is the cluster's setting.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts, ServerOrderingStrategy,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RecordType;

use super::Found;
use super::hosts::HostsFile;
use crate::config::cluster::LookupFamily;

/// Why an existing name has brought nothing.
pub(super) const NO_ADDRESS: &str = "the name has no address of the family that is wanted";

/// Record types in the order they are wanted.
#[derive(Clone, Copy)]
struct Order {
    first: RecordType,
    then: Option<RecordType>,
    /// Ask for the second although there was a first.
    both: bool,
}

/// Looks names up.
pub struct Lookup {
    resolver: TokioResolver,
    hosts: HostsFile,
}

impl Lookup {
    /// With the system's name servers, search list and hosts file. Without a usable `/etc/resolv.conf` it asks
    /// 127.0.0.1, as the C library does, and says so.
    pub fn system() -> Result<Self, NetError> {
        let (config, options) = match hickory_resolver::system_conf::read_system_conf() {
            Ok(system) => system,
            Err(error) => {
                tracing::warn!(
                    "no name servers in /etc/resolv.conf ({error}); names are looked up in /etc/hosts and at 127.0.0.1"
                );
                (servers(&[SocketAddr::from(([127, 0, 0, 1], 53))]), ResolverOpts::default())
            }
        };
        Self::new(config, options, "/etc/hosts".into())
    }

    /// With these name servers, each asked twice for `timeout`, and this hosts file; without a search list.
    pub fn with_servers(
        addresses: &[SocketAddr],
        timeout: Duration,
        hosts: PathBuf,
    ) -> Result<Self, NetError> {
        let mut options = ResolverOpts::default();
        options.timeout = timeout;
        Self::new(servers(addresses), options, hosts)
    }

    fn new(config: ResolverConfig, mut options: ResolverOpts, hosts: PathBuf) -> Result<Self, NetError> {
        options.cache_size = 0;
        // The hosts file is ours, for both families together.
        options.use_hosts_file = ResolveHosts::Never;
        // The first server is the first for a reason: in a container it knows the cluster's names.
        options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
        options.num_concurrent_reqs = 1;
        let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        Ok(Self { resolver: builder.with_options(options).build()?, hosts: HostsFile::new(hosts) })
    }

    /// The addresses of a name. An existing name without addresses is an empty success.
    pub(super) async fn addresses(&self, name: &str, family: LookupFamily) -> Result<Found, String> {
        if let Ok(literal) = name.parse::<IpAddr>() {
            return Ok(Found { addresses: vec![literal], ttl: None, absent: None });
        }
        let order = order(family);
        let addresses = self.own(name, order);
        if !addresses.is_empty() {
            return Ok(Found { addresses, ttl: None, absent: None });
        }
        self.ask(name, order).await
    }

    /// What the hosts file has of a name.
    fn own(&self, name: &str, order: Order) -> Vec<IpAddr> {
        let all = self.hosts.addresses(name);
        let of = |kind: RecordType| all.iter().copied().filter(move |ip| kind_of(ip) == kind);
        let mut addresses: Vec<IpAddr> = of(order.first).collect();
        if let Some(then) = order.then
            && (order.both || addresses.is_empty())
        {
            addresses.extend(of(then));
        }
        addresses
    }

    /// Asks the name servers. Both families are asked at once only where both are wanted.
    async fn ask(&self, name: &str, order: Order) -> Result<Found, String> {
        let Some(then) = order.then else { return self.records(name, order.first).await };
        if order.both {
            return combine(tokio::join!(self.records(name, order.first), self.records(name, then)));
        }
        match self.records(name, order.first).await {
            Ok(found) if !found.addresses.is_empty() => Ok(found),
            one => combine((one, self.records(name, then).await)),
        }
    }

    async fn records(&self, name: &str, kind: RecordType) -> Result<Found, String> {
        match self.resolver.lookup(name, kind).await {
            Ok(lookup) => {
                let records = lookup.answers();
                let addresses = records.iter().filter_map(|record| record.data.ip_addr());
                let addresses = addresses.filter(|ip| kind_of(ip) == kind).collect();
                let ttl = records.iter().map(|record| Duration::from_secs(u64::from(record.ttl))).min();
                Ok(Found { addresses, ttl, absent: Some(NO_ADDRESS) })
            }
            Err(error) if error.is_no_records_found() => {
                let absent = if error.is_nx_domain() { "no such name (NXDOMAIN)" } else { NO_ADDRESS };
                Ok(Found { addresses: Vec::new(), ttl: None, absent: Some(absent) })
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

fn order(family: LookupFamily) -> Order {
    use RecordType::{A, AAAA};
    let (first, then, both) = match family {
        LookupFamily::Auto => (AAAA, Some(A), false),
        LookupFamily::V4Preferred => (A, Some(AAAA), false),
        LookupFamily::V4Only => (A, None, false),
        LookupFamily::V6Only => (AAAA, None, false),
        // A logical host takes the first, and IPv4 works in more places.
        LookupFamily::All => (A, Some(AAAA), true),
    };
    Order { first, then, both }
}

fn kind_of(ip: &IpAddr) -> RecordType {
    if ip.is_ipv4() { RecordType::A } else { RecordType::AAAA }
}

/// What two families found together. One failure is a failure only when the other found nothing: an address that
/// works is better than none.
fn combine(found: (Result<Found, String>, Result<Found, String>)) -> Result<Found, String> {
    match found {
        (Ok(one), Ok(other)) => {
            let ttl = one.ttl.into_iter().chain(other.ttl).min();
            let addresses = [one.addresses, other.addresses].concat();
            Ok(Found { addresses, ttl, absent: one.absent.or(other.absent) })
        }
        (Ok(one), Err(_)) | (Err(_), Ok(one)) if !one.addresses.is_empty() => Ok(one),
        (Err(reason), _) | (_, Err(reason)) => Err(reason),
    }
}

fn servers(addresses: &[SocketAddr]) -> ResolverConfig {
    let server = |address: &SocketAddr| {
        let on_port = |mut connection: ConnectionConfig| {
            connection.port = address.port();
            connection
        };
        let connections = vec![on_port(ConnectionConfig::udp()), on_port(ConnectionConfig::tcp())];
        NameServerConfig::new(address.ip(), true, connections)
    };
    ResolverConfig::from_name_servers(addresses.iter().map(server).collect())
}
