//! Value types that several resources share.

use std::time::Duration;

use crate::diagnostics::Place;

/// Application protocol of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// HTTP/1.1.
    Http,
    /// HTTP/2.
    Http2,
    /// gRPC over HTTP/2.
    Grpc,
    /// Opaque bytes.
    Tcp,
}

impl Protocol {
    /// The name in definitions and in xDS resource names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Http2 => "http2",
            Self::Grpc => "grpc",
            Self::Tcp => "tcp",
        }
    }

    /// Whether an HTTP connection manager handles it.
    pub fn is_http(self) -> bool {
        self != Self::Tcp
    }

    /// Whether upstream connections speak HTTP/2.
    pub fn is_http2(self) -> bool {
        matches!(self, Self::Http2 | Self::Grpc)
    }
}

/// Port and protocol of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortMapping {
    /// 1..=65535.
    pub port: u16,
    /// Application protocol.
    pub protocol: Protocol,
}

/// Which IP family to use. Absent means no preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IpPreference {
    /// IPv4 only.
    V4Only,
    /// IPv4, else IPv6.
    V4Preferred,
    /// IPv6 only.
    V6Only,
    /// IPv6, else IPv4.
    V6Preferred,
}

/// Request and idle limits of an HTTP-family route or listener. Zero disables a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HttpTimeout {
    /// Longest time without bytes on a stream.
    pub idle: Option<Duration>,
    /// Longest time of one request, all attempts included. Default 15 s.
    pub per_request: Option<Duration>,
}

/// Idle limit of a TCP route or listener. Zero disables it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpTimeout {
    /// Longest time without bytes on a connection.
    pub idle: Option<Duration>,
}

/// HTTP request methods that a match can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum HttpMethod {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
}

impl HttpMethod {
    /// The value of `:method`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
            Self::Options => "OPTIONS",
            Self::Trace => "TRACE",
            Self::Patch => "PATCH",
        }
    }
}

/// Schemes that a match can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum HttpScheme {
    Http,
    Https,
}

impl HttpScheme {
    /// The value of `:scheme`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// How a header or metadata value is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueMatch {
    /// The whole value, case-sensitive.
    Exact(String),
    /// RE2 over the whole value.
    Regex(String),
    /// The beginning of the value.
    Prefix(String),
    /// The end of the value.
    Suffix(String),
    /// A base-10 integer, start inclusive, end exclusive.
    Range {
        /// First value inside.
        start: i64,
        /// First value outside.
        end: i64,
    },
}

/// A condition on a header or on gRPC metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderMatch {
    /// Header name, 1..=50 characters; pseudo-headers are legal.
    pub name: String,
    /// Negates the result; a missing header never matches a value, inverted or not.
    pub invert: bool,
    /// Absent: the header must be present.
    pub value: Option<ValueMatch>,
}

/// A condition on a query parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryMatch {
    /// Parameter name.
    pub name: String,
    /// The whole value; absent: the parameter must be present.
    pub exact: Option<String>,
}

/// A condition on the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatch {
    /// Plain string prefix, not segment aware; begins with `/`.
    Prefix(String),
    /// The whole path without the query.
    Exact(String),
    /// RE2 over the whole path without the query.
    Regex(String),
}

/// An active health check, run by every calling proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is spoken to the endpoint.
    pub protocol: Protocol,
    /// Successes until healthy, 2..=10.
    pub healthy_threshold: u32,
    /// Failures until unhealthy, 2..=10.
    pub unhealthy_threshold: u32,
    /// 5 s to 300 s.
    pub interval: Duration,
    /// 2 s to 60 s.
    pub timeout: Duration,
    /// Request path, for http and http2.
    pub path: Option<String>,
    /// Must equal the listener's port.
    pub port: Option<u16>,
    /// Where it is written.
    pub at: Place,
}

/// `logging.accessLog.file`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// File path, `/dev/stdout` mostly.
    pub path: String,
    /// Absent: the proxy's default text format.
    pub format: Option<LogFormat>,
}

/// How access log lines are written; values are Envoy command operator strings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// A JSON object with these keys, in order.
    Json(Vec<(String, String)>),
    /// Text; a newline is not added.
    Text(String),
}
