//! What expressions may ask of a request or connection. Source: Envoy, "attributes".

use super::Malformed;

/// Whose metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetadataOf {
    /// What filters have set while the request passed.
    Request,
    /// The cluster's.
    Cluster,
    /// The route's.
    Route,
    /// The virtual host's.
    VirtualHost,
    /// That of the host tried last.
    Host,
    /// The listener's.
    Listener,
}

/// Which connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client's.
    Downstream,
    /// The host's.
    Upstream,
}

/// What TLS tells of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// `tls_version`
    Version,
    /// `subject_local_certificate`
    LocalSubject,
    /// `subject_peer_certificate`
    PeerSubject,
    /// `uri_san_local_certificate`
    LocalUri,
    /// `uri_san_peer_certificate`
    PeerUri,
    /// `dns_san_local_certificate`
    LocalDns,
    /// `dns_san_peer_certificate`
    PeerDns,
    /// `sha256_peer_certificate_digest`
    PeerDigest,
}

/// An attribute. Names are Envoy's, the dot left out.
#[allow(missing_docs, reason = "the table says each one's name")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribute {
    RequestPath,
    RequestUrlPath,
    RequestHost,
    RequestScheme,
    RequestMethod,
    RequestReferer,
    RequestHeaders,
    RequestHeadersBytes,
    RequestTime,
    RequestId,
    RequestUserAgent,
    RequestSize,
    RequestTotalSize,
    RequestDuration,
    RequestProtocol,
    RequestQuery,
    ResponseCode,
    ResponseSize,
    ResponseHeaders,
    ResponseHeadersBytes,
    ResponseTrailers,
    ResponseFlags,
    ResponseGrpcStatus,
    ResponseTotalSize,
    ResponseCodeDetails,
    ResponseBackendLatency,
    SourceAddress,
    SourcePort,
    DestinationAddress,
    DestinationPort,
    ConnectionMtls,
    ConnectionServerName,
    ConnectionId,
    ConnectionFailure,
    UpstreamAddress,
    UpstreamPort,
    UpstreamLocalAddress,
    UpstreamFailure,
    UpstreamPoolReady,
    UpstreamAttempts,
    ClusterName,
    RouteName,
    VirtualHostName,
    FilterChainName,
    ListenerDirection,
    /// `filter_state`, `upstream_filter_state`: maps in which there is nothing, because no filter here leaves anything.
    FilterState,
    Tls(Side, Tls),
    /// The message `Metadata`.
    Metadata(MetadataOf),
    /// Its `filter_metadata`.
    Namespaces(MetadataOf),
}

/// A name behind a dot; `None`: Envoy has it, the sidecar has not.
type Named = (&'static str, Option<Attribute>);

/// Names that attributes begin with, and those behind their dots.
const NAMES: &[(&str, &[Named])] = &[
    (
        "request",
        &[
            ("path", Some(Attribute::RequestPath)),
            ("url_path", Some(Attribute::RequestUrlPath)),
            ("host", Some(Attribute::RequestHost)),
            ("scheme", Some(Attribute::RequestScheme)),
            ("method", Some(Attribute::RequestMethod)),
            ("referer", Some(Attribute::RequestReferer)),
            ("headers", Some(Attribute::RequestHeaders)),
            ("headers_bytes", Some(Attribute::RequestHeadersBytes)),
            ("time", Some(Attribute::RequestTime)),
            ("id", Some(Attribute::RequestId)),
            ("useragent", Some(Attribute::RequestUserAgent)),
            ("size", Some(Attribute::RequestSize)),
            ("total_size", Some(Attribute::RequestTotalSize)),
            ("duration", Some(Attribute::RequestDuration)),
            ("protocol", Some(Attribute::RequestProtocol)),
            ("query", Some(Attribute::RequestQuery)),
        ],
    ),
    (
        "response",
        &[
            ("code", Some(Attribute::ResponseCode)),
            ("size", Some(Attribute::ResponseSize)),
            ("headers", Some(Attribute::ResponseHeaders)),
            ("headers_bytes", Some(Attribute::ResponseHeadersBytes)),
            ("trailers", Some(Attribute::ResponseTrailers)),
            ("flags", Some(Attribute::ResponseFlags)),
            ("grpc_status", Some(Attribute::ResponseGrpcStatus)),
            ("total_size", Some(Attribute::ResponseTotalSize)),
            ("code_details", Some(Attribute::ResponseCodeDetails)),
            ("backend_latency", Some(Attribute::ResponseBackendLatency)),
        ],
    ),
    ("source", &[("address", Some(Attribute::SourceAddress)), ("port", Some(Attribute::SourcePort))]),
    (
        "destination",
        &[("address", Some(Attribute::DestinationAddress)), ("port", Some(Attribute::DestinationPort))],
    ),
    (
        "connection",
        &[
            ("mtls", Some(Attribute::ConnectionMtls)),
            ("requested_server_name", Some(Attribute::ConnectionServerName)),
            ("id", Some(Attribute::ConnectionId)),
            ("transport_failure_reason", Some(Attribute::ConnectionFailure)),
            ("termination_details", None),
        ],
    ),
    (
        "upstream",
        &[
            ("address", Some(Attribute::UpstreamAddress)),
            ("port", Some(Attribute::UpstreamPort)),
            ("local_address", Some(Attribute::UpstreamLocalAddress)),
            ("transport_failure_reason", Some(Attribute::UpstreamFailure)),
            ("cx_pool_ready_duration", Some(Attribute::UpstreamPoolReady)),
            ("request_attempt_count", Some(Attribute::UpstreamAttempts)),
            ("locality", None),
            ("num_endpoints", None),
        ],
    ),
    (
        "xds",
        &[
            ("cluster_name", Some(Attribute::ClusterName)),
            ("cluster_metadata", Some(Attribute::Metadata(MetadataOf::Cluster))),
            ("route_name", Some(Attribute::RouteName)),
            ("route_metadata", Some(Attribute::Metadata(MetadataOf::Route))),
            ("virtual_host_name", Some(Attribute::VirtualHostName)),
            ("virtual_host_metadata", Some(Attribute::Metadata(MetadataOf::VirtualHost))),
            ("upstream_host_metadata", Some(Attribute::Metadata(MetadataOf::Host))),
            ("filter_chain_name", Some(Attribute::FilterChainName)),
            ("listener_metadata", Some(Attribute::Metadata(MetadataOf::Listener))),
            ("listener_direction", Some(Attribute::ListenerDirection)),
            ("node", None),
            ("upstream_host_locality_metadata", None),
        ],
    ),
];

/// Those of `connection` and of `upstream`.
const TLS: &[(&str, Option<Tls>)] = &[
    ("tls_version", Some(Tls::Version)),
    ("subject_local_certificate", Some(Tls::LocalSubject)),
    ("subject_peer_certificate", Some(Tls::PeerSubject)),
    ("uri_san_local_certificate", Some(Tls::LocalUri)),
    ("uri_san_peer_certificate", Some(Tls::PeerUri)),
    ("dns_san_local_certificate", Some(Tls::LocalDns)),
    ("dns_san_peer_certificate", Some(Tls::PeerDns)),
    ("sha256_peer_certificate_digest", Some(Tls::PeerDigest)),
];

/// A name without a dot: an attribute, or nothing but the beginning of some.
pub(super) fn whole(name: &str) -> Option<Result<Attribute, Malformed>> {
    match name {
        "metadata" => Some(Ok(Attribute::Metadata(MetadataOf::Request))),
        "filter_state" | "upstream_filter_state" => Some(Ok(Attribute::FilterState)),
        _ => NAMES.iter().find(|(root, _)| *root == name).map(|(_, below)| {
            let examples: Vec<_> = below.iter().take(3).map(|(last, _)| format!("{name}.{last}")).collect();
            Err(Malformed(format!(
                "{name:?} alone is no value: name an attribute ({}, ...)",
                examples.join(", ")
            )))
        }),
    }
}

/// The attribute `root.name`; `None` when attributes do not begin with `root`.
pub(super) fn below(root: &str, name: &str) -> Option<Result<Attribute, Malformed>> {
    let (_, below) = NAMES.iter().find(|(known, _)| *known == root)?;
    let side = match root {
        "connection" => Some(Side::Downstream),
        "upstream" => Some(Side::Upstream),
        _ => None,
    };
    let of_tls = |side| {
        TLS.iter().find(|(known, _)| *known == name).map(|(_, tls)| tls.map(|tls| Attribute::Tls(side, tls)))
    };
    let found = below.iter().find(|(known, _)| *known == name).map(|(_, attribute)| *attribute);
    Some(match found.or_else(|| of_tls(side?)) {
        Some(Some(attribute)) => Ok(attribute),
        Some(None) => Err(Malformed(format!("attribute {root}.{name} is not supported here"))),
        None => Err(Malformed(format!("there is no attribute {root}.{name}"))),
    })
}

/// Field `name` of an attribute that is a message; `None` when it is none.
pub(super) fn field(of: Attribute, name: &str) -> Option<Result<Attribute, Malformed>> {
    let Attribute::Metadata(of) = of else { return None };
    Some(match name {
        "filter_metadata" => Ok(Attribute::Namespaces(of)),
        "typed_filter_metadata" => Err(Malformed(format!("{name} is not supported here"))),
        _ => Err(Malformed(format!("metadata has no field {name:?}; its namespaces are in filter_metadata"))),
    })
}
