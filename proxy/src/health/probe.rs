//! Whom a check asks, and the question by kind.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::state::Outcome;
use super::{grpc, http, tcp};
use crate::config::cluster::HostAddress;
use crate::config::health::{CheckKind, HealthCheck};
use crate::config::secret::ClientTls;
use crate::config::{Cluster, Host};
use crate::net::stream::Stream;
use crate::stats::registry::Registry;
use crate::upstream::connect;

/// Where the checks of one host go.
pub(super) struct Target {
    cluster: Arc<Cluster>,
    address: HostAddress,
    tls: Option<Arc<ClientTls>>,
    /// Authority of the endpoint's own, else empty.
    hostname: Box<str>,
    pub(super) registry: Registry,
}

impl Target {
    pub(super) fn new(cluster: &Arc<Cluster>, check: &HealthCheck, host: &Host, registry: &Registry) -> Self {
        Self {
            cluster: cluster.clone(),
            address: address(host),
            tls: check.tls.clone(),
            hostname: host.check.as_ref().map(|check| check.hostname.clone()).unwrap_or_default(),
            registry: registry.clone(),
        }
    }

    /// A new connection. It counts nowhere but in `health_check.*`: connections of checks are not traffic.
    pub(super) async fn connect(&self) -> io::Result<Stream> {
        connect::open(&self.cluster, &self.address, self.tls.as_deref()).await
    }

    /// The authority to send: the endpoint's, else that of the check.
    pub(super) fn authority<'a>(&'a self, configured: &'a str) -> &'a str {
        if self.hostname.is_empty() { configured } else { &self.hostname }
    }

    /// `https` over TLS.
    pub(super) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// The address as text, where an authority must be one and the configured one is not.
    pub(super) fn address_text(&self) -> String {
        match &self.address {
            HostAddress::Ip(address) => address.to_string(),
            HostAddress::Pipe(_) => "localhost".to_owned(),
        }
    }
}

/// The host's address, less what its `health_check_config` says.
fn address(host: &Host) -> HostAddress {
    let (HostAddress::Ip(own), Some(check)) = (&host.address, &host.check) else {
        return host.address.clone();
    };
    let (ip, port) = (check.ip.unwrap_or(own.ip()), check.port.unwrap_or(own.port()));
    HostAddress::Ip(SocketAddr::new(ip, port))
}

/// Asks one host, again and again.
pub(super) enum Probe {
    Http(http::HttpProbe),
    Grpc(grpc::GrpcProbe),
    Tcp(tcp::TcpProbe),
}

impl Probe {
    pub(super) fn new(check: &HealthCheck) -> Self {
        match &check.kind {
            CheckKind::Http(_) => Self::Http(http::HttpProbe::default()),
            CheckKind::Grpc(_) => Self::Grpc(grpc::GrpcProbe::default()),
            CheckKind::Tcp(_) => Self::Tcp(tcp::TcpProbe::default()),
        }
    }

    /// One question. The caller bounds the time.
    pub(super) async fn ask(&mut self, check: &HealthCheck, target: &Target) -> Outcome {
        match (self, &check.kind) {
            (Self::Http(probe), CheckKind::Http(settings)) => probe.ask(settings, check, target).await,
            (Self::Grpc(probe), CheckKind::Grpc(settings)) => probe.ask(settings, target).await,
            (Self::Tcp(probe), CheckKind::Tcp(settings)) => probe.ask(settings, target).await,
            _ => Outcome::NETWORK,
        }
    }

    /// Gives the connection up.
    pub(super) fn close(&mut self) {
        match self {
            Self::Http(probe) => probe.close(),
            Self::Grpc(probe) => probe.close(),
            Self::Tcp(probe) => probe.close(),
        }
    }
}
