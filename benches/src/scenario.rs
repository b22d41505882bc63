//! What is measured: the load of each scenario, and what every proxy must do with it.

use clap::ValueEnum;
use serde::Serialize;

/// The version spoken on both sides of the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1 with keepalive.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
}

/// The scenarios, by their names on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// HTTP/1 keepalive, 64 connections, 100-byte bodies.
    H1,
    /// As h1, with another path and request id in every request.
    H1Varying,
    /// As h1, at 6,000 requests per second: added latency rather than capacity.
    H1Rate,
    /// HTTP/2 to HTTP/2, 4 connections with 25 streams each, 100-byte bodies.
    H2c,
    /// As h2c, with another path and request id in every request.
    H2cVarying,
    /// As h1, over mutual TLS on both sides.
    Mtls,
    /// As mtls, with a connection and a full handshake for each request, 32 at once; kept connections to the backend.
    Handshakes,
    /// HTTP/1 keepalive, 16 connections, 64 KiB bodies.
    #[value(name = "body-64k")]
    Body64k,
    /// HTTP/1 keepalive, 16 connections, 1 MiB bodies.
    #[value(name = "body-1m")]
    Body1m,
    /// Memory of 10,000 idle keepalive connections that each made one request.
    Idle,
    /// A configuration update of 1,000 clusters and 10,000 endpoints over xDS, under load.
    Push,
    /// Instructions per route match and balancer pick.
    Micro,
    /// Instructions of the whole sidecar per request, for each sidecar of ours among the peers.
    Instructions,
    /// Every one of them.
    All,
}

/// The load of a request/response scenario.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// The version on both sides.
    pub protocol: Protocol,
    /// Connections of the generator.
    pub connections: usize,
    /// Requests in flight on each.
    pub streams: usize,
    /// Bytes in each response.
    pub body: usize,
    /// Whether path and request id change from request to request.
    pub varying: bool,
    /// How many hosts of [`numbered_host`] take turns; 0 for always [`HOST`].
    pub hosts: u64,
    /// Requests per second; without one, as many as the proxy answers.
    pub rate: Option<u32>,
    /// Mutual TLS on both sides.
    pub mutual: bool,
    /// A new connection for each request.
    pub fresh: bool,
}

impl Scenario {
    /// All but [`Scenario::All`].
    pub fn each() -> Vec<Self> {
        Self::value_variants().iter().copied().filter(|scenario| *scenario != Self::All).collect()
    }

    /// The name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// The load, for scenarios that are nothing but load.
    pub fn load(self) -> Option<Load> {
        let h1 = Load {
            protocol: Protocol::Http1,
            connections: 64,
            streams: 1,
            body: 100,
            varying: false,
            hosts: 0,
            rate: None,
            mutual: false,
            fresh: false,
        };
        let h2 = Load { protocol: Protocol::Http2, connections: 4, streams: 25, ..h1 };
        match self {
            Self::H1 => Some(h1),
            Self::H1Varying => Some(Load { varying: true, ..h1 }),
            Self::H1Rate => Some(Load { rate: Some(6_000), ..h1 }),
            Self::H2c => Some(h2),
            Self::H2cVarying => Some(Load { varying: true, ..h2 }),
            Self::Mtls => Some(Load { mutual: true, ..h1 }),
            Self::Handshakes => Some(Load { connections: 32, mutual: true, fresh: true, ..h1 }),
            Self::Body64k => Some(Load { connections: 16, body: 64 << 10, ..h1 }),
            Self::Body1m => Some(Load { connections: 16, body: 1 << 20, ..h1 }),
            Self::Idle | Self::Push | Self::Micro | Self::Instructions | Self::All => None,
        }
    }
}

/// The host the proxies route by.
pub const HOST: &str = "svc.mesh.local";
/// The hosts of scenarios with many clusters.
pub fn numbered_host(number: u64) -> String {
    format!("svc-{number}.mesh.local")
}

/// The path prefix they route by.
pub const PREFIX: &str = "/api/v1/";
/// The header they route by, and its value.
pub const HEADER: (&str, &str) = ("x-route", "stable");
