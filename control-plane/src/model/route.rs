//! Route of a virtual router.

use std::time::Duration;

use super::{
    HeaderMatch, HttpMethod, HttpScheme, HttpTimeout, PathMatch, Protocol, QueryMatch, Reference, TcpTimeout,
};
use crate::diagnostics::Place;

/// Specification of a route: `priority` and one of the four types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteSpec {
    /// 0..=1000, 0 first; absent sorts last.
    pub priority: Option<u32>,
    /// The type and its body.
    pub body: RouteBody,
    /// Where the body is written.
    pub at: Place,
}

/// The body by route type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteBody {
    /// `httpRoute` or `http2Route`.
    Http {
        /// [`Protocol::Http`] or [`Protocol::Http2`].
        protocol: Protocol,
        /// Conditions.
        matching: HttpMatch,
        /// Targets.
        targets: Vec<WeightedTarget>,
        /// Absent: App Mesh's default policy.
        retry: Option<RetryPolicy>,
        /// Limits.
        timeout: Option<HttpTimeout>,
    },
    /// `grpcRoute`.
    Grpc {
        /// Conditions.
        matching: GrpcMatch,
        /// Targets.
        targets: Vec<WeightedTarget>,
        /// Absent: App Mesh's default policy.
        retry: Option<RetryPolicy>,
        /// Limits.
        timeout: Option<HttpTimeout>,
    },
    /// `tcpRoute`.
    Tcp {
        /// Router listener that the connection came to.
        port: Option<u16>,
        /// Targets.
        targets: Vec<WeightedTarget>,
        /// Limits.
        timeout: Option<TcpTimeout>,
    },
}

impl RouteBody {
    /// The listener protocol that the route type is for.
    pub fn protocol(&self) -> Protocol {
        match self {
            Self::Http { protocol, .. } => *protocol,
            Self::Grpc { .. } => Protocol::Grpc,
            Self::Tcp { .. } => Protocol::Tcp,
        }
    }

    /// Where matching traffic goes.
    pub fn targets(&self) -> &[WeightedTarget] {
        match self {
            Self::Http { targets, .. } | Self::Grpc { targets, .. } | Self::Tcp { targets, .. } => targets,
        }
    }

    /// The router port that the route is for, if it names one.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Http { matching, .. } => matching.port,
            Self::Grpc { matching, .. } => matching.port,
            Self::Tcp { port, .. } => *port,
        }
    }

    /// The retry policy, if one is written.
    pub fn retry(&self) -> Option<&RetryPolicy> {
        match self {
            Self::Http { retry, .. } | Self::Grpc { retry, .. } => retry.as_ref(),
            Self::Tcp { .. } => None,
        }
    }
}

/// Conditions of an HTTP route; all must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpMatch {
    /// Absent: every path.
    pub path: Option<PathMatch>,
    /// `:method`.
    pub method: Option<HttpMethod>,
    /// `:scheme`.
    pub scheme: Option<HttpScheme>,
    /// Router listener that the request came to.
    pub port: Option<u16>,
    /// At most 10.
    pub headers: Vec<HeaderMatch>,
    /// At most 10.
    pub query: Vec<QueryMatch>,
}

/// Conditions of a gRPC route; all must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrpcMatch {
    /// Fully qualified service.
    pub service: Option<String>,
    /// Method; needs `service`.
    pub method: Option<String>,
    /// At most 10.
    pub metadata: Vec<HeaderMatch>,
    /// Router listener that the request came to.
    pub port: Option<u16>,
}

/// One target of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightedTarget {
    /// The node.
    pub virtual_node: Reference,
    /// 0..=100, relative to the sum.
    pub weight: u32,
    /// Listener of the node; required when it has several.
    pub port: Option<u16>,
}

/// When and how often a caller's proxy tries again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Retries after the first attempt.
    pub max_retries: u32,
    /// Limit of every attempt, the first included.
    pub per_retry_timeout: Duration,
    /// HTTP events.
    pub http_events: Vec<HttpRetryEvent>,
    /// Whether failed connects are retried (`connection-error`).
    pub tcp_connection_error: bool,
    /// gRPC events.
    pub grpc_events: Vec<GrpcRetryEvent>,
    /// Where it is written.
    pub at: Place,
}

/// `httpRetryEvents`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpRetryEvent {
    /// Status 500 to 508, 510, 511, or no answer.
    ServerError,
    /// Status 502 to 504, or no answer.
    GatewayError,
    /// Status 409.
    ClientError,
    /// Stream refused before processing.
    StreamError,
}

/// `grpcRetryEvents`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum GrpcRetryEvent {
    Cancelled,
    DeadlineExceeded,
    Internal,
    ResourceExhausted,
    Unavailable,
}
