//! Compiled active health checks. Source: `envoy.config.core.v3.HealthCheck`, `Endpoint.HealthCheckConfig`.

use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};

use super::route::AppendAction;
use super::secret::ClientTls;
use crate::base::matcher::StringMatch;
use crate::observe::access_log::sink::Lines;
use crate::stats::scope::HealthCheckStats;

/// The active health check of a cluster.
#[derive(Debug)]
pub struct HealthCheck {
    /// What is asked.
    pub kind: CheckKind,
    /// Longest time for connecting and for the answer; above zero.
    pub timeout: Duration,
    /// Between checks.
    pub intervals: Intervals,
    /// The first check of a host waits up to this long.
    pub initial_jitter: Duration,
    /// Added to every interval, up to this long.
    pub interval_jitter: Duration,
    /// Added to every interval, up to this share of it.
    pub interval_jitter_percent: u32,
    /// Consecutive failures until a healthy host is unhealthy; at least 1.
    pub unhealthy_threshold: u32,
    /// Consecutive successes until an unhealthy host is healthy; at least 1.
    pub healthy_threshold: u32,
    /// Keep the connection for the next check.
    pub reuse_connection: bool,
    /// As the cluster's, with the protocols that the check speaks.
    pub tls: Option<Arc<ClientTls>>,
    /// Where changes are told.
    pub log: Option<EventLog>,
    /// Handles of `cluster.<name>.health_check.*`.
    pub stats: HealthCheckStats,
}

/// Time between the checks of a host, by what the last one found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intervals {
    /// `interval`: the host is healthy.
    pub healthy: Duration,
    /// `healthy_edge_interval`: a success that has not made the host healthy yet.
    pub healthy_edge: Duration,
    /// `unhealthy_interval`: the host is unhealthy.
    pub unhealthy: Duration,
    /// `unhealthy_edge_interval`: a failure that has not made the host unhealthy yet.
    pub unhealthy_edge: Duration,
    /// `no_traffic_interval`: nothing was ever sent to the cluster.
    pub no_traffic: Duration,
    /// `no_traffic_healthy_interval`: nothing was ever sent to the cluster, and the host is healthy.
    pub no_traffic_healthy: Duration,
}

/// `event_log_path` and what is told there.
#[derive(Debug)]
pub struct EventLog {
    /// The file.
    pub lines: Lines,
    /// Every failure, not only those that change something.
    pub failures: bool,
    /// Every success.
    pub successes: bool,
}

/// What a check asks.
#[derive(Debug)]
pub enum CheckKind {
    /// A request over HTTP.
    Http(Box<HttpCheck>),
    /// `grpc.health.v1.Health/Check`.
    Grpc(GrpcCheck),
    /// A connection, and maybe some bytes.
    Tcp(TcpCheck),
}

/// `http_health_check`.
#[derive(Debug)]
pub struct HttpCheck {
    /// Authority; the cluster's name unless configured.
    pub host: Box<str>,
    /// Path and query.
    pub path: Box<str>,
    /// Never CONNECT.
    pub method: Method,
    /// HTTP/2, else HTTP/1.1.
    pub http2: bool,
    /// Request body.
    pub send: Bytes,
    /// Found in this order in the response body.
    pub receive: Vec<Box<[u8]>>,
    /// Bytes of the body that are searched.
    pub receive_limit: usize,
    /// Statuses that pass.
    pub expected: Vec<Range<u16>>,
    /// Statuses that count towards the unhealthy threshold; every other one is unhealthy at once.
    pub retriable: Vec<Range<u16>>,
    /// Added to the request.
    pub headers: Vec<CheckHeader>,
    /// Removed from the request.
    pub removed: Vec<HeaderName>,
    /// Must match `x-envoy-upstream-healthchecked-cluster` of the response.
    pub service_name: Option<StringMatch>,
}

/// One of `request_headers_to_add` or `initial_metadata`.
#[derive(Clone, Debug)]
pub struct CheckHeader {
    /// Name.
    pub name: HeaderName,
    /// Constant value.
    pub value: HeaderValue,
    /// What to do when it is there.
    pub action: AppendAction,
}

/// `grpc_health_check`.
#[derive(Debug)]
pub struct GrpcCheck {
    /// `service` of the request; empty asks for the server as a whole.
    pub service_name: Box<str>,
    /// Authority; the cluster's name unless configured.
    pub authority: Box<str>,
    /// Metadata of the request.
    pub headers: Vec<CheckHeader>,
}

/// `tcp_health_check`.
#[derive(Debug)]
pub struct TcpCheck {
    /// Sent after connecting.
    pub send: Bytes,
    /// Found in this order in what the peer sends; empty checks only that it accepts.
    pub receive: Vec<Box<[u8]>>,
}

/// What an endpoint says about how it is checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostCheck {
    /// Checked here instead of at the endpoint's own address.
    pub ip: Option<IpAddr>,
    /// Checked at this port instead of the endpoint's own.
    pub port: Option<u16>,
    /// Authority of HTTP and gRPC checks; empty is that of the check.
    pub hostname: Box<str>,
    /// Never checked, always taken for healthy.
    pub disabled: bool,
}
