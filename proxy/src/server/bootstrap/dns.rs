//! Name servers. Source: `typed_dns_resolver_config`, `dns_resolution_config`,
//! `envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig`.

use std::net::SocketAddr;

use outrigger_xds_protos::any;
use outrigger_xds_protos::v3::cares::CaresDnsResolverConfig;
use outrigger_xds_protos::v3::core::{
    Address, DnsResolutionConfig, DnsResolverOptions, TypedExtensionConfig,
};

use super::reduce::Notes;
use crate::xds::translate::fields::{self, refuse, warn_set};
use crate::xds::translate::{Path, Rejection};

const GETADDRINFO: &str = "envoy.extensions.network.dns_resolver.getaddrinfo.v3.GetAddrInfoDnsResolverConfig";

/// The configured name servers; empty means the system's.
pub(super) fn servers(
    old: &Option<DnsResolutionConfig>,
    typed: &Option<TypedExtensionConfig>,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Result<Vec<SocketAddr>, Rejection> {
    if let Some(TypedExtensionConfig { name, typed_config }) = typed {
        let path = path.field("typed_dns_resolver_config");
        let config = fields::message(typed_config, &path.field("typed_config"))?;
        if any::type_name(&config.type_url) == Some(GETADDRINFO) {
            return Ok(Vec::new());
        }
        if !any::is::<CaresDnsResolverConfig>(config) {
            return Err(
                path.reject(format_args!("{name:?} ({}) is not supported; use cares", config.type_url))
            );
        }
        let path = path.field("typed_config");
        let config = any::unpack(config).map_err(|error| path.reject(error))?;
        return cares(&config, &path, notes);
    }
    let Some(DnsResolutionConfig { resolvers, dns_resolver_options }) = old else { return Ok(Vec::new()) };
    let path = path.field("dns_resolution_config");
    configured(resolvers, dns_resolver_options, &path)
}

fn cares(
    config: &CaresDnsResolverConfig,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Result<Vec<SocketAddr>, Rejection> {
    let CaresDnsResolverConfig {
        resolvers,
        use_resolvers_as_fallback,
        filter_unroutable_families,
        dns_resolver_options,
        udp_max_queries: _, // Sockets of c-ares.
        query_timeout_seconds,
        query_tries,
        rotate_nameservers,
        edns0_max_payload_size: _,   // Answers that do not fit come over TCP.
        max_udp_channel_duration: _, // Sockets of c-ares.
        reinit_channel_on_timeout: _,
        qcache_max_ttl: _, // Answers are asked for again at every refresh.
    } = config;
    refuse!(path; use_resolvers_as_fallback);
    warn_set!(notes, path, "is not in effect"; filter_unroutable_families, query_timeout_seconds, query_tries,
        rotate_nameservers);
    configured(resolvers, dns_resolver_options, path)
}

fn configured(
    resolvers: &[Address],
    options: &Option<DnsResolverOptions>,
    path: &Path<'_>,
) -> Result<Vec<SocketAddr>, Rejection> {
    if let Some(DnsResolverOptions { use_tcp_for_dns_lookups, no_default_search_domain }) = options {
        let path = path.field("dns_resolver_options");
        refuse!(path; use_tcp_for_dns_lookups);
        // Servers named here are asked for names as they are; the system's come with its search list.
        if resolvers.is_empty() {
            refuse!(path; no_default_search_domain);
        }
    }
    addresses(resolvers, &path.field("resolvers"))
}

fn addresses(messages: &[Address], path: &Path<'_>) -> Result<Vec<SocketAddr>, Rejection> {
    let address = |(i, message): (usize, &Address)| {
        let path = path.index(i);
        let message = Some(message.clone());
        let socket = fields::socket_address(&message, &path)?;
        let mut socket = socket.clone();
        // Every example of Envoy's writes these as UDP or not at all; both are asked anyway.
        socket.protocol = 0;
        fields::ip_port(&socket, &path.field("socket_address"))
    };
    messages.iter().enumerate().map(address).collect()
}
