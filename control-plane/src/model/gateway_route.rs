//! Gateway route.

use super::{HeaderMatch, HttpMethod, PathMatch, Protocol, QueryMatch, Reference};
use crate::diagnostics::Place;

/// Specification of a gateway route: `priority` and one of the three types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayRouteSpec {
    /// 0..=1000, 0 first; absent sorts last.
    pub priority: Option<u32>,
    /// [`Protocol::Http`], [`Protocol::Http2`] or [`Protocol::Grpc`].
    pub protocol: Protocol,
    /// Conditions.
    pub matching: GatewayMatch,
    /// The service that answers.
    pub target: GatewayTarget,
    /// What is rewritten on the way.
    pub rewrite: GatewayRewrite,
    /// Where the body is written.
    pub at: Place,
}

/// Conditions of a gateway route; all must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatewayMatch {
    /// Path condition of HTTP types.
    pub path: Option<PathMatch>,
    /// gRPC service of the gRPC type.
    pub grpc_service: Option<String>,
    /// Host condition, with or without port, case-insensitive.
    pub hostname: Option<HostnameMatch>,
    /// `:method`.
    pub method: Option<HttpMethod>,
    /// Gateway listener that the request came to.
    pub port: Option<u16>,
    /// Headers, or metadata of the gRPC type; at most 10.
    pub headers: Vec<HeaderMatch>,
    /// At most 10.
    pub query: Vec<QueryMatch>,
}

/// A condition on the request's host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostnameMatch {
    /// The whole name.
    Exact(String),
    /// The end of the name.
    Suffix(String),
}

/// The service that a gateway route leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayTarget {
    /// The virtual service.
    pub virtual_service: Reference,
    /// Listener of the service's router or node; required when there are several.
    pub port: Option<u16>,
}

/// What a gateway rewrites.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayRewrite {
    /// `true` (default): the host becomes the virtual service's name.
    pub hostname: bool,
    /// The path.
    pub path: PathRewrite,
}

impl Default for GatewayRewrite {
    fn default() -> Self {
        Self { hostname: true, path: PathRewrite::Default }
    }
}

/// What a gateway does to the path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PathRewrite {
    /// A matched prefix becomes `/`; other matches leave the path.
    #[default]
    Default,
    /// The path is left as it is (`defaultPrefix: DISABLED`).
    Keep,
    /// The matched prefix becomes this; begins and ends with `/`.
    Prefix(String),
    /// The whole path becomes this.
    Exact(String),
}
