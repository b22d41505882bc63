//! What operators tell of: kinds of facts, and which one of a kind.

use crate::http::header_id::HeaderId;

/// What is told of every attempt's host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::observe::format) enum AttemptedPart {
    Address { port: bool },
    Name { port: bool },
    ConnectionId,
}

/// Whose metadata, and where in it.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::observe::format) struct MetadataPath {
    pub(in crate::observe::format) of: MetadataOf,
    pub(in crate::observe::format) namespace: Box<str>,
    pub(in crate::observe::format) path: Vec<Box<str>>,
}

/// Whose metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetadataOf {
    /// The route's.
    Route,
    /// The virtual host's.
    VirtualHost,
    /// The cluster's.
    Cluster,
    /// That of the host tried last.
    Host,
    /// The listener's.
    Listener,
    /// The filter chain's.
    FilterChain,
    /// What filters have set while the request passed.
    Request,
}

/// A header, its alternative, and whether the query is cut off.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::observe::format) struct HeaderChoice {
    pub(in crate::observe::format) of: Message,
    pub(in crate::observe::format) main: HeaderName,
    pub(in crate::observe::format) alternative: Option<HeaderName>,
    pub(in crate::observe::format) keep_query: bool,
}

/// Which header block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::observe::format) enum Message {
    Request,
    Response,
    Trailers,
}

/// A header name as the head types keep it.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::observe::format) enum HeaderName {
    Method,
    Path,
    Authority,
    Scheme,
    Status,
    OriginalPath,
    ContentLength,
    Upgrade,
    Known(HeaderId),
    Other(Box<[u8]>),
}

/// Points in time that are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::observe::format) enum Point {
    ConnectionBegin,
    ConnectionEnd,
    HandshakeBegin,
    HandshakeEnd,
    RequestBegin,
    RequestHead,
    RequestEnd,
    PoolReady,
    UpstreamConnectBegin,
    UpstreamConnectEnd,
    UpstreamSecured,
    UpstreamBegun,
    UpstreamSent,
    UpstreamFirstByte,
    UpstreamBody,
    UpstreamComplete,
    ResponseBegin,
    ResponseEnd,
    End,
}

/// Unit of a duration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::observe::format) enum Unit {
    Millis,
    Micros,
    Nanos,
}

/// Which end of which connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::observe::format) enum Whose {
    DownstreamRemote,
    DownstreamDirectRemote,
    DownstreamLocal,
    DownstreamDirectLocal,
    UpstreamLocal,
    UpstreamRemote,
}

/// Which part of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::observe::format) enum AddressPart {
    Whole,
    Ip,
    Port,
}

/// How a gRPC status is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::observe::format) enum GrpcStatusForm {
    Camel,
    Snake,
    Number,
}

/// Path before or after rewriting.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::observe::format) enum PathChoice {
    Original,
    Current,
    OriginalOrCurrent,
}

/// Which bytes on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::observe::format) enum WirePart {
    Received,
    Sent,
    HeadsReceived,
    HeadsSent,
    DecodedReceived,
    DecodedSent,
}
